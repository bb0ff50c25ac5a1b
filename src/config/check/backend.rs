//! The backends: where they are, how they know us, their headers.

use std::collections::BTreeMap;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::super::checked::{Auth, Backend, Timeouts};
use super::super::written;
use super::{Check, quoted};

/// Larger files are no secrets.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

impl Check<'_> {
    pub(super) fn backend(
        &mut self,
        name: &str,
        backend: &written::Backend,
        defaults: Timeouts,
    ) -> Option<Backend> {
        let key = format!("backends.{name}");
        let is_plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(is_plain) {
            self.wrong(&key, quoted(name), "a name of lower-case letters, digits, \"-\" and \"_\"");
        }
        let url = self.base_url(&format!("{key}.base_url"), backend.base_url.as_deref());
        let auth = self.auth(&format!("{key}.auth"), backend.auth.as_ref());
        let headers = self.headers(&format!("{key}.headers"), &backend.headers);
        let own = &backend.timeouts;
        let pick = |own: Option<written::Span>, default| own.map_or(default, |span| span.0);
        let timeouts = Timeouts {
            connect: pick(own.connect, defaults.connect),
            first_byte: pick(own.first_byte, defaults.first_byte),
            first_output: pick(own.first_output, defaults.first_output),
            idle: pick(own.idle, defaults.idle),
            answer: pick(own.answer, defaults.answer),
            error_body: pick(own.error_body, defaults.error_body),
        };
        if timeouts != defaults {
            self.positive_timeouts(&format!("{key}.timeouts"), timeouts);
        }
        let windows = backend.models.iter();
        Some(Backend {
            url: url?,
            auth: auth?,
            headers,
            timeouts,
            context_window: backend.context_window,
            model_context_windows: windows
                .filter_map(|(model, own)| Some((model.clone(), own.context_window?)))
                .collect(),
        })
    }

    fn base_url(&mut self, key: &str, text: Option<&str>) -> Option<Url> {
        let allowed = "an http:// or https:// URL without user, password and fragment";
        let Some(text) = text else {
            self.wrong(key, "nothing", allowed);
            return None;
        };
        let parsed = Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
        });
        let Some(mut url) = parsed else {
            // Whatever stands before an `@` may be a password.
            let shown = if text.contains('@') {
                "a URL with a user or password".to_owned()
            } else {
                quoted(text)
            };
            self.wrong(key, shown, allowed);
            return None;
        };
        let path = format!("{}/responses", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Some(url)
    }

    fn auth(&mut self, key: &str, auth: Option<&written::Auth>) -> Option<Auth> {
        let Some(auth) = auth else {
            return Some(Auth::None);
        };
        let at = |field: &str| format!("{key}.{field}");
        match auth.kind.as_deref() {
            Some("none") => {
                if auth.env.is_some()
                    || auth.file.is_some()
                    || auth.secret.is_some()
                    || auth.name.is_some()
                {
                    self.wrong(key, "kind = \"none\" beside other keys", "kind = \"none\" alone");
                }
                Some(Auth::None)
            }
            Some("bearer") => {
                if auth.name.is_some() {
                    self.wrong(
                        &at("name"),
                        "a header name for kind = \"bearer\"",
                        "a name only for kind = \"header\"",
                    );
                }
                Some(Auth::Bearer(self.secret(key, auth)?))
            }
            Some("header") => {
                let name = auth.name.as_deref().unwrap_or_default();
                let header = HeaderName::try_from(name).ok();
                if header.is_none() {
                    self.wrong(&at("name"), quoted(name), "a header name such as \"api-key\"");
                }
                let secret = self.secret(key, auth);
                Some(Auth::Header { name: header?, secret: secret? })
            }
            other => {
                let found = other.map_or_else(|| "nothing".to_owned(), quoted);
                self.wrong(&at("kind"), found, "\"none\", \"bearer\" or \"header\"");
                None
            }
        }
    }

    /// The secret of one source, fit to be a header value.
    fn secret(&mut self, key: &str, auth: &written::Auth) -> Option<SecretString> {
        let at = |field: &str| format!("{key}.{field}");
        let (place, text) = match (&auth.env, &auth.file, &auth.secret) {
            (Some(name), None, None) => {
                let value = self.environment.get(name).filter(|value| !value.trim().is_empty());
                if value.is_none() {
                    self.wrong(
                        &at("env"),
                        format!("{name}, which is not set"),
                        "the name of an environment variable that is set",
                    );
                }
                (at("env"), value?.clone())
            }
            (None, Some(file), None) => match read_secret(file) {
                Ok(text) => (at("file"), text),
                Err(error) => {
                    self.wrong(
                        &at("file"),
                        format!("{} ({error})", file.display()),
                        "a readable file with the secret",
                    );
                    return None;
                }
            },
            (None, None, Some(secret)) => (at("secret"), secret.expose_secret().to_owned()),
            (None, None, None) => {
                self.wrong(key, "no secret", "one of env, file and secret");
                return None;
            }
            _ => {
                self.wrong(key, "more than one secret", "one of env, file and secret");
                return None;
            }
        };
        let secret = text.trim();
        if secret.is_empty() || HeaderValue::try_from(secret).is_err() {
            self.wrong(
                &place,
                "a secret that is empty or has characters that no header can hold",
                "printable characters",
            );
            return None;
        }
        Some(SecretString::from(secret))
    }

    fn headers(&mut self, key: &str, written: &BTreeMap<String, SecretString>) -> HeaderMap {
        // What Sidestep itself decides for each attempt.
        const OURS: [&str; 7] = [
            "authorization", "content-length", "content-type", "transfer-encoding", "host",
            "connection", "accept",
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in written {
            let at = format!("{key}.{name}");
            let header =
                HeaderName::try_from(name).ok().filter(|name| !OURS.contains(&name.as_str()));
            if header.is_none() {
                self.wrong(
                    &at,
                    quoted(name),
                    format!("a header name other than {}; a key goes into auth", OURS.join(", ")),
                );
            }
            let value = HeaderValue::try_from(value.expose_secret()).ok();
            if value.is_none() {
                self.wrong(&at, "a value that no header can hold", "printable characters");
            }
            if let (Some(header), Some(mut value)) = (header, value) {
                value.set_sensitive(true);
                headers.insert(header, value);
            }
        }
        headers
    }
}

fn read_secret(file: &Path) -> std::io::Result<String> {
    if std::fs::metadata(file)?.len() > SECRET_BYTES_MAX {
        return Err(std::io::Error::other(format!("larger than {SECRET_BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(file)
}
