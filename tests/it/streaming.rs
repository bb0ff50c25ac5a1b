//! Streams: what is held, when it commits, how it ends.

use serde_json::json;
use sidestep::faults::catalogue::Fault;

use crate::kit::{Reply, Rig, client, request};

/// The last event is the only terminal one, a well-formed `response.failed` with the next number.
fn assert_ends_as_failed(reply: &Reply, code: &str) {
    let events = reply.events();
    let terminal = |kind: &str| {
        ["response.completed", "response.incomplete", "response.failed"].contains(&kind)
    };
    let types = reply.types();
    assert_eq!(types.iter().filter(|kind| terminal(kind)).count(), 1, "{types:?}");
    let numbers: Vec<u64> =
        events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());

    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["status"], "failed");
    assert_eq!(last["response"]["error"]["code"], code);
    assert_eq!(last["response"]["id"], events[0]["response"]["id"], "the id that the client knows");
    assert!(reply.is_whole, "the body itself ends as a body should");
}

/// A stream that breaks after output: the client gets what came, then one `response.failed`.
async fn breaks_after_output(fault: Fault, code: &str, seen: &str) {
    let rig = Rig::new(&[fault, Fault::Ok]).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.output_text(), "Hello from primary, and nothing went wrong.");
    assert_ends_as_failed(&reply, code);
    assert_eq!(rig.counts(), [1, 0], "nothing is replayed after commit");
    let (class, detected_by) = seen.split_once(';').unwrap();
    assert_eq!(
        rig.metric("sidestep_attempts_total").await,
        [format!(
            "sidestep_attempts_total{{backend=\"primary\",class=\"{class}\",detected_by=\"{detected_by}\",stage=\"after_commit\"}} 1"
        )]
    );
}

#[tokio::test]
async fn a_cut_after_output_ends_as_failed() {
    breaks_after_output(Fault::CutAfterOutput, "server_error", "network;transport").await;
}

#[tokio::test]
async fn a_clean_end_after_output_ends_as_failed() {
    breaks_after_output(Fault::EndAfterOutput, "server_error", "malformed;event").await;
}

#[tokio::test]
async fn a_stall_after_output_ends_as_failed() {
    breaks_after_output(Fault::StallAfterOutput, "server_error", "timeout;timeout").await;
}

#[tokio::test]
async fn a_broken_event_after_output_ends_as_failed() {
    breaks_after_output(Fault::BrokenAfterOutput, "server_error", "malformed;event").await;
}

#[tokio::test]
async fn done_after_output_ends_as_failed() {
    breaks_after_output(Fault::DoneAfterOutput, "server_error", "malformed;event").await;
}

#[tokio::test]
async fn the_backends_own_failed_ends_the_body_at_once() {
    // The backend holds its body open; Codex would wait for it.
    breaks_after_output(Fault::FailedAfterOutput, "server_error", "server;event").await;
}

#[tokio::test]
async fn a_completed_that_says_failed_after_output_ends_as_failed() {
    // Codex takes `response.completed` for success, whatever its status says.
    breaks_after_output(Fault::CompletedFailedAfterOutput, "server_error", "server;event").await;
}

#[tokio::test]
async fn cancelled_after_output_ends_as_failed() {
    breaks_after_output(Fault::CancelledAfterOutput, "server_error", "cancelled;event").await;
}

#[tokio::test]
async fn a_terminal_event_that_is_cut_is_no_end() {
    breaks_after_output(Fault::CutInCompleted, "server_error", "malformed;event").await;
}

#[tokio::test]
async fn comments_do_not_confuse_the_numbers() {
    breaks_after_output(Fault::CommentAfterOutput, "server_error", "malformed;event").await;
}

#[tokio::test]
async fn an_error_event_is_followed_by_failed() {
    let quick = "stream.after_error_timeout = \"50ms\"\n";
    let rig = Rig::with(&[Fault::ErrorAfterOutput, Fault::Ok], quick).await;
    let reply = rig.ask(true).await;
    assert_ends_as_failed(&reply, "server_error");
    let types = reply.types();
    assert_eq!(types[types.len() - 2..], ["error", "response.failed"]);
    let last = reply.events().pop().unwrap();
    assert_eq!(last["response"]["error"]["message"], "The backend broke.");
}

#[tokio::test]
async fn an_error_event_with_its_own_failed_gets_no_second_one() {
    breaks_after_output(Fault::ErrorThenFailedAfterOutput, "server_error", "server;event").await;
}

#[tokio::test]
async fn nothing_follows_a_terminal_event() {
    let rig = Rig::new(&[Fault::TwiceTerminated]).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.types().last().unwrap(), "response.completed");
    assert!(reply.is_whole);
}

#[tokio::test]
async fn a_body_that_does_not_end_is_ended_after_the_terminal_event() {
    let rig =
        Rig::with(&[Fault::StallAfterCompleted], "stream.after_terminal_timeout = \"20ms\"\n")
            .await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.types().last().unwrap(), "response.completed");
    assert!(reply.is_whole);
    rig.backends[0].abandoned(1).await;
}

#[tokio::test]
async fn a_missing_last_blank_line_is_added() {
    let rig = Rig::new(&[Fault::EndWithoutBlankLine]).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.types().last().unwrap(), "response.completed");
    assert_eq!(rig.metric("sidestep_requests_total").await.len(), 1);
}

#[tokio::test]
async fn the_bytes_pass_as_they_are_whatever_the_framing() {
    let rig = Rig::new(&[Fault::NoEventLines]).await;
    let reply = rig.ask(true).await;
    let direct = rig.ask_directly(0, true).await;
    assert_eq!(reply.body, direct.body);
    assert!(reply.text().contains("\r\n\r\n") && !reply.text().contains("event:"));
    assert_eq!(reply.header("x-sidestep-attempts"), "\"primary:m\";class=ok");
}

#[tokio::test]
async fn output_arrives_before_the_stream_ends() {
    // Idle for long after its output: had anything waited for the end, this would see none of it.
    let rig = Rig::new(&[Fault::StallAfterOutput]).await;
    let body = request("m", true).to_string();
    let mut response = client().post(rig.url("/v1/responses")).body(body).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("wrong.") {
        text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
    }
    assert!(text.contains("response.created"));
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_upstream_request() {
    let rig = Rig::new(&[Fault::StallAfterOutput]).await;
    let body = request("m", true).to_string();
    let mut response = client().post(rig.url("/v1/responses")).body(body).send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    drop(response);
    rig.backends[0].abandoned(1).await;
    assert_eq!(
        outcome_once_over(&rig).await,
        "sidestep_requests_total{client=\"none\",outcome=\"client_gone\",route=\"default\"} 1"
    );
}

#[tokio::test]
async fn a_client_that_leaves_while_nothing_has_come_ends_the_upstream_request() {
    let rig = Rig::new(&[Fault::SilentAfterCreated]).await;
    let body = request("m", true).to_string();
    let asking = tokio::spawn(client().post(rig.url("/v1/responses")).body(body).send());
    while rig.counts() == [0] {
        tokio::task::yield_now().await;
    }
    asking.abort();
    rig.backends[0].abandoned(1).await;
    assert_eq!(
        outcome_once_over(&rig).await,
        "sidestep_requests_total{client=\"none\",outcome=\"client_gone\",route=\"default\"} 1"
    );
}

#[tokio::test]
async fn a_client_that_leaves_after_completed_is_a_success() {
    // The backend holds its body open, so the client is certain to leave before the end.
    let patient = "stream.after_terminal_timeout = \"1h\"\n";
    let rig = Rig::with(&[Fault::StallAfterCompleted], patient).await;
    let body = request("m", true).to_string();
    let mut response = client().post(rig.url("/v1/responses")).body(body).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("event: response.completed") {
        text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
    }
    drop(response);
    assert_eq!(
        outcome_once_over(&rig).await,
        "sidestep_requests_total{client=\"none\",outcome=\"answered\",route=\"default\"} 1"
    );
}

/// The line of the only request, once it is over.
async fn outcome_once_over(rig: &Rig) -> String {
    loop {
        if let Some(line) = rig.metric("sidestep_requests_total").await.pop() {
            return line;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn reasoning_commits() {
    let rig = Rig::new(&[Fault::ReasoningThenFailed, Fault::Ok]).await;
    let reply = rig.ask(true).await;
    assert_ends_as_failed(&reply, "server_error");
    assert_eq!(rig.counts(), [1, 0]);
}

#[tokio::test]
async fn held_reasoning_does_not_commit() {
    let hold = "stream.hold_reasoning = true\n";
    let rig = Rig::with(&[Fault::ReasoningThenFailed, Fault::Ok], hold).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.output_text(), "Hello from secondary, and nothing went wrong.");
    assert!(!reply.text().contains("Thinking."));
}

#[tokio::test]
async fn held_reasoning_goes_out_before_what_follows_it() {
    let hold = "stream.hold_reasoning = true\n";
    let rig = Rig::with(&[Fault::Reasoning, Fault::Ok], hold).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.body, rig.ask_directly(0, true).await.body);
}

#[tokio::test]
async fn held_events_are_bounded() {
    // Reasoning is past the limit, so it goes out, and with it the chance to go on.
    let bound = "stream.hold_reasoning = true\nlimits.held_events_max = 4\n";
    let rig = Rig::with(&[Fault::ReasoningThenFailed, Fault::Ok], bound).await;
    let reply = rig.ask(true).await;
    assert_ends_as_failed(&reply, "server_error");
}

#[tokio::test]
async fn an_event_beyond_the_limit_is_malformed() {
    let bound = "limits.event_bytes_max = \"1MiB\"\n";
    let rig = Rig::with(&[Fault::Oversized, Fault::Ok], bound).await;
    let reply = rig.ask(true).await;
    assert_eq!(
        reply.header("x-sidestep-attempts"),
        "\"primary:m\";class=malformed;detected_by=event, \"secondary:m\";class=ok"
    );
}

#[tokio::test]
async fn json_for_a_stream_is_told_as_events() {
    let rig = Rig::new(&[Fault::Swap]).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    assert_eq!(reply.output_text(), "Hello from primary, and nothing went wrong.");
    let types = reply.types();
    assert_eq!(types[0], "response.created");
    assert_eq!(types.last().unwrap(), "response.completed");
    let last = reply.events().pop().unwrap();
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], reply.output_text());
}

#[tokio::test]
async fn a_stream_for_json_is_put_together() {
    let rig = Rig::new(&[Fault::Swap]).await;
    let reply = rig.ask(false).await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.output_text(), "Hello from primary, and nothing went wrong.");
    assert_eq!(reply.json()["usage"]["total_tokens"], json!(20));
}

#[tokio::test]
async fn a_wrong_content_type_on_a_good_answer_is_put_right() {
    let rig = Rig::new(&[Fault::Mislabelled]).await;
    for (stream, media_type) in [(false, "application/json"), (true, "text/event-stream")] {
        let reply = rig.ask(stream).await;
        assert_eq!(reply.header("content-type"), media_type);
        assert_eq!(reply.body, rig.ask_directly(0, stream).await.body);
    }
}
