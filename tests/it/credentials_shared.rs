//! One login and many who need it: concurrent requests, several processes, processes that die.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use sidestep::faults::catalogue::Fault;

use crate::credentials::{Chain, HOUR, attempts};
use crate::kit::client;
use crate::program::Program;

#[tokio::test]
async fn a_thousand_requests_that_meet_an_expired_token_renew_it_once() {
    for lifetime in [Duration::ZERO, HOUR] {
        let chain = Chain::logged_in(Fault::NeedsToken, lifetime).await;
        let rig = chain.rig().await;
        if lifetime.is_zero() {
            // Known to be over. What the endpoint gives lives longer.
            chain.primary.tokens().live_for(HOUR);
        } else {
            // Not known to be over: every one of them meets a 401.
            chain.primary.tokens().revoke();
        }
        chain.primary.tokens().delay(Duration::from_millis(50));
        let client = client();
        let url = rig.url("/v1/responses");
        let all = (0..1000).map(|_| {
            let request = client.post(&url).body(r#"{"model":"m"}"#).send();
            async { request.await.unwrap().status().as_u16() }
        });
        let statuses = join_all(all).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert_eq!(chain.primary.tokens().count(), 1, "{lifetime:?}");
        assert_eq!(chain.secondary.received().len(), 0, "all were served by the primary");
    }
}

#[tokio::test]
async fn a_client_that_leaves_breaks_no_renewal_off() {
    let chain = Chain::logged_in(Fault::NeedsToken, Duration::ZERO).await;
    chain.primary.tokens().live_for(HOUR);
    chain.primary.tokens().delay(Duration::from_millis(100));
    let rig = chain.rig().await;
    let ask = client().post(rig.url("/v1/responses")).body(r#"{"model":"m"}"#).send();
    let asked = tokio::spawn(ask);
    while chain.primary.tokens().count() == 0 {
        tokio::task::yield_now().await;
    }
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    // Joins the renewal that is under way.
    assert_eq!(attempts(&rig.ask(false).await), "\"primary:m\";class=ok");
    assert_eq!(chain.primary.tokens().count(), 1);
    assert_eq!(chain.stored()["refresh_token"], chain.primary.tokens().refresh_token());
}

#[tokio::test]
async fn the_end_of_the_server_breaks_no_renewal_off() {
    let chain = Chain::logged_in(Fault::NeedsToken, Duration::ZERO).await;
    chain.primary.tokens().delay(Duration::from_millis(100));
    let mut rig = chain.rig_with(&chain.oauth(), "server.drain_timeout = \"0s\"").await;
    let asked =
        tokio::spawn(client().post(rig.url("/v1/responses")).body(r#"{"model":"m"}"#).send());
    while chain.primary.tokens().count() == 0 {
        tokio::task::yield_now().await;
    }
    rig.stop();
    rig.ended().await;
    assert_eq!(chain.stored()["refresh_token"], chain.primary.tokens().refresh_token());
    asked.abort();
}

#[tokio::test]
async fn renewed_tokens_that_cannot_be_saved_work_and_are_saved_later() {
    let chain = Chain::logged_in(Fault::NeedsToken, HOUR).await;
    // Where the new file would be written first, something is in the way.
    let obstacle = chain.folder.path().join("tokens.json.new");
    fs::create_dir(&obstacle).unwrap();
    let before = chain.stored();
    let rig = chain.rig_with(&chain.oauth(), "credentials.file_check_interval = \"0s\"").await;
    for _ in 0..3 {
        chain.primary.tokens().revoke();
        assert!(attempts(&rig.ask(false).await).ends_with("\"primary:m\";class=ok"));
    }
    assert_eq!(chain.stored(), before, "nothing could be written");
    assert_eq!((chain.primary.tokens().count(), chain.primary.tokens().reused()), (3, 0));

    fs::remove_dir(&obstacle).unwrap();
    rig.ask(false).await;
    assert_eq!(chain.stored()["refresh_token"], chain.primary.tokens().refresh_token());
}

/// Writes the configuration of a chain that uses its login.
fn configured(chain: &Chain, more: &str) -> std::path::PathBuf {
    let config = chain.folder.path().join("sidestep.toml");
    fs::write(&config, chain.toml(&chain.oauth(), more)).unwrap();
    config
}

#[tokio::test]
async fn processes_that_share_a_token_file_never_spend_a_token_twice() {
    const REQUESTS: usize = 600;
    let chain = Chain::logged_in(Fault::NeedsToken, HOUR).await;
    // An access token is good for a few requests: whoever meets a 401 has to renew or to adopt.
    chain.primary.tokens().limit_uses(25);
    let config = configured(&chain, "credentials.file_check_interval = \"10ms\"\n");
    let programs = [Program::serve(&config).await, Program::serve(&config).await];
    let workers = (0..16).map(|worker| {
        let url = format!("http://{}/v1/responses", programs[worker % 2].address);
        let client = client();
        async move {
            let mut served = 0;
            for _ in 0..REQUESTS / 16 {
                let reply = client.post(&url).body(r#"{"model":"m"}"#).send().await.unwrap();
                assert_eq!(reply.status().as_u16(), 200);
                served += usize::from(reply.headers()["x-sidestep-backend"] == "primary");
            }
            served
        }
    });
    let served: usize = join_all(workers).await.into_iter().sum();
    let tokens = chain.primary.tokens();
    assert_eq!(tokens.reused(), 0, "no refresh token was sent twice");
    assert!(tokens.count() >= 10, "{} renewals", tokens.count());
    assert!(served > REQUESTS / 2, "{served} of {REQUESTS} served by the primary");
    assert_eq!(chain.stored()["refresh_token"], tokens.refresh_token());
    for program in programs {
        let log = program.kill().await;
        assert!(
            log.contains("outcome=\"adopted\"") || log.contains("outcome=\"renewed\""),
            "{log}"
        );
    }
}

#[tokio::test]
async fn a_process_killed_in_a_renewal_leaves_a_usable_file() {
    const KILLS: usize = 100;
    let chain = Chain::logged_in(Fault::NeedsToken, HOUR).await;
    let config = configured(&chain, "");
    let mut lost = 0;
    let mut renewed = 0;
    for _ in 0..KILLS {
        let before = chain.stored();
        chain.primary.tokens().revoke();
        chain.primary.tokens().delay(Duration::from_millis(fastrand::u64(0..8)));
        let program = Program::serve(&config).await;
        let ask = client()
            .post(format!("http://{}/v1/responses", program.address))
            .body(r#"{"model":"m"}"#)
            .send();
        let asked = tokio::spawn(ask);
        tokio::time::timeout(
            Duration::from_millis(fastrand::u64(0..25)),
            std::future::pending::<()>(),
        )
        .await
        .unwrap_err();
        program.kill().await;
        asked.abort();

        let stored = chain.stored();
        assert_whole(&chain.file(), &stored);
        let good = chain.primary.tokens().refresh_token();
        if stored["refresh_token"] == good.as_str() {
            renewed += usize::from(stored != before);
        } else {
            // Killed between the endpoint's decision and the write: the old tokens are there, whole.
            assert_eq!(stored, before);
            lost += 1;
            chain.log_in(HOUR);
        }
    }
    eprintln!(
        "{KILLS} kills: {renewed} after a whole renewal, {lost} in the window, the rest before"
    );
    // What is there afterwards works.
    chain.primary.tokens().revoke();
    let program = Program::serve(&config).await;
    assert!(attempts(&program.ask(false).await).ends_with("\"primary:m\";class=ok"));
}

fn assert_whole(file: &Path, stored: &serde_json::Value) {
    use std::os::unix::fs::PermissionsExt as _;
    assert!(stored["refresh_token"].as_str().is_some_and(|token| token.starts_with("refresh-")));
    assert!(stored["access_token"].as_str().is_some_and(|token| token.ends_with(".signature")));
    if stored["last_refresh"].is_u64() {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
