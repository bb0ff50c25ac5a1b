//! `sidestep drill`: a rehearsal of the user's own chains.

use std::process::{Command, Output};

use serde_json::Value;

/// Runs the drill on a configuration.
fn drill(toml: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    std::fs::write(&file, toml).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .arg("drill")
        .args(arguments)
        .arg("--config")
        .arg(&file)
        .env_clear()
        .output()
        .unwrap();
    let told = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(!String::from_utf8_lossy(&told).contains("secret-of-"));
    output
}

/// Two backends that nobody could reach: a drill asks neither.
fn chain(second_host: &str, second_secret: &str, more: &str) -> String {
    format!(
        "[backends.a]\nbase_url = \"https://a.invalid/v1\"\nauth = {{ kind = \"bearer\", secret = \"secret-of-a\" }}\n{more}\n[backends.b]\nbase_url = \"https://{second_host}/v2\"\nauth = {{ kind = \"bearer\", secret = \"{second_secret}\" }}\n[[routes]]\nmodel = \"m\"\nchain = [\"a\", \"b:other\"]\n"
    )
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn findings(output: &Output) -> Vec<String> {
    let report = json(output);
    let findings = report["routes"][0]["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["what"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_sound_chain_passes_and_every_scene_is_told() {
    let output = drill(&chain("b.invalid", "secret-of-b", ""), &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = json(&output);
    let scenes = report["routes"][0]["scenes"].as_array().unwrap();
    let scene = |fault: &str, position: u64, stream: bool| {
        let is_it = |scene: &&Value| {
            scene["fault"] == fault && scene["position"] == position && scene["stream"] == stream
        };
        scenes.iter().find(is_it).unwrap()
    };
    for stream in [false, true] {
        assert_eq!(scene("401", 0, stream)["answered_by"], "b:other");
        assert_eq!(scene("failed-quota", 0, stream)["class"], "quota");
        assert_eq!(scene("silent", 0, stream)["answered_by"], "b:other");
        assert_eq!(scene("500", 1, stream)["answered_by"], Value::Null);
        assert_eq!(scene("500", 1, stream)["status"], 502);
    }
    assert_eq!(scene("cut-after-output", 0, true)["stage"], "after_commit");
    assert_eq!(findings(&output), Vec::<String>::new());
}

#[test]
fn every_class_that_can_fail_over_is_played() {
    let report = json(&drill(&chain("b.invalid", "secret-of-b", ""), &["--json"]));
    let scenes = report["routes"][0]["scenes"].as_array().unwrap();
    let told = |key: &str| -> std::collections::BTreeSet<&str> {
        scenes.iter().filter_map(|scene| scene[key].as_str()).collect()
    };
    for class in [
        "auth", "forbidden", "quota", "rate_limit", "overloaded", "server", "network", "timeout",
        "malformed", "empty", "cancelled", "model", "context_length", "reasoning", "policy",
        "invalid_request",
    ] {
        assert!(told("class").contains(class), "{class}");
    }
    let carriers = ["status", "body", "event", "transport", "timeout", "credential"];
    assert_eq!(told("detected_by"), carriers.into());
    assert!(told("fault").is_superset(&["refused", "no-credential", "json-failed"].into()));
}

#[test]
fn a_long_chain_is_no_weaker_for_its_length() {
    let mut toml = String::new();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        toml += &format!(
            "[backends.{name}]\nbase_url = \"https://{name}.invalid/v1\"\nauth = {{ kind = \"bearer\", secret = \"secret-of-{name}\" }}\n"
        );
    }
    // Silence takes no longer than it has to.
    let silence = ["first_byte", "first_output", "idle", "answer", "error_body"];
    toml += "[timeouts]\n";
    toml.extend(silence.map(|limit| format!("{limit} = \"20ms\"\n")));
    toml +=
        "[[routes]]\ndefault = true\nchain = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\"]\n";
    let output = drill(&toml, &["--json"]);
    assert_eq!(findings(&output), Vec::<String>::new());

    toml += "[limits]\nattempts_max = 7\n";
    let output = drill(&toml, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let finding = &json(&output)["routes"][0]["findings"][0];
    assert_eq!(finding["advice"], "set limits.attempts_max to 8 or more: it is 7", "{finding}");
}

#[test]
fn what_only_the_client_can_mend_is_no_weakness() {
    let toml = "[backends.a]\nbase_url = \"https://a.invalid/v1\"\nauth = { kind = \"passthrough\" }\n[backends.b]\nbase_url = \"https://b.invalid/v1\"\nauth = { kind = \"bearer\", secret = \"secret-of-b\" }\n[[routes]]\ndefault = true\nchain = [\"a\", \"b\"]\n";
    let output = drill(toml, &["--json"]);
    assert_eq!(findings(&output), Vec::<String>::new());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn people_get_a_table() {
    let output = drill(&chain("b.invalid", "secret-of-b", ""), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("route m: a -> b:other\n"), "{text}");
    let row = text.lines().find(|line| line.starts_with(" failed-auth ")).unwrap();
    assert!(row.contains("b:other answered, ") && row.contains("502 auth, "), "{row}");
    assert!(text.contains("no weakness"), "{text}");
}

#[test]
fn what_all_targets_share_is_a_weakness() {
    let output = drill(&chain("a.invalid", "secret-of-a", ""), &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found = findings(&output);
    assert!(found.iter().any(|what| what.contains("every target is at a.invalid")), "{found:?}");
    assert!(found.iter().any(|what| what.contains("the same credential")), "{found:?}");
}

#[test]
fn a_backend_that_is_only_watched_is_a_weakness() {
    let output = drill(&chain("b.invalid", "secret-of-b", "detection = \"shadow\""), &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let finding = &json(&output)["routes"][0]["findings"][0];
    assert!(finding["what"].as_str().unwrap().starts_with("a fails with 400"), "{finding}");
    assert_eq!(finding["advice"], "set detection = \"enforce\" for [backends.a]");
}

#[test]
fn a_chain_of_one_is_a_weakness() {
    let toml = "[backends.a]\nbase_url = \"https://a.invalid/v1\"\n[[routes]]\ndefault = true\nchain = [\"a\"]\n";
    let output = drill(toml, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("weak: the chain has one target"), "{text}");
    assert!(text.contains("add another backend to the chain"), "{text}");
}
