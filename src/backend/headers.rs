//! Which headers travel, both ways: by allow-list, so that no credential, cookie or account of one
//! side reaches the other by oversight.

use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Backend;
use super::attempt::Original;

/// Headers of a client that a backend may see.
const TO_BACKEND: &[&str] = &[
    "user-agent", "openai-beta", "originator", "session-id", "session_id", "thread-id",
    "x-client-request-id",
];

/// Headers of a backend that a client may see. Not among them: `openai-model`, which makes Codex
/// accuse its user when it differs from what was asked (openai/codex#12003); rate limits of
/// accounts that are not the client's; request ids, because `x-request-id` is ours.
const TO_CLIENT: &[&str] = &[
    "content-type", "cache-control", "openai-processing-ms", "openai-version", "retry-after",
    "x-reasoning-included",
];

/// The headers of a request to `backend`, without its credential.
pub fn for_backend(original: &Original, backend: &Backend) -> HeaderMap {
    let mut headers = pick(&original.headers, TO_BACKEND);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accept = if original.envelope.stream { "text/event-stream" } else { "application/json" };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    for (name, value) in &backend.headers {
        headers.insert(name, value.clone());
    }
    headers
}

/// The headers of a backend's answer that go on to the client.
pub fn for_client(answer: &HeaderMap) -> HeaderMap {
    pick(answer, TO_CLIENT)
}

fn pick(from: &HeaderMap, allowed: &'static [&'static str]) -> HeaderMap {
    let mut picked = HeaderMap::with_capacity(allowed.len() + 2);
    for name in allowed {
        for value in from.get_all(*name) {
            picked.append(HeaderName::from_static(name), value.clone());
        }
    }
    picked
}

/// How long an answer asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date
/// (RFC 9110, section 10.2.3).
pub fn retry_after(answer: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| answer.get(name)?.to_str().ok();
    if let Some(wait) = text("retry-after-ms").and_then(|text| text.trim().parse().ok()) {
        return Some(Duration::from_millis(wait));
    }
    let text = text("retry-after")?.trim();
    match text.parse() {
        Ok(wait) => Some(Duration::from_secs(wait)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::try_from(value).unwrap());
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770))
    }

    #[test]
    fn reads_seconds_milliseconds_and_dates() {
        assert_eq!(wait("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(
            wait("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
    }

    #[test]
    fn ignores_what_is_no_wait() {
        for value in ["", "soon", "-3", "1.5", "Sun, 06 Nov 1994 08:49:00 GMT"] {
            assert_eq!(wait("retry-after", value), None, "{value}");
        }
    }
}
