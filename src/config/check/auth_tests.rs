//! What `auth` may hold, and what is said of everything else.

use std::time::Duration;

use super::*;
use crate::config::{Sources, load};

/// The credentials of a backend with this `auth`, or what is said of it.
fn read(auth: &str) -> Result<Vec<Auth>, Vec<String>> {
    read_with(&format!("base_url = \"https://x\"\nauth = {auth}"), "")
}

fn read_with(backend: &str, more: &str) -> Result<Vec<Auth>, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    let routes = "[[routes]]\ndefault = true\nchain = [\"b\"]\n";
    std::fs::write(&file, format!("{more}\n[backends.b]\n{backend}\n{routes}")).unwrap();
    let environment = [("HOME", "/home/me"), ("KEY", "k-1"), ("EMPTY", " ")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let path = file.display().to_string();
    let sources = Sources { file: Some(file), environment: environment.into(), flags: Vec::new() };
    match load(&sources) {
        Ok(config) => Ok(config.backends["b"].auth.clone()),
        Err(error) => Err(error
            .problems
            .iter()
            .map(|problem| problem.to_string().replace(&format!("{path}: "), ""))
            .collect()),
    }
}

fn fixed(header: AuthHeader, secret: &str, origin: &str) -> Auth {
    Auth::Fixed { header, secret: secret.into(), origin: origin.to_owned() }
}

#[test]
fn every_kind_is_read() {
    let named = |name: &'static str| AuthHeader::Named(HeaderName::from_static(name));
    let endpoint = TokenEndpoint {
        url: "https://t/token".parse().unwrap(),
        client_id: "me".to_owned(),
        client_secret: Some("k-1".into()),
        scope: Some("llm".to_owned()),
        body: TokenBody::Json,
    };
    let codex = TokenEndpoint {
        url: CODEX_TOKEN_URL.parse().unwrap(),
        client_id: CODEX_CLIENT_ID.to_owned(),
        client_secret: None,
        scope: None,
        body: TokenBody::Json,
    };
    let command = |header, timeout, refresh_interval| Auth::Command {
        header,
        command: vec!["p".to_owned(), "a".to_owned()],
        timeout: Duration::from_secs(timeout),
        refresh_interval,
    };
    for (written, auth) in [
        ("{ kind = \"none\" }", Auth::None),
        ("{ kind = \"passthrough\" }", Auth::Passthrough),
        ("{ kind = \"bearer\", env = \"KEY\" }", fixed(AuthHeader::Bearer, "k-1", "env KEY")),
        (
            "{ kind = \"header\", name = \"Api-Key\", secret = \" s \" }",
            fixed(named("api-key"), "s", "the configuration"),
        ),
        (
            "{ kind = \"bearer\", file = \"~/key\" }",
            Auth::File { header: AuthHeader::Bearer, file: "/home/me/key".into() },
        ),
        ("{ kind = \"command\", command = [\"p\", \"a\"] }", command(AuthHeader::Bearer, 30, None)),
        (
            "{ kind = \"command\", command = [\"p\", \"a\"], name = \"x-api-key\", timeout = \"5s\", refresh_interval = \"1m\" }",
            command(named("x-api-key"), 5, Some(Duration::from_secs(60))),
        ),
        (
            "{ kind = \"oauth\", token_url = \"https://t/token\", client_id = \"me\", client_secret = { env = \"KEY\" }, scope = \"llm\", body = \"json\", file = \"/t.json\" }",
            Auth::OAuth { endpoint, file: "/t.json".into() },
        ),
        (
            "{ kind = \"codex\" }",
            Auth::Codex {
                endpoint: codex,
                file: "/home/me/.local/state/sidestep/codex.json".into(),
            },
        ),
        (
            "{ kind = \"codex\", read_only = true }",
            Auth::CodexReadOnly { file: "/home/me/.codex/auth.json".into() },
        ),
    ] {
        assert_eq!(read(written).unwrap(), [auth], "{written}");
    }
    assert_eq!(read_with("base_url = \"http://x\"", "").unwrap(), [Auth::None]);
}

#[test]
fn a_list_is_a_pool() {
    let pool =
        read("[{ kind = \"bearer\", secret = \"a\" }, { kind = \"bearer\", env = \"KEY\" }]");
    assert_eq!(
        pool.unwrap(),
        [
            fixed(AuthHeader::Bearer, "a", "the configuration"),
            fixed(AuthHeader::Bearer, "k-1", "env KEY")
        ]
    );
}

const NONSENSE: &[(&str, &str)] = &[
    ("\"sk-secret\"", "backends.b.auth: found a value of another type; allowed: a table such as"),
    ("[]", "backends.b.auth: found an empty list; allowed: at least one credential"),
    ("{ env = \"KEY\" }", "backends.b.auth.kind: found nothing; allowed: \"none\", \"bearer\","),
    (
        "{ kind = \"none\", secret = \"sk-secret\" }",
        "backends.b.auth.secret: found a key that kind = \"none\" does not have; allowed: kind alone",
    ),
    (
        "{ kind = \"bearer\", name = \"x\", env = \"KEY\" }",
        "backends.b.auth.name: found a key that kind = \"bearer\" does not have; allowed: env, file, secret",
    ),
    (
        "{ kind = \"bearer\", env = \"EMPTY\" }",
        "backends.b.auth.env: found EMPTY, which is not set; allowed: the name of",
    ),
    (
        "{ kind = \"bearer\", secret = \"sk-secret\\n2\" }",
        "backends.b.auth.secret: found a secret that is empty or has characters",
    ),
    (
        "{ kind = \"command\", command = [] }",
        "backends.b.auth.command: found no program; allowed: a program and its arguments",
    ),
    (
        "{ kind = \"command\", command = [\"p\"], timeout = \"0s\" }",
        "backends.b.auth.timeout: found 0s; allowed: a duration above zero",
    ),
    (
        "{ kind = \"oauth\", client_id = \"me\", file = \"/t\" }",
        "backends.b.auth.token_url: found nothing; allowed: an http:// or https://",
    ),
    (
        "{ kind = \"oauth\", client_id = \"me\", file = \"/t\", token_url = \"http://t\" }",
        "backends.b.auth.token_url: found a credential over plain http:// to t; allowed: https://",
    ),
    (
        "{ kind = \"oauth\", client_id = \"me\", token_url = \"https://t\" }",
        "backends.b.auth.file: found nothing; allowed: a file of its own",
    ),
    (
        "{ kind = \"oauth\", file = \"/t\", token_url = \"https://t\" }",
        "backends.b.auth.client_id: found nothing; allowed: the id",
    ),
    (
        "{ kind = \"oauth\", client_id = \"me\", file = \"/t\", token_url = \"https://t\", body = \"xml\" }",
        "backends.b.auth.body: found \"xml\"; allowed: \"form\" or \"json\"",
    ),
    (
        "[{ kind = \"bearer\", env = \"KEY\" }, { kind = \"none\" }]",
        "backends.b.auth: found kind = \"none\" beside others; allowed: kind = \"none\" alone",
    ),
    (
        "[{ kind = \"bearer\", env = \"KEY\" }, { kind = \"magic\" }]",
        "backends.b.auth.1.kind: found \"magic\"; allowed:",
    ),
    (
        "[{ kind = \"bearer\", env = \"KEY\", colour = \"sk-secret\" }]",
        "backends.b.auth.0.colour: found the unknown key \"colour\"; allowed: \"kind\"",
    ),
];

#[test]
fn what_makes_no_sense_is_told() {
    for (written, told) in NONSENSE {
        let problems = read(written).unwrap_err();
        assert!(problems.iter().any(|problem| problem.starts_with(told)), "{told}\n{problems:#?}");
        assert_eq!(problems.len(), 1, "{written}: {problems:#?}");
        assert!(!problems[0].contains("sk-secret"), "{problems:#?}");
    }
    let problems =
        read("{ kind = \"bearer\", env = \"KEY\" }\nauth_order = \"random\"").unwrap_err();
    assert_eq!(
        problems,
        ["backends.b.auth_order: found \"random\"; allowed: \"in_order\" or \"round_robin\""]
    );
}

#[test]
fn a_credential_travels_encrypted_unless_the_host_is_named() {
    let backend = |url: &str| format!("base_url = \"{url}\"\nauth = {{ kind = \"passthrough\" }}");
    for url in ["https://x", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost/v1"] {
        assert!(read_with(&backend(url), "").is_ok(), "{url}");
    }
    let problems = read_with(&backend("http://gateway.internal:80/v1"), "").unwrap_err();
    assert_eq!(
        problems,
        [
            "backends.b.base_url: found a credential over plain http:// to gateway.internal; allowed: https://, a loopback address, or a host named in credentials.plain_http_hosts"
        ]
    );
    let named = "credentials.plain_http_hosts = [\"gateway.internal\"]";
    assert!(read_with(&backend("http://gateway.internal:80/v1"), named).is_ok());
    assert!(read_with(&backend("http://not.internal"), named).is_err());
}
