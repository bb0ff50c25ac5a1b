//! What the client gets when every target failed.

use serde_json::json;
use sidestep::faults::catalogue::Fault;

use crate::kit::{Rig, client, read, request};

#[tokio::test]
async fn several_failures_become_one_error_in_the_openai_shape() {
    for stream in [false, true] {
        let rig = Rig::new(&[Fault::S401, Fault::FailedQuota]).await;
        let reply = rig.ask(stream).await;
        assert_eq!(reply.status, 502, "a real status, also for a stream");
        assert_eq!(reply.header("x-should-retry"), "false");
        assert_eq!(reply.header("retry-after"), "");
        assert_eq!(reply.header("content-type"), "application/json");
        let carrier = if stream { "event" } else { "body" };
        assert_eq!(
            reply.json(),
            json!({ "error": {
                "message": "no backend could answer: primary rejected the credential that Sidestep has for it; secondary has no allowance left",
                "type": "server_error",
                "param": null,
                "code": "all_backends_failed",
                "attempts": [
                    { "backend": "primary", "model": "m", "class": "auth", "detected_by": "status" },
                    { "backend": "secondary", "model": "m", "class": "quota", "detected_by": carrier },
                ],
            }})
        );
        assert!(reply.header("x-request-id").starts_with("req_"));
        assert_eq!(reply.header("x-sidestep-backend"), "", "none of them gave this answer");
        assert_eq!(
            rig.metric("sidestep_exhausted_total").await,
            ["sidestep_exhausted_total{route=\"default\"} 1"]
        );
    }
}

#[tokio::test]
async fn the_status_describes_the_failures() {
    for (faults, status) in [
        ([Fault::S401, Fault::S429], 429),
        ([Fault::S503, Fault::S500], 503),
        ([Fault::Silent, Fault::S408], 504),
        ([Fault::Silent, Fault::S500], 502),
        ([Fault::Html, Fault::Empty], 502),
        ([Fault::S401, Fault::S403], 502),
    ] {
        let rig = Rig::new(&faults).await;
        let reply = rig.ask(true).await;
        assert_eq!(reply.status, status, "{faults:?}");
    }
}

#[tokio::test]
async fn waiting_is_said_in_seconds_and_capped() {
    let rig = Rig::new(&[Fault::S401, Fault::S429]).await;
    assert_eq!(rig.ask(false).await.header("retry-after"), "7", "as the backend said");

    let rig = Rig::with(&[Fault::S401, Fault::S429], "retry_after.max = \"3s\"\n").await;
    assert_eq!(rig.ask(false).await.header("retry-after"), "3", "the configured cap");

    let rig = Rig::new(&[Fault::S401, Fault::FailedRateLimit]).await;
    let reply = rig.ask(false).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "5"), "the configured default");
    assert_eq!(reply.json()["error"]["code"], "rate_limit_exceeded");
}

#[tokio::test]
async fn the_only_targets_own_error_stands() {
    for fault in [Fault::S429Quota, Fault::S500, Fault::S502Html, Fault::S400, Fault::Failed] {
        for stream in [false, true] {
            let rig = Rig::new(&[fault]).await;
            let reply = rig.ask(stream).await;
            let direct = rig.ask_directly(0, stream).await;
            assert_eq!(reply.status, direct.status, "{fault:?}");
            assert_eq!(reply.body, direct.body, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn the_only_targets_retry_after_is_capped() {
    let rig = Rig::new(&[Fault::S503]).await;
    let reply = rig.ask(false).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "30"), "it said a whole day");
}

#[tokio::test]
async fn a_credential_that_is_ours_is_never_the_clients_401() {
    for fault in [Fault::S401, Fault::S401Quota, Fault::S403, Fault::FailedAuth] {
        for stream in [false, true] {
            let rig = Rig::new(&[fault]).await;
            let reply = rig.ask(stream).await;
            assert_eq!(reply.status, 502, "{fault:?}");
            assert_eq!(reply.json()["error"]["code"], "all_backends_failed");
        }
    }
}

#[tokio::test]
async fn no_override_hands_out_our_401_or_a_broken_stream() {
    for (class, fault) in [("auth", Fault::S401), ("malformed", Fault::Broken)] {
        let action = format!("failures.actions = {{ {class} = \"return\" }}\n");
        let rig = Rig::with(&[fault, Fault::Ok], &action).await;
        let reply = rig.ask(true).await;
        assert_eq!(reply.status, 502);
        assert_eq!(rig.counts(), [1, 0]);
    }
}

#[tokio::test]
async fn a_failed_stream_is_told_to_a_json_client_as_a_failed_response() {
    for fault in [Fault::StreamFailed, Fault::StreamError] {
        let rig = Rig::new(&[fault]).await;
        let reply = rig.ask(false).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
        assert_eq!(reply.json()["status"], "failed");
        assert_eq!(reply.json()["error"]["code"], "server_error");
    }
}

#[tokio::test]
async fn what_no_backend_said_is_our_error() {
    for (fault, status) in [
        (Fault::Html, 502),
        (Fault::Empty, 502),
        (Fault::Truncated, 502),
        (Fault::Reset, 502),
        (Fault::Unfinished, 502),
    ] {
        for stream in [false, true] {
            let rig = Rig::new(&[fault]).await;
            let reply = rig.ask(stream).await;
            assert_eq!(reply.status, status, "{fault:?}");
            assert_eq!(reply.json()["error"]["type"], "server_error");
        }
    }
}

#[tokio::test]
async fn a_lone_error_event_is_followed_by_failed() {
    for fault in [Fault::Error, Fault::ErrorFlat] {
        let rig = Rig::new(&[fault]).await;
        let reply = rig.ask(true).await;
        assert_eq!(reply.status, 200);
        let direct = rig.ask_directly(0, true).await;
        assert!(reply.body.starts_with(&direct.body), "the backend's own words first");
        let events = reply.events();
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.failed");
        assert_eq!(last["sequence_number"], 3);
        assert_eq!(
            last["response"]["error"],
            json!({"code":"server_error","message":"The backend broke."})
        );
        assert_eq!(last["response"]["id"], events[0]["response"]["id"]);
    }
}

#[tokio::test]
async fn a_terminal_event_that_would_look_like_success_is_told_as_failed() {
    for (fault, code, message) in [
        (Fault::CompletedFailed, "server_error", "The backend says that it failed."),
        (Fault::Cancelled, "server_error", "the backend did not complete its answer"),
    ] {
        let rig = Rig::new(&[fault]).await;
        let reply = rig.ask(true).await;
        assert_eq!(reply.types(), ["response.created", "response.in_progress", "response.failed"]);
        let last = reply.events().pop().unwrap();
        assert_eq!(last["sequence_number"], 2);
        assert_eq!(last["response"]["error"], json!({ "code": code, "message": message }));
    }
}

#[tokio::test]
async fn a_json_error_is_told_to_a_stream_as_events() {
    // JSON where a stream was asked: a client that waits for events would learn nothing from it.
    let rig = Rig::new(&[Fault::JsonFailed]).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    assert_eq!(reply.types(), ["response.created", "response.in_progress", "response.failed"]);

    let rig = Rig::new(&[Fault::JsonError]).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.types(), ["response.failed"]);
    let error = &reply.events()[0]["response"]["error"];
    assert_eq!(*error, json!({ "code": "server_error", "message": "The backend broke." }));
}

#[tokio::test]
async fn azures_pair_stands_whole() {
    let rig = Rig::new(&[Fault::ErrorPair]).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.body, rig.ask_directly(0, true).await.body);
}

#[tokio::test]
async fn no_text_of_a_backend_is_in_the_error() {
    let rig = Rig::new(&[Fault::S500, Fault::S429Quota]).await;
    let text = rig.ask(false).await.text();
    for words in ["The server had an error", "usage limit", "usage_limit_reached", "plus"] {
        assert!(!text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn clients_that_repeat_what_has_a_status_may_be_told_by_an_event() {
    for (style, client_name, is_event) in [
        ("auto", "codex_exec", true),
        ("auto", "OpenAI/Python", false),
        ("event", "OpenAI/Python", true),
        ("http", "codex_exec", false),
    ] {
        let rig =
            Rig::with(&[Fault::S401, Fault::S500], &format!("exhausted.style = \"{style}\"\n"))
                .await;
        let request = client().post(rig.url("/v1/responses")).header("originator", client_name);
        let reply = read(request.body(r#"{"model":"m","stream":true}"#)).await;
        assert_eq!(reply.status == 200, is_event, "{style} {client_name}");
        if is_event {
            let events = reply.events();
            assert_eq!(reply.types(), ["response.created", "response.failed"]);
            let error = &events[1]["response"]["error"];
            assert_eq!(error["code"], "invalid_prompt", "Codex does not repeat that");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("primary") && message.contains("secondary"), "{message}");
            assert_eq!(events[1]["response"]["id"], events[0]["response"]["id"]);
        }
        assert!(rig.metric("sidestep_requests_total").await[0].contains("outcome=\"failed\""));
    }
}

#[tokio::test]
async fn who_wants_json_or_may_wait_is_always_told_by_a_status() {
    let rig = Rig::with(&[Fault::S500], "exhausted.style = \"event\"\n").await;
    assert_eq!(rig.ask(false).await.status, 500);
    let rig = Rig::with(&[Fault::S429, Fault::S429], "exhausted.style = \"event\"\n").await;
    assert_eq!(rig.ask(true).await.status, 429);
}

#[tokio::test]
async fn a_dead_chain_is_asked_once_in_a_while() {
    let keys = "bench.enabled = true\nexhausted.memory = \"1h\"\n";
    let rig = Rig::with(&[Fault::S401, Fault::S401], keys).await;
    let first = rig.ask(false).await;
    let second = rig.ask(false).await;
    assert_eq!((second.status, second.json()), (first.status, first.json()));
    assert_eq!(rig.counts(), [1, 1]);
    rig.backends[0].play(Fault::Ok);
    let other = rig.send(&request("other", false).to_string()).await;
    assert_eq!(other.status, 200, "another model is another chain");
}
