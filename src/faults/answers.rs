//! Good answers and error bodies, shaped as real backends send them.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::wire::sse::write_event;

/// The events of one stream, numbered from zero.
#[derive(Debug)]
pub(super) struct Stream {
    response: Value,
    events: Vec<Bytes>,
}

/// The text of a good answer.
/// Stands for a name where the text is to be JSON.
pub(super) const JSON_TEXT: &str = r#"{"city":"Oslo"}"#;

fn text(name: &str) -> String {
    if name == JSON_TEXT {
        return name.to_owned();
    }
    format!("Hello from {name}, and nothing went wrong.")
}

/// A response object without output.
fn response(model: &str, status: &str) -> Value {
    json!({
        "id": "resp_68b0c1f5a7d88190a1e0b7f2c3d4e5f60718293a4b5c6d7e",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "max_output_tokens": null,
        "model": model,
        "output": [],
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "reasoning": { "effort": null, "summary": null },
        "service_tier": "default",
        "store": false,
        "temperature": 1.0,
        "text": { "format": { "type": "text" } },
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": null,
        "metadata": {},
    })
}

fn usage() -> Value {
    json!({
        "input_tokens": 11,
        "input_tokens_details": { "cached_tokens": 4 },
        "output_tokens": 9,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": 20,
    })
}

fn message(text: &str, status: &str) -> Value {
    json!({
        "id": "msg_68b0c1f6",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [{ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }],
    })
}

/// A call of a function that tests offer.
pub(super) fn weather_call() -> Value {
    call("get_weather", r#"{"city":"Oslo"}"#)
}

/// A call of the function with which Codex runs commands (codex-cli 0.169).
pub(super) fn command_call() -> Value {
    call("exec_command", r#"{"cmd":"echo a tool was called"}"#)
}

fn call(name: &str, arguments: &str) -> Value {
    json!({
        "id": "fc_68b0c1f7",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_Zx81",
        "name": name,
        "arguments": arguments,
    })
}

/// A finished response object with a message.
pub(super) fn completed(name: &str, model: &str) -> Value {
    let mut response = response(model, "completed");
    response["output"] = json!([message(&text(name), "completed")]);
    response["usage"] = usage();
    response
}

/// What stands for encrypted reasoning of a backend.
pub(super) fn secret_of(name: &str) -> String {
    format!("gAAAAAB-of-{name}==")
}

/// Reasoning that only one backend can read.
pub(super) fn encrypted(name: &str) -> Value {
    json!({
        "id": format!("rs_{name}"),
        "type": "reasoning",
        "summary": [{ "type": "summary_text", "text": format!("{name} has thought.") }],
        "encrypted_content": secret_of(name),
    })
}

/// A finished response object with encrypted reasoning.
pub(super) fn completed_encrypted(name: &str, model: &str) -> Value {
    let mut response = completed(name, model);
    response["output"] = json!([encrypted(name), message(&text(name), "completed")]);
    response
}

/// A finished response object with a function call.
pub(super) fn completed_call(model: &str, call: &Value) -> Value {
    let mut response = response(model, "completed");
    response["output"] = json!([call]);
    response["usage"] = usage();
    response
}

/// A response object that was cut short.
pub(super) fn incomplete(name: &str, model: &str) -> Value {
    let mut response = completed(name, model);
    response["status"] = "incomplete".into();
    response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
    response["output"][0]["status"] = "incomplete".into();
    response
}

/// A finished response object with nothing in it.
pub(super) fn empty(model: &str) -> Value {
    let mut response = response(model, "completed");
    response["usage"] = usage();
    response
}

/// A response object with another status and error.
pub(super) fn with_status(model: &str, status: &str, error: Value) -> Value {
    let mut response = response(model, status);
    response["error"] = error;
    response
}

/// An error in OpenAI's shape.
pub(super) fn error(kind: &str, code: Option<&str>, message: &str) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": code } })
}

impl Stream {
    /// A stream of `model` without events.
    pub(super) fn new(model: &str) -> Self {
        Self { response: response(model, "in_progress"), events: Vec::new() }
    }

    /// One more event.
    pub(super) fn event(mut self, name: &str, fields: Value) -> Self {
        let mut data = json!({ "type": name, "sequence_number": self.events.len() });
        if let (Value::Object(data), Value::Object(fields)) = (&mut data, fields) {
            data.extend(fields);
        }
        self.events.push(write_event(name, &data.to_string()));
        self
    }

    /// Bytes that are no numbered event.
    pub(super) fn raw(mut self, bytes: &'static str) -> Self {
        self.events.push(Bytes::from_static(bytes.as_bytes()));
        self
    }

    /// What every stream begins with.
    pub(super) fn begun(self) -> Self {
        let response = json!({ "response": self.response });
        self.event("response.created", response.clone()).event("response.in_progress", response)
    }

    /// The start of a message and its first words.
    pub(super) fn words(self, name: &str) -> Self {
        let mut begun = message("", "in_progress");
        begun["content"] = json!([]);
        let mut stream = self
            .event("response.output_item.added", json!({ "output_index": 0, "item": begun }))
            .event("response.content_part.added", json!({
                "item_id": "msg_68b0c1f6", "output_index": 0, "content_index": 0,
                "part": { "type": "output_text", "text": "", "annotations": [], "logprobs": [] },
            }));
        for word in text(name).split_inclusive(' ') {
            stream = stream.event(
                "response.output_text.delta",
                json!({
                    "item_id": "msg_68b0c1f6", "output_index": 0, "content_index": 0,
                    "delta": word, "logprobs": [],
                }),
            );
        }
        stream
    }

    /// Reasoning with a summary.
    pub(super) fn reasoning(self) -> Self {
        let item = json!({ "id": "rs_68b0c1f5", "type": "reasoning", "summary": [] });
        self.event("response.output_item.added", json!({ "output_index": 0, "item": item }))
            .event("response.reasoning_summary_text.delta", json!({
                "item_id": "rs_68b0c1f5", "output_index": 0, "summary_index": 0, "delta": "Thinking.",
            }))
            .event("response.output_item.done", json!({ "output_index": 0, "item": item }))
    }

    /// Reasoning that only this backend can read.
    pub(super) fn encrypted(self, name: &str) -> Self {
        let item = encrypted(name);
        let mut begun = item.clone();
        begun["summary"] = json!([]);
        self.event("response.output_item.added", json!({ "output_index": 0, "item": begun }))
            .event("response.output_item.done", json!({ "output_index": 0, "item": item }))
    }

    /// The rest of a message and the terminal event.
    pub(super) fn ended(self, name: &str) -> Self {
        let text = text(name);
        let item = message(&text, "completed");
        let mut response = self.response.clone();
        response["status"] = "completed".into();
        response["output"] = json!([item]);
        response["usage"] = usage();
        let at = json!({ "item_id": "msg_68b0c1f6", "output_index": 0, "content_index": 0 });
        let with = |field: &str, value: Value| {
            let mut fields = at.clone();
            fields[field] = value;
            fields
        };
        self.event("response.output_text.done", with("text", text.into()))
            .event("response.content_part.done", with("part", item["content"][0].clone()))
            .event("response.output_item.done", json!({ "output_index": 0, "item": item }))
            .event("response.completed", json!({ "response": response }))
    }

    /// A function call from its start to the terminal event.
    pub(super) fn called(self, call: &Value) -> Self {
        let mut begun = call.clone();
        begun["arguments"] = "".into();
        let mut response = self.response.clone();
        response["status"] = "completed".into();
        response["output"] = json!([call]);
        response["usage"] = usage();
        let at = json!({ "item_id": "fc_68b0c1f7", "output_index": 0 });
        let with = |field: &str, value: &Value| {
            let mut fields = at.clone();
            fields[field] = value.clone();
            fields
        };
        let arguments = &call["arguments"];
        self.event("response.output_item.added", json!({ "output_index": 0, "item": begun }))
            .event("response.function_call_arguments.delta", with("delta", arguments))
            .event("response.function_call_arguments.done", with("arguments", arguments))
            .event("response.output_item.done", json!({ "output_index": 0, "item": call }))
            .event("response.completed", json!({ "response": response }))
    }

    /// A terminal event with a response object.
    pub(super) fn terminal(self, name: &str, response: &Value) -> Self {
        self.event(name, json!({ "response": response }))
    }

    /// `response.failed`.
    pub(super) fn failed(self, error: Value) -> Self {
        let mut response = self.response.clone();
        response["status"] = "failed".into();
        response["error"] = error;
        self.terminal("response.failed", &response)
    }

    /// The events, one a piece.
    pub(super) fn into_events(self) -> Vec<Bytes> {
        self.events
    }
}
