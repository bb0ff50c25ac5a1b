//! Server-sent events as bytes: where one ends, and what its fields are.
//!
//! Lines end in LF or CRLF. The specification also allows a lone CR; no backend sends it, and
//! supporting it would hold back every event until the next byte arrives, so here it ends no line.
//! Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream".

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// An event grew past the limit before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {event_bytes_max} bytes")]
pub struct EventTooLarge {
    /// The limit that was passed.
    pub event_bytes_max: usize,
}

/// Cuts a byte stream into whole events, the blank line that ends each included.
///
/// Joined together, the events are exactly the bytes that went in. An event that lies within one
/// chunk is a slice of it; only one that crosses chunks is copied.
#[derive(Debug)]
pub struct EventSplitter {
    /// Bytes not looked at yet; empty whenever `partial` is not.
    chunk: Bytes,
    /// An event that has begun in an earlier chunk, and what followed it.
    partial: BytesMut,
    /// Where the line begins in `partial` that has not ended yet.
    line_start: usize,
    /// How far `partial` has been searched: a long line is searched once, not once a chunk.
    searched: usize,
    event_bytes_max: usize,
}

impl EventSplitter {
    /// A splitter that refuses events of more than `event_bytes_max` bytes.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            line_start: 0,
            searched: 0,
            event_bytes_max,
        }
    }

    /// Takes the next chunk of the stream.
    pub fn push(&mut self, chunk: Bytes) {
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(&chunk);
        } else if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.partial.extend_from_slice(&self.chunk);
            self.partial.extend_from_slice(&chunk);
            self.chunk = Bytes::new();
        }
    }

    /// The next whole event, or `None` until more bytes are pushed.
    ///
    /// # Errors
    ///
    /// When the event that has begun is already larger than the limit.
    pub fn next_event(&mut self) -> Result<Option<Bytes>, EventTooLarge> {
        let found = if self.partial.is_empty() {
            match find_end(&self.chunk, 0, 0) {
                Ok(end) => Some(self.chunk.split_to(end)),
                Err(line_start) => {
                    self.partial.extend_from_slice(&std::mem::take(&mut self.chunk));
                    self.rest(line_start)
                }
            }
        } else {
            match find_end(&self.partial, self.line_start, self.searched) {
                Ok(end) => {
                    (self.line_start, self.searched) = (0, 0);
                    Some(self.partial.split_to(end).freeze())
                }
                Err(line_start) => self.rest(line_start),
            }
        };
        let length = found.as_ref().map_or(self.partial.len(), Bytes::len);
        if length > self.event_bytes_max {
            return Err(EventTooLarge { event_bytes_max: self.event_bytes_max });
        }
        Ok(found)
    }

    /// Remembers what has been searched without finding an end.
    fn rest(&mut self, line_start: usize) -> Option<Bytes> {
        (self.line_start, self.searched) = (line_start, self.partial.len());
        None
    }

    /// What is left when the stream has ended: an event that its blank line is missing from, with
    /// that line added. Some servers close right after the last `data:` line.
    pub fn finish(&mut self) -> Option<Bytes> {
        (self.line_start, self.searched) = (0, 0);
        let mut rest = std::mem::take(&mut self.partial);
        rest.extend_from_slice(&std::mem::take(&mut self.chunk));
        if rest.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        rest.extend_from_slice(if rest.ends_with(b"\n") { b"\n" } else { b"\n\n" });
        Some(rest.freeze())
    }
}

/// The end of the first event in `bytes`, given that a line begins at `line_start` and does not end
/// before `searched`; otherwise where the line begins that has not ended.
fn find_end(bytes: &[u8], mut line_start: usize, mut searched: usize) -> Result<usize, usize> {
    while let Some(length) = memchr(b'\n', &bytes[searched..]) {
        let line_end = searched + length;
        if matches!(&bytes[line_start..line_end], b"" | b"\r") {
            return Ok(line_end + 1);
        }
        line_start = line_end + 1;
        searched = line_start;
    }
    Err(line_start)
}

/// The fields of one event.
#[derive(Debug, PartialEq, Eq)]
pub struct EventFields<'a> {
    /// The value of the last `event:` line.
    pub name: Option<&'a [u8]>,
    /// The values of the `data:` lines, joined by LF; `None` if there is no such line.
    pub data: Option<Cow<'a, [u8]>>,
}

impl<'a> EventFields<'a> {
    /// Reads the fields of an event that [`EventSplitter`] has cut.
    pub fn read(event: &'a [u8]) -> Self {
        let mut fields = Self { name: None, data: None };
        // A byte-order mark may lead the stream.
        let mut rest = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            rest = rest.get(end + 1..).unwrap_or_default();
            if let Some(value) = field_value(line, b"data") {
                fields.data = Some(match fields.data.take() {
                    None => Cow::Borrowed(value),
                    Some(data) => {
                        let mut joined = data.into_owned();
                        joined.push(b'\n');
                        joined.extend_from_slice(value);
                        Cow::Owned(joined)
                    }
                });
            } else if let Some(value) = field_value(line, b"event") {
                fields.name = Some(value);
            }
        }
        fields
    }
}

fn field_value<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(field)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// Writes one event: its name, its data, the blank line.
pub fn write_event(name: &str, data: &str) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
        let mut splitter = EventSplitter::new(1 << 20);
        let mut events = Vec::new();
        for chunk in chunks {
            splitter.push(chunk);
            while let Some(event) = splitter.next_event().unwrap() {
                events.push(event);
            }
        }
        events.extend(splitter.finish());
        events
    }

    #[test]
    fn an_event_within_a_chunk_is_a_slice_of_it() {
        let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\r\n\r\n");
        let events = split([chunk.clone()]);
        assert_eq!(events, [&b"data: 1\n\n"[..], b"data: 2\r\n\r\n"]);
        assert_eq!(events[1].as_ptr(), chunk[9..].as_ptr());
    }

    #[test]
    fn an_end_without_its_blank_line_is_completed() {
        assert_eq!(split([Bytes::from_static(b"data: 1\n\ndata: 2")])[1], "data: 2\n\n");
        assert_eq!(split([Bytes::from_static(b"data: 2\n")])[0], "data: 2\n\n");
        assert_eq!(split([Bytes::from_static(b"data: 2\n\n\r\n ")]).len(), 2);
    }

    #[test]
    fn two_pushes_without_a_read_between_lose_nothing() {
        let mut splitter = EventSplitter::new(100);
        splitter.push(Bytes::from_static(b"data: 1\n"));
        splitter.push(Bytes::from_static(b"\ndata: 2\n\n"));
        assert_eq!(splitter.next_event().unwrap().unwrap(), "data: 1\n\n");
        assert_eq!(splitter.next_event().unwrap().unwrap(), "data: 2\n\n");
    }

    #[test]
    fn an_event_past_the_limit_is_refused_before_it_ends() {
        let mut splitter = EventSplitter::new(8);
        splitter.push(Bytes::from_static(b"data: 123456"));
        assert_eq!(splitter.next_event(), Err(EventTooLarge { event_bytes_max: 8 }));
    }

    #[test]
    fn reads_fields() {
        let fields =
            EventFields::read(b": note\r\nevent: a\r\nid: 7\r\ndata:x\r\ndata:  y\r\n\r\n");
        assert_eq!(fields.name, Some(&b"a"[..]));
        assert_eq!(fields.data.as_deref(), Some(&b"x\n y"[..]));
        assert_eq!(EventFields::read(b": only a note\n\n").data, None);
        assert_eq!(EventFields::read(b"database: x\n\n").data, None);
        assert_eq!(EventFields::read(b"\xef\xbb\xbfdata: x\n\n").data.as_deref(), Some(&b"x"[..]));
    }

    fn stream() -> impl Strategy<Value = (Vec<u8>, usize)> {
        let line = prop_oneof![
            "data: [^\r\n]{0,20}",
            "event: [a-zé.]{1,10}",
            Just(": comment".to_owned()),
        ];
        let event = (prop::collection::vec(line, 1..4), prop::bool::ANY);
        prop::collection::vec(event, 0..8).prop_map(|events| {
            let mut bytes = Vec::new();
            let count = events.len();
            for (lines, crlf) in events {
                let end = if crlf { "\r\n" } else { "\n" };
                for line in lines.iter().map(String::as_str).chain([""]) {
                    bytes.extend_from_slice(line.as_bytes());
                    bytes.extend_from_slice(end.as_bytes());
                }
            }
            (bytes, count)
        })
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            (bytes, count) in stream(),
            sizes in prop::collection::vec(1usize..7, 1..64),
        ) {
            let whole = split([Bytes::from(bytes.clone())]);
            prop_assert_eq!(whole.len(), count);
            prop_assert_eq!(&whole.concat(), &bytes);

            // Chunks of a few bytes split lines, CRLF pairs and UTF-8 sequences alike.
            let mut rest = Bytes::from(bytes);
            let mut sizes = sizes.into_iter().cycle();
            let chunks = std::iter::from_fn(|| {
                let size = sizes.next()?.min(rest.len());
                (size > 0).then(|| rest.split_to(size))
            });
            prop_assert_eq!(split(chunks), whole);
        }

        #[test]
        fn arbitrary_bytes_come_out_as_they_went_in(bytes: Vec<u8>, size in 1usize..16) {
            let mut splitter = EventSplitter::new(1 << 20);
            let mut out = Vec::new();
            for chunk in bytes.chunks(size) {
                splitter.push(Bytes::copy_from_slice(chunk));
                while let Some(event) = splitter.next_event().unwrap() {
                    EventFields::read(&event);
                    out.extend_from_slice(&event);
                }
            }
            prop_assert!(bytes.starts_with(&out));
            let rest = splitter.finish().unwrap_or_default();
            prop_assert!(rest.is_empty() || rest.starts_with(&bytes[out.len()..]));
        }
    }
}
