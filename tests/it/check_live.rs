//! `sidestep check --live`: what every target says, asked one by one.

use std::process::Output;

use serde_json::Value;
use sidestep::faults::FaultBackend;
use sidestep::faults::catalogue::Fault;
use tokio::net::TcpListener;

use crate::program::sidestep;

async fn backend(name: &str, fault: Fault) -> FaultBackend {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    FaultBackend::start(name, fault, listener).unwrap()
}

/// A backend's section, with a key of its own.
fn section(name: &str, backend: &FaultBackend) -> String {
    let url = backend.base_url();
    format!(
        "[backends.{name}]\nbase_url = \"{url}\"\nauth = {{ kind = \"bearer\", secret = \"secret-of-{name}\" }}\n"
    )
}

/// Runs the command on a configuration.
async fn check(toml: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    std::fs::write(&file, toml).unwrap();
    let mut command = sidestep(&["check", "--live", "--config", file.to_str().unwrap()]);
    let Output { status, stdout, stderr } = command.args(arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(stdout), text(stderr));
    assert!(!format!("{out}{err}").contains("secret-of-"), "{out}{err}");
    (status.code().unwrap(), out, err)
}

/// The same, with JSON.
async fn findings(toml: &str, arguments: &[&str]) -> (i32, Vec<Value>) {
    let (code, out, _) = check(toml, &[&["--json"], arguments].concat()).await;
    (code, serde_json::from_str(&out).unwrap())
}

#[tokio::test]
async fn every_target_is_asked_with_its_own_key_and_none_for_another() {
    let (good, bad) = (backend("good", Fault::Ok).await, backend("bad", Fault::FailedQuota).await);
    let toml = format!(
        "{}{}[[routes]]\nmodel = \"m\"\nchain = [\"bad\", \"good:other\"]\n",
        section("good", &good),
        section("bad", &bad)
    );
    let (code, out, err) = check(&toml, &[]).await;
    assert_eq!(code, 1, "{out}{err}");
    let row = |start: &str| out.lines().find(|line| line.trim().starts_with(start)).unwrap();
    assert!(row("bad").contains("quota: insufficient_quota"), "{out}");
    assert!(row("good").contains("other") && row("good").contains(" ok "), "{out}");
    for (backend, key, model) in [(&good, "good", "other"), (&bad, "bad", "m")] {
        let [received] = &backend.received()[..] else { panic!("one question each") };
        assert_eq!(received.headers["authorization"], format!("Bearer secret-of-{key}"));
        let body: Value = serde_json::from_slice(&received.body).unwrap();
        assert_eq!((&body["model"], &body["max_output_tokens"]), (&model.into(), &16.into()));
    }
}

#[tokio::test]
async fn targets_that_all_answer_are_no_error() {
    let used = backend("used", Fault::NearlyUsedUp).await;
    let toml = format!("{}[[routes]]\nmodel = \"m\"\nchain = [\"used\"]\n", section("used", &used));
    let (code, findings) = findings(&toml, &[]).await;
    assert_eq!((code, findings.len()), (0, 1));
    assert_eq!(findings[0]["outcome"], "ok");
    assert_eq!(findings[0]["quota_left_percent"], 2.0);
    assert_eq!(findings[0]["quota_reset_seconds"], 600);
}

#[tokio::test]
async fn each_credential_of_a_pool_is_asked_for() {
    let one = backend("one", Fault::Ok).await;
    let toml = format!(
        "[backends.one]\nbase_url = \"{}\"\nauth = [{{ kind = \"bearer\", secret = \"secret-of-a\" }}, {{ kind = \"bearer\", secret = \"secret-of-b\" }}]\n[[routes]]\nmodel = \"m\"\nchain = [\"one\"]\n",
        one.base_url()
    );
    let (code, findings) = findings(&toml, &[]).await;
    assert_eq!((code, findings.len()), (0, 2));
    let mut keys: Vec<_> =
        one.received().iter().map(|received| received.headers["authorization"].clone()).collect();
    keys.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    assert_eq!(keys, ["Bearer secret-of-a", "Bearer secret-of-b"]);
}

#[tokio::test]
async fn what_nothing_can_be_asked_of_is_skipped_and_says_why() {
    let (pattern, own) = (backend("pattern", Fault::Ok).await, backend("own", Fault::Ok).await);
    let toml = format!(
        "{}[backends.own]\nbase_url = \"{}\"\nauth = {{ kind = \"passthrough\" }}\n[[routes]]\nmodel = \"gpt-*\"\nchain = [\"pattern\", \"own\"]\n",
        section("pattern", &pattern),
        own.base_url()
    );
    let (code, skipped) = findings(&toml, &[]).await;
    assert_eq!(code, 1, "nothing was asked");
    let told: Vec<_> = skipped.iter().map(|one| (&one["outcome"], &one["detail"])).collect();
    let model = "no route names a model for it: --model NAME";
    let skip = "skipped".into();
    assert_eq!(told, [(&skip, &model.into()), (&skip, &"the client's own credential".into())]);

    let (code, asked) = findings(&toml, &["--model", "gpt-5"]).await;
    assert_eq!(code, 0);
    assert_eq!((&asked[0]["outcome"], &asked[0]["model"]), (&"ok".into(), &"gpt-5".into()));
    assert_eq!((pattern.received().len(), own.received().len()), (1, 0));
}

#[tokio::test]
async fn a_target_that_is_silent_ends_with_the_timeout() {
    let silent = backend("silent", Fault::Silent).await;
    let toml =
        format!("{}[[routes]]\nmodel = \"m\"\nchain = [\"silent\"]\n", section("silent", &silent));
    let (code, findings) = findings(&toml, &["--timeout", "50ms"]).await;
    assert_eq!((code, &findings[0]["outcome"]), (1, &"timeout".into()));
}
