//! What a stream event is, as far as holding, committing and ending a stream depend on it.
//!
//! Source of the event names: OpenAI's `openapi.json` (2026-08-21) and Open Responses 2026-04-24.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error_object::ErrorObject;
use super::response::{ResponseSummary, Usage};
use super::skim::{Shape, skim};
use super::sse::EventFields;

/// The kinds of event that Sidestep tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `response.created`.
    Created,
    /// Says that something has begun or goes on, and is no output: `response.queued`,
    /// `response.in_progress`, `response.output_item.added`, rate limits, keep-alives, unknown
    /// events, comments.
    Progress,
    /// Output that the client shows.
    Output,
    /// `response.output_item.done`: an item that is final, and that clients store or act on.
    ItemDone,
    /// Output that is reasoning.
    Reasoning,
    /// `response.completed`.
    Completed,
    /// `response.incomplete`: a terminal event and an answer.
    Incomplete,
    /// `response.failed`.
    Failed,
    /// `response.cancelled`: not in the specification, sent by some servers.
    Cancelled,
    /// `error`, in either shape.
    Error,
    /// The literal `[DONE]`.
    Done,
    /// Its data is not a JSON object.
    Broken,
}

impl EventKind {
    /// The kind of a whole event, without reading its data further than its type.
    ///
    /// The `event:` line is believed where there is one, so that a relayed event needs no JSON
    /// parser. Open Responses 2026-04-24 demands that it equals the body's `type`.
    pub fn of(event: &[u8]) -> Self {
        let fields = EventFields::read(event);
        let Some(data) = &fields.data else {
            return Self::Progress;
        };
        let data = data.trim_ascii();
        let name = fields.name.filter(|name| !name.is_empty() && *name != b"message");
        // Keep-alives of all kinds: their data means nothing.
        let is_foreign = name.is_some_and(|name| {
            !name.starts_with(b"response.") && Self::from_name(name) == Self::Progress
        });
        if is_foreign || data.is_empty() {
            return Self::Progress;
        }
        if data == b"[DONE]" {
            return Self::Done;
        }
        if !(data.starts_with(b"{") && data.ends_with(b"}")) {
            return Self::Broken;
        }
        match name {
            Some(name) => Self::from_name(name),
            None => match type_of(data) {
                Ok(name) => Self::from_name(name.as_bytes()),
                Err(kind) => kind,
            },
        }
    }

    fn from_name(name: &[u8]) -> Self {
        match name {
            b"response.created" => Self::Created,
            b"response.completed" => Self::Completed,
            b"response.incomplete" => Self::Incomplete,
            b"response.failed" => Self::Failed,
            b"response.cancelled" | b"response.canceled" => Self::Cancelled,
            b"error" | b"response.error" => Self::Error,
            b"response.output_item.done" => Self::ItemDone,
            _ => {
                // The other `.done` events repeat deltas, and that of their item follows.
                let is_output = name.ends_with(b".delta")
                    || name.ends_with(b".partial_image")
                    || name.ends_with(b".annotation.added");
                match (is_output, name.starts_with(b"response.reasoning")) {
                    (false, _) => Self::Progress,
                    (true, false) => Self::Output,
                    (true, true) => Self::Reasoning,
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct TypeOnly<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// The `type` of an event's data; what the event is where it has none.
fn type_of(data: &[u8]) -> Result<Cow<'_, str>, EventKind> {
    // Nearly every backend writes the type first.
    if let Some(rest) = data.strip_prefix(br#"{"type":""#)
        && let Some(end) = memchr::memchr2(b'"', b'\\', rest)
        && rest[end] == b'"'
        && let Ok(name) = std::str::from_utf8(&rest[..end])
    {
        return Ok(Cow::Borrowed(name));
    }
    let fields: TypeOnly<'_> = serde_json::from_slice(data).map_err(|_| EventKind::Broken)?;
    match (fields.kind, fields.error) {
        (Some(kind), _) => Ok(kind),
        // OpenRouter and others put a bare error object into the stream.
        (None, Some(_)) => Err(EventKind::Error),
        (None, None) => Err(EventKind::Progress),
    }
}

/// The `sequence_number` of a whole event. Its data is looked over only where that word stands in it more than once,
/// or elsewhere than as a name.
pub fn sequence_number(event: &[u8]) -> Option<u64> {
    /// Made once: that takes longer than a search through an event.
    static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"sequence_number\""));
    let mut found = NAME.find_iter(event);
    let name = found.next()?;
    let number = event[name + NAME.needle().len()..].trim_ascii_start().strip_prefix(b":");
    if let (Some(number), None) = (number, found.next()) {
        let number = number.trim_ascii_start();
        let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
        return std::str::from_utf8(&number[..digits]).ok()?.parse().ok();
    }
    let data = EventFields::read(event).data?;
    let (text, mut number) = (std::str::from_utf8(&data).ok()?, None);
    let shape = skim(text, |name, value| {
        if name.read().is_some_and(|name| name == "sequence_number") {
            number = text[value].parse().ok();
        }
    });
    number.filter(|_| shape == Ok(Shape::Object))
}

/// An event whose data has been read: for the few that a verdict depends on.
#[derive(Debug)]
pub struct EventDetail {
    data: Value,
}

impl EventDetail {
    /// Reads the data of a whole event. `None` when it is not a JSON object.
    pub fn read(event: &[u8]) -> Option<Self> {
        let data: Value = serde_json::from_slice(&EventFields::read(event).data?).ok()?;
        data.is_object().then_some(Self { data })
    }

    /// The event's `sequence_number`.
    pub fn sequence_number(&self) -> Option<u64> {
        self.data.get("sequence_number")?.as_u64()
    }

    /// The error of a `response.failed` or `error` event, whichever place it stands in. `None` when
    /// the event says that it failed and not why, as Azure's `response.failed` does.
    pub fn error(&self) -> Option<ErrorObject> {
        let inner = self.data.pointer("/response/error").and_then(ErrorObject::from_value);
        let nested = || self.data.get("error").and_then(ErrorObject::from_value);
        let flat = || {
            let fields = ["code", "message", "param"];
            let object = self.data.as_object()?;
            let mut own = serde_json::Map::new();
            for field in fields {
                own.extend(object.get(field).map(|value| (field.to_owned(), value.clone())));
            }
            own.values().any(|value| !value.is_null()).then(|| ErrorObject::from_object(&own))
        };
        inner.or_else(nested).or_else(flat)
    }

    /// The `response` object of a lifecycle event.
    pub fn response(&self) -> Option<&Value> {
        self.data.get("response").filter(|response| response.is_object())
    }

    /// The `response` object, taken out.
    pub fn into_response(mut self) -> Option<Value> {
        self.data.get_mut("response").map(Value::take).filter(Value::is_object)
    }

    /// What the `response` object says.
    pub fn summary(&self) -> Option<ResponseSummary> {
        ResponseSummary::read(self.response()?.to_string().as_bytes())
    }

    /// The token counts of a terminal event.
    pub fn usage(&self) -> Option<Usage> {
        Usage::read(&self.response()?.get("usage")?.to_string())
    }

    /// The item of an `output_item` event, with its index, taken out.
    pub fn into_item(mut self) -> Option<(u64, Value)> {
        let index = self.data.get("output_index").and_then(Value::as_u64).unwrap_or(u64::MAX);
        self.data
            .get_mut("item")
            .map(Value::take)
            .filter(Value::is_object)
            .map(|item| (index, item))
    }

    /// The text of an `output_text` delta.
    pub fn text_delta(&self) -> Option<&str> {
        let is_text = self.data.get("type")?.as_str()? == "response.output_text.delta";
        self.data.get("delta").filter(|_| is_text)?.as_str()
    }

    /// Whether an output event brings nothing: a delta of an empty string.
    pub fn is_empty_delta(&self) -> bool {
        self.data.get("delta").and_then(Value::as_str).is_some_and(str::is_empty)
    }

    /// Whether the event is about a reasoning item as a whole.
    pub fn is_reasoning_item(&self) -> bool {
        self.data.pointer("/item/type").and_then(Value::as_str) == Some("reasoning")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> EventKind {
        EventKind::of(format!("event: {name}\ndata: {{}}\n\n").as_bytes())
    }

    fn bare(data: &str) -> EventKind {
        EventKind::of(format!("data: {data}\n\n").as_bytes())
    }

    #[test]
    fn what_comes_before_output_is_progress() {
        for name in [
            "response.queued", "response.in_progress", "response.output_item.added",
            "response.content_part.added", "response.output_text.done",
            "response.reasoning_summary_part.added", "response.web_search_call.searching",
            "codex.rate_limits", "keepalive", "ping",
        ] {
            assert_eq!(named(name), EventKind::Progress, "{name}");
        }
        for silent in [": comment\n\n", "event: ping\ndata: 7\n\n", "data:\n\n", "\n"] {
            assert_eq!(EventKind::of(silent.as_bytes()), EventKind::Progress, "{silent:?}");
        }
    }

    #[test]
    fn deltas_and_done_items_are_output() {
        for name in [
            "response.output_text.delta",
            "response.function_call_arguments.delta",
            "response.refusal.delta",
            "response.image_generation_call.partial_image",
            "response.output_text.annotation.added",
        ] {
            assert_eq!(named(name), EventKind::Output, "{name}");
        }
        for name in [
            "response.reasoning_summary_text.delta", "response.reasoning_text.delta",
            "response.reasoning.delta",
        ] {
            assert_eq!(named(name), EventKind::Reasoning, "{name}");
        }
    }

    #[test]
    fn the_type_is_found_without_an_event_line() {
        assert_eq!(bare(r#"{"type":"response.created","x":1}"#), EventKind::Created);
        assert_eq!(bare(r#"{"x":1, "type" : "response.failed"}"#), EventKind::Failed);
        assert_eq!(bare(r#"{"type":"response.c\u006fmpleted"}"#), EventKind::Completed);
        assert_eq!(bare(r#"{"error":{"message":"x"}}"#), EventKind::Error);
        assert_eq!(bare(r#"{"object":"chat.completion.chunk"}"#), EventKind::Progress);
        assert_eq!(bare("[DONE]"), EventKind::Done);
        assert_eq!(bare("{\"type\":\"response.output_text.del"), EventKind::Broken);
        assert_eq!(bare("<html>"), EventKind::Broken);
        assert_eq!(
            EventKind::of(b"event: message\ndata: {\"type\":\"error\"}\n\n"),
            EventKind::Error
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_a_kind(event: Vec<u8>) {
            EventKind::of(&event);
            EventDetail::read(&event);
        }
    }

    #[test]
    fn the_number_is_found_without_reading_the_data() {
        let number = |data: &str| sequence_number(format!("data: {data}\n\n").as_bytes());
        assert_eq!(number(r#"{"type":"x","sequence_number":17,"delta":"y"}"#), Some(17));
        assert_eq!(number(r#"{"sequence_number" : 0}"#), Some(0));
        assert_eq!(number(r#"{"delta":"\"sequence_number\":3","sequence_number":4}"#), Some(4));
        assert_eq!(number(r#"{"delta":"sequence_number","sequence_number":17}"#), Some(17));
        assert_eq!(number(r#"{"response":{"sequence_number":1},"sequence_number":2}"#), Some(2));
        for none in [
            r#"{"delta":"x"}"#, r#"{"delta":"sequence_number"}"#, r#"{"sequence_number":null}"#,
            r#"{"sequence_number"}"#,
        ] {
            assert_eq!(number(none), None, "{none}");
        }
    }

    fn detail(data: &str) -> EventDetail {
        EventDetail::read(format!("data: {data}\n\n").as_bytes()).unwrap()
    }

    #[test]
    fn an_error_is_found_in_every_place() {
        let code = |data: &str| detail(data).error().map(|error| error.code().map(str::to_owned));
        let found = Some(Some("x".to_owned()));
        assert_eq!(code(r#"{"type":"response.failed","response":{"error":{"code":"x"}}}"#), found);
        assert_eq!(code(r#"{"type":"error","error":{"type":"y","code":"x"}}"#), found);
        assert_eq!(code(r#"{"type":"error","code":"x","message":"m","param":null}"#), found);
        assert_eq!(code(r#"{"type":"response.failed","response":{"error":null}}"#), None);
        assert_eq!(code(r#"{"type":"error","code":null,"message":null}"#), None);
    }
}
