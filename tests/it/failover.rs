//! Every row of the failure table, streaming and not: what the client got, what each backend saw.

use sidestep::faults::catalogue::Fault;

use crate::kit::{Reply, Rig, key_of, request};

/// What a row of the table expects of a failure that another target can mend.
struct Row {
    fault: Fault,
    /// `class;detected_by` of the attempt, for JSON and for a stream.
    seen: [&'static str; 2],
    /// How often the primary is asked.
    attempts: usize,
}

/// Asks a chain of a failing and a healthy backend, and checks both sides.
async fn goes_on(row: Row, stream: bool) {
    let rig = Rig::new(&[row.fault, Fault::Ok]).await;
    let reply = rig.ask(stream).await;
    let direct = rig.ask_directly(1, stream).await;

    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.body, direct.body, "the healthy backend's answer, byte for byte");
    assert!(reply.is_whole);
    assert_eq!(reply.header("x-sidestep-backend"), "secondary");
    assert_eq!(reply.header("x-sidestep-model"), "m");
    assert_eq!(reply.header("openai-model"), "", "it would accuse the user of Codex");
    assert_ne!(reply.header("x-request-id"), "req_of_the_backend");

    let (class, detected_by) = row.seen[usize::from(stream)].split_once(';').unwrap();
    let failed = format!("\"primary:m\";class={class};detected_by={detected_by}, ");
    let attempts = failed.repeat(row.attempts) + "\"secondary:m\";class=ok";
    assert_eq!(reply.header("x-sidestep-attempts"), attempts);

    // One of the secondary's two is our direct question.
    assert_eq!(rig.counts(), [row.attempts, 2]);
    for (backend, name) in rig.backends.iter().zip(["primary", "secondary"]) {
        let received = &backend.received()[0];
        assert_eq!(received.body, request("m", stream).to_string(), "the client's bytes");
        let header = |name: &str| received.headers.get(name).map(|value| value.to_str().unwrap());
        let (own, other) = match name {
            "primary" => ("authorization", "api-key"),
            _ => ("api-key", "authorization"),
        };
        let key = if name == "primary" { format!("Bearer {}", key_of(name)) } else { key_of(name) };
        assert_eq!(header(own), Some(key.as_str()));
        assert_eq!(header(other), None, "no key but its own");
    }
}

/// Asks a chain whose first backend finds fault with the request itself: the client gets its words.
async fn returns(fault: Fault, class_and_carrier: [&'static str; 2], stream: bool) -> Reply {
    let rig = Rig::new(&[fault, Fault::Ok]).await;
    let reply = rig.ask(stream).await;
    let direct = rig.ask_directly(0, stream).await;

    assert_eq!(reply.status, direct.status);
    assert_eq!(reply.body, direct.body, "the backend's own words");
    let (class, detected_by) = class_and_carrier[usize::from(stream)].split_once(';').unwrap();
    assert_eq!(
        reply.header("x-sidestep-attempts"),
        format!("\"primary:m\";class={class};detected_by={detected_by}")
    );
    assert_eq!(rig.counts(), [2, 0], "no other backend is bothered");
    reply
}

macro_rules! goes_on {
    ($($test:ident: $fault:ident, $json:literal, $stream:literal, $attempts:literal;)+) => { $(
        mod $test {
            use super::*;

            const ROW: fn() -> Row = || Row {
                fault: Fault::$fault,
                seen: [$json, $stream],
                attempts: $attempts,
            };

            #[tokio::test]
            async fn json() {
                goes_on(ROW(), false).await;
            }

            #[tokio::test]
            async fn stream() {
                goes_on(ROW(), true).await;
            }
        }
    )+ };
}

macro_rules! returns {
    ($($test:ident: $fault:ident, $json:literal, $stream:literal;)+) => { $(
        mod $test {
            use super::*;

            #[tokio::test]
            async fn json() {
                returns(Fault::$fault, [$json, $stream], false).await;
            }

            #[tokio::test]
            async fn stream() {
                returns(Fault::$fault, [$json, $stream], true).await;
            }
        }
    )+ };
}

goes_on! {
    status_401: S401, "auth;status", "auth;status", 1;
    status_400_with_a_bad_key: S400GoogleKey, "auth;status", "auth;status", 1;
    failed_auth: FailedAuth, "auth;body", "auth;event", 1;
    status_403: S403, "forbidden;status", "forbidden;status", 1;
    status_403_html: S403Html, "forbidden;status", "forbidden;status", 1;
    status_402: S402, "quota;status", "quota;status", 1;
    status_429_usage_limit: S429Quota, "quota;status", "quota;status", 1;
    failed_quota: FailedQuota, "quota;body", "quota;event", 1;
    status_429: S429, "rate_limit;status", "rate_limit;status", 1;
    failed_rate_limit: FailedRateLimit, "rate_limit;body", "rate_limit;event", 1;
    stream_failed: StreamFailed, "server;event", "server;event", 2;
    stream_error: StreamError, "server;event", "server;event", 2;
    stream_error_pair: StreamErrorPair, "rate_limit;event", "rate_limit;event", 1;
    status_401_quota: S401Quota, "quota;status", "quota;status", 1;
    error_with_a_number: ErrorNumber, "rate_limit;body", "rate_limit;event", 1;
    status_503: S503, "overloaded;status", "overloaded;status", 2;
    status_529: S529, "overloaded;status", "overloaded;status", 2;
    failed_overloaded: FailedOverloaded, "overloaded;body", "overloaded;event", 2;
    status_500: S500, "server;status", "server;status", 2;
    status_502_html: S502Html, "server;status", "server;status", 2;
    failed: Failed, "server;body", "server;event", 2;
    failed_without_a_code: FailedNoCode, "server;body", "server;event", 2;
    failed_with_output_items: FailedWithOutput, "server;body", "server;event", 2;
    completed_with_status_failed: CompletedFailed, "server;body", "server;event", 2;
    json_failed: JsonFailed, "server;body", "server;body", 2;
    json_error: JsonError, "server;body", "server;body", 2;
    error: Error, "server;body", "server;event", 2;
    error_flat: ErrorFlat, "server;body", "server;event", 2;
    reset: Reset, "network;transport", "network;transport", 2;
    status_408: S408, "timeout;status", "timeout;status", 1;
    silent: Silent, "timeout;timeout", "timeout;timeout", 1;
    silent_after_head: SilentAfterHead, "timeout;timeout", "timeout;timeout", 1;
    silent_after_created: SilentAfterCreated, "timeout;timeout", "timeout;timeout", 1;
    html: Html, "malformed;body", "malformed;body", 1;
    text: Text, "malformed;body", "malformed;body", 1;
    truncated: Truncated, "malformed;body", "malformed;body", 1;
    broken: Broken, "malformed;body", "malformed;event", 1;
    chat_completion: Chat, "malformed;body", "malformed;body", 1;
    unfinished: Unfinished, "malformed;body", "malformed;event", 1;
    no_body: Eof, "malformed;body", "malformed;event", 1;
    status_404_html: S404Html, "malformed;status", "malformed;status", 1;
    redirect: Redirect, "malformed;status", "malformed;status", 1;
    empty: Empty, "empty;body", "empty;event", 1;
    cancelled: Cancelled, "cancelled;body", "cancelled;event", 1;
    status_404_model: S404, "model;status", "model;status", 1;
    status_400_model: S400Model, "model;status", "model;status", 1;
    failed_model: FailedModel, "model;body", "model;event", 1;
    status_400_reasoning: S400Reasoning, "reasoning;status", "reasoning;status", 1;
    failed_reasoning: FailedReasoning, "reasoning;body", "reasoning;event", 1;
}

returns! {
    status_400: S400, "invalid_request;status", "invalid_request;status";
    status_422: S422, "invalid_request;status", "invalid_request;status";
    failed_image: FailedImage, "invalid_request;body", "invalid_request;event";
    status_400_policy: S400Policy, "policy;status", "policy;status";
    failed_policy: FailedPolicy, "policy;body", "policy;event";
    status_400_context: S400Context, "context_length;status", "context_length;status";
    status_413: S413, "context_length;status", "context_length;status";
    failed_context: FailedContext, "context_length;body", "context_length;event";
}

#[tokio::test]
async fn azures_pair_is_judged_by_its_second_event() {
    let rig = Rig::new(&[Fault::ErrorPair, Fault::Ok]).await;
    let reply = rig.ask(true).await;
    assert_eq!(
        reply.header("x-sidestep-attempts"),
        "\"primary:m\";class=rate_limit;detected_by=event, \"secondary:m\";class=ok"
    );
    assert_eq!(rig.counts(), [1, 1]);
}

#[tokio::test]
async fn done_without_a_terminal_event_is_malformed() {
    let rig = Rig::new(&[Fault::DoneOnly, Fault::Ok]).await;
    let reply = rig.ask(true).await;
    assert_eq!(
        reply.header("x-sidestep-attempts"),
        "\"primary:m\";class=malformed;detected_by=event, \"secondary:m\";class=ok"
    );
}

#[tokio::test]
async fn a_cut_before_output_is_retried_once_and_then_left() {
    let rig = Rig::new(&[Fault::CutBeforeOutput, Fault::Ok]).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.output_text(), "Hello from secondary, and nothing went wrong.");
    assert_eq!(
        reply.header("x-sidestep-attempts"),
        "\"primary:m\";class=network;detected_by=transport, \"primary:m\";class=network;detected_by=transport, \"secondary:m\";class=ok"
    );
}

#[tokio::test]
async fn incomplete_is_an_answer() {
    for stream in [false, true] {
        let rig = Rig::new(&[Fault::Incomplete, Fault::Ok]).await;
        let reply = rig.ask(stream).await;
        assert_eq!(reply.body, rig.ask_directly(0, stream).await.body);
        assert_eq!(reply.header("x-sidestep-attempts"), "\"primary:m\";class=ok");
    }
}

#[tokio::test]
async fn a_function_call_is_an_answer() {
    for stream in [false, true] {
        let rig = Rig::new(&[Fault::Tool, Fault::Ok]).await;
        let reply = rig.ask(stream).await;
        assert_eq!(reply.body, rig.ask_directly(0, stream).await.body);
        assert_eq!(rig.counts(), [2, 0]);
    }
}

#[tokio::test]
async fn a_background_response_may_be_queued() {
    let rig = Rig::new(&[Fault::Background, Fault::Ok]).await;
    let reply = rig.send(r#"{"model":"m","input":"hi","background":true}"#).await;
    assert_eq!(reply.json()["status"], "queued");
    assert_eq!(rig.counts(), [1, 0]);

    let foreground = rig.ask(false).await;
    assert_eq!(foreground.header("x-sidestep-backend"), "secondary");
}

#[tokio::test]
async fn an_oversized_request_goes_on_to_a_larger_target_only() {
    let windows = "---[backends.primary.models]\nm = { context_window = 1000 }\n[backends.tertiary.models]\nm = { context_window = 2000 }\n";
    for stream in [false, true] {
        let rig = Rig::with(&[Fault::FailedContext, Fault::Ok, Fault::Ok], windows).await;
        let reply = rig.ask(stream).await;
        assert_eq!(reply.output_text(), "Hello from tertiary, and nothing went wrong.");
        assert_eq!(rig.counts(), [1, 0, 1], "the size of the secondary is not known");
    }
}

#[tokio::test]
async fn the_configuration_overrides_action_status_and_code() {
    let overrides = "failures.actions = { policy = \"next\" }\nfailures.statuses = { 422 = \"model\" }\nfailures.codes = { invalid_value = \"quota\" }\n";
    for (fault, class) in
        [(Fault::S400Policy, "policy"), (Fault::S422, "model"), (Fault::S400, "quota")]
    {
        let rig = Rig::with(&[fault, Fault::Ok], overrides).await;
        let reply = rig.ask(false).await;
        assert_eq!(
            reply.header("x-sidestep-attempts"),
            format!("\"primary:m\";class={class};detected_by=status, \"secondary:m\";class=ok")
        );
    }
}

#[tokio::test]
async fn attempts_are_bounded() {
    let limit = "limits.attempts_max = 3\n";
    let rig = Rig::with(&[Fault::S500, Fault::S500, Fault::Ok], limit).await;
    let reply = rig.ask(false).await;
    assert_eq!(reply.status, 502);
    assert_eq!(rig.counts(), [2, 1, 0]);
}

#[tokio::test]
async fn a_chain_may_name_one_backend_twice_with_other_models() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let backend = rig.backends[0].clone();
    let toml = format!(
        "[backends.only]\nbase_url = \"{}\"\n[[routes]]\nmodel = \"gpt-*\"\nchain = [\"only:fault-401\", \"only:small\"]\n",
        backend.base_url()
    );
    let rig = Rig::start(crate::kit::configure(&toml), vec![backend.clone()]).await;
    let body = r#"{ "input": [1.0, 1e5, "\u00e9"],  "model": "gpt-\u0035", "stream": false }"#;
    let reply = rig.send(body).await;
    assert_eq!(reply.json()["model"], "small");
    assert_eq!(reply.header("x-sidestep-model"), "small");
    let bodies: Vec<_> = backend.received().into_iter().map(|received| received.body).collect();
    assert_eq!(
        bodies,
        [
            body.replace(r#""gpt-\u0035""#, r#""fault-401""#),
            body.replace(r#""gpt-\u0035""#, r#""small""#)
        ],
        "only the value of model differs"
    );
}
