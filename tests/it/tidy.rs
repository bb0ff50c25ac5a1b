//! The house's rules, checked: who may import what, how long a file may be, what must not stand.

use std::fs;
use std::path::Path;

use sidestep::config::{Sources, load};

use crate::kit::repository;

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 400;

/// A source file: its path below `src`, its text without its tests.
struct Source {
    path: String,
    text: String,
    whole: String,
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&repository("src"), &mut sources);
    assert!(sources.len() > 40, "the walk has found the sources");
    sources
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let whole = fs::read_to_string(&path).unwrap();
            // A module for tests elsewhere does not end a file; the file's own tests do.
            let tests = ["#[cfg(test)]\nmod tests", "#[cfg(test)]\n#[path"];
            let end = tests.iter().filter_map(|tests| whole.find(tests)).min();
            let text = whole[..end.unwrap_or(whole.len())].to_owned();
            let path = path.strip_prefix(repository("src")).unwrap();
            sources.push(Source { path: path.to_str().unwrap().to_owned(), text, whole });
        }
    }
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.ends_with("testing.rs")
    }

    fn is_in(&self, rooms: &[&str]) -> bool {
        rooms.iter().any(|room| self.path.starts_with(room))
    }

    /// The rooms of ours that it names, also within a braced import.
    fn rooms(&self) -> Vec<&str> {
        let starts = self.text.match_indices("crate::").map(|(at, path)| at + path.len());
        let word = |at: usize| {
            let rest = &self.text[at..];
            &rest[..rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len())]
        };
        starts.map(word).collect()
    }
}

#[test]
fn rooms_import_only_what_they_may() {
    let allowed: &[(&str, &[&str])] = &[
        ("wire/", &["wire"]),
        ("verdict/", &["verdict", "wire"]),
        ("config/", &["config", "verdict", "wire"]),
        ("telemetry/", &["telemetry", "verdict", "wire"]),
        ("backend/", &["backend", "config", "durable", "telemetry", "verdict", "wire"]),
        ("layers/", &["backend", "config", "telemetry", "verdict", "wire"]),
        ("api/", &["api", "backend", "config", "telemetry", "verdict", "wire"]),
        ("server.rs", &[]),
        ("durable.rs", &[]),
        ("faults/", &["faults", "server", "wire"]),
    ];
    for source in sources() {
        let Some((_, allowed)) = allowed.iter().find(|(room, _)| source.path.starts_with(room))
        else {
            assert!(
                source.is_in(&["app.rs", "cli/", "lib.rs", "main.rs", "reload.rs"]),
                "{} has no room",
                source.path
            );
            continue;
        };
        for room in source.rooms() {
            assert!(allowed.contains(&room), "{} imports crate::{room}", source.path);
        }
    }
}

#[test]
fn no_layer_imports_another() {
    let shared = ["mod.rs", "guarded.rs"];
    let sources = sources();
    for source in sources.iter().filter(|source| source.is_in(&["layers/"]) && !source.is_test()) {
        let own = source.path["layers/".len()..].split(['/', '.']).next().unwrap();
        for line in source.text.lines().filter(|line| line.trim_start().starts_with("use ")) {
            let other = line.trim_start().strip_prefix("use super::");
            let is_inner = source.path.matches('/').count() > 1;
            let other = other.filter(|_| !is_inner && !shared.contains(&own));
            let named = other.and_then(|rest| rest.split(['{', ':', ';']).next());
            assert!(named.is_none_or(|named| named == "guarded"), "{}: {line}", source.path);
        }
    }
}

#[test]
fn crates_stay_in_their_rooms() {
    let homes: &[(&str, &[&str])] = &[
        ("reqwest", &["backend/transport", "backend/credential"]),
        ("figment", &["config/"]),
        ("prometheus", &["telemetry/metrics", "app.rs"]),
        ("opentelemetry", &["telemetry/traces/"]),
        ("opentelemetry_sdk", &["telemetry/traces/"]),
        ("opentelemetry_otlp", &["telemetry/traces/"]),
        ("rustls", &["backend/transport"]),
        ("hyper_rustls", &["backend/transport"]),
        (
            "tokio",
            &[
                "api/", "app.rs", "backend/", "cli/", "faults/", "layers/", "server.rs",
                "telemetry/",
            ],
        ),
        ("std::env", &["main.rs", "config/"]),
        (
            "std::fs",
            &[
                "config/", "backend/bench/file", "backend/credential/", "durable", "cli/readiness",
                "cli/manual",
            ],
        ),
    ];
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (name, homes) in homes {
            if source.is_in(homes) {
                continue;
            }
            let path = format!("{name}::");
            for line in source.text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                assert!(!line.contains(&path), "{}: {line}", source.path);
            }
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for source in sources() {
        assert!(source.whole.starts_with("//!"), "{} does not begin with //!", source.path);
        let lines = source.text.lines().count();
        let is_long = lines > FILE_LINES_MAX && !source.is_test();
        assert!(!is_long, "{} has {lines} lines without its tests", source.path);
    }
}

#[test]
fn nothing_is_left_undone() {
    // Put together, so that this file does not find itself.
    let forbidden = ["todo", "unimplemented"].map(|name| format!("{name}!("));
    for source in sources() {
        for text in forbidden.iter().map(String::as_str).chain(["#[ignore", "thread::sleep"]) {
            assert!(!source.whole.contains(text), "{}: {text}", source.path);
        }
    }
}

#[test]
fn the_readme_has_the_failure_table_of_the_code() {
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let table = sidestep::verdict::document::markdown();
    assert!(readme.contains(&table), "put this into README.md:\n\n{table}");
}

#[test]
fn the_metrics_page_is_what_the_code_says() {
    let page = fs::read_to_string(repository("docs/metrics.md")).unwrap();
    let table = sidestep::telemetry::metrics::document::markdown();
    assert!(page.contains(&table), "put this into docs/metrics.md:\n\n{table}");
}

#[test]
fn alerts_and_dashboard_name_only_metrics_and_labels_that_are_there() {
    let families = sidestep::telemetry::metrics::families::ALL;
    let mut named = 0;
    for file in [
        "deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml",
        "deploy/grafana/sidestep.json",
    ] {
        let text = fs::read_to_string(repository(file)).unwrap();
        for (at, _) in text.match_indices("sidestep_") {
            let word = |c: char| !c.is_ascii_alphanumeric() && c != '_';
            let name = text[at..].split(word).next().unwrap();
            let of_histogram = ["_bucket", "_sum", "_count"];
            let bare = of_histogram.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let family = families.iter().find(|family| [name, bare].contains(&family.name));
            let family = family.unwrap_or_else(|| panic!("{file}: there is no {name}"));
            let selector = text[at + name.len()..].strip_prefix('{').unwrap_or_default();
            let selector = selector.split('}').next().unwrap();
            for label in selector.split(',').filter_map(|pair| pair.split(['=', '!']).next()) {
                let is_known = ["", "instance", "job"].contains(&label.trim())
                    || family.labels.contains(&label.trim());
                assert!(is_known, "{file}: {name} has no label {label}");
            }
            named += 1;
        }
    }
    assert!(named > 70, "{named}");
}

#[test]
fn configurations_to_deploy_are_sound() {
    let manifest = fs::read_to_string(repository("deploy/kubernetes/sidecar.yaml")).unwrap();
    let block = manifest.split("sidestep.toml: |\n").nth(1).unwrap();
    let lines = block.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let toml: String = lines.map(|line| format!("{}\n", line.trim())).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    fs::write(&file, toml).unwrap();
    let variables = [
        ("OPENAI_API_KEY", "key-of-openai"),
        ("AZURE_API_KEY", "key-of-azure"),
        ("SIDESTEP_SERVER__ALLOWED_HOSTS", "[\"sidestep\"]"),
    ];
    for file in [file, repository("deploy/compose/sidestep.toml")] {
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let sources = Sources { file: Some(file), environment, ..Sources::default() };
        let config = load(&sources).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.access.allowed_hosts, ["sidestep"]);
    }
}
