//! Backends that are only watched, or not even that.

use sidestep::faults::catalogue::Fault;

use crate::credentials::attempts;
use crate::kit::Rig;

const SHADOW: &str = "primary.detection = \"shadow\"\nbench.enabled = true\nbench.failures = 1\n";
const OFF: &str = "primary.detection = \"off\"\n";
const SHADOWED: &str = "sidestep_shadow_failures_total";

fn seen(class: &str, detected_by: &str, stage: &str) -> String {
    let labels = format!("backend=\"primary\",class=\"{class}\",detected_by=\"{detected_by}\"");
    format!("{SHADOWED}{{{labels},stage=\"{stage}\"}} 1")
}

/// The client gets just what the backend sends, and nobody else is asked.
async fn is_relayed_as_it_is(rig: &Rig, stream: bool) {
    let reply = rig.ask(stream).await;
    let direct = rig.ask_directly(0, stream).await;
    assert_eq!((reply.status, reply.is_whole), (direct.status, direct.is_whole));
    assert_eq!(reply.header("content-type"), direct.header("content-type"));
    assert_eq!(reply.body, direct.body);
    assert_eq!(attempts(&reply), "\"primary:m\";class=ok");
    assert_eq!(rig.counts(), [2, 0]);
}

#[tokio::test]
async fn a_shadow_sees_what_would_have_been_a_failure() {
    for (fault, stream, class, detected_by, stage) in [
        (Fault::S401, false, "auth", "status", "before_commit"),
        (Fault::S500, true, "server", "status", "before_commit"),
        (Fault::FailedQuota, false, "quota", "body", "before_commit"),
        (Fault::FailedQuota, true, "quota", "event", "before_commit"),
        (Fault::Html, true, "malformed", "body", "before_commit"),
        (Fault::Empty, false, "empty", "body", "before_commit"),
        (Fault::Text, true, "malformed", "body", "before_commit"),
        (Fault::CutBeforeOutput, true, "network", "transport", "before_commit"),
        (Fault::CutAfterOutput, true, "network", "transport", "after_commit"),
        (Fault::EndAfterOutput, true, "malformed", "event", "after_commit"),
    ] {
        let rig = Rig::with(&[fault, Fault::Ok], SHADOW).await;
        is_relayed_as_it_is(&rig, stream).await;
        assert_eq!(rig.metric(SHADOWED).await, [seen(class, detected_by, stage)], "{fault:?}");
        rig.ask(stream).await;
        assert_eq!(rig.counts(), [3, 0], "it is not benched");
    }
}

#[tokio::test]
async fn a_shadow_sees_a_silence_while_it_lasts() {
    let rig = Rig::with(&[Fault::SilentAfterCreated, Fault::Ok], SHADOW).await;
    let reply = rig.ask(true).await;
    assert!(!reply.is_whole, "silence is limited all the same");
    assert_eq!(rig.metric(SHADOWED).await, [seen("timeout", "timeout", "before_commit")]);
}

#[tokio::test]
async fn good_answers_cast_no_shadow() {
    for fault in [Fault::Ok, Fault::Tool, Fault::Incomplete, Fault::Reasoning, Fault::NoEventLines]
    {
        for stream in [false, true] {
            let rig = Rig::with(&[fault, Fault::Ok], SHADOW).await;
            is_relayed_as_it_is(&rig, stream).await;
            assert_eq!(rig.metric(SHADOWED).await, Vec::<String>::new(), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_conversation_is_remembered_by_the_response_in_a_shadow() {
    let rig = Rig::with(&[Fault::Ok, Fault::Ok], SHADOW).await;
    let id = rig.ask(false).await.json()["id"].as_str().unwrap().to_owned();
    let body = format!(r#"{{"model":"m","previous_response_id":"{id}"}}"#);
    assert_eq!(rig.send(&body).await.header("x-sidestep-backend"), "primary");
}

#[tokio::test]
async fn without_detection_nobody_looks() {
    for (fault, stream) in [(Fault::S500, false), (Fault::FailedQuota, true)] {
        let rig = Rig::with(&[fault, Fault::Ok], OFF).await;
        is_relayed_as_it_is(&rig, stream).await;
        assert_eq!(rig.metric(SHADOWED).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn where_no_answer_comes_the_next_one_is_asked_all_the_same() {
    for keys in [SHADOW, OFF] {
        let rig = Rig::with(&[Fault::Reset, Fault::Ok], keys).await;
        assert_eq!(rig.ask(true).await.header("x-sidestep-backend"), "secondary");
    }
}

#[tokio::test]
async fn good_answers_make_good_for_broken_connections_in_between() {
    for keys in ["primary.detection = \"shadow\"\n", OFF] {
        let keys =
            format!("{keys}bench.enabled = true\nbench.failures = 2\nretry.budget_min = 9\n");
        let rig = Rig::with(&[Fault::Ok, Fault::Ok], &keys).await;
        for _ in 0..3 {
            rig.backends[0].play(Fault::CutBeforeOutput);
            rig.ask(true).await;
            rig.backends[0].play(Fault::Ok);
            assert_eq!(rig.ask(true).await.header("x-sidestep-backend"), "primary");
        }
    }
}

#[tokio::test]
async fn an_error_that_is_only_relayed_keeps_no_conversation() {
    for detection in ["shadow", "off"] {
        let rig = Rig::new(&[Fault::S401, Fault::S500]).await;
        let toml = rig.toml.replace(
            "[backends.secondary]",
            &format!("[backends.secondary]\ndetection = \"{detection}\""),
        );
        rig.reloader.reload(Ok(crate::kit::configure(&toml)));
        let body = r#"{"model":"m","prompt_cache_key":"one"}"#;
        assert_eq!(rig.send(body).await.status, 500);
        rig.backends[0].play(Fault::Ok);
        assert_eq!(rig.send(body).await.header("x-sidestep-backend"), "primary");
    }
}

#[tokio::test]
async fn what_breaks_in_sight_of_the_client_is_a_failure_of_the_backend() {
    for keys in [SHADOW, OFF] {
        let rig = Rig::with(&[Fault::CutAfterOutput, Fault::Ok], keys).await;
        assert!(!rig.ask(true).await.is_whole);
        let requests = rig.metric("sidestep_requests_total").await;
        assert!(requests[0].contains("outcome=\"failed\""), "{requests:?}");
        let attempts = rig.metric("sidestep_attempts_total").await;
        assert!(attempts[0].contains("class=\"network\""), "{attempts:?}");
    }
}
