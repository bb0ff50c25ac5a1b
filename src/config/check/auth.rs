//! The credentials: which kind, where the secret comes from, which keys belong to it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue};

use super::super::auth::{Auth, AuthHeader, AuthOrder, TokenBody, TokenEndpoint};
use super::super::secret::Secret;
use super::super::written::{self, SecretSource};
use super::{Check, quoted};

/// The kinds, each with the keys that belong to it beside `kind`.
const KINDS: &[(&str, &[&str])] = &[
    ("none", &[]),
    ("bearer", &["env", "file", "secret"]),
    ("header", &["name", "env", "file", "secret"]),
    ("command", &["command", "timeout", "refresh_interval", "name"]),
    ("oauth", &["token_url", "client_id", "client_secret", "scope", "body", "file"]),
    ("codex", &["file", "read_only", "token_url", "client_id"]),
    ("passthrough", &[]),
];

/// Where the Codex CLI refreshes its logins, and who it is there (openai/codex, `login` crate).
const CODEX_TOKEN_URL: &str = "https://auth.openai.com/oauth/token";
const CODEX_CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

impl Check<'_> {
    /// The credentials of a backend. `None` only when a problem has been noted.
    pub(super) fn auth(&mut self, key: &str, backend: &written::Backend) -> Option<Vec<Auth>> {
        let key = format!("{key}.auth");
        let written::AuthList { all, is_list } = &backend.auth;
        if all.is_empty() {
            if *is_list {
                self.wrong(&key, "an empty list", "at least one credential; or no auth at all");
            }
            return Some(vec![Auth::None]);
        }
        let mut auths = Vec::new();
        for (index, auth) in all.iter().enumerate() {
            let key = if *is_list { format!("{key}.{index}") } else { key.clone() };
            auths.push(self.one_auth(&key, auth));
        }
        let auths: Vec<Auth> = auths.into_iter().collect::<Option<_>>()?;
        if auths.len() > 1 && auths.contains(&Auth::None) {
            self.wrong(&key, "kind = \"none\" beside others", "kind = \"none\" alone");
        }
        Some(auths)
    }

    pub(super) fn auth_order(&mut self, key: &str, word: Option<&str>) -> AuthOrder {
        match word {
            None | Some("in_order") => AuthOrder::InOrder,
            Some("round_robin") => AuthOrder::RoundRobin,
            Some(other) => {
                let allowed = "\"in_order\" or \"round_robin\"";
                self.wrong(&format!("{key}.auth_order"), quoted(other), allowed);
                AuthOrder::InOrder
            }
        }
    }

    fn one_auth(&mut self, key: &str, auth: &written::Auth) -> Option<Auth> {
        let kind = auth.kind.as_deref();
        let Some((kind, keys)) = KINDS.iter().find(|(known, _)| Some(*known) == kind) else {
            let kinds: Vec<String> = KINDS.iter().map(|(kind, _)| quoted(kind)).collect();
            let found = kind.map_or_else(|| "nothing".to_owned(), quoted);
            self.wrong(&format!("{key}.kind"), found, kinds.join(", "));
            return None;
        };
        let mut is_sound = true;
        for name in auth.keys().into_iter().filter(|name| !keys.contains(name)) {
            is_sound = false;
            let allowed = match keys.join(", ") {
                none if none.is_empty() => "kind alone".to_owned(),
                some => some,
            };
            let found = format!("a key that kind = \"{kind}\" does not have");
            self.wrong(&format!("{key}.{name}"), found, allowed);
        }
        let auth = match *kind {
            "passthrough" => Some(Auth::Passthrough),
            "bearer" => self.secret(key, AuthHeader::Bearer, auth),
            "header" => {
                let header = self.header_name(key, auth.name.as_deref().unwrap_or_default());
                let is_named = header.is_some();
                // Read in any case, so that every problem is told at once.
                let secret = self.secret(key, header.unwrap_or(AuthHeader::Bearer), auth);
                secret.filter(|_| is_named)
            }
            "command" => self.command(key, auth),
            "oauth" => self.oauth(key, auth),
            "codex" => self.codex(key, auth),
            _ => Some(Auth::None),
        };
        auth.filter(|_| is_sound)
    }

    fn header_name(&mut self, key: &str, name: &str) -> Option<AuthHeader> {
        let header = HeaderName::try_from(name).ok();
        if header.is_none() {
            self.wrong(&format!("{key}.name"), quoted(name), "a header name such as \"api-key\"");
        }
        header.map(AuthHeader::Named)
    }

    /// A fixed secret, or a file that holds one and may not be there yet.
    fn secret(&mut self, key: &str, header: AuthHeader, auth: &written::Auth) -> Option<Auth> {
        let source = SecretSource {
            env: auth.env.clone(),
            file: auth.file.clone(),
            secret: auth.secret.clone(),
        };
        if let SecretSource { env: None, file: Some(file), secret: None } = &source {
            return Some(Auth::File { header, file: self.path(file) });
        }
        let origin = match &source.env {
            Some(name) => format!("env {name}"),
            None => "the configuration".to_owned(),
        };
        Some(Auth::Fixed { header, secret: self.secret_of(key, &source)?, origin })
    }

    fn command(&mut self, key: &str, auth: &written::Auth) -> Option<Auth> {
        let header = match &auth.name {
            Some(name) => self.header_name(key, name),
            None => Some(AuthHeader::Bearer),
        };
        let timeout = auth.timeout.unwrap_or(self.credentials.command_timeout).0;
        self.positive(&format!("{key}.timeout"), timeout);
        let refresh_interval = auth.refresh_interval.map(|span| span.0);
        if let Some(interval) = refresh_interval {
            self.positive(&format!("{key}.refresh_interval"), interval);
        }
        let command = auth.command.clone().unwrap_or_default();
        if command.first().is_none_or(String::is_empty) {
            let allowed = "a program and its arguments, such as [\"gcloud\", \"auth\", \"print-access-token\"]";
            self.wrong(&format!("{key}.command"), "no program", allowed);
            return None;
        }
        Some(Auth::Command { header: header?, command, timeout, refresh_interval })
    }

    fn oauth(&mut self, key: &str, auth: &written::Auth) -> Option<Auth> {
        let at = |field: &str| format!("{key}.{field}");
        let url = self.token_url(key, auth.token_url.as_deref());
        let client_secret = match &auth.client_secret {
            Some(source) => Some(self.secret_of(&at("client_secret"), source)?),
            None => None,
        };
        let body = match auth.body.as_deref() {
            None | Some("form") => TokenBody::Form,
            Some("json") => TokenBody::Json,
            Some(other) => {
                self.wrong(&at("body"), quoted(other), "\"form\" or \"json\"");
                return None;
            }
        };
        if auth.client_id.is_none() {
            self.wrong(&at("client_id"), "nothing", "the id that the token endpoint knows");
        }
        if auth.file.is_none() {
            self.wrong(
                &at("file"),
                "nothing",
                "a file of its own for the tokens, which `sidestep login oauth` writes",
            );
        }
        let endpoint = TokenEndpoint {
            url: url?,
            client_id: auth.client_id.clone()?,
            client_secret,
            scope: auth.scope.clone(),
            body,
        };
        Some(Auth::OAuth { endpoint, file: self.path(auth.file.as_deref()?) })
    }

    fn codex(&mut self, key: &str, auth: &written::Auth) -> Option<Auth> {
        let read_only = auth.read_only.unwrap_or(false);
        let file = match &auth.file {
            Some(file) => Some(self.path(file)),
            None if read_only => crate::config::locations::codex_cli_login(self.environment),
            None => crate::config::locations::codex_login(self.environment),
        };
        let Some(file) = file else {
            self.wrong(
                &format!("{key}.file"),
                "nothing, and neither HOME nor another variable that says where",
                "the path of the login",
            );
            return None;
        };
        if read_only {
            return Some(Auth::CodexReadOnly { file });
        }
        let endpoint = TokenEndpoint {
            url: self.token_url(key, Some(auth.token_url.as_deref().unwrap_or(CODEX_TOKEN_URL)))?,
            client_id: auth.client_id.clone().unwrap_or_else(|| CODEX_CLIENT_ID.to_owned()),
            client_secret: None,
            scope: None,
            body: TokenBody::Json,
        };
        Some(Auth::Codex { endpoint, file })
    }

    fn token_url(&mut self, key: &str, text: Option<&str>) -> Option<url::Url> {
        let key = format!("{key}.token_url");
        let url = self.url(&key, text)?;
        self.encrypted(&key, &url);
        Some(url)
    }

    /// The secret of one source, fit to be a header value.
    pub(super) fn secret_of(&mut self, key: &str, source: &SecretSource) -> Option<Secret> {
        let at = |field: &str| format!("{key}.{field}");
        let (place, text) = match (&source.env, &source.file, &source.secret) {
            (Some(name), None, None) => {
                let value = self.environment.get(name).filter(|value| !value.trim().is_empty());
                if value.is_none() {
                    self.wrong(
                        &at("env"),
                        format!("{name}, which is not set"),
                        "the name of an environment variable that is set",
                    );
                }
                (at("env"), Secret::from(value?.as_str()))
            }
            (None, Some(file), None) => {
                match self.read_secret(file, self.credentials.token_bytes_max.0) {
                    Ok(secret) => (at("file"), secret),
                    Err(error) => {
                        let found = format!("{} ({error})", file.display());
                        self.wrong(&at("file"), found, "a readable file with the secret");
                        return None;
                    }
                }
            }
            (None, None, Some(secret)) => (at("secret"), secret.clone()),
            (None, None, None) => {
                self.wrong(key, "no secret", "one of env, file and secret");
                return None;
            }
            _ => {
                self.wrong(key, "more than one secret", "one of env, file and secret");
                return None;
            }
        };
        let secret = text.expose().trim();
        if secret.is_empty() || HeaderValue::try_from(secret).is_err() {
            self.wrong(
                &place,
                "a secret that is empty or has characters that no header can hold",
                "printable characters",
            );
            return None;
        }
        Some(Secret::from(secret))
    }

    /// The first `bytes_max` of a file.
    pub(super) fn read_secret(&self, file: &Path, bytes_max: usize) -> std::io::Result<Secret> {
        let mut text = String::new();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        std::fs::File::open(self.path(file))?.take(limit).read_to_string(&mut text)?;
        Ok(Secret::from(text))
    }

    /// A path as it is used: `~/` is the user's home, as in a shell.
    pub(super) fn path(&self, written: &Path) -> PathBuf {
        match (written.strip_prefix("~"), self.environment.get("HOME")) {
            (Ok(rest), Some(home)) => Path::new(home).join(rest),
            _ => written.to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
