//! Encrypted content: what only its issuer can read, and clients replay word for word.
//!
//! On its way to a client each `encrypted_content` gets a mark in front that says who issued it; on its way
//! back to the issuer it loses it again. So it is known after a restart, too, and without a table.

use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use bytes::{BufMut as _, Bytes, BytesMut};
use memchr::memmem::Finder;

/// In front of every mark. Base64 of any kind has no dots.
const START: &[u8] = b"sidestep.";
/// Hexadecimal digits of an issuer.
const ISSUER_BYTES: usize = 16;
/// `sidestep.0123456789abcdef.`
const MARK_BYTES: usize = START.len() + ISSUER_BYTES + 1;
const NAME: &[u8] = b"\"encrypted_content\"";
/// Made once: that takes as long as a search through a short text.
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));

/// Who issued something: a service and an account there, without saying anything of either.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Issuer([u8; ISSUER_BYTES]);

impl Issuer {
    /// The issuer of a name. The same name is the same issuer, in each process.
    pub fn new(name: &str) -> Self {
        let id = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, name.as_bytes());
        let mut digits = [b'0'; ISSUER_BYTES];
        let mut buffer = uuid::Uuid::encode_buffer();
        let text = id.simple().encode_lower(&mut buffer);
        digits.copy_from_slice(&text.as_bytes()[..ISSUER_BYTES]);
        Self(digits)
    }
}

impl Issuer {
    /// Reads an issuer as [`fmt::Debug`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; ISSUER_BYTES] = text.as_bytes().try_into().ok()?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(Self(digits))
    }

    /// A text that says who issued it.
    pub fn mark(self, text: &str) -> String {
        format!("sidestep.{self:?}.{text}")
    }

    /// A text that this one issued, as it was; `None` if somebody else did, or nobody says who.
    pub fn own(self, marked: &str) -> Option<&str> {
        marked
            .strip_prefix("sidestep.")?
            .strip_prefix(std::str::from_utf8(&self.0).ok()?)?
            .strip_prefix('.')
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// An encrypted content in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Who issued it, if it says so.
    pub issuer: Option<Issuer>,
    /// Where its mark stands; empty if it has none.
    pub mark: Range<usize>,
}

/// Every encrypted content of a JSON text, in order. No JSON is parsed: a name with unescaped quotes
/// around it and a string behind it cannot stand within a string.
pub fn find(json: &[u8]) -> impl Iterator<Item = Blob> {
    FINDER.find_iter(json).filter_map(move |at| {
        let start = string_after(json, at + NAME.len())?;
        let issuer = json[start..]
            .strip_prefix(START)
            .filter(|rest| rest.get(ISSUER_BYTES) == Some(&b'.'))
            .and_then(|rest| rest[..ISSUER_BYTES].try_into().ok());
        let end = start + if issuer.is_some() { MARK_BYTES } else { 0 };
        Some(Blob { issuer: issuer.map(Issuer), mark: start..end })
    })
}

/// Everybody who is said to have issued something in a JSON text, each once.
pub fn issuers(json: &[u8]) -> Vec<Issuer> {
    let mut issuers = Vec::new();
    for issuer in find(json).filter_map(|blob| blob.issuer) {
        if !issuers.contains(&issuer) {
            issuers.push(issuer);
        }
    }
    issuers
}

/// Where the string value of a name begins that ends at `at`.
fn string_after(json: &[u8], at: usize) -> Option<usize> {
    let skip = |from: usize| {
        let white = json[from..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        from + white
    };
    let colon = skip(at);
    let quote = skip(colon + usize::from(json.get(colon) == Some(&b':')));
    (quote > colon && json.get(quote) == Some(&b'"')).then_some(quote + 1)
}

/// A text whose encrypted contents say who issued them. The same `Bytes` if it has none.
pub fn marked(json: &Bytes, issuer: Issuer) -> Bytes {
    let mut marked = BytesMut::new();
    let mut copied = 0;
    for blob in find(json) {
        marked.put_slice(&json[copied..blob.mark.start]);
        marked.put_slice(START);
        marked.put_slice(&issuer.0);
        marked.put_u8(b'.');
        // A backend that is another Sidestep has marked it already: that one needs its own mark back.
        copied = blob.mark.start;
    }
    if copied == 0 {
        return json.clone();
    }
    marked.put_slice(&json[copied..]);
    marked.freeze()
}

/// A text without the marks in it.
pub fn unmarked(json: &str) -> String {
    let mut unmarked = String::with_capacity(json.len());
    let mut copied = 0;
    for blob in find(json.as_bytes()) {
        unmarked.push_str(&json[copied..blob.mark.start]);
        copied = blob.mark.end;
    }
    unmarked.push_str(&json[copied..]);
    unmarked
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"a":{"encrypted_content" : "gAAA\u0041=="},"b":[{"encrypted_content":"x"},{"encrypted_content":null}],"include":["reasoning.encrypted_content"],"c":"{\"encrypted_content\":\"y\"}","d":["encrypted_content","z"]}"#;

    #[test]
    fn a_mark_goes_and_comes_back() {
        let issuer = Issuer::new("https://api.example.com a/0");
        let marked = marked(&Bytes::from(TEXT), issuer);
        let text = std::str::from_utf8(&marked).unwrap();
        assert_eq!(text.matches("sidestep.").count(), 2, "{text}");
        let found: Vec<_> = find(&marked).collect();
        assert!(found.iter().all(|blob| blob.issuer == Some(issuer)), "{found:?}");
        assert_eq!(unmarked(text), TEXT);
    }

    #[test]
    fn what_has_no_mark_stays_as_it_is() {
        assert_eq!(unmarked(TEXT), TEXT);
        assert!(find(TEXT.as_bytes()).all(|blob| blob.issuer.is_none()));
        let without = Bytes::from_static(br#"{"type":"response.output_text.delta"}"#);
        assert_eq!(marked(&without, Issuer::new("x")).as_ptr(), without.as_ptr());
    }

    #[test]
    fn a_text_is_marked_and_only_its_issuer_gets_it_back() {
        let (own, other) = (Issuer::new("own"), Issuer::new("other"));
        assert_eq!(own.own(&own.mark("state")), Some("state"));
        assert_eq!(other.own(&own.mark("state")), None);
        assert_eq!(own.own("state"), None);
    }

    #[test]
    fn an_issuer_is_the_same_in_every_process() {
        assert_eq!(format!("{:?}", Issuer::new("a")), "e1407479313656c0");
        assert_ne!(Issuer::new("a"), Issuer::new("b"));
        assert_eq!(Issuer::parse("e1407479313656c0"), Some(Issuer::new("a")));
        assert_eq!(Issuer::parse("e1407479313656c"), None);
    }

    #[test]
    fn one_sidestep_behind_another_gets_its_own_mark_back() {
        let (inner, outer) = (Issuer::new("inner"), Issuer::new("outer"));
        let once = marked(&Bytes::from(TEXT), inner);
        let twice = marked(&once, outer);
        assert_eq!(unmarked(std::str::from_utf8(&twice).unwrap()), once);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_may_stand_there(json: Vec<u8>, tail in "[\": a]{0,9}") {
            let text = [&json[..], NAME, tail.as_bytes()].concat();
            find(&text).count();
        }
    }
}
