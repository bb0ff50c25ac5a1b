//! Time and health: deadlines, waits, the bench.

use std::time::Duration;

use sidestep::faults::catalogue::Fault;
use tokio::time::Instant;

use crate::credentials::{Chain, OK, attempts};
use crate::kit::{Rig, client, configure, read, request};

#[tokio::test]
async fn one_deadline_covers_every_attempt() {
    for stream in [false, true] {
        let limit = "limits.request_timeout = \"300ms\"\n";
        let rig = Rig::with(&[Fault::Silent, Fault::Ok], limit).await;
        let began = Instant::now();
        let reply = rig.ask(stream).await;
        assert!(began.elapsed() >= Duration::from_millis(300));
        assert_eq!(reply.status, 504);
        assert_eq!(rig.counts(), [1, 0], "no time is left for the next one");
    }
}

#[tokio::test]
async fn a_backend_that_keeps_failing_is_passed_over() {
    let rig = Rig::with(&[Fault::S500, Fault::Ok], "bench.enabled = true\n").await;
    for stream in [false, true, false] {
        assert_eq!(rig.ask(stream).await.header("x-sidestep-backend"), "secondary");
    }
    assert_eq!(rig.counts(), [2, 3], "once, and its retry");
    assert_eq!(
        rig.metric("sidestep_benched_total").await,
        ["sidestep_benched_total{backend=\"primary\",class=\"server\",scope=\"target\"} 1"]
    );
    let on_bench = rig.metric("sidestep_on_bench").await;
    let expected = "sidestep_on_bench{backend=\"primary\",scope=\"target\"} 1";
    assert!(on_bench.contains(&expected.to_owned()), "{on_bench:?}");
    let other = rig.send(&request("other", false).to_string()).await;
    assert!(attempts(&other).starts_with("\"primary:other\""), "another target of the backend");
}

#[tokio::test]
async fn what_fails_after_its_first_output_counts() {
    let rig = Rig::with(&[Fault::CutAfterOutput, Fault::Ok], "bench.enabled = true\n").await;
    for _ in 0..2 {
        assert_eq!(rig.ask(true).await.types().last().unwrap(), "response.failed");
    }
    assert_eq!(rig.ask(true).await.header("x-sidestep-backend"), "secondary");
}

#[tokio::test]
async fn when_everything_is_benched_the_client_may_be_told_at_once() {
    let keys = "bench.enabled = true\nbench.when_all = \"answer\"\n";
    let rig = Rig::with(&[Fault::S401, Fault::S401], keys).await;
    assert_eq!(rig.ask(false).await.status, 502);
    let reply = rig.ask(false).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"));
    assert_eq!(reply.json()["error"]["attempts"], serde_json::json!([]));
    assert_eq!(
        reply.json()["error"]["message"],
        "no backend was asked: all of them failed lately (bench.when_all)"
    );
    assert_eq!(rig.counts(), [1, 1]);
}

#[tokio::test]
async fn the_clients_own_account_benches_nothing() {
    let chain = Chain::new(Fault::S429Quota).await;
    let rig = chain.rig_with("{ kind = \"passthrough\" }", "bench.enabled = true\n").await;
    for _ in 0..3 {
        let request = client().post(rig.url("/v1/responses")).body(r#"{"model":"m"}"#);
        let reply = read(request.header("authorization", "Bearer key-of-the-client")).await;
        let failed = "\"primary:m\";class=quota;detected_by=status";
        assert_eq!(attempts(&reply), format!("{failed}, {OK}"));
    }
}

#[tokio::test]
async fn a_changed_secret_file_brings_its_credential_back_from_the_bench() {
    let chain = Chain::new(Fault::NeedsKey).await;
    let file = chain.folder.path().join("key");
    std::fs::write(&file, "key-of-monday").unwrap();
    let auth = format!("{{ kind = \"bearer\", file = \"{}\" }}", file.display());
    let rig = chain.rig_with(&auth, "bench.enabled = true\n").await;
    rig.ask(false).await;
    assert_eq!(attempts(&rig.ask(false).await), OK, "on the bench");
    std::fs::write(&file, "good-key").unwrap();
    assert!(attempts(&rig.ask(false).await).ends_with("\"primary:m\";class=ok"));
    assert_eq!(attempts(&rig.ask(false).await), "\"primary:m\";class=ok");
}

#[tokio::test]
async fn a_short_wait_that_the_only_target_asks_for_is_waited_for() {
    // It says 7 s, which is more than may be waited.
    let rig = Rig::with(&[Fault::S429], "retry.wait_max = \"6s\"\n").await;
    assert_eq!(rig.ask(false).await.status, 429);
    assert_eq!(rig.counts(), [1]);
}

#[tokio::test]
async fn an_account_that_is_nearly_used_up_comes_last_where_that_is_wanted() {
    for (percent, expected) in [(0, "primary"), (5, "secondary")] {
        let keys = format!("bench.enabled = true\nbench.headroom_percent = {percent}\n");
        let rig = Rig::with(&[Fault::NearlyUsedUp, Fault::Ok], &keys).await;
        assert_eq!(rig.ask(true).await.header("x-sidestep-backend"), "primary");
        assert_eq!(rig.ask(false).await.header("x-sidestep-backend"), expected);
        rig.backends[1].play(Fault::S500);
        assert_eq!(
            rig.ask(false).await.header("x-sidestep-backend"),
            "primary",
            "rather than none"
        );
    }
}

#[tokio::test]
async fn what_is_on_the_bench_stays_there_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bench.json");
    let keys = format!("bench.enabled = true\nbench.file = \"{}\"\n", file.display());
    let mut first = Rig::with(&[Fault::S429Quota, Fault::S401], &keys).await;
    first.ask(false).await;
    let (toml, backends) = (first.toml.clone(), std::mem::take(&mut first.backends));
    first.stop();
    first.ended().await;
    crate::kit::must_hold_no_secret(&std::fs::read_to_string(&file).unwrap());

    backends.iter().for_each(|backend| backend.play(Fault::Ok));
    let second = Rig::start(configure(&toml), backends).await;
    assert_eq!(second.ask(false).await.header("x-sidestep-backend"), "secondary");
    assert_eq!(second.counts(), [1, 2], "a key that was rejected may have been mended");

    let other_key = toml.replace("key-of-primary", "key-of-primary-2");
    let third = Rig::start(configure(&other_key), second.backends).await;
    assert_eq!(third.ask(false).await.header("x-sidestep-backend"), "primary");
}
