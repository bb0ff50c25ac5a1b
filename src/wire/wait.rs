//! How long a backend asks to wait: durations, moments and the phrases in which errors say it.

use std::time::{Duration, SystemTime};

use serde_json::Value;

/// Nobody waits longer than the longest billing period; what asks for more is a mistake.
const WAIT_MAX: Duration = Duration::from_hours(31 * 24);
/// Numbers above this are milliseconds since 1970, those below seconds: the year 5138.
const SECONDS_MAX: f64 = 1e11;

/// How long a backend asks to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// From now.
    For(Duration),
    /// Until a moment.
    Until(SystemTime),
}

impl Wait {
    /// The time that is left; `None` when it is over or out of all proportion.
    pub fn left(self, now: SystemTime) -> Option<Duration> {
        let left = match self {
            Self::For(span) => span,
            Self::Until(at) => at.duration_since(now).ok()?,
        };
        (!left.is_zero() && left <= WAIT_MAX).then_some(left)
    }

    /// A moment, as seconds or milliseconds since 1970 or as a date (RFC 3339).
    pub fn until(value: &Value) -> Option<Self> {
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        if let Some(number) = number {
            let seconds = if number > SECONDS_MAX { number / 1e3 } else { number };
            let since = Duration::try_from_secs_f64(seconds).ok()?;
            return SystemTime::UNIX_EPOCH.checked_add(since).map(Self::Until);
        }
        humantime::parse_rfc3339_weak(value.as_str()?.trim()).ok().map(Self::Until)
    }

    /// A duration, as seconds or in words such as `1m30s`.
    pub fn seconds(value: &Value) -> Option<Self> {
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        match number {
            Some(number) => Duration::try_from_secs_f64(number).ok().map(Self::For),
            None => span(value.as_str()?).map(Self::For),
        }
    }

    /// What the fields of an error say: the ChatGPT Codex backend's `resets_at` and
    /// `resets_in_seconds`, Google's `retryDelay`, and others' spellings.
    pub fn in_fields(object: &serde_json::Map<String, Value>) -> Option<Self> {
        const SPANS: [&str; 4] =
            ["resets_in_seconds", "retry_after", "retry_after_seconds", "retryDelay"];
        const MOMENTS: [&str; 4] = ["resets_at", "reset_at", "reset_time", "retry_until"];
        let spans = SPANS.iter().find_map(|key| Self::seconds(object.get(*key)?));
        let moments = || MOMENTS.iter().find_map(|key| Self::until(object.get(*key)?));
        spans.or_else(moments)
    }

    /// What an error's text says, such as `Please try again in 1.5s`.
    pub fn in_text(text: &str) -> Option<Self> {
        const PHRASES: [&str; 4] = ["try again in ", "retry in ", "retry after ", "resets in "];
        let text = text.to_ascii_lowercase();
        let after = PHRASES.iter().find_map(|phrase| Some(text.split_once(phrase)?.1))?;
        span(after).map(Self::For)
    }
}

/// The duration that a text begins with: numbers with units, such as `1.5s`, `6m0s`, `4hr 5min`,
/// `12 seconds`. `None` when it begins with something else.
pub fn span(text: &str) -> Option<Duration> {
    let mut rest = text.trim_start();
    let mut seconds = None;
    while let Some((number, unit, after)) = quantity(rest) {
        seconds = Some(seconds.unwrap_or(0.0) + number * unit);
        rest = after.trim_start();
    }
    Duration::try_from_secs_f64(seconds?).ok()
}

/// A number, its unit in seconds, and what follows.
fn quantity(text: &str) -> Option<(f64, f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..end].parse().ok()?;
    let rest = text[end..].trim_start();
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let unit = match &rest[..end] {
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        _ => return None,
    };
    Some((number, unit, &rest[end..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn seconds(wait: Option<Wait>) -> Option<f64> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        wait?.left(now).map(|left| left.as_secs_f64())
    }

    #[test]
    fn spans_are_numbers_with_units() {
        for (text, expected) in [
            ("1.5s", Some(1.5)),
            ("20ms", Some(0.02)),
            ("6m0s", Some(360.0)),
            ("4hr 5min", Some(14_700.0)),
            ("12 seconds.", Some(12.0)),
            ("1h30m20s", Some(5420.0)),
            ("2 days", Some(172_800.0)),
            ("", None),
            ("soon", None),
            ("7", None),
            ("3 parsecs", None),
            ("-1s", None),
            ("1.2.3s", None),
        ] {
            assert_eq!(span(text).map(|span| span.as_secs_f64()), expected, "{text}");
        }
    }

    #[test]
    fn fields_say_it_in_many_ways() {
        for (error, expected) in [
            (json!({ "resets_in_seconds": 9000, "resets_at": 1_790_009_001 }), Some(9000.0)),
            (json!({ "resets_at": 1_790_000_060 }), Some(60.0)),
            (json!({ "resets_at": 1_790_000_060_500_i64 }), Some(60.5)),
            (json!({ "reset_at": "2026-09-21T14:13:30Z" }), Some(10.0)),
            (json!({ "retry_after": "7" }), Some(7.0)),
            (json!({ "retryDelay": "30s" }), Some(30.0)),
            (json!({ "resets_at": 1 }), None),
            (json!({ "retry_after": 0 }), None),
            (json!({ "retry_after": -5 }), None),
            (json!({ "retry_after": 1e12 }), None),
            (json!({ "retry_after": [] }), None),
        ] {
            assert_eq!(seconds(Wait::in_fields(error.as_object().unwrap())), expected, "{error}");
        }
    }

    #[test]
    fn texts_say_it_in_a_phrase() {
        for (text, expected) in [
            ("Rate limit reached. Please try again in 1.5s. Visit us.", Some(1.5)),
            ("Try again in 6m0s", Some(360.0)),
            ("Usage limit: resets in 4hr 5min", Some(14_700.0)),
            ("Please try again later", None),
            ("try again in a moment", None),
        ] {
            assert_eq!(seconds(Wait::in_text(text)), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            let _ = (span(&text), Wait::in_text(&format!("try again in {text}")));
            let _ = (Wait::until(&json!(text)), Wait::seconds(&json!(text)));
        }
    }
}
