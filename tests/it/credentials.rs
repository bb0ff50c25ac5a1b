//! A 401 is the start of a recovery: renewals, quarantine, pools, the client's own credential.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use sidestep::faults::FaultBackend;
use sidestep::faults::catalogue::Fault;
use sidestep::faults::tokens::TokenFault;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::kit::{Reply, Rig, calm, client, configure, read, request};

pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const OK: &str = "\"secondary:m\";class=ok";

/// A primary with a login at its own token endpoint, and a secondary without any credential.
pub(crate) struct Chain {
    pub(crate) folder: TempDir,
    pub(crate) primary: FaultBackend,
    pub(crate) secondary: FaultBackend,
}

pub(crate) async fn backend(name: &str, fault: Fault) -> FaultBackend {
    FaultBackend::start(name, fault, TcpListener::bind("127.0.0.1:0").await.unwrap()).unwrap()
}

impl Chain {
    pub(crate) async fn new(fault: Fault) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            primary: backend("primary", fault).await,
            secondary: backend("secondary", Fault::Ok).await,
        }
    }

    /// Logs in with an access token that lives for `lifetime`, `age` of which have passed.
    pub(crate) async fn logged_in(fault: Fault, lifetime: Duration) -> Self {
        let chain = Self::new(fault).await;
        chain.log_in(lifetime);
        chain
    }

    pub(crate) fn log_in(&self, lifetime: Duration) {
        let (access_token, refresh_token) = self.primary.tokens().login(lifetime);
        // Later ones live long.
        let login = json!({ "access_token": access_token, "refresh_token": refresh_token });
        fs::write(self.file(), login.to_string()).unwrap();
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("tokens.json")
    }

    pub(crate) fn stored(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.file()).unwrap()).unwrap()
    }

    /// `auth` for a refresh token in the file.
    pub(crate) fn oauth(&self) -> String {
        format!(
            "{{ kind = \"oauth\", token_url = \"{}\", client_id = \"me\", file = \"{}\" }}",
            self.primary.token_url(),
            self.file().display()
        )
    }

    /// The configuration of a chain whose primary has this `auth`.
    pub(crate) fn toml(&self, auth: &str, more: &str) -> String {
        format!(
            "{}{more}\n[backends.primary]\nbase_url = \"{}\"\nauth = {auth}\n[backends.secondary]\nbase_url = \"{}\"\n[[routes]]\ndefault = true\nchain = [\"primary\", \"secondary\"]\n",
            calm(more),
            self.primary.base_url(),
            self.secondary.base_url(),
        )
    }

    pub(crate) async fn rig_with(&self, auth: &str, more: &str) -> Rig {
        let backends = vec![self.primary.clone(), self.secondary.clone()];
        Rig::start(configure(&self.toml(auth, more)), backends).await
    }

    /// A proxy that uses the login.
    pub(crate) async fn rig(&self) -> Rig {
        self.rig_with(&self.oauth(), "").await
    }
}

pub(crate) fn attempts(reply: &Reply) -> &str {
    reply.header("x-sidestep-attempts")
}

#[tokio::test]
async fn a_401_renews_the_credential_and_asks_the_same_target_again() {
    for (fault, carriers) in
        [(Fault::NeedsToken, ["status", "status"]), (Fault::NeedsTokenInBand, ["body", "event"])]
    {
        for stream in [false, true] {
            let chain = Chain::logged_in(fault, HOUR).await;
            let rig = chain.rig().await;
            assert_eq!(attempts(&rig.ask(stream).await), "\"primary:m\";class=ok");
            // It says that it is good for an hour, and is not taken any more.
            chain.primary.tokens().revoke();
            let reply = rig.ask(stream).await;
            assert_eq!(reply.output_text(), "Hello from primary, and nothing went wrong.");
            let carrier = carriers[usize::from(stream)];
            assert_eq!(
                attempts(&reply),
                format!("\"primary:m\";class=auth;detected_by={carrier}, \"primary:m\";class=ok")
            );
            assert_eq!(chain.primary.tokens().count(), 1);
            assert_eq!(chain.stored()["refresh_token"], chain.primary.tokens().refresh_token());
            let mode = fs::metadata(chain.file()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(
                rig.metric("sidestep_retries_total").await,
                ["sidestep_retries_total{backend=\"primary\",class=\"auth\"} 1"]
            );
            assert_eq!(
                rig.metric("sidestep_credential_refreshes_total").await,
                ["sidestep_credential_refreshes_total{backend=\"primary\",outcome=\"renewed\"} 1"]
            );
        }
    }
}

#[tokio::test]
async fn a_token_that_is_about_to_expire_is_renewed_before_the_attempt() {
    for left in [Duration::ZERO, Duration::from_secs(90)] {
        let chain = Chain::logged_in(Fault::NeedsToken, left).await;
        let rig = chain.rig_with(&chain.oauth(), "credentials.expiry_skew = \"1h\"").await;
        // The endpoint's tokens live as long as the first did, so a quarter of that is the skew.
        let reply = rig.ask(true).await;
        assert_eq!(attempts(&reply), "\"primary:m\";class=ok", "{left:?}");
        let expected = usize::from(left.is_zero());
        assert_eq!(chain.primary.tokens().count(), expected, "{left:?}");
        assert_eq!(chain.primary.received().len(), 1, "the old token was not even tried");
    }
}

#[tokio::test]
async fn without_a_credential_the_chain_goes_on_before_anything_is_sent() {
    for fault in [
        TokenFault::Reused,
        TokenFault::Expired,
        TokenFault::Invalidated,
        TokenFault::InvalidGrant,
        TokenFault::InvalidClient,
        TokenFault::Forbidden,
        TokenFault::TooMany,
        TokenFault::Broken,
        TokenFault::Html,
        TokenFault::Empty,
        TokenFault::Huge,
        TokenFault::Redirect,
        TokenFault::Silent,
    ] {
        let chain = Chain::logged_in(Fault::NeedsToken, Duration::ZERO).await;
        chain.primary.tokens().fail_always(Some(fault));
        let rig = chain.rig_with(&chain.oauth(), "credentials.refresh_timeout = \"300ms\"").await;
        let reply = rig.ask(true).await;
        let failed = "\"primary:m\";class=auth;detected_by=credential";
        assert_eq!(attempts(&reply), format!("{failed}, {OK}"), "{fault:?}");
        assert_eq!(chain.primary.received().len(), 0);
        assert_eq!(
            chain.primary.tokens().count(),
            1,
            "{fault:?}: asked once, and no redirect taken"
        );
        assert_eq!(
            rig.metric("sidestep_attempts_total").await[0],
            "sidestep_attempts_total{backend=\"primary\",class=\"auth\",detected_by=\"credential\",stage=\"before_request\"} 1"
        );
    }
}

#[tokio::test]
async fn only_when_every_target_is_exhausted_the_client_gets_an_error() {
    let chain = Chain::new(Fault::Ok).await;
    let toml = chain.toml(&chain.oauth(), "").replace("\"primary\", \"secondary\"", "\"primary\"");
    let rig = Rig::start(configure(&toml), vec![chain.primary.clone()]).await;
    let reply = rig.ask(true).await;
    assert_eq!(reply.status, 502);
    assert_eq!(
        reply.json()["error"]["message"],
        "no backend could answer: primary was not asked, because Sidestep has no working credential for it"
    );
    assert_eq!(reply.json()["error"]["attempts"][0]["detected_by"], "credential");
}

#[tokio::test]
async fn a_dead_refresh_token_is_never_sent_again() {
    for fault in [TokenFault::Expired, TokenFault::InvalidGrant, TokenFault::Forbidden] {
        let chain = Chain::logged_in(Fault::NeedsToken, Duration::ZERO).await;
        chain.primary.tokens().fail([fault]);
        let rig = chain.rig_with(&chain.oauth(), "credentials.file_check_interval = \"0s\"").await;
        let count = || chain.primary.tokens().count();
        rig.ask(false).await;
        rig.ask(false).await;
        assert_eq!(count(), 1, "{fault:?}");
        let state =
            "sidestep_credential_state{backend=\"primary\",credential=\"0\",state=\"refused\"} 1";
        assert!(rig.metric("sidestep_credential_state").await.contains(&state.to_owned()));

        let restarted = chain.rig().await;
        restarted.ask(false).await;
        assert_eq!(count(), 1, "not by the next process either");

        chain.log_in(HOUR);
        assert_eq!(attempts(&rig.ask(false).await), "\"primary:m\";class=ok", "a new login");
    }
}

#[tokio::test]
async fn a_client_that_is_not_known_does_not_cost_the_login() {
    let chain = Chain::logged_in(Fault::NeedsToken, Duration::ZERO).await;
    chain.primary.tokens().fail([TokenFault::InvalidClient]);
    let rig = chain.rig().await;
    rig.ask(false).await;
    rig.ask(false).await;
    assert_eq!(chain.primary.tokens().count(), 1);
    let corrected = chain.rig().await;
    assert_eq!(attempts(&corrected.ask(false).await), "\"primary:m\";class=ok");
}

#[tokio::test]
async fn a_renewal_that_fails_for_now_is_not_repeated_at_once_and_costs_nothing() {
    for fault in [TokenFault::TooMany, TokenFault::Broken, TokenFault::Html] {
        let chain = Chain::logged_in(Fault::NeedsToken, Duration::ZERO).await;
        let before = chain.stored();
        chain.primary.tokens().fail([fault]);
        let rig = chain.rig().await;
        rig.ask(false).await;
        rig.ask(false).await;
        assert_eq!(chain.primary.tokens().count(), 1, "{fault:?}");
        assert_eq!(chain.stored(), before, "the login is kept");
        let later = chain.rig().await;
        assert_eq!(attempts(&later.ask(false).await), "\"primary:m\";class=ok");
    }
}

#[tokio::test]
async fn a_token_that_is_still_good_is_used_when_its_renewal_fails() {
    let chain = Chain::logged_in(Fault::NeedsToken, Duration::from_secs(600)).await;
    chain.primary.tokens().fail_always(Some(TokenFault::Broken));
    // A quarter of its lifetime is left, or so the file says.
    let mut login = chain.stored();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    (login["last_refresh"], login["expires_at"]) = (json!(now - 500), json!(now + 100));
    fs::write(chain.file(), login.to_string()).unwrap();
    let rig = chain.rig().await;
    for _ in 0..2 {
        assert_eq!(attempts(&rig.ask(false).await), "\"primary:m\";class=ok");
    }
    assert_eq!(chain.primary.tokens().count(), 1);
}

#[tokio::test]
async fn a_renewed_token_that_is_rejected_too_ends_the_targets_turn() {
    let chain = Chain::logged_in(Fault::S401, HOUR).await;
    let rig = chain.rig().await;
    let rejected = "\"primary:m\";class=auth;detected_by=status";
    assert_eq!(attempts(&rig.ask(false).await), format!("{rejected}, {rejected}, {OK}"));
    assert_eq!(chain.primary.tokens().count(), 1);
    assert_eq!(attempts(&rig.ask(false).await), format!("{rejected}, {OK}"));
    assert_eq!(chain.primary.tokens().count(), 1, "no further one is spent on it for now");
}

#[tokio::test]
async fn a_403_renews_nothing() {
    let chain = Chain::logged_in(Fault::S403, HOUR).await;
    let reply = chain.rig().await.ask(false).await;
    assert_eq!(attempts(&reply), format!("\"primary:m\";class=forbidden;detected_by=status, {OK}"));
    assert_eq!(chain.primary.tokens().count(), 0);
}

#[tokio::test]
async fn a_target_that_shares_a_rejected_credential_is_passed_over() {
    let chain = Chain::new(Fault::S401).await;
    let twin = backend("twin", Fault::Ok).await;
    let toml = format!(
        "[backends.primary]\nbase_url = \"{}\"\nauth = {{ kind = \"bearer\", secret = \"key-of-both\" }}\n[backends.twin]\nbase_url = \"{}\"\nauth = {{ kind = \"bearer\", secret = \"key-of-both\" }}\n[backends.secondary]\nbase_url = \"{}\"\n[[routes]]\ndefault = true\nchain = [\"primary:a\", \"primary:b\", \"twin\", \"secondary\"]\n",
        chain.primary.base_url(),
        twin.base_url(),
        chain.secondary.base_url(),
    );
    let backends = vec![chain.primary.clone(), twin, chain.secondary.clone()];
    let rig = Rig::start(configure(&toml), backends).await;
    let reply = rig.ask(false).await;
    assert_eq!(attempts(&reply), format!("\"primary:a\";class=auth;detected_by=status, {OK}"));
    assert_eq!(rig.counts(), [1, 0, 1]);
}

#[tokio::test]
async fn the_credentials_of_a_pool_are_tried_in_order() {
    for (fault, failed) in [
        (Fault::NeedsKey, "\"primary:m\";class=auth;detected_by=status"),
        (Fault::QuotaWithoutKey, "\"primary:m\";class=quota;detected_by=status"),
    ] {
        let chain = Chain::new(fault).await;
        let pool = "[{ kind = \"bearer\", secret = \"key-of-a\" }, { kind = \"header\", name = \"api-key\", secret = \"key-of-b\" }, { kind = \"bearer\", secret = \"good-key\" }]";
        let rig = chain.rig_with(pool, "").await;
        let reply = rig.ask(true).await;
        assert_eq!(attempts(&reply), format!("{failed}, {failed}, \"primary:m\";class=ok"));
        let sent: Vec<_> = chain.primary.received().into_iter().map(|one| one.headers).collect();
        assert_eq!(sent[0]["authorization"], "Bearer key-of-a");
        assert!(sent[0].get("api-key").is_none());
        assert_eq!(sent[1]["api-key"], "key-of-b");
        assert!(sent[1].get("authorization").is_none(), "one credential an attempt");
        assert_eq!(rig.counts(), [3, 0]);
    }
}

#[tokio::test]
async fn a_pool_is_tried_once_around_and_then_left() {
    let chain = Chain::new(Fault::S429Quota).await;
    let pool = "[{ kind = \"bearer\", secret = \"key-of-a\" }, { kind = \"bearer\", secret = \"key-of-b\" }]\nauth_order = \"round_robin\"";
    let rig = chain.rig_with(pool, "").await;
    for _ in 0..2 {
        rig.ask(false).await;
    }
    let sent = chain.primary.received();
    let sent: Vec<_> =
        sent.iter().map(|one| one.headers["authorization"].to_str().unwrap()).collect();
    assert_eq!(
        sent,
        ["Bearer key-of-a", "Bearer key-of-b", "Bearer key-of-b", "Bearer key-of-a"],
        "each in its turn"
    );
}

async fn ask_as_client(rig: &Rig, stream: bool) -> Reply {
    let request = client()
        .post(rig.url("/v1/responses"))
        .header("authorization", "Bearer key-of-the-client")
        .header("chatgpt-account-id", "account-of-the-client")
        .header("cookie", "session=secret-of-the-client")
        .header("proxy-authorization", "Basic secret-of-the-client")
        .body(request("m", stream).to_string());
    read(request).await
}

#[tokio::test]
async fn the_clients_own_credential_reaches_only_the_backend_that_passes_it_through() {
    let chain = Chain::new(Fault::S429Quota).await;
    let rig = chain.rig_with("{ kind = \"passthrough\" }", "").await;
    let reply = ask_as_client(&rig, true).await;
    assert_eq!(attempts(&reply), format!("\"primary:m\";class=quota;detected_by=status, {OK}"));
    let sent = chain.primary.received().remove(0).headers;
    assert_eq!(sent["authorization"], "Bearer key-of-the-client");
    assert_eq!(sent["chatgpt-account-id"], "account-of-the-client");
    assert!(sent.get("cookie").is_none() && sent.get("proxy-authorization").is_none());
    let sent = chain.secondary.received().remove(0).headers;
    assert!(sent.get("authorization").is_none() && sent.get("chatgpt-account-id").is_none());
}

#[tokio::test]
async fn a_401_for_the_clients_own_credential_is_the_clients() {
    for fault in [Fault::S401, Fault::FailedAuth] {
        for stream in [false, true] {
            let chain = Chain::new(fault).await;
            let rig = chain.rig_with("{ kind = \"passthrough\" }", "").await;
            let reply = ask_as_client(&rig, stream).await;
            let direct = rig.ask_directly(0, stream).await;
            assert_eq!((reply.status, &reply.body), (direct.status, &direct.body), "{fault:?}");
            assert_eq!(chain.secondary.received().len(), 0);
            assert_eq!(
                rig.metric("sidestep_requests_total").await,
                [
                    "sidestep_requests_total{client=\"none\",outcome=\"refused\",route=\"default\"} 1"
                ]
            );
        }
    }
}

#[tokio::test]
async fn check_says_how_each_credential_stands_and_renews_nothing() {
    let chain = Chain::logged_in(Fault::NeedsToken, Duration::from_secs(3630)).await;
    let missing = chain.folder.path().join("nothing");
    let pool = format!(
        "[{}, {{ kind = \"bearer\", file = \"{}\" }}, {{ kind = \"command\", command = [\"false\", \"secret-of-a-command\"] }}, {{ kind = \"passthrough\" }}]",
        chain.oauth(),
        missing.display(),
    );
    let config = chain.folder.path().join("sidestep.toml");
    fs::write(&config, chain.toml(&pool, "")).unwrap();
    let check = || async {
        let arguments = ["check", "--config", config.to_str().unwrap()];
        let output = crate::program::sidestep(&arguments).output().await.unwrap();
        assert!(output.status.success());
        let told = String::from_utf8(output.stdout).unwrap();
        crate::kit::must_hold_no_secret(&told);
        told
    };
    let told = check().await;
    let file = chain.file().display().to_string();
    for line in [
        format!("oauth, file {file}: present, expires in 1h (20"),
        format!("bearer, file {}: missing\n", missing.display()),
        "command, command false: on demand\n".to_owned(),
        "passthrough, the client's own\n".to_owned(),
        "no credential\n".to_owned(),
    ] {
        assert!(told.contains(&line), "{line}\n{told}");
    }
    let mut login = chain.stored();
    (login["refused"], login["access_token"]) = (json!("refresh_token_reused"), Value::Null);
    fs::write(chain.file(), login.to_string()).unwrap();
    let told = check().await;
    let line = format!("oauth, file {file}: refused\n");
    assert!(told.contains(&line), "{line}\n{told}");
    let advice = "refresh_token_reused; log in anew with `sidestep login oauth --backend NAME`";
    assert!(told.contains(advice), "{told}");
    assert_eq!(chain.primary.tokens().count(), 0);
}
