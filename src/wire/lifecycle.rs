//! The lifecycle events that Sidestep writes itself: `response.created` for a stream that no backend has
//! begun yet, `response.failed` for one that its backend did not end.

use bytes::Bytes;
use serde_json::{Value, json};

use super::event::EventDetail;
use super::sse::write_event;

/// Writes the `response.created` of an answer that nobody has begun yet: number 0 of its stream.
pub fn response_created(model: &str, now_unix: u64, response_id: &str) -> Bytes {
    let mut response = bare_response(now_unix, response_id);
    response["status"] = "in_progress".into();
    response["model"] = model.into();
    let data = json!({ "type": "response.created", "sequence_number": 0, "response": response });
    write_event("response.created", &data.to_string())
}

/// Writes one well-formed `response.failed`.
///
/// `created` is the stream's own `response.created` event, so that the id and every other field the
/// client was told stay as they were; `now_unix` (seconds) and `response_id` stand in where there was none.
pub fn response_failed(
    created: Option<&Bytes>,
    sequence_number: u64,
    code: &str,
    message: &str,
    now_unix: u64,
    response_id: &str,
) -> Bytes {
    let mut response = created
        .and_then(|event| EventDetail::read(event)?.into_response())
        .unwrap_or_else(|| bare_response(now_unix, response_id));
    response["status"] = "failed".into();
    response["error"] = json!({ "code": code, "message": message });
    let data = json!({
        "type": "response.failed",
        "sequence_number": sequence_number,
        "response": response,
    });
    write_event("response.failed", &data.to_string())
}

/// The fields that OpenAI's schema requires of a response object.
fn bare_response(now_unix: u64, response_id: &str) -> Value {
    json!({
        "id": response_id,
        "object": "response",
        "created_at": now_unix,
        "status": "failed",
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "metadata": {},
        "model": "",
        "output": [],
        "parallel_tool_calls": true,
        "temperature": 1,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1,
        "usage": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_the_client_was_told() {
        let created = write_event(
            "response.created",
            r#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress","model":"m"}}"#,
        );
        let event = response_failed(Some(&created), 7, "server_error", "cut", 0, "resp_x");
        let detail = EventDetail::read(&event).unwrap();
        assert_eq!(detail.sequence_number(), Some(7));
        let response = detail.into_response().unwrap();
        assert_eq!(response["id"], "resp_1");
        assert_eq!(response["model"], "m");
        assert_eq!(response["status"], "failed");
        assert_eq!(response["error"], json!({"code":"server_error","message":"cut"}));
    }

    #[test]
    fn stands_alone_without_a_created_event() {
        let event = response_failed(None, 0, "server_error", "cut", 12, "resp_x");
        let response = EventDetail::read(&event).unwrap().into_response().unwrap();
        assert_eq!(response["id"], "resp_x");
        assert_eq!(response["created_at"], 12);
    }
}
