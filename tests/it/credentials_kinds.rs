//! The kinds of credentials that are neither fixed nor a login: files, commands, the Codex CLI's.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use sidestep::faults::catalogue::Fault;
use tokio::io::AsyncWriteExt as _;

use crate::credentials::{Chain, HOUR, OK, attempts};
use crate::program::sidestep;

fn in_file(file: &Path) -> String {
    format!("{{ kind = \"bearer\", file = \"{}\" }}", file.display())
}

#[tokio::test]
async fn a_secret_file_is_read_again_when_it_changes() {
    let chain = Chain::new(Fault::Ok).await;
    let file = chain.folder.path().join("key");
    fs::write(&file, "key-of-monday\n").unwrap();
    let rig = chain.rig_with(&in_file(&file), "credentials.file_check_interval = \"0s\"").await;
    rig.ask(false).await;
    // As Kubernetes does it: another file takes its place.
    let new = chain.folder.path().join("new");
    fs::write(&new, "key-of-tuesday\n").unwrap();
    fs::rename(&new, &file).unwrap();
    rig.ask(false).await;
    let sent: Vec<_> = chain.primary.received().into_iter().map(|one| one.headers).collect();
    assert_eq!(sent[0]["authorization"], "Bearer key-of-monday");
    assert_eq!(sent[1]["authorization"], "Bearer key-of-tuesday");

    fs::remove_file(&file).unwrap();
    assert_eq!(attempts(&rig.ask(false).await), "\"primary:m\";class=ok", "what was read is kept");
}

#[tokio::test]
async fn a_401_reads_a_secret_file_again_at_once() {
    let chain = Chain::new(Fault::NeedsKey).await;
    let file = chain.folder.path().join("key");
    fs::write(&file, "key-of-monday").unwrap();
    let rig = chain.rig_with(&in_file(&file), "credentials.file_check_interval = \"1h\"").await;
    let rejected = "\"primary:m\";class=auth;detected_by=status";
    assert_eq!(attempts(&rig.ask(false).await), format!("{rejected}, {OK}"), "nothing new in it");
    fs::write(&file, "good-key").unwrap();
    assert_eq!(attempts(&rig.ask(false).await), format!("{rejected}, \"primary:m\";class=ok"));
}

#[tokio::test]
async fn a_secret_file_that_is_not_there_yet_is_no_reason_not_to_start() {
    let chain = Chain::new(Fault::NeedsKey).await;
    let file = chain.folder.path().join("key");
    let rig = chain.rig_with(&in_file(&file), "credentials.file_check_interval = \"0s\"").await;
    let missing = "\"primary:m\";class=auth;detected_by=credential";
    assert_eq!(attempts(&rig.ask(false).await), format!("{missing}, {OK}"));
    fs::write(&file, " \n").unwrap();
    assert_eq!(attempts(&rig.ask(false).await), format!("{missing}, {OK}"), "empty is missing");
    fs::write(&file, "good-key").unwrap();
    assert_eq!(attempts(&rig.ask(false).await), "\"primary:m\";class=ok");
}

/// A command that prints the next line of a file at each run.
fn next_line_of(chain: &Chain, lines: &str) -> String {
    let file = chain.folder.path().join("lines");
    fs::write(&file, lines).unwrap();
    let file = file.display();
    format!(
        "[\"sh\", \"-c\", \"head -n 1 {file}; echo the token is: $(head -n 1 {file}) >&2; sed -i 1d {file}\"]"
    )
}

#[tokio::test]
async fn a_command_is_run_once_and_again_after_a_401() {
    let chain = Chain::new(Fault::NeedsKey).await;
    let command = next_line_of(&chain, "first-tok-1\ngood-key\nthird-tok-3\n");
    let auth = format!("{{ kind = \"command\", command = {command} }}");
    let rig = chain.rig_with(&auth, "").await;
    let rejected = "\"primary:m\";class=auth;detected_by=status";
    assert_eq!(attempts(&rig.ask(false).await), format!("{rejected}, \"primary:m\";class=ok"));
    assert_eq!(attempts(&rig.ask(false).await), "\"primary:m\";class=ok", "the token is kept");
    assert_eq!(chain.primary.received()[0].headers["authorization"], "Bearer first-tok-1");
}

#[tokio::test]
async fn what_a_command_prints_is_good_for_its_interval_and_goes_into_its_header() {
    let chain = Chain::new(Fault::Ok).await;
    let command = next_line_of(&chain, "first-tok-1\nsecond-tok-2\n");
    let auth = format!(
        "{{ kind = \"command\", command = {command}, name = \"x-api-key\", refresh_interval = \"1h\" }}"
    );
    let rig = chain.rig_with(&auth, "").await;
    rig.ask(false).await;
    rig.ask(false).await;
    let token = || "first-tok-1".parse::<http::HeaderValue>().unwrap();
    let sent: Vec<_> = chain.primary.received().into_iter().map(|one| one.headers).collect();
    assert_eq!((&sent[0]["x-api-key"], &sent[1]["x-api-key"]), (&token(), &token()));
}

#[tokio::test]
async fn a_command_that_fails_or_does_not_end_is_a_missing_credential() {
    for command in ["[\"false\"]", "[\"sleep\", \"1000\"]", "[\"/nonexistent\"]"] {
        let chain = Chain::new(Fault::Ok).await;
        let auth = format!("{{ kind = \"command\", command = {command}, timeout = \"100ms\" }}");
        let reply = chain.rig_with(&auth, "").await.ask(false).await;
        let missing = "\"primary:m\";class=auth;detected_by=credential";
        assert_eq!(attempts(&reply), format!("{missing}, {OK}"), "{command}");
    }
}

#[tokio::test]
async fn the_token_endpoint_gets_what_the_standard_asks_for() {
    let chain = Chain::logged_in(Fault::NeedsToken, Duration::ZERO).await;
    let auth = chain.oauth().replace(
        "client_id = \"me\"",
        "client_id = \"me & you\", client_secret = { secret = \"secret-of-the-client\" }, scope = \"a b\"",
    );
    let refresh_token = chain.primary.tokens().refresh_token();
    chain.rig_with(&auth, "").await.ask(false).await;
    let sent = chain.primary.tokens().requests().remove(0);
    assert_eq!(sent.media_type, "application/x-www-form-urlencoded");
    assert_eq!(
        sent.body,
        format!(
            "grant_type=refresh_token&refresh_token={refresh_token}&client_id=me+%26+you&client_secret=secret-of-the-client&scope=a+b"
        )
    );
}

/// The Codex CLI's `auth.json` with the login of a chain's primary.
fn auth_json(chain: &Chain, folder: &Path, lifetime: Duration) {
    let (access_token, refresh_token) = chain.primary.tokens().login(lifetime);
    let login = json!({
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": null,
        "tokens": { "id_token": null, "access_token": access_token, "refresh_token": refresh_token, "account_id": null },
        "last_refresh": "2026-01-01T00:00:00.123456Z",
    });
    fs::write(folder.join("auth.json"), login.to_string()).unwrap();
}

#[tokio::test]
async fn a_codex_login_is_imported_and_is_sidesteps_own_then() {
    let chain = Chain::new(Fault::NeedsToken).await;
    let home = tempfile::tempdir().unwrap();
    auth_json(&chain, home.path(), HOUR);
    let before = fs::read(home.path().join("auth.json")).unwrap();
    let to = chain.folder.path().join("new/folder/codex.json");
    let output = sidestep(&["login", "codex", "--import", "--to", to.to_str().unwrap()])
        .env("CODEX_HOME", home.path())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with(&format!("stored in {}\n", to.display())), "{told}");
    assert!(told.contains("codex login"), "{told}");
    crate::kit::must_hold_no_secret(&told);

    let auth = format!(
        "{{ kind = \"codex\", token_url = \"{}\", file = \"{}\" }}",
        chain.primary.token_url(),
        to.display()
    );
    let rig = chain.rig_with(&auth, "").await;
    assert_eq!(attempts(&rig.ask(true).await), "\"primary:m\";class=ok");
    let sent = chain.primary.received().remove(0).headers;
    assert_eq!(sent["chatgpt-account-id"], "account-of-the-login");
    assert_eq!(sent["originator"], "codex_cli_rs");
    assert!(sent["user-agent"].to_str().unwrap().starts_with("codex_cli_rs/"));

    let refresh_token = chain.primary.tokens().refresh_token();
    chain.primary.tokens().revoke();
    rig.ask(true).await;
    let asked = chain.primary.tokens().requests().remove(0);
    assert_eq!(asked.media_type, "application/json");
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&asked.body).unwrap(),
        json!({ "grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": "app_EMoamEEZ73f0CkXaXp7hrann" })
    );
    assert_eq!(fs::read(home.path().join("auth.json")).unwrap(), before, "the CLI's is the CLI's");
}

#[tokio::test]
async fn a_client_of_the_codex_family_keeps_its_name() {
    let chain = Chain::new(Fault::NeedsToken).await;
    auth_json(&chain, chain.folder.path(), HOUR);
    let file = chain.folder.path().join("auth.json");
    let auth = format!("{{ kind = \"codex\", read_only = true, file = \"{}\" }}", file.display());
    let rig = chain.rig_with(&auth, "").await;
    let request = crate::kit::client()
        .post(rig.url("/v1/responses"))
        .header("originator", "codex_vscode")
        .header("user-agent", "codex_vscode/1.0")
        .body(r#"{"model":"m"}"#);
    crate::kit::read(request).await;
    let sent = chain.primary.received().remove(0).headers;
    assert_eq!(
        (&sent["originator"], &sent["user-agent"]),
        (&"codex_vscode".parse().unwrap(), &"codex_vscode/1.0".parse().unwrap())
    );
}

#[tokio::test]
async fn the_clis_own_login_is_only_read() {
    let chain = Chain::new(Fault::NeedsToken).await;
    auth_json(&chain, chain.folder.path(), HOUR);
    let file = chain.folder.path().join("auth.json");
    let auth = format!("{{ kind = \"codex\", read_only = true, file = \"{}\" }}", file.display());
    let rig = chain.rig_with(&auth, "credentials.file_check_interval = \"1h\"").await;
    assert_eq!(attempts(&rig.ask(false).await), "\"primary:m\";class=ok");
    chain.primary.tokens().revoke();
    let rejected = "\"primary:m\";class=auth;detected_by=status";
    assert_eq!(attempts(&rig.ask(false).await), format!("{rejected}, {OK}"));
    // The CLI renews it.
    auth_json(&chain, chain.folder.path(), HOUR);
    assert_eq!(attempts(&rig.ask(false).await), format!("{rejected}, \"primary:m\";class=ok"));

    auth_json(&chain, chain.folder.path(), Duration::ZERO);
    let rig = chain.rig_with(&auth, "").await;
    let expired = "\"primary:m\";class=auth;detected_by=credential";
    assert_eq!(attempts(&rig.ask(false).await), format!("{expired}, {OK}"));
    assert_eq!(chain.primary.tokens().count(), 0, "never renewed");
}

#[tokio::test]
async fn an_import_that_finds_no_login_says_so() {
    let home = tempfile::tempdir().unwrap();
    let import = || async {
        let home = home.path().to_str().unwrap();
        let arguments = ["login", "codex", "--import", "--to", "/nowhere/x", "--codex-home", home];
        let output = sidestep(&arguments).output().await.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = import().await;
    assert_eq!(code, 69);
    assert!(told.contains("auth.json: there is none"), "{told}");
    fs::write(home.path().join("auth.json"), r#"{"OPENAI_API_KEY":"key-of-x"}"#).unwrap();
    let (_, told) = import().await;
    assert!(told.contains("no ChatGPT login in it; an API key goes into kind"), "{told}");
    fs::write(home.path().join("auth.json"), "secret-of-x").unwrap();
    let (_, told) = import().await;
    assert!(told.contains("no auth.json of the Codex CLI"), "{told}");
}

#[tokio::test]
async fn a_refresh_token_is_taken_from_standard_input() {
    let chain = Chain::new(Fault::NeedsToken).await;
    chain.primary.tokens().login(HOUR);
    let config = chain.folder.path().join("sidestep.toml");
    fs::write(&config, chain.toml(&chain.oauth(), "")).unwrap();
    let config = config.to_str().unwrap();
    let arguments = ["login", "oauth", "--backend", "primary", "--config", config];
    let mut login = sidestep(&arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let line = format!("{}\n", chain.primary.tokens().refresh_token());
    login.stdin.take().unwrap().write_all(line.as_bytes()).await.unwrap();
    assert!(login.wait().await.unwrap().success());
    let rig = chain.rig().await;
    assert_eq!(attempts(&rig.ask(false).await), "\"primary:m\";class=ok");
    assert_eq!(chain.primary.tokens().count(), 1);

    let arguments = ["login", "oauth", "--backend", "secondary", "--config", config];
    let output = sidestep(&arguments).output().await.unwrap();
    assert_eq!(output.status.code(), Some(64));
}
