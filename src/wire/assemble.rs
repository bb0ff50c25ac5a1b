//! A stream put together into the response object that a non-streaming client asked for.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::event::{EventDetail, EventKind};
use super::unfold::message;

/// Collects the items of a stream until its terminal event.
///
/// The terminal event's own `output` is preferred, and can be null or empty although items were
/// streamed (the ChatGPT Codex backend, April 2026): then the items of `output_item.done` stand in,
/// and without any of those the text of the deltas.
#[derive(Debug, Default)]
pub struct Assembler {
    items: BTreeMap<(u64, usize), Value>,
    text: String,
}

impl Assembler {
    /// Takes one event of a known kind; the finished response once it is a clean terminal one.
    pub fn push(&mut self, event: &Bytes, kind: EventKind) -> Option<Value> {
        match kind {
            EventKind::ItemDone => {
                let (index, item) = EventDetail::read(event)?.into_item()?;
                self.items.insert((index, self.items.len()), item);
                None
            }
            EventKind::Output => {
                self.text.push_str(EventDetail::read(event)?.text_delta()?);
                None
            }
            EventKind::Completed | EventKind::Incomplete => {
                let response = EventDetail::read(event)?.into_response()?;
                Some(self.complete(response))
            }
            _ => None,
        }
    }

    fn complete(&mut self, mut response: Value) -> Value {
        if response.get("output").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            if self.items.is_empty() && !self.text.is_empty() {
                self.items.insert((0, 0), message(&self.text));
            }
            response["output"] = std::mem::take(&mut self.items).into_values().collect();
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sse::write_event;
    use super::*;

    fn done(index: u64, id: &str) -> Bytes {
        let data =
            json!({"type":"response.output_item.done","output_index":index,"item":{"id":id}});
        write_event("response.output_item.done", &data.to_string())
    }

    fn completed(output: &Value) -> Bytes {
        let data = json!({"type":"response.completed","response":{"id":"r","output":output}});
        write_event("response.completed", &data.to_string())
    }

    fn push(assembler: &mut Assembler, event: &Bytes) -> Option<Value> {
        assembler.push(event, EventKind::of(event))
    }

    #[test]
    fn text_stands_in_for_items() {
        let mut assembler = Assembler::default();
        for text in ["Hel", "lo"] {
            let data = json!({"type":"response.output_text.delta","delta":text});
            push(&mut assembler, &write_event("response.output_text.delta", &data.to_string()));
        }
        let response = push(&mut assembler, &completed(&Value::Null)).unwrap();
        assert_eq!(response["output"][0]["content"][0]["text"], "Hello");
    }

    #[test]
    fn items_stand_in_for_an_empty_output() {
        for empty in [Value::Null, json!([])] {
            let mut assembler = Assembler::default();
            assert_eq!(push(&mut assembler, &done(1, "b")), None);
            assert_eq!(push(&mut assembler, &done(0, "a")), None);
            let response = push(&mut assembler, &completed(&empty)).unwrap();
            assert_eq!(response["output"], json!([{"id":"a"},{"id":"b"}]));
        }
    }

    #[test]
    fn the_terminal_output_is_preferred() {
        let mut assembler = Assembler::default();
        push(&mut assembler, &done(0, "a"));
        let response = push(&mut assembler, &completed(&json!([{"id":"z"}]))).unwrap();
        assert_eq!(response["output"], json!([{"id":"z"}]));
    }
}
