//! Which headers travel, both ways: by allow-list, so that no credential, cookie or account of one
//! side reaches the other by oversight.

use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::Backend;
use super::attempt::Original;
use crate::wire::blob::Issuer;
use crate::wire::error_object::ErrorObject;
use crate::wire::wait::Wait;

/// Names that are made once, and not for each request.
macro_rules! names {
    ($($name:literal),+ $(,)?) => { [$(http::HeaderName::from_static($name)),+] };
}
pub(super) use names;

/// Headers of a client that every backend may see; its profile says what else.
static TO_BACKEND: [HeaderName; 7] = names![
    "user-agent", "openai-beta", "originator", "session-id", "session_id", "thread-id",
    "x-client-request-id",
];

/// Which trace a request belongs to (W3C Trace Context, sections 3.2 and 3.3), for backends that are
/// configured to see it.
static TRACE_CONTEXT: [HeaderName; 2] = names!["traceparent", "tracestate"];

/// Headers of a backend that a client may see. Not among them: `openai-model`, which makes Codex
/// accuse its user when it differs from what was asked (openai/codex#12003); `x-models-etag`, which
/// sends it to fetch a catalogue; rate limits of accounts that are not the client's; request ids,
/// because `x-request-id` is ours.
static TO_CLIENT: [HeaderName; 6] = names![
    "content-type", "cache-control", "openai-processing-ms", "openai-version", "retry-after",
    "x-reasoning-included",
];

/// What an account has left: for the client only if it is its own.
const OF_ACCOUNT: [&str; 2] = ["x-codex-", "x-ratelimit-"];

/// What Codex sends back with each further request of a turn. It means something only to its issuer.
const TURN_STATE: HeaderName = HeaderName::from_static("x-codex-turn-state");

/// How backends call their own ids of a request.
static REQUEST_IDS: [HeaderName; 3] = names!["x-request-id", "request-id", "apim-request-id"];

/// The name under which a client finds a backend's own id of its request.
const BACKEND_REQUEST_ID: HeaderName = HeaderName::from_static("x-sidestep-backend-request-id");

/// The headers of a request to `backend`, without its credential.
pub fn for_backend(original: &Original, backend: &Backend, reader: Issuer) -> HeaderMap {
    let mut headers = pick(&original.headers, &TO_BACKEND);
    headers.extend(pick(&original.headers, backend.profile.headers));
    if backend.trace_context {
        headers.extend(pick(&original.headers, &TRACE_CONTEXT));
    }
    let state = original.headers.get(TURN_STATE).and_then(|state| reader.own(state.to_str().ok()?));
    if let Some(state) = state.and_then(|state| HeaderValue::try_from(state).ok()) {
        headers.insert(TURN_STATE, state);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let is_stream = original.envelope.stream || backend.profile.only_streams;
    let accept = if is_stream { "text/event-stream" } else { "application/json" };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    for (name, value) in &backend.headers {
        headers.insert(name, value.clone());
    }
    headers
}

/// The headers of an answer of `issuer` that go on to the client; `is_own` if the account is the
/// client's.
pub fn for_client(answer: &HeaderMap, issuer: Issuer, is_own: bool) -> HeaderMap {
    let mut headers = pick(answer, &TO_CLIENT);
    let state = answer.get(TURN_STATE).and_then(|state| state.to_str().ok());
    if let Some(state) = state.and_then(|state| HeaderValue::try_from(issuer.mark(state)).ok()) {
        headers.insert(TURN_STATE, state);
    }
    if let Some(id) = REQUEST_IDS.iter().find_map(|name| answer.get(name)) {
        headers.insert(BACKEND_REQUEST_ID, id.clone());
    }
    if is_own {
        let is_of_account = |name: &HeaderName| {
            OF_ACCOUNT.iter().any(|family| name.as_str().starts_with(family)) && name != TURN_STATE
        };
        for (name, value) in answer.iter().filter(|(name, _)| is_of_account(name)) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

fn pick(from: &HeaderMap, allowed: &'static [HeaderName]) -> HeaderMap {
    let mut picked = HeaderMap::with_capacity(allowed.len() + 2);
    for name in allowed {
        for value in from.get_all(name) {
            picked.append(name, value.clone());
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

/// How long a failed answer asks to wait before this account is used again, from whatever says it:
/// `retry-after`, then the error itself, then the window of the account that is used up.
pub fn wait(answer: &HeaderMap, error: Option<&ErrorObject>, now: SystemTime) -> Option<Duration> {
    retry_after(answer, now)
        .and_then(|span| Wait::For(span).left(now))
        .or_else(|| error?.wait?.left(now))
        .or_else(|| window(answer, now))
}

/// How much is left of an account's quota.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headroom {
    /// 0 to 100.
    pub percent: f64,
    /// When it is full again.
    pub reset: Option<Duration>,
}

/// What an answer says of its account's quota: the window of which least is left.
pub fn headroom(answer: &HeaderMap, now: SystemTime) -> Option<Headroom> {
    windows(answer, now).min_by(|a, b| a.percent.total_cmp(&b.percent))
}

/// When the window of an account that is used up begins anew. Whatever is used up for longest has to
/// come back.
fn window(answer: &HeaderMap, now: SystemTime) -> Option<Duration> {
    windows(answer, now).filter(|window| window.percent <= 0.0).filter_map(|used| used.reset).max()
}

/// The windows of an account: `x-codex-*` of the ChatGPT Codex backend, which come with every answer,
/// and `x-ratelimit-*` of OpenAI and others.
fn windows(answer: &HeaderMap, now: SystemTime) -> impl Iterator<Item = Headroom> {
    let value = |name: &str| answer.get(name)?.to_str().ok().map(Value::from);
    // Azure says -1 for what it does not know.
    let number = move |name: &str| {
        let number = value(name)?.as_str()?.trim().parse::<f64>().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number)
    };
    let codex = ["primary", "secondary"].into_iter().filter_map(move |which| {
        let used = number(&format!("x-codex-{which}-used-percent"))?;
        let after = value(&format!("x-codex-{which}-reset-after-seconds"));
        let at = value(&format!("x-codex-{which}-reset-at"));
        let wait = after.as_ref().and_then(Wait::seconds);
        let wait = wait.or_else(|| at.as_ref().and_then(Wait::until));
        Some(Headroom { percent: 100.0 - used, reset: wait.and_then(|wait| wait.left(now)) })
    });
    let limits = ["-requests", "-tokens", ""].into_iter().filter_map(move |which| {
        let remaining = number(&format!("x-ratelimit-remaining{which}"))?;
        let limit = number(&format!("x-ratelimit-limit{which}")).filter(|limit| *limit > 0.0);
        let percent = match limit {
            _ if remaining <= 0.0 => 0.0,
            Some(limit) => 100.0 * remaining / limit,
            // Of how much, it does not say.
            None => return None,
        };
        let reset = value(&format!("x-ratelimit-reset{which}")).and_then(|reset| {
            // A small number counts seconds, a large one is a moment.
            let is_moment = |number: f64| number > 1e8;
            let text = reset.as_str()?.trim().parse::<f64>();
            let wait =
                if text.is_ok_and(is_moment) { Wait::until(&reset) } else { Wait::seconds(&reset) };
            wait.or_else(|| Wait::until(&reset))?.left(now)
        });
        Some(Headroom { percent, reset })
    });
    codex.chain(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::try_from(value).unwrap());
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770))
    }

    fn parsed(written: &str) -> HeaderMap {
        let lines = written.lines().map(|line| line.split_once(": ").unwrap());
        let parse = |(name, value)| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        };
        lines.map(parse).collect()
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
    fn the_window_that_is_used_up_says_when_it_begins_anew() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        for (written, expected) in [
            (
                "x-codex-primary-used-percent: 100\nx-codex-primary-reset-after-seconds: 60",
                Some(60),
            ),
            ("x-codex-primary-used-percent: 99.5\nx-codex-primary-reset-after-seconds: 60", None),
            (
                "x-codex-secondary-used-percent: 100\nx-codex-secondary-reset-at: 1790000090",
                Some(90),
            ),
            (
                "x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 6m0s\nx-ratelimit-remaining-requests: 5\nx-ratelimit-reset-requests: 1h",
                Some(360),
            ),
            ("x-ratelimit-remaining: 0\nx-ratelimit-reset: 1790000030000", Some(30)),
            ("x-ratelimit-remaining: 0\nx-ratelimit-reset: 45", Some(45)),
            ("x-ratelimit-remaining: 0\nx-ratelimit-reset: soon", None),
            (
                "retry-after: 5\nx-codex-primary-used-percent: 100\nx-codex-primary-reset-after-seconds: 60",
                Some(5),
            ),
        ] {
            let found = super::wait(&parsed(written), None, now);
            assert_eq!(found, expected.map(Duration::from_secs), "{written}");
        }
    }

    #[test]
    fn the_window_of_which_least_is_left_counts() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        for (written, expected) in [
            (
                "x-codex-primary-used-percent: 40\nx-codex-secondary-used-percent: 97\nx-codex-secondary-reset-at: 1790000090",
                Some((3.0, Some(90))),
            ),
            (
                "x-ratelimit-remaining-tokens: 500\nx-ratelimit-limit-tokens: 1000\nx-ratelimit-remaining-requests: 1\nx-ratelimit-limit-requests: 100\nx-ratelimit-reset-requests: 12s",
                Some((1.0, Some(12))),
            ),
            ("x-ratelimit-remaining-tokens: 500", None),
            ("x-ratelimit-remaining-tokens: 0", Some((0.0, None))),
            ("x-ratelimit-remaining-tokens: -1\nx-ratelimit-limit-tokens: -1", None),
            ("x-codex-primary-used-percent: NaN\nx-codex-secondary-used-percent: inf", None),
            ("", None),
        ] {
            let headers = parsed(written);
            let found = headroom(&headers, now);
            let expected = expected.map(|(percent, reset)| Headroom {
                percent,
                reset: reset.map(Duration::from_secs),
            });
            assert_eq!(found, expected, "{written}");
        }
    }

    #[test]
    fn a_client_sees_what_is_for_it_and_its_own_accounts_limits() {
        let issuer = Issuer::new("a");
        let answer = parsed(
            "content-type: text/event-stream\nopenai-model: other\nx-models-etag: 1\nx-request-id: req_b\nset-cookie: a=b\nx-codex-turn-state: state\nx-codex-primary-used-percent: 9",
        );
        let shared = for_client(&answer, issuer, false);
        let names: Vec<&str> = shared.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "x-codex-turn-state", "x-sidestep-backend-request-id"]);
        assert_eq!(shared["x-sidestep-backend-request-id"], "req_b");
        let own = for_client(&answer, issuer, true);
        assert_eq!(own["x-codex-primary-used-percent"], "9");
        assert_eq!(own.get_all("x-codex-turn-state").iter().count(), 1);
    }

    #[test]
    fn a_turns_state_goes_back_only_to_its_issuer() {
        let backend = crate::backend::testing::plan().targets.remove(0).backend;
        let (issuer, other) = (Issuer::new("a"), Issuer::new("b"));
        let answer = for_client(&parsed("x-codex-turn-state: state"), issuer, false);
        let mut original = crate::backend::testing::original(r#"{"model":"m"}"#);
        original.headers = answer;
        let sent = |reader| for_backend(&original, &backend, reader).get(TURN_STATE).cloned();
        assert_eq!(sent(issuer).unwrap(), "state");
        assert_eq!(sent(other), None);
    }

    #[test]
    fn ignores_what_is_no_wait() {
        for value in ["", "soon", "-3", "1.5", "Sun, 06 Nov 1994 08:49:00 GMT"] {
            assert_eq!(wait("retry-after", value), None, "{value}");
        }
    }
}
