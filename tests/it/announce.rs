//! Streams whose output takes its time are announced, and failover goes on behind that.

use serde_json::Value;
use sidestep::faults::catalogue::Fault;

use crate::kit::{Reply, Rig};

const EARLY: &str = "stream.announce_after = \"100ms\"\nstream.heartbeat = \"50ms\"\n";

/// What every announced stream holds: one beginning, one id, rising numbers, one end.
fn check(reply: &Reply) -> Vec<Value> {
    assert_eq!((reply.status, reply.is_whole), (200, true));
    assert!(reply.header("content-type").starts_with("text/event-stream"));
    let events = reply.events();
    assert_eq!(events[0]["type"], "response.created");
    assert_eq!(events[1]["type"], "response.in_progress");
    let ids: Vec<&Value> =
        events.iter().filter_map(|event| event.pointer("/response/id")).collect();
    assert!(ids.len() >= 2 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let numbers = events.iter().filter_map(|event| event["sequence_number"].as_u64());
    assert!(numbers.collect::<Vec<_>>().is_sorted_by(|a, b| a < b), "{}", reply.text());
    let of = |kind: &str| reply.types().iter().filter(|one| *one == kind).count();
    assert_eq!((of("response.created"), of("response.completed") + of("response.failed")), (1, 1));
    events
}

#[tokio::test]
async fn a_slow_answer_is_announced_and_then_relayed_as_it_is() {
    let rig = Rig::with(&[Fault::Slow], EARLY).await;
    let reply = rig.ask(true).await;
    check(&reply);
    // The same answer, but for heartbeats and numbers.
    let without = |reply: &Reply| -> Vec<Value> {
        let mut events = reply.events();
        events.retain(|event| event["type"] != "response.in_progress");
        events.iter_mut().for_each(|event| event["sequence_number"] = Value::Null);
        events
    };
    assert_eq!(without(&reply), without(&rig.ask_directly(0, true).await));
}

#[tokio::test]
async fn another_backend_goes_on_under_the_id_that_was_told() {
    for (fault, told_model) in [(Fault::SilentAfterCreated, "m"), (Fault::Silent, "m")] {
        let rig = Rig::with(&[fault, Fault::Ok], EARLY).await;
        let reply = rig.ask(true).await;
        let events = check(&reply);
        assert_eq!(events[0]["response"]["model"], told_model);
        assert!(reply.output_text().contains("secondary"), "{}", reply.text());
        assert_eq!(rig.counts(), [1, 1]);
        let failovers = rig.metric("sidestep_failovers_total").await;
        let expected = "sidestep_failovers_total{class=\"timeout\",detected_by=\"timeout\",from=\"primary\",stage=\"before_commit\",to=\"secondary\"} 1";
        assert_eq!(failovers, [expected]);
        assert!(rig.metric("sidestep_requests_total").await[0].contains("outcome=\"answered\""));
    }
}

#[tokio::test]
async fn what_continues_such_an_answer_reaches_its_backend_under_its_own_id() {
    let rig = Rig::with(&[Fault::Silent, Fault::Ok], EARLY).await;
    let told = rig.ask(true).await.events()[0]["response"]["id"].as_str().unwrap().to_owned();
    let own = rig.ask_directly(1, false).await.json()["id"].as_str().unwrap().to_owned();
    assert_ne!(told, own);
    rig.backends[0].play(Fault::Ok);
    let reply = rig.send(&format!(r#"{{"model":"m","previous_response_id": "{told}"}}"#)).await;
    assert_eq!(reply.header("x-sidestep-backend"), "secondary");
    let received = rig.backends[1].received().pop().unwrap();
    assert_eq!(received.body, format!(r#"{{"model":"m","previous_response_id": "{own}"}}"#));
}

#[tokio::test]
async fn a_chain_that_fails_after_that_ends_in_one_failure() {
    let rig = Rig::with(&[Fault::SilentAfterCreated, Fault::S503], EARLY).await;
    let events = check(&rig.ask(true).await);
    let last = events.last().unwrap();
    assert_eq!(last["response"]["error"]["code"], "all_backends_failed");
    let message = last["response"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("primary") && message.contains("secondary"), "{message}");
    assert!(rig.metric("sidestep_requests_total").await[0].contains("outcome=\"failed\""));
    assert_eq!(rig.metric("sidestep_exhausted_total").await.len(), 1);
}

#[tokio::test]
async fn a_refusal_after_that_keeps_its_words() {
    let rig = Rig::with(&[Fault::Silent, Fault::S400], EARLY).await;
    let events = check(&rig.ask(true).await);
    let message = events.last().unwrap()["response"]["error"]["message"].as_str().unwrap();
    let direct = rig.ask_directly(1, true).await.json();
    assert_eq!(direct["error"]["message"], message);
    assert!(rig.metric("sidestep_requests_total").await[0].contains("outcome=\"refused\""));
}

#[tokio::test]
async fn who_waits_for_json_gets_a_status() {
    let rig = Rig::with(&[Fault::Silent, Fault::S503], EARLY).await;
    assert_eq!(rig.ask(false).await.status, 503);
}

#[tokio::test]
async fn a_client_that_leaves_an_announced_answer_ends_the_attempt() {
    let rig = Rig::with(&[Fault::SilentAfterCreated], EARLY).await;
    let mut response = crate::kit::client()
        .post(rig.url("/v1/responses"))
        .body(r#"{"model":"m","stream":true}"#)
        .send()
        .await
        .unwrap();
    response.chunk().await.unwrap().unwrap();
    drop(response);
    rig.backends[0].abandoned(1).await;
}
