//! What a configuration may hold, and what is said of everything else.

use super::*;
use crate::config::auth::{Auth, AuthHeader};
use crate::config::checked::ChainEntry;

const SOUND: &str = r#"
[backends.openai]
base_url = "https://api.openai.com/v1/"
auth = { kind = "bearer", env = "OPENAI_API_KEY" }
[backends.azure]
base_url = "https://x.openai.azure.com/openai/v1?api-version=preview"
auth = { kind = "header", name = "api-key", secret = "inline" }
headers = { x-team = "search" }
context_window = 1000
models.big = { context_window = 5000 }
timeouts = { idle = "7s" }
[[routes]]
model = "gpt-5*"
chain = ["openai", "azure:gpt-5:eu"]
default = true
"#;

fn load_text(toml: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    std::fs::write(&file, toml).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let sources =
        Sources { file: Some(file.clone()), environment: environment.collect(), flags: Vec::new() };
    let path = file.display().to_string();
    load(&sources).map_err(|error| {
        error.problems.iter().map(|problem| problem.to_string().replace(&path, "FILE")).collect()
    })
}

fn problems(toml: &str) -> Vec<String> {
    load_text(toml, &[]).unwrap_err()
}

/// The problems of a sound configuration with a line more.
fn problems_with(line: &str) -> Vec<String> {
    load_text(&format!("{line}\n{SOUND}"), &[("OPENAI_API_KEY", "k")]).unwrap_err()
}

#[test]
fn the_built_in_defaults_are_read_whole() {
    let values = Figment::from(Toml::string(DEFAULT_TOML));
    let origin = Origin { figment: values, file: None };
    let mut problems = Vec::new();
    assert!(read_all(&origin, &mut problems).is_some());
    assert_eq!(problems, []);
}

#[test]
fn a_sound_configuration_resolves() {
    let config = load_text(SOUND, &[("OPENAI_API_KEY", " from-env\n")]).unwrap();
    let openai = &config.backends["openai"];
    assert_eq!(openai.url.as_str(), "https://api.openai.com/v1/responses");
    let key = Auth::Fixed {
        header: AuthHeader::Bearer,
        secret: "from-env".into(),
        origin: "env OPENAI_API_KEY".to_owned(),
    };
    assert_eq!(openai.auth, [key]);
    let azure = &config.backends["azure"];
    assert_eq!(
        azure.url.as_str(),
        "https://x.openai.azure.com/openai/v1/responses?api-version=preview"
    );
    assert_eq!(azure.timeouts.idle.as_secs(), 7);
    assert_eq!(azure.timeouts.connect, openai.timeouts.connect);
    assert_eq!((azure.context_window, azure.model_context_windows["big"]), (Some(1000), 5000));
    let entry = |backend: &str, model: Option<&str>| ChainEntry {
        backend: backend.to_owned(),
        model: model.map(str::to_owned),
    };
    assert_eq!(
        config.routes[0].chain,
        [entry("openai", None), entry("azure", Some("gpt-5:eu"))],
        "only the first colon separates"
    );
}

#[test]
fn debug_shows_no_secret() {
    let config = load_text(SOUND, &[("OPENAI_API_KEY", "from-env")]).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("from-env") && !shown.contains("inline") && !shown.contains("search"));
}

#[test]
fn later_sources_win() {
    let environment = [("OPENAI_API_KEY", "k"), ("SIDESTEP_SERVER__LISTEN", "127.0.0.1:2")];
    let config = load_text(&format!("server.listen = \"127.0.0.1:1\"\n{SOUND}"), &environment);
    assert_eq!(config.unwrap().server.listen.port(), 2);

    let flags = vec![("--listen", "server.listen", "nonsense".to_owned())];
    let environment = [("SIDESTEP_CONFIG".to_owned(), "/dev/null".to_owned())].into();
    let error = load(&Sources { file: None, environment, flags }).unwrap_err();
    assert_eq!(error.problems[0].source, "--listen");
}

#[test]
fn an_environment_variable_is_named_as_the_source() {
    let environment = [("OPENAI_API_KEY", "k"), ("SIDESTEP_LIMITS__IN_FLIGHT_MAX", "many")];
    assert_eq!(
        load_text(SOUND, &environment).unwrap_err(),
        [
            "environment variable SIDESTEP_LIMITS__IN_FLIGHT_MAX: limits.in_flight_max: found \"many\"; allowed: a whole number that is not negative"
        ]
    );
}

#[test]
fn variables_of_others_are_left_alone() {
    // Kubernetes sets these in every pod beside a service called sidestep.
    let environment = [
        ("OPENAI_API_KEY", "k"),
        ("SIDESTEP_SERVICE_HOST", "10.0.0.1"),
        ("SIDESTEP_PORT_8787_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(load_text(SOUND, &environment).is_ok());
}

const UNSOUND: &str = r#"
        colour = "red"
        [server]
        listen = 8787
        drain_timeout = "soon"
        [limits]
        in_flight_max = 0
        request_bytes_max = "lots"
        [log]
        level = "verbose"
        [failures.actions]
        policy = "panic"
        [failures.statuses]
        200 = "model"
        [failures.codes]
        x = "bad"
        [backends.Bad_Name]
        base_url = "ftp://x"
        timeouts = { connect = "0s" }
        [backends.b]
        auth = { kind = "bearer", env = "NOT_SET" }
        [backends.c]
        base_url = "https://user:pass@x"
        auth = { kind = "magic" }
        headers = { authorization = "x" }
        [backends.d]
        base_url = "https://x"
        auth = { kind = "header", name = "a b", secret = "s", env = "E" }
        [[routes]]
        chain = []
        [[routes]]
        model = "m"
        chain = ["nobody", "b:", "d", "d"]
        default = true
        [[routes]]
        model = "m"
        chain = ["b"]
        default = true
        [[routes]]
        model = "x["
        chain = ["b"]
    "#;

#[test]
fn every_problem_is_told_at_once() {
    let problems = problems(UNSOUND);
    let expect = [
        "FILE: colour: found the unknown key \"colour\"; allowed: \"server\", \"clients\", \"log\", \"journal\", \"traces\", \"limits\",",
        "FILE: server.listen: found 8787; allowed: a string",
        "FILE: server.drain_timeout: found \"soon\"; allowed: a duration such as",
        "FILE: limits.request_bytes_max: found \"lots\"; allowed: a size such as",
        "FILE: limits.in_flight_max: found 0; allowed: 1 or more",
        "FILE: log.level: found \"verbose\"; allowed: \"error\", \"warn\"",
        "FILE: failures.actions.policy: found \"panic\"; allowed: refresh, repair, retry, next,",
        "FILE: failures.statuses.200: found \"200\"; allowed: an HTTP status from 300 to 599",
        "FILE: failures.codes.x: found \"bad\"; allowed: auth, forbidden,",
        "FILE: backends.Bad_Name: found \"Bad_Name\"; allowed: a name of lower-case letters",
        "FILE: backends.Bad_Name.base_url: found \"ftp://x\"; allowed: an http:// or https:// URL",
        "FILE: backends.Bad_Name.timeouts.connect: found 0s; allowed: a duration above zero",
        "FILE: backends.b.base_url: found nothing; allowed: an http:// or https:// URL",
        "FILE: backends.b.auth.env: found NOT_SET, which is not set; allowed: the name of an",
        "FILE: backends.c.base_url: found a URL with a user or password; allowed:",
        "FILE: backends.c.auth.kind: found \"magic\"; allowed: \"none\", \"bearer\", \"header\",",
        "FILE: backends.c.headers.authorization: found \"authorization\"; allowed: a header name",
        "FILE: backends.d.auth.name: found \"a b\"; allowed: a header name such as",
        "FILE: backends.d.auth: found more than one secret; allowed: one of env, file and secret",
        "FILE: routes.0.model: found nothing; allowed: a model's name or a pattern",
        "FILE: routes.1.chain.0: found the backend \"nobody\" in \"nobody\"; allowed: a backend that",
        "FILE: routes.1.chain.1: found \"b:\"; allowed: a model name after the colon",
        "FILE: routes.1.chain.3: found \"d\" a second time; allowed: each target once",
        "FILE: routes.2.model: found \"m\" a second time; allowed: each model name or pattern once",
        "FILE: routes.2.default: found a second default route; allowed: one default route",
        "FILE: routes.3.model: found \"x[\"",
    ];
    for start in expect {
        assert!(problems.iter().any(|told| told.starts_with(start)), "{start}\n{problems:#?}");
    }
    assert_eq!(problems.len(), expect.len(), "{problems:#?}");
}

#[test]
fn an_empty_chain_is_told() {
    assert_eq!(
        problems("[backends.b]\nbase_url = \"http://x\"\n[[routes]]\nmodel = \"m\"\nchain = []\n"),
        [
            "FILE: routes.0.chain: found an empty chain; allowed: at least one target: \"backend\" or \"backend:model\""
        ]
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_not_told() {
    for line in [
        "backends.x.auth = \"sk-very-secret\"",
        "backends.x.auth = { kind = \"bearer\", secret = [\"sk-very-secret\"] }",
        "backends.x.headers = \"sk-very-secret\"",
        "backends.x = { base_url = \"https://sk-very-secret@host\" }",
    ] {
        let told = problems_with(line).join("\n");
        assert!(!told.contains("sk-very-secret"), "{told}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let sources = Sources { file: Some("/nowhere/sidestep.toml".into()), ..Sources::default() };
    let told = load(&sources).unwrap_err().to_string();
    assert!(told.contains("/nowhere/sidestep.toml: (the file): found no readable file"), "{told}");
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let told = problems("[server]\nlisten = 1\nauth = \"sk-very-secret\n").join("\n");
    assert!(told.contains("line 3") && told.contains("valid TOML"), "{told}");
    assert!(!told.contains("sk-very-secret"), "{told}");
}

#[test]
fn a_duration_beyond_every_clock_is_told() {
    let told = problems_with("timeouts.idle = \"300000000y\"").join("\n");
    assert!(told.starts_with("FILE: timeouts.idle: found \"300000000y\""), "{told}");
}
