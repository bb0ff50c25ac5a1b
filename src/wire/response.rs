//! A finished response object, read as far as a verdict needs.

use std::borrow::Cow;

use serde_json::Value;

use super::error_object::ErrorObject;
use super::skim::{Shape, skim};

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

/// The values of the fields that decide, as they are written.
#[derive(Debug, Default)]
struct Fields<'a> {
    id: Option<&'a str>,
    object: Option<&'a str>,
    status: Option<&'a str>,
    error: Option<&'a str>,
    output: Option<&'a str>,
    output_text: Option<&'a str>,
    usage: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// `None` when the text is no JSON object, or says one of them twice.
    fn read(text: &'a str) -> Option<Self> {
        let mut fields = Self::default();
        let mut is_clear = true;
        let shape = skim(text, |name, value| {
            let name = name.read();
            let field = match name.as_deref() {
                Some("id") => &mut fields.id,
                Some("object") => &mut fields.object,
                Some("status") => &mut fields.status,
                Some("error") => &mut fields.error,
                Some("output") => &mut fields.output,
                Some("output_text") => &mut fields.output_text,
                Some("usage") => &mut fields.usage,
                Some(_) => return,
                None => {
                    is_clear = false;
                    return;
                }
            };
            is_clear &= field.replace(&text[value]).is_none();
        });
        // What is null says nothing.
        let Self { id, object, status, error, output, output_text, usage } = &mut fields;
        for field in [id, object, status, error, output, output_text, usage] {
            *field = field.filter(|value| *value != "null");
        }
        (shape == Ok(Shape::Object) && is_clear).then_some(fields)
    }
}

impl ResponseSummary {
    /// Reads a JSON text. `None` when it is not JSON, or JSON that is not a response object: one
    /// has a status, an output, an error, or says `"object":"response"`.
    pub fn read(json: &[u8]) -> Option<Self> {
        let fields = Fields::read(std::str::from_utf8(json).ok()?)?;
        let object: Option<Cow<'_, str>> = fields.object.and_then(string);
        let known = fields.status.is_some() || fields.output.is_some() || fields.error.is_some();
        if object.as_deref().is_some_and(|object| object != "response") && fields.error.is_none() {
            return None;
        }
        if !known && object.is_none() {
            return None;
        }
        let text = fields.output_text.and_then(string);
        Some(Self {
            id: fields.id.and_then(string).map(Cow::into_owned),
            status: Status::read(fields.status.and_then(string).as_deref()),
            error: fields
                .error
                .and_then(|error| serde_json::from_str::<Value>(error).ok())
                .as_ref()
                .and_then(ErrorObject::from_value),
            has_output: fields.output.is_some_and(has_items)
                || text.is_some_and(|text| !text.trim().is_empty()),
            usage: fields.usage.and_then(Usage::read),
        })
    }
}

/// Whether a value is an array with something in it.
fn has_items(value: &str) -> bool {
    let items =
        value.strip_prefix('[').map(|rest| rest.trim_start_matches([' ', '\n', '\r', '\t']));
    items.is_some_and(|items| !items.starts_with(']'))
}

/// The text of a value that is a string; without a copy where it has no escapes.
fn string(value: &str) -> Option<Cow<'_, str>> {
    let plain = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match plain? {
        plain if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str::<String>(value).ok().map(Cow::Owned),
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
    /// Reads a `usage` object; fields that are absent count as zero. `None` when it is empty, or none.
    pub fn read(json: &str) -> Option<Self> {
        let mut usage = Self::default();
        let mut is_empty = true;
        let shape = skim(json, |name, value| {
            is_empty = false;
            let value = &json[value];
            match name.read().as_deref() {
                Some("input_tokens") => usage.input_tokens = count(value),
                Some("output_tokens") => usage.output_tokens = count(value),
                Some("input_tokens_details") => {
                    usage.cached_tokens = detail(value, "cached_tokens")
                }
                Some("output_tokens_details") => {
                    usage.reasoning_tokens = detail(value, "reasoning_tokens");
                }
                _ => {}
            }
        });
        (shape == Ok(Shape::Object) && !is_empty).then_some(usage)
    }
}

/// A whole number that is not negative; whatever else stands there counts as zero.
fn count(value: &str) -> u64 {
    value.parse().unwrap_or_default()
}

/// A count among details.
fn detail(details: &str, wanted: &str) -> u64 {
    let mut found = 0;
    let skimmed = skim(details, |name, value| {
        if name.read().is_some_and(|name| name == wanted) {
            found = count(&details[value]);
        }
    });
    skimmed.map_or(0, |_| found)
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
