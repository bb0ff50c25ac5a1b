//! What each fault looks like on the wire, streaming and not.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::answers::{self, Stream};
use super::catalogue::Fault;
use super::script::{Ending, Script};
use super::statuses;

/// What to do with a request.
#[derive(Debug)]
pub enum Play {
    /// Answer it with this head and this body.
    Answer(Response<()>, Script),
    /// Leave it without an answer.
    Silence,
    /// Reset its connection.
    Reset,
}

/// How long [`Fault::Slow`] takes.
const SLOWNESS: Duration = Duration::from_millis(500);

/// What the ChatGPT Codex backend says of an account with each answer.
const USED_UP: [(&str, &str); 2] =
    [("x-codex-primary-used-percent", "98"), ("x-codex-primary-reset-after-seconds", "600")];

pub(super) const HTML: &str = "<!DOCTYPE html>\n<html><head><title>Attention Required!</title></head><body>Sorry.</body></html>\n";

/// Turns a fault into an answer of the backend called `name`.
pub fn play(fault: Fault, wants_stream: bool, name: &str, model: &str) -> Play {
    match fault {
        Fault::Reset => Play::Reset,
        Fault::Silent => Play::Silence,
        Fault::Structured => play(Fault::Ok, wants_stream, answers::JSON_TEXT, model),
        Fault::Slow => match play(Fault::Ok, wants_stream, name, model) {
            Play::Answer(head, script) => {
                Play::Answer(head, script.pause(usize::from(wants_stream), SLOWNESS))
            }
            other => other,
        },
        Fault::NearlyUsedUp => match play(Fault::Ok, wants_stream, name, model) {
            Play::Answer(mut head, script) => {
                for (name, value) in USED_UP {
                    head.headers_mut().insert(name, HeaderValue::from_static(value));
                }
                Play::Answer(head, script)
            }
            other => other,
        },
        _ => {
            let told = statuses::play(fault)
                .or_else(|| either_way(fault, model))
                .or_else(|| if wants_stream { stream_fault(fault, name, model) } else { None });
            told.unwrap_or_else(|| {
                if wants_stream {
                    good_stream(fault, name, model)
                } else {
                    json_fault(fault, name, model)
                }
            })
        }
    }
}

/// A whole answer.
pub fn plain(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn head(status: u16, media_type: &'static str) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    // What OpenAI sends and a client must not see when its model was mapped.
    response
        .headers_mut()
        .insert("openai-model", HeaderValue::from_static("the-backends-own-name"));
    response.headers_mut().insert("x-request-id", HeaderValue::from_static("req_of_the_backend"));
    response
}

pub(super) fn whole(status: u16, media_type: &'static str, body: impl Into<Bytes>) -> Play {
    Play::Answer(head(status, media_type), Script::new([body.into()], Ending::Clean))
}

fn json_body(body: &Value) -> Play {
    whole(200, "application/json", body.to_string())
}

fn events(stream: Stream, ending: Ending) -> Play {
    Play::Answer(
        head(200, "text/event-stream; charset=utf-8"),
        Script::new(stream.into_events(), ending),
    )
}

/// Faults that look the same whatever was asked.
fn either_way(fault: Fault, model: &str) -> Option<Play> {
    let chat =
        json!({ "id": "chatcmpl-1", "object": "chat.completion", "model": model, "choices": [] });
    Some(match fault {
        Fault::Html => whole(200, "text/html", HTML),
        Fault::Text => whole(200, "text/plain", "OK"),
        Fault::Chat => json_body(&chat),
        Fault::StreamFailed => return stream_fault(Fault::Failed, "", model),
        Fault::StreamError => return stream_fault(Fault::Error, "", model),
        Fault::StreamErrorPair => return stream_fault(Fault::ErrorPair, "", model),
        Fault::JsonFailed => json_fault(Fault::Failed, "", model),
        Fault::JsonError => json_fault(Fault::Error, "", model),
        Fault::Truncated => {
            let body = Bytes::from_static(br#"{"id":"resp_1","object":"response","status":"comp"#);
            let script = Script::new([body], Ending::Cut).announce(5000);
            Play::Answer(head(200, "application/json"), script)
        }
        _ => return None,
    })
}

/// The error of a fault that says `failed` under a good status.
fn spoken_error(fault: Fault) -> Option<Value> {
    let code = match fault {
        Fault::Failed | Fault::FailedWithOutput | Fault::CompletedFailed => "server_error",
        Fault::FailedNoCode => return Some(Value::Null),
        Fault::FailedAuth => "invalid_api_key",
        Fault::FailedQuota => "insufficient_quota",
        Fault::FailedRateLimit => "rate_limit_exceeded",
        Fault::FailedOverloaded => "server_is_overloaded",
        Fault::FailedModel => "model_not_found",
        Fault::FailedContext => "context_length_exceeded",
        Fault::FailedReasoning => "invalid_encrypted_content",
        Fault::FailedPolicy => "invalid_prompt",
        Fault::FailedImage => "invalid_image",
        _ => return None,
    };
    Some(json!({ "code": code, "message": "The backend says that it failed." }))
}

fn json_fault(fault: Fault, name: &str, model: &str) -> Play {
    let good = || answers::completed(name, model);
    let capacity = || answers::error("server_error", Some("server_error"), "The backend broke.");
    if let Some(error) = spoken_error(fault) {
        let mut response = answers::with_status(model, "failed", error);
        if fault == Fault::FailedWithOutput {
            response["output"] = good()["output"].clone();
        }
        return json_body(&response);
    }
    match fault {
        Fault::Encrypted => json_body(&answers::completed_encrypted(name, model)),
        Fault::Tool => json_body(&answers::completed_call(model, &answers::weather_call())),
        Fault::Command => json_body(&answers::completed_call(model, &answers::command_call())),
        Fault::Incomplete => json_body(&answers::incomplete(name, model)),
        Fault::Swap => good_stream(Fault::Ok, name, model),
        Fault::Mislabelled => whole(200, "text/plain", good().to_string()),
        Fault::Background => json_body(&answers::with_status(model, "queued", Value::Null)),
        Fault::Cancelled => json_body(&answers::with_status(model, "cancelled", Value::Null)),
        Fault::Error | Fault::ErrorFlat | Fault::ErrorPair => json_body(&capacity()),
        Fault::ErrorNumber => {
            json_body(&json!({ "error": { "code": 429, "message": "Provider returned error" } }))
        }
        Fault::Empty => json_body(&answers::empty(model)),
        Fault::Broken => whole(200, "application/json", r#"{"status":"completed","output":[}"#),
        Fault::Unfinished => json_body(&answers::with_status(model, "in_progress", Value::Null)),
        Fault::Eof => whole(200, "application/json", ""),
        Fault::CutBeforeOutput => {
            let start = Bytes::from_static(b"{\"id\":");
            Play::Answer(head(200, "application/json"), Script::new([start], Ending::Cut))
        }
        Fault::SilentAfterHead | Fault::SilentAfterCreated => {
            let start = Bytes::from_static(b"{\"id\":");
            Play::Answer(head(200, "application/json"), Script::new([start], Ending::Silence))
        }
        _ => json_body(&good()),
    }
}

fn good_stream(fault: Fault, name: &str, model: &str) -> Play {
    let stream = || Stream::new(model).begun();
    match fault {
        Fault::Tool => events(stream().called(&answers::weather_call()), Ending::Clean),
        Fault::Command => events(stream().called(&answers::command_call()), Ending::Clean),
        Fault::Incomplete => {
            let incomplete = answers::incomplete(name, model);
            events(stream().words(name).terminal("response.incomplete", &incomplete), Ending::Clean)
        }
        Fault::Encrypted => events(stream().encrypted(name).words(name).ended(name), Ending::Clean),
        Fault::Reasoning => events(stream().reasoning().words(name).ended(name), Ending::Clean),
        Fault::Swap => json_body(&answers::completed(name, model)),
        Fault::Mislabelled => {
            let pieces = stream().words(name).ended(name).into_events();
            Play::Answer(head(200, "text/plain"), Script::new(pieces, Ending::Clean))
        }
        Fault::StallAfterCompleted => events(stream().words(name).ended(name), Ending::Silence),
        Fault::TwiceTerminated => {
            events(stream().words(name).ended(name).failed(Value::Null), Ending::Clean)
        }
        Fault::EndWithoutBlankLine => {
            let mut pieces = stream().words(name).ended(name).into_events();
            if let Some(last) = pieces.last_mut() {
                last.truncate(last.len() - 2);
            }
            Play::Answer(head(200, "text/event-stream"), Script::new(pieces, Ending::Clean))
        }
        Fault::NoEventLines => Play::Answer(
            head(200, "text/event-stream"),
            Script::new(small_crlf(&stream().words(name).ended(name).into_events()), Ending::Clean),
        ),
        _ => events(stream().words(name).ended(name).raw("data: [DONE]\n\n"), Ending::Clean),
    }
}

/// The same events without their `event:` lines, in CRLF, in chunks that split everything.
fn small_crlf(whole: &[Bytes]) -> Vec<Bytes> {
    let text = String::from_utf8_lossy(&whole.concat()).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with("event:"));
    let crlf: String = lines.flat_map(|line| [line, "\r\n"]).collect();
    crlf.as_bytes().chunks(7).map(Bytes::copy_from_slice).collect()
}

fn stream_fault(fault: Fault, name: &str, model: &str) -> Option<Play> {
    let stream = || Stream::new(model).begun();
    let words = || stream().words(name);
    let broke = || json!({ "code": "server_error", "message": "The backend broke." });
    if let Some(error) = spoken_error(fault) {
        let failed = match fault {
            Fault::CompletedFailed => stream()
                .terminal("response.completed", &answers::with_status(model, "failed", error)),
            _ => stream().failed(error),
        };
        return Some(events(failed, Ending::Clean));
    }
    let nested = || json!({ "error": { "type": "server_error", "code": "server_error", "message": "The backend broke.", "param": null } });
    Some(match fault {
        Fault::Cancelled => events(stream().terminal("response.cancelled", &answers::with_status(model, "cancelled", Value::Null)), Ending::Clean),
        Fault::Error => events(stream().event("error", nested()), Ending::Clean),
        Fault::ErrorFlat => events(stream().event("error", broke()), Ending::Clean),
        Fault::ErrorPair => events(stream().failed(Value::Null).raw(": keep-alive\n\n").event("error", json!({ "error": { "code": "rate_limit_exceeded", "message": "Slow down.", "type": "too_many_requests" } })), Ending::Clean),
        Fault::ErrorNumber => events(stream().event("error", json!({ "error": { "code": 429, "message": "Provider returned error" } })), Ending::Clean),
        Fault::Empty => events(stream().terminal("response.completed", &answers::empty(model)), Ending::Clean),
        Fault::Broken => events(stream().raw("event: response.output_text.delta\ndata: {\"type\":\"response.outp\n\n"), Ending::Clean),
        Fault::Unfinished => events(stream(), Ending::Clean),
        Fault::Eof => events(Stream::new(model), Ending::Clean),
        Fault::DoneOnly => events(stream().raw("data: [DONE]\n\n"), Ending::Clean),
        Fault::Oversized => events(stream().event("response.output_text.delta", json!({ "delta": "x".repeat(2 << 20) })), Ending::Clean),
        Fault::CutBeforeOutput => events(stream(), Ending::Cut),
        Fault::SilentAfterHead => events(Stream::new(model), Ending::Silence),
        Fault::SilentAfterCreated => events(stream(), Ending::Silence),
        Fault::CutAfterOutput => events(words(), Ending::Cut),
        Fault::EndAfterOutput => events(words(), Ending::Clean),
        Fault::Endless => events(words(), Ending::Endless),
        Fault::StallAfterOutput => events(words(), Ending::Silence),
        Fault::BrokenAfterOutput => events(words().raw("data: {\"type\":\"response.outp\n\n"), Ending::Clean),
        Fault::DoneAfterOutput => events(words().raw("data: [DONE]\n\n"), Ending::Clean),
        Fault::FailedAfterOutput => events(words().failed(broke()), Ending::Silence),
        Fault::CancelledAfterOutput => events(
            words().terminal(
                "response.cancelled",
                &answers::with_status(model, "cancelled", Value::Null),
            ),
            Ending::Clean,
        ),
        Fault::CutInCompleted => events(
            words().raw("event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{}}\n\n"),
            Ending::Clean,
        ),
        Fault::CommentAfterOutput => events(words().raw(": keep-alive\n\n"), Ending::Clean),
        Fault::CompletedFailedAfterOutput => events(
            words().terminal("response.completed", &answers::with_status(model, "failed", broke())),
            Ending::Clean,
        ),
        Fault::ErrorAfterOutput => events(words().event("error", nested()), Ending::Silence),
        Fault::ErrorThenFailedAfterOutput => events(words().event("error", nested()).failed(broke()), Ending::Clean),
        Fault::ReasoningThenFailed => events(stream().reasoning().failed(broke()), Ending::Clean),
        _ => return None,
    })
}
