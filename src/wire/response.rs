//! A finished response object, read as far as a verdict needs.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error_object::ErrorObject;

/// Token counts as the backend gave them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Those of them that a prompt cache served.
    pub cached_tokens: u64,
    /// Tokens of the answer, reasoning included.
    pub output_tokens: u64,
    /// Those of them that were reasoning.
    pub reasoning_tokens: u64,
}

/// The value of a response's `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Finished.
    Completed,
    /// Finished early: a length or content limit. An answer all the same.
    Incomplete,
    /// The backend could not do it.
    Failed,
    /// Cancelled by somebody.
    Cancelled,
    /// `queued` or `in_progress`: not finished.
    Unfinished,
    /// Absent, or a word that the specification does not have.
    Unknown,
}

/// The parts of a response object that decide what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseSummary {
    /// Its id.
    pub id: Option<String>,
    /// Its status.
    pub status: Status,
    /// Its error, if it has one that says anything.
    pub error: Option<ErrorObject>,
    /// Whether it has an output item or text.
    pub has_output: bool,
    /// Its token counts.
    pub usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    output_text: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

impl ResponseSummary {
    /// Reads a JSON text. `None` when it is not JSON, or JSON that is not a response object: one
    /// has a status, an output, an error, or says `"object":"response"`.
    pub fn read(json: &[u8]) -> Option<Self> {
        if json.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let fields: Fields<'_> = serde_json::from_slice(json).ok()?;
        let object: Option<String> = fields.object.and_then(parse);
        let known = fields.status.is_some() || fields.output.is_some() || fields.error.is_some();
        if object.as_deref().is_some_and(|object| object != "response") && fields.error.is_none() {
            return None;
        }
        if !known && object.is_none() {
            return None;
        }
        let text: Option<String> = fields.output_text.and_then(parse);
        let has_items = fields
            .output
            .and_then(parse::<Vec<serde::de::IgnoredAny>>)
            .is_some_and(|items| !items.is_empty());
        Some(Self {
            id: fields.id.and_then(parse),
            status: Status::read(fields.status.and_then(parse::<String>).as_deref()),
            error: fields.error.and_then(parse::<Value>).as_ref().and_then(ErrorObject::from_value),
            has_output: has_items || text.is_some_and(|text| !text.trim().is_empty()),
            usage: fields.usage.and_then(|raw| Usage::read(raw.get())),
        })
    }
}

impl ResponseSummary {
    /// Whether it says itself that it failed. The status counts before the output: `failed` with
    /// output items is failed.
    pub fn has_failed(&self) -> bool {
        self.status == Status::Failed || self.error.is_some()
    }
}

impl Status {
    fn read(text: Option<&str>) -> Self {
        match text {
            Some("completed") => Self::Completed,
            Some("incomplete") => Self::Incomplete,
            Some("failed") => Self::Failed,
            Some("cancelled" | "canceled") => Self::Cancelled,
            Some("queued" | "in_progress") => Self::Unfinished,
            _ => Self::Unknown,
        }
    }
}

impl Usage {
    /// Reads a `usage` object; fields that are absent count as zero.
    pub fn read(json: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(json).ok()?;
        let usage = value.as_object()?;
        let count = |pointer| value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        (!usage.is_empty()).then(|| Self {
            input_tokens: count("/input_tokens"),
            cached_tokens: count("/input_tokens_details/cached_tokens"),
            output_tokens: count("/output_tokens"),
            reasoning_tokens: count("/output_tokens_details/reasoning_tokens"),
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_completed_response() {
        let summary = ResponseSummary::read(
            br#"{"object":"response","status":"completed","error":null,"output":[{"type":"message"}],
                "usage":{"input_tokens":5,"output_tokens":7,"output_tokens_details":{"reasoning_tokens":2}}}"#,
        )
        .unwrap();
        assert_eq!(summary.status, Status::Completed);
        assert_eq!(summary.error, None);
        assert!(summary.has_output);
        let usage = summary.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.reasoning_tokens), (5, 7, 2));
    }

    #[test]
    fn output_may_be_null_or_text_only() {
        let has_output = |body: &str| ResponseSummary::read(body.as_bytes()).unwrap().has_output;
        assert!(!has_output(r#"{"status":"completed","output":null}"#));
        assert!(!has_output(r#"{"status":"completed","output":[]}"#));
        assert!(!has_output(r#"{"status":"completed","output":"","output_text":" "}"#));
        assert!(has_output(r#"{"status":"completed","output":[],"output_text":"hi"}"#));
    }

    #[test]
    fn other_json_is_not_a_response() {
        for body in [
            r#"{"object":"chat.completion","choices":[]}"#,
            r#"{"object":"list","output":[]}"#,
            "{}",
            "[]",
            "null",
            "\"completed\"",
            r#"{"status":"completed""#,
        ] {
            assert_eq!(ResponseSummary::read(body.as_bytes()), None, "{body}");
        }
        assert!(ResponseSummary::read(br#"{"object":"error","error":{"code":"x"}}"#).is_some());
    }
}
