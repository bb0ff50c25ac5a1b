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
        if !self.0.contains('\\') {
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
    let mut skimmer = Skimmer::new(text.as_bytes());
    let shape = match skimmer.peek() {
        Some(b'{') => {
            skimmer.members(b'}', |skimmer| {
                let name = skimmer.name()?;
                let value = skimmer.value()?;
                show(Name(&text[name]), value);
                Ok(())
            })?;
            Shape::Object
        }
        Some(b'[') => {
            skimmer.members(b']', |skimmer| {
                let value = skimmer.value()?;
                show(Name(""), value);
                Ok(())
            })?;
            Shape::Array
        }
        _ => {
            skimmer.value()?;
            Shape::Scalar
        }
    };
    skimmer.space();
    if skimmer.at == text.len() { Ok(shape) } else { Err(NotJson) }
}

/// Where it has come to in a text.
struct Skimmer<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether there are control characters anywhere. They may stand between tokens, and not in strings; most
    /// texts have none, and then no string has to be searched for them.
    has_control: bool,
    /// How each array and object ends that is open below the outermost one.
    open: Vec<u8>,
}

impl<'a> Skimmer<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        // A piece at a time without a branch for each byte, so that many are compared at once.
        let has_control = |piece: &[u8]| piece.iter().fold(false, |any, byte| any | (*byte < 0x20));
        let has_control = bytes.chunks(256).any(has_control);
        Self { bytes, at: 0, has_control, open: Vec::new() }
    }

    /// The next byte that is no white space, which is passed over.
    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(byte) = self.bytes.get(self.at)
            && *byte <= b' '
            && matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
        {
            self.at += 1;
        }
    }

    /// What is between the brackets at which it stands, one by one.
    fn members(
        &mut self,
        end: u8,
        mut one: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.at += 1;
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(());
        }
        loop {
            one(self)?;
            let next = self.peek();
            self.at += 1;
            match next {
                Some(b',') => {}
                Some(byte) if byte == end => return Ok(()),
                _ => return Err(NotJson),
            }
        }
    }

    /// A name and its colon; where the name stands without its quotes.
    fn name(&mut self) -> Result<Range<usize>, NotJson> {
        if self.peek() != Some(b'"') {
            return Err(NotJson);
        }
        let start = self.at + 1;
        self.string()?;
        let name = start..self.at - 1;
        if self.peek() != Some(b':') {
            return Err(NotJson);
        }
        self.at += 1;
        Ok(name)
    }

    /// A value of any kind, whatever is in it; where it stands.
    fn value(&mut self) -> Result<Range<usize>, NotJson> {
        self.space();
        let start = self.at;
        loop {
            if self.begin()? && self.end()? {
                return Ok(start..self.at);
            }
        }
    }

    /// The beginning of a value, which may be all of it: then the answer is yes.
    fn begin(&mut self) -> Result<bool, NotJson> {
        match self.peek().ok_or(NotJson)? {
            b'"' => self.string()?,
            bracket @ (b'{' | b'[') => {
                self.at += 1;
                let end = if bracket == b'{' { b'}' } else { b']' };
                if self.peek() != Some(end) {
                    self.open.push(end);
                    if bracket == b'{' {
                        self.name()?;
                    }
                    return Ok(false);
                }
                self.at += 1;
            }
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return Err(NotJson),
        }
        Ok(true)
    }

    /// What follows a whole value: the ends of what it stands in, or another value. Whether all has ended.
    fn end(&mut self) -> Result<bool, NotJson> {
        while let Some(end) = self.open.last().copied() {
            let next = self.peek();
            self.at += 1;
            match next {
                Some(b',') => {
                    if end == b'}' {
                        self.name()?;
                    }
                    return Ok(false);
                }
                Some(byte) if byte == end => drop(self.open.pop()),
                _ => return Err(NotJson),
            }
        }
        Ok(true)
    }

    /// The string at whose quote it stands.
    fn string(&mut self) -> Result<(), NotJson> {
        self.at += 1;
        let start = self.at;
        loop {
            let length = self.plain().ok_or(NotJson)?;
            self.at += length + 1;
            if self.bytes[self.at - 1] == b'"' {
                let text = &self.bytes[start..self.at];
                let is_broken = self.has_control && text.iter().any(|byte| *byte < 0x20);
                return if is_broken { Err(NotJson) } else { Ok(()) };
            }
            self.escape()?;
        }
    }

    /// How far it is to the next quote or backslash.
    fn plain(&self) -> Option<usize> {
        /// Names and short words are over before a search for many bytes at once has begun.
        const SHORT: usize = 24;
        let mut rest = self.bytes.get(self.at..)?;
        let mut passed = 0;
        while passed < SHORT
            && let Some((word, after)) = rest.split_first_chunk()
        {
            if let Some(at) = mark_in(u64::from_le_bytes(*word)) {
                return Some(passed + at);
            }
            (rest, passed) = (after, passed + word.len());
        }
        memchr2(b'"', b'\\', rest).map(|at| at + passed)
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<(), NotJson> {
        let escaped = self.bytes.get(self.at).ok_or(NotJson)?;
        self.at += 1;
        match escaped {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                let digits = self.bytes.get(self.at..self.at + 4).ok_or(NotJson)?;
                self.at += 4;
                if digits.iter().all(u8::is_ascii_hexdigit) { Ok(()) } else { Err(NotJson) }
            }
            _ => Err(NotJson),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), NotJson> {
        let has_it = self.bytes[self.at..].starts_with(word);
        self.at += word.len();
        if has_it { Ok(()) } else { Err(NotJson) }
    }

    fn number(&mut self) -> Result<(), NotJson> {
        self.skip(b'-');
        // Nothing follows a leading zero.
        if !self.skip(b'0') {
            self.digits()?;
        }
        if self.skip(b'.') {
            self.digits()?;
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _sign = self.skip(b'+') || self.skip(b'-');
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), NotJson> {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count > 0 { Ok(()) } else { Err(NotJson) }
    }

    /// Passes over a byte if it is the next one.
    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }
}

/// Where the first quote or backslash is in eight bytes, the lowest of them first: all at once, by the way that
/// a borrow takes through a byte that has become zero.
const fn mark_in(word: u64) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
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
