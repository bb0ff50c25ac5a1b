//! Durations and sizes, written as people write them.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Added to the present, longer times would leave what clocks can tell.
const SPAN_MAX: Duration = Duration::from_hours(366 * 24);

/// A duration, written as people write one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            expected: "a duration such as \"250ms\", \"10s\" or \"1h 30m\", a year at most",
            read: |text| {
                let span = humantime::parse_duration(text).ok()?;
                (span <= SPAN_MAX).then_some(Self(span))
            },
        })
    }
}

/// A number of bytes, written as people write one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            expected: "a size such as \"64KiB\" or \"32MiB\"",
            read: |text| {
                let size: ByteSize = text.parse().ok()?;
                usize::try_from(size.as_u64()).ok().map(Self)
            },
        })
    }
}

/// A string that means something else.
struct Text<T> {
    expected: &'static str,
    read: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}
