//! Errors as clients meet them: the OpenAI shape, and the only place that picks a status.

use std::fmt::Write as _;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::backend::answer::Exhausted;
use crate::config::checked::RetryAfter;
use crate::verdict::{Class, DetectedBy};
use crate::wire::request::EnvelopeError;

/// Everything that Sidestep itself may have to tell a client instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body is not a Responses request.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// No route serves the model.
    #[error("no route serves the model {model:?}; this proxy has routes for: {known}")]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// What could be asked for.
        known: String,
    },
    /// The header `x-sidestep-chain` names what is not in the configuration.
    #[error("the header x-sidestep-chain names {found:?}; this proxy knows: {known}")]
    Chain {
        /// What it names.
        found: String,
        /// What it could name.
        known: String,
    },
    /// The header `x-sidestep-failover` says what it cannot.
    #[error("the header x-sidestep-failover says {found:?}; allowed: on, off")]
    FailoverHeader {
        /// What it says.
        found: String,
    },
    /// The body is too large.
    #[error(
        "the request body is larger than {bytes_max} bytes, encoded or decoded (limits.request_bytes_max)"
    )]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// The body is encoded in a way that cannot be read.
    #[error(
        "the request body's content-encoding {encoding:?} is not supported; one of these is: gzip, deflate, br, zstd"
    )]
    Encoding {
        /// What the header says.
        encoding: String,
    },
    /// The body is not encoded as it says.
    #[error("the request body is not encoded as its content-encoding says")]
    Undecodable,
    /// The body did not arrive in time.
    #[error("the request body did not arrive within {timeout:?} (server.body_timeout)")]
    Slow {
        /// The limit.
        timeout: Duration,
    },
    /// The response that the request continues is not where it could be answered now. Clients send the
    /// whole conversation again when they hear this code.
    #[error("Previous response not found.")]
    PreviousResponse,
    /// The path of a model that no route serves.
    #[error("no route serves the model {model:?}")]
    ModelNotFound {
        /// What was asked for.
        model: String,
    },
    /// The body ended before its time.
    #[error("the request body could not be read to its end")]
    Unreadable,
    /// Every target failed.
    #[error("{}", in_words(exhausted))]
    Exhausted {
        /// The attempts.
        exhausted: Exhausted,
        /// What may be said about waiting.
        retry_after: RetryAfter,
    },
    /// `limits.in_flight_max` requests are in work.
    #[error("too many requests are in work (limits.in_flight_max)")]
    Busy,
    /// The journal has no such request.
    #[error("the journal has no request of this id, or no more (journal.entries_max)")]
    NotInJournal,
    /// The journal is asked for a number of requests that is none.
    #[error("the parameter `limit` must be a whole number that is not negative")]
    Limit,
    /// Nobody more may listen.
    #[error("too many listen to the journal (journal.listeners_max)")]
    TooManyListeners,
    /// No Host, or several.
    #[error("a request needs exactly one Host header")]
    NoHost,
    /// The Host is not one of ours.
    #[error(
        "this proxy does not go by the name {host:?}; use an address or localhost, or name it in server.allowed_hosts"
    )]
    Host {
        /// Whom it is for.
        host: String,
    },
    /// A web page of another origin made it.
    #[error(
        "web pages of {origin:?} may not use this proxy; name it in server.allowed_origins if they should"
    )]
    Origin {
        /// Whose page.
        origin: String,
    },
    /// No key, or none that is known.
    #[error(
        "this proxy asks for a client key: send one of [clients] as `Authorization: Bearer KEY`"
    )]
    Key {
        /// Whether a browser may ask its user for it.
        is_page: bool,
    },
    /// The path leads nowhere.
    #[error("there is nothing at this path; requests go to POST /v1/responses")]
    NotFound,
    /// The path is right and the method is not.
    #[error("this path takes {allow}")]
    MethodNotAllowed {
        /// The methods that it takes.
        allow: &'static str,
    },
    /// A WebSocket handshake. 426 sends Codex to HTTP within a quarter of a second; other statuses
    /// cost it seconds or the turn (openai/codex#19821).
    #[error("WebSockets are not served here; use HTTP")]
    Upgrade,
    /// A bug.
    #[error("an internal error; the log says more")]
    Internal,
}

/// What is told of a chain that failed where an event has to say it. `is_final`: with a code that Codex
/// does not retry, and under which it shows our own words (codex-cli 0.169).
pub fn in_event(exhausted: &Exhausted, is_final: bool) -> (&'static str, String) {
    let code = match status_of(exhausted) {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_exceeded",
        _ if is_final => "invalid_prompt",
        _ => "all_backends_failed",
    };
    (code, in_words(exhausted))
}

/// The parts of an error answer.
struct Shape {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<&'static str>,
}

impl ApiError {
    fn shape(&self) -> Shape {
        let invalid =
            |status, code, param| Shape { status, kind: "invalid_request_error", code, param };
        let server =
            |status, code| Shape { status, kind: "server_error", code: Some(code), param: None };
        match self {
            Self::Envelope(error) => invalid(StatusCode::BAD_REQUEST, None, error.field()),
            // OpenAI's Responses endpoint says 400, and Codex repeats every other 4xx six times.
            Self::UnknownModel { .. } => {
                invalid(StatusCode::BAD_REQUEST, Some("model_not_found"), Some("model"))
            }
            Self::Chain { .. } => {
                invalid(StatusCode::BAD_REQUEST, Some("unknown_target"), Some("x-sidestep-chain"))
            }
            Self::FailoverHeader { .. } => {
                invalid(StatusCode::BAD_REQUEST, Some("invalid_value"), Some("x-sidestep-failover"))
            }
            Self::TooLarge { .. } => {
                invalid(StatusCode::PAYLOAD_TOO_LARGE, Some("request_too_large"), None)
            }
            Self::Encoding { .. } => {
                invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("unsupported_encoding"), None)
            }
            Self::PreviousResponse => invalid(
                StatusCode::BAD_REQUEST,
                Some("previous_response_not_found"),
                Some("previous_response_id"),
            ),
            Self::Unreadable | Self::Undecodable => invalid(StatusCode::BAD_REQUEST, None, None),
            Self::Slow { .. } => {
                invalid(StatusCode::REQUEST_TIMEOUT, Some("request_body_timeout"), None)
            }
            Self::ModelNotFound { .. } => {
                invalid(StatusCode::NOT_FOUND, Some("model_not_found"), None)
            }
            Self::Exhausted { exhausted, .. } => match status_of(exhausted) {
                StatusCode::TOO_MANY_REQUESTS => Shape {
                    status: StatusCode::TOO_MANY_REQUESTS,
                    kind: "rate_limit_error",
                    code: Some("rate_limit_exceeded"),
                    param: None,
                },
                status => server(status, "all_backends_failed"),
            },
            Self::Busy => server(StatusCode::SERVICE_UNAVAILABLE, "proxy_is_busy"),
            Self::NotInJournal => invalid(StatusCode::NOT_FOUND, Some("unknown_request"), None),
            Self::Limit => invalid(StatusCode::BAD_REQUEST, Some("invalid_value"), Some("limit")),
            Self::TooManyListeners => server(StatusCode::SERVICE_UNAVAILABLE, "too_many_listeners"),
            Self::NoHost => invalid(StatusCode::BAD_REQUEST, Some("no_host"), None),
            Self::Host { .. } => invalid(StatusCode::FORBIDDEN, Some("host_not_allowed"), None),
            Self::Origin { .. } => invalid(StatusCode::FORBIDDEN, Some("origin_not_allowed"), None),
            Self::Key { .. } => invalid(StatusCode::UNAUTHORIZED, Some("invalid_api_key"), None),
            Self::NotFound => invalid(StatusCode::NOT_FOUND, Some("unknown_path"), None),
            Self::MethodNotAllowed { .. } => {
                invalid(StatusCode::METHOD_NOT_ALLOWED, Some("method_not_allowed"), None)
            }
            Self::Upgrade => {
                invalid(StatusCode::UPGRADE_REQUIRED, Some("websocket_not_supported"), None)
            }
            Self::Internal => server(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
        }
    }

    fn body(&self, shape: &Shape) -> Value {
        let mut error = json!({
            "message": self.to_string(),
            "type": shape.kind,
            "param": shape.param,
            "code": shape.code,
        });
        if let Self::Exhausted { exhausted, .. } = self {
            error["attempts"] = exhausted
                .attempts
                .iter()
                .map(|(target, failure)| {
                    json!({
                        "backend": &*target.backend.name,
                        "model": &*target.model,
                        "class": failure.class.as_str(),
                        "detected_by": failure.detected_by.as_str(),
                    })
                })
                .collect();
        }
        json!({ "error": error })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let shape = self.shape();
        let mut response = Response::new(self.body(&shape).to_string().into());
        *response.status_mut() = shape.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match &self {
            Self::Exhausted { exhausted, retry_after } => {
                // Every backend has been tried: an SDK's own retries would try them all again.
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
                let is_benched = exhausted.attempts.is_empty();
                if shape.status == StatusCode::TOO_MANY_REQUESTS || is_benched {
                    let wait = exhausted.retry_after().unwrap_or(retry_after.default);
                    headers.insert(RETRY_AFTER, capped(wait, retry_after.max));
                }
            }
            Self::Key { is_page } => {
                let asks = if *is_page { "Basic realm=\"Sidestep\"" } else { "Bearer" };
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(asks));
            }
            Self::MethodNotAllowed { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::Upgrade => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// A wait in whole seconds, at least one, at most `max`.
pub fn capped(wait: Duration, max: Duration) -> HeaderValue {
    let wait = wait.min(max);
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

/// 429 if waiting would help; else what describes the failures best.
fn status_of(exhausted: &Exhausted) -> StatusCode {
    let any = |class| exhausted.attempts.iter().any(|(_, failure)| failure.class == class);
    let all = |class| exhausted.attempts.iter().all(|(_, failure)| failure.class == class);
    if exhausted.asks_to_wait() {
        StatusCode::TOO_MANY_REQUESTS
    } else if any(Class::Overloaded) || exhausted.attempts.is_empty() {
        StatusCode::SERVICE_UNAVAILABLE
    } else if all(Class::Timeout) {
        StatusCode::GATEWAY_TIMEOUT
    } else {
        StatusCode::BAD_GATEWAY
    }
}

/// What happened, in words of ours alone: clients act on phrases that they find in errors.
fn in_words(exhausted: &Exhausted) -> String {
    let mut told: Vec<(&str, &str, &str)> = Vec::new();
    for (target, failure) in &exhausted.attempts {
        let words = match failure.detected_by {
            DetectedBy::Credential => {
                "was not asked, because Sidestep has no working credential for it"
            }
            _ => failure.class.in_words(),
        };
        let entry = (&*target.backend.name, &*target.model, words);
        if told.last() != Some(&entry) {
            told.push(entry);
        }
    }
    if told.is_empty() {
        return "no backend was asked: all of them failed lately (bench.when_all)".to_owned();
    }
    let mut text = "no backend could answer: ".to_owned();
    for (index, (backend, _, words)) in told.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{separator}{backend} {words}");
    }
    text
}
