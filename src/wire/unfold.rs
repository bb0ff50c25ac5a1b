//! A finished response object told as the event sequence that a streaming client asked for.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::response::{ResponseSummary, Status};
use super::sse::write_event;

/// Tells a finished response as events: created, in progress, each item with its parts, and the
/// terminal event. `None` when `json` is not a response object.
pub fn unfold(json: &[u8]) -> Option<Bytes> {
    let summary = ResponseSummary::read(json)?;
    let mut response: Value = serde_json::from_slice(json).ok()?;
    if response["output"].as_array().is_none_or(Vec::is_empty) {
        let text = response["output_text"].as_str().unwrap_or_default();
        let message = (!text.is_empty()).then(|| message(text));
        response["output"] = message.into_iter().collect();
    }
    let mut writer = Writer::default();

    let mut begun = response.clone();
    begun["status"] = "in_progress".into();
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    begun["error"] = Value::Null;
    writer.write("response.created", json!({ "response": begun }));
    writer.write("response.in_progress", json!({ "response": begun }));
    for (index, item) in response["output"].as_array().into_iter().flatten().enumerate() {
        writer.item(index, item);
    }
    let terminal = match summary.status {
        Status::Incomplete => "response.incomplete",
        Status::Failed | Status::Cancelled => "response.failed",
        Status::Completed | Status::Unknown => "response.completed",
        // Queued in the background: what it becomes is not known here.
        Status::Unfinished => return Some(writer.bytes.freeze()),
    };
    if terminal == "response.failed" {
        response["status"] = "failed".into();
    }
    writer.write(terminal, json!({ "response": response }));
    Some(writer.bytes.freeze())
}

/// A message, for an answer that has only its text.
pub(super) fn message(text: &str) -> Value {
    json!({
        "id": "msg_0",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }],
    })
}

#[derive(Default)]
struct Writer {
    bytes: BytesMut,
    sequence_number: u64,
}

impl Writer {
    fn write(&mut self, name: &str, fields: Value) {
        let mut data = json!({ "type": name, "sequence_number": self.sequence_number });
        if let (Value::Object(data), Value::Object(fields)) = (&mut data, fields) {
            data.extend(fields);
        }
        self.sequence_number += 1;
        self.bytes.extend_from_slice(&write_event(name, &data.to_string()));
    }

    fn item(&mut self, index: usize, item: &Value) {
        let mut begun = item.clone();
        if begun.get("status").is_some() {
            begun["status"] = "in_progress".into();
        }
        for (field, empty) in [
            ("content", json!([])),
            ("summary", json!([])),
            ("arguments", json!("")),
            ("input", json!("")),
        ] {
            if begun.get(field).is_some() {
                begun[field] = empty;
            }
        }
        self.write("response.output_item.added", json!({ "output_index": index, "item": begun }));

        let place = json!({ "item_id": item["id"], "output_index": index });
        match item["type"].as_str() {
            Some("message") => self.parts(&place, item),
            Some("reasoning") => self.summary(&place, item),
            Some("function_call") => {
                self.whole_text(
                    &place, "response.function_call_arguments", "arguments", &item["arguments"],
                );
            }
            Some("custom_tool_call") => {
                self.whole_text(&place, "response.custom_tool_call_input", "input", &item["input"]);
            }
            _ => {}
        }
        self.write("response.output_item.done", json!({ "output_index": index, "item": item }));
    }

    fn parts(&mut self, place: &Value, message: &Value) {
        for (index, part) in message["content"].as_array().into_iter().flatten().enumerate() {
            let at = with(place, json!({ "content_index": index }));
            let (event, field) = match part["type"].as_str() {
                Some("refusal") => ("response.refusal", "refusal"),
                _ => ("response.output_text", "text"),
            };
            let mut begun = part.clone();
            if let Some(begun) = begun.as_object_mut() {
                begun.insert(field.to_owned(), "".into());
            }
            self.write("response.content_part.added", with(&at, json!({ "part": begun })));
            self.whole_text(&at, event, field, &part[field]);
            self.write("response.content_part.done", with(&at, json!({ "part": part })));
        }
    }

    fn summary(&mut self, place: &Value, reasoning: &Value) {
        for (index, part) in reasoning["summary"].as_array().into_iter().flatten().enumerate() {
            let at = with(place, json!({ "summary_index": index }));
            let begun = json!({ "type": part["type"], "text": "" });
            self.write(
                "response.reasoning_summary_part.added",
                with(&at, json!({ "part": begun })),
            );
            self.whole_text(&at, "response.reasoning_summary_text", "text", &part["text"]);
            self.write("response.reasoning_summary_part.done", with(&at, json!({ "part": part })));
        }
    }

    /// A text as one delta and its `done`. Text events carry a `logprobs` list, others do not.
    fn whole_text(&mut self, place: &Value, event: &str, field: &str, text: &Value) {
        let logprobs = || match event {
            "response.output_text" => json!({ "logprobs": [] }),
            _ => json!({}),
        };
        if text.as_str().is_some_and(|text| !text.is_empty()) {
            let delta = with(&with(place, json!({ "delta": text })), logprobs());
            self.write(&format!("{event}.delta"), delta);
        }
        let done = with(&with(place, json!({ field: text })), logprobs());
        self.write(&format!("{event}.done"), done);
    }
}

fn with(base: &Value, more: Value) -> Value {
    let mut merged = base.clone();
    if let (Value::Object(merged), Value::Object(more)) = (&mut merged, more) {
        merged.extend(more);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::super::event::EventDetail;
    use super::super::sse::{EventFields, EventSplitter};
    use super::*;

    fn events(json: &Value) -> Vec<Value> {
        let mut splitter = EventSplitter::new(1 << 20);
        splitter.push(unfold(json.to_string().as_bytes()).unwrap());
        let mut events = Vec::new();
        while let Some(event) = splitter.next_event().unwrap() {
            let fields = EventFields::read(&event);
            let data: Value = serde_json::from_slice(&fields.data.unwrap()).unwrap();
            assert_eq!(data["type"].as_str().unwrap().as_bytes(), fields.name.unwrap());
            assert_eq!(
                EventDetail::read(&event).unwrap().sequence_number(),
                Some(events.len() as u64)
            );
            events.push(data);
        }
        events
    }

    proptest::proptest! {
        #[test]
        fn any_response_is_told_without_a_panic(
            status in "completed|failed|queued|other",
            part in proptest::sample::select(vec![
                "null", "1", "\"text\"", "[]", "{}", "{\"type\":\"refusal\"}", "{\"text\":7}",
            ]),
            field in "content|summary|arguments|input|id|type",
            kind in "message|reasoning|function_call|custom_tool_call|other",
        ) {
            for value in [part.to_owned(), format!("[{part}]")] {
                let item = format!("{{\"type\":\"{kind}\",\"{field}\":{value}}}");
                for output in [item.as_str(), part, &format!("[{item},{part}]")] {
                    let body = format!("{{\"status\":\"{status}\",\"output\":{output}}}");
                    unfold(body.as_bytes());
                }
            }
        }
    }

    #[test]
    fn what_failed_is_told_as_failed() {
        for status in ["failed", "cancelled"] {
            let events = events(&json!({"status":status,"error":{"code":"x"},"output":[]}));
            let last = events.last().unwrap();
            assert_eq!(last["type"], "response.failed");
            assert_eq!(last["response"]["status"], "failed");
            assert_eq!(events[0]["response"]["error"], Value::Null);
        }
        assert_eq!(events(&json!({"status":"queued","output":[]})).len(), 2);
    }

    fn types(events: &[Value]) -> Vec<&str> {
        events.iter().map(|event| event["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_message_and_a_call_are_told_in_order() {
        let response = json!({
            "id": "resp_1", "object": "response", "status": "completed",
            "output": [
                {"id":"msg_1","type":"message","status":"completed","role":"assistant",
                 "content":[{"type":"output_text","text":"hi","annotations":[]}]},
                {"id":"fc_1","type":"function_call","call_id":"c","name":"f","arguments":"{}","status":"completed"},
            ],
        });
        let events = events(&response);
        assert_eq!(
            types(&events),
            [
                "response.created", "response.in_progress", "response.output_item.added",
                "response.content_part.added", "response.output_text.delta",
                "response.output_text.done", "response.content_part.done",
                "response.output_item.done", "response.output_item.added",
                "response.function_call_arguments.delta", "response.function_call_arguments.done",
                "response.output_item.done", "response.completed",
            ]
        );
        assert_eq!(events[0]["response"]["output"], json!([]));
        assert_eq!(events[2]["item"]["content"], json!([]));
        assert_eq!(events[4]["delta"], "hi");
        assert_eq!(events[9]["output_index"], 1);
        assert_eq!(events[12]["response"], response);
    }

    #[test]
    fn incomplete_ends_as_incomplete() {
        let response = json!({"status":"incomplete","output":[]});
        assert_eq!(types(&events(&response)).last(), Some(&"response.incomplete"));
    }

    #[test]
    fn text_alone_becomes_a_message() {
        for output in [Value::Null, json!([])] {
            let response = json!({"status":"completed","output":output,"output_text":"hi"});
            assert!(types(&events(&response)).contains(&"response.output_text.delta"));
        }
    }
}
