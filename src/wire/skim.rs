//! A quick look over a JSON text (RFC 8259): whether it is one, and where the members of its outermost object
//! or array stand. Nothing is built and nothing is copied, because a body that is only relayed may be large.
//!
//! It accepts exactly what `serde_json` skips over without complaint.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

/// The text is not JSON. What exactly is wrong, and where, `serde_json` says better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is not valid JSON")]
pub struct NotJson;

/// What a JSON text is on the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object.
    Object,
    /// An array.
    Array,
    /// A string, a number, `true`, `false` or `null`.
    Scalar,
}

/// A member's name as it is written between its quotes; empty in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(&'a str);

impl<'a> Name<'a> {
    /// The name that is meant; `None` if its escapes make no text.
    pub fn read(self) -> Option<Cow<'a, str>> {
        // Names are short: no search for many bytes at once pays.
        if self.0.bytes().all(|byte| byte != b'\\') {
            return Some(Cow::Borrowed(self.0));
        }
        serde_json::from_str(&format!("\"{}\"", self.0)).ok().map(Cow::Owned)
    }
}

/// Looks over a whole text, and shows each member of the outermost object or array: its name and where its
/// value stands.
///
/// # Errors
///
/// When the text is not JSON; members that stand before the mistake have been shown by then.
pub fn skim<'a>(
    text: &'a str,
    mut show: impl FnMut(Name<'a>, Range<usize>),
) -> Result<Shape, NotJson> {
    let skimmer = Skimmer::new(text.as_bytes());
    let mut open = Vec::new();
    let start = skimmer.space(0);
    let (shape, end) = match skimmer.byte(start) {
        b'{' => {
            let end = skimmer.members(start, b'}', |at| {
                let colon = skimmer.name(at)?;
                // White space may stand between the name's quote and the colon.
                let name = text[at + 1..colon].trim_end_matches(WHITE);
                let value = skimmer.space(colon + 1);
                let end = skimmer.value(value, &mut open)?;
                show(Name(&name[..name.len() - 1]), value..end);
                Ok(end)
            })?;
            (Shape::Object, end)
        }
        b'[' => {
            let end = skimmer.members(start, b']', |at| {
                let end = skimmer.value(at, &mut open)?;
                show(Name(""), at..end);
                Ok(end)
            })?;
            (Shape::Array, end)
        }
        _ => (Shape::Scalar, skimmer.value(start, &mut open)?),
    };
    if skimmer.space(end) == text.len() { Ok(shape) } else { Err(NotJson) }
}

/// What may stand between tokens.
const WHITE: [char; 4] = [' ', '\n', '\r', '\t'];

/// A text. Where one stands in it is a number that goes from one method to the next: it is quickest that way.
struct Skimmer<'a> {
    bytes: &'a [u8],
    /// Whether there are control characters anywhere. They may stand between tokens, and not in strings; most
    /// texts have none, and then no string has to be searched for them.
    has_control: bool,
}

impl<'a> Skimmer<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        // A piece at a time without a branch for each byte, so that many are compared at once.
        let has_control = |piece: &[u8]| piece.iter().fold(false, |any, byte| any | (*byte < 0x20));
        let has_control = bytes.chunks(256).any(has_control);
        Self { bytes, has_control }
    }

    /// The byte there; zero, which no token begins with, behind the end.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or_default()
    }

    /// Behind the white space there.
    fn space(&self, mut at: usize) -> usize {
        while self.byte(at) <= b' ' && matches!(self.byte(at), b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        at
    }

    /// Behind the brackets there; what is between them is for `one`, which says where it ends.
    fn members(
        &self,
        at: usize,
        end: u8,
        mut one: impl FnMut(usize) -> Result<usize, NotJson>,
    ) -> Result<usize, NotJson> {
        let mut at = self.space(at + 1);
        if self.byte(at) == end {
            return Ok(at + 1);
        }
        loop {
            at = self.space(one(at)?);
            match self.byte(at) {
                b',' => at = self.space(at + 1),
                byte if byte == end => return Ok(at + 1),
                _ => return Err(NotJson),
            }
        }
    }

    /// The colon behind the name there.
    fn name(&self, at: usize) -> Result<usize, NotJson> {
        if self.byte(at) != b'"' {
            return Err(NotJson);
        }
        let colon = self.space(self.string(at)?);
        if self.byte(colon) == b':' { Ok(colon) } else { Err(NotJson) }
    }

    /// Behind the value there, whatever is in it. `open` is what was open before, and is again after it: how each
    /// array and object ends.
    fn value(&self, mut at: usize, open: &mut Vec<u8>) -> Result<usize, NotJson> {
        loop {
            at = match self.byte(at) {
                b'"' => self.string(at)?,
                bracket @ (b'{' | b'[') => {
                    let end = if bracket == b'{' { b'}' } else { b']' };
                    let first = self.space(at + 1);
                    if self.byte(first) != end {
                        open.push(end);
                        at = self.next(first, end)?;
                        continue;
                    }
                    first + 1
                }
                b't' => self.literal(at, b"true")?,
                b'f' => self.literal(at, b"false")?,
                b'n' => self.literal(at, b"null")?,
                b'-' | b'0'..=b'9' => self.number(at)?,
                _ => return Err(NotJson),
            };
            // It may be the last one in what it stands in, and that in what that stands in.
            loop {
                let Some(end) = open.last().copied() else { return Ok(at) };
                at = self.space(at);
                let byte = self.byte(at);
                at += 1;
                if byte == b',' {
                    at = self.next(self.space(at), end)?;
                    break;
                }
                if byte != end {
                    return Err(NotJson);
                }
                open.pop();
            }
        }
    }

    /// The next value in an array or object that ends like this: in an object, behind its name.
    fn next(&self, at: usize, end: u8) -> Result<usize, NotJson> {
        if end == b'}' { Ok(self.space(self.name(at)? + 1)) } else { Ok(at) }
    }

    /// Behind the string whose quote is there.
    fn string(&self, at: usize) -> Result<usize, NotJson> {
        let start = at + 1;
        let mut at = start;
        loop {
            at = self.mark(at).ok_or(NotJson)?;
            if self.byte(at) == b'"' {
                let text = &self.bytes[start..at];
                let is_broken = self.has_control && text.iter().any(|byte| *byte < 0x20);
                return if is_broken { Err(NotJson) } else { Ok(at + 1) };
            }
            at = self.escape(at + 1)?;
        }
    }

    /// The next quote or backslash.
    fn mark(&self, mut at: usize) -> Option<usize> {
        let mut rest = self.bytes.get(at..)?;
        // Names and short words are over before a search for many bytes at once has begun.
        for _ in 0..2 {
            let Some((word, after)) = rest.split_first_chunk() else { break };
            if let Some(mark) = mark_in(u64::from_le_bytes(*word)) {
                return Some(at + mark);
            }
            (rest, at) = (after, at + 8);
        }
        memchr2(b'"', b'\\', rest).map(|mark| at + mark)
    }

    /// Behind what follows a backslash.
    fn escape(&self, at: usize) -> Result<usize, NotJson> {
        match self.byte(at) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 1),
            b'u' => {
                let digits = self.bytes.get(at + 1..at + 5).ok_or(NotJson)?;
                if digits.iter().all(u8::is_ascii_hexdigit) { Ok(at + 5) } else { Err(NotJson) }
            }
            _ => Err(NotJson),
        }
    }

    fn literal(&self, at: usize, word: &[u8]) -> Result<usize, NotJson> {
        if self.bytes[at..].starts_with(word) { Ok(at + word.len()) } else { Err(NotJson) }
    }

    fn number(&self, at: usize) -> Result<usize, NotJson> {
        let at = at + usize::from(self.byte(at) == b'-');
        // Nothing follows a leading zero.
        let mut at = if self.byte(at) == b'0' { at + 1 } else { self.digits(at)? };
        if self.byte(at) == b'.' {
            at = self.digits(at + 1)?;
        }
        if matches!(self.byte(at), b'e' | b'E') {
            let has_sign = matches!(self.byte(at + 1), b'+' | b'-');
            at = self.digits(at + 1 + usize::from(has_sign))?;
        }
        Ok(at)
    }

    /// Behind one digit or more.
    fn digits(&self, at: usize) -> Result<usize, NotJson> {
        let digits = self.bytes.get(at..).unwrap_or_default();
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count > 0 { Ok(at + count) } else { Err(NotJson) }
    }
}

/// Where the first quote or backslash is in eight bytes, the lowest of them first: all at once, by the way that
/// a borrow takes through a byte that has become zero.
const fn mark_in(word: u64) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGHS
    }
    let marks = zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64));
    if marks == 0 { None } else { Some((marks.trailing_zeros() / 8) as usize) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    /// Names and values as they are written.
    type Written<'a> = Vec<(&'a str, &'a str)>;

    fn members(text: &str) -> Result<(Shape, Written<'_>), NotJson> {
        let mut members = Vec::new();
        let shape = skim(text, |Name(name), value| members.push((name, &text[value])))?;
        Ok((shape, members))
    }

    #[test]
    fn members_are_shown_as_they_are_written() {
        let text = " {\"a\" : 1 ,\n\"b\\n\":[ {\"x\":\"]\"}, 2 ] , \"\":\"\\\"\\u00e9\" }\t";
        let expected = vec![("a", "1"), ("b\\n", "[ {\"x\":\"]\"}, 2 ]"), ("", "\"\\\"\\u00e9\"")];
        assert_eq!(members(text), Ok((Shape::Object, expected)));
        let list = members("[1,\"two\" ,{\"x\":[[]]}, null]");
        let expected = vec![("", "1"), ("", "\"two\""), ("", "{\"x\":[[]]}"), ("", "null")];
        assert_eq!(list, Ok((Shape::Array, expected)));
        assert_eq!(members(" -0.5e+3 "), Ok((Shape::Scalar, vec![])));
        assert_eq!(
            (members("{ }"), members("[\n]")),
            (Ok((Shape::Object, vec![])), Ok((Shape::Array, vec![])))
        );
    }

    #[test]
    fn the_first_mark_in_eight_bytes_is_found() {
        for (text, expected) in [
            (b"abcdefgh", None),
            (b"\"bcdefgh", Some(0)),
            (b"abc\\e\"gh", Some(3)),
            (b"abcdefg\\", Some(7)),
            (b"!#[]\xa2\xdc\x00\x01", None),
            (b"\"\"\"\"\"\"\"\"", Some(0)),
            (b"\xa2\xa2\xa2\xa2\xa2\xa2\xa2\"", Some(7)),
        ] {
            assert_eq!(mark_in(u64::from_le_bytes(*text)), expected, "{text:?}");
        }
    }

    #[test]
    fn names_are_read_with_their_escapes() {
        assert_eq!(Name("model").read().unwrap(), "model");
        assert_eq!(Name("m\\u006fdel").read().unwrap(), "model");
        assert_eq!(Name("\\ud800").read(), None);
    }

    #[test]
    fn it_agrees_with_serde_json_on_what_is_easily_wrong() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "-",
            "-01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "0e0",
            "-0",
            "1E5",
            "tru",
            "truefalse",
            "nul",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"a\nb\"",
            "\"\t\"",
            "[\"\u{7f}\"]",
            "1 2",
            "[] []",
            "{\"a\":1}x",
            "[[[[[]]]]]",
            "[[[[]]]",
            "\u{feff}{}",
            "[1}",
            "{\"a\":1]",
            "\"é\u{1f600}\"",
            "[\"\\\\\"]",
            "\"a longer string, with a \\n, and a \\\" that ends it late enough\"",
        ] {
            let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
            assert_eq!(members(text).is_ok(), is_json, "{text:?}");
        }
    }

    /// JSON, and what is nearly JSON: pieces of it in any order.
    fn nearly() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "\"\\n\"", "\"\\u00e9\"", "0",
                "1", "-", ".", "e", "true", "false", "null", " ", "\n", "\u{1}", "\"k\":",
                "\"a longer string than a short one\"",
            ])
            .prop_map(str::to_owned),
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn it_accepts_what_serde_json_accepts(text in nearly()) {
            let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(members(&text).is_ok(), is_json, "{:?}", text);
        }

        #[test]
        fn it_finds_what_serde_json_finds(
            entries in prop::collection::vec((".{0,20}", prop_oneof![
                any::<i64>().prop_map(|n| n.to_string()),
                any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
                ".{0,60}".prop_map(|text| serde_json::Value::from(text).to_string()),
                Just("{\"a\":[1,{\"b\":\"\\\"]}\"}]}".to_owned()),
            ]), 0..6),
            gap in "[ \n\t]{0,2}",
        ) {
            let written: Vec<String> = entries.iter().map(|(name, value)| {
                format!("{gap}{}{gap}:{gap}{value}{gap}", serde_json::Value::from(name.as_str()))
            }).collect();
            let text = format!("{gap}{{{}}}{gap}", written.join(","));
            let mut found = Vec::new();
            skim(&text, |name, value| found.push((name.read().unwrap(), text[value].to_owned()))).unwrap();
            let expected: Vec<_> = entries.iter().map(|(n, v)| (Cow::from(n.as_str()), v.clone())).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
