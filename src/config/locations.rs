//! Where files are that nobody named: by the environment, as other programs do it.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Our own copy of a ChatGPT login: `codex.json` in the state folder of the XDG base directories.
pub fn codex_login(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let state = named(environment, "XDG_STATE_HOME")
        .or_else(|| Some(named(environment, "HOME")?.join(".local/state")));
    Some(state?.join("sidestep/codex.json"))
}

/// The Codex CLI's login: `auth.json` of `CODEX_HOME`, which is `~/.codex` by default.
pub fn codex_cli_login(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let home = named(environment, "CODEX_HOME")
        .or_else(|| Some(named(environment, "HOME")?.join(".codex")));
    Some(home?.join("auth.json"))
}

fn named(environment: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
