//! The backends: where they are, how they know us, their headers.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

use super::super::auth::Auth;
use super::super::checked::{Backend, Detection, Profile, Timeouts};
use super::super::secret::Secret;
use super::super::written;
use super::{Check, quoted};

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
        let auth = self.auth(&key, backend);
        if let (Some(url), Some(auth)) = (&url, &auth)
            && auth.iter().any(|auth| *auth != Auth::None)
        {
            self.encrypted(&format!("{key}.base_url"), url);
        }
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
        if let Some(places) = backend.concurrency_max {
            self.at_least_one(&format!("{key}.concurrency_max"), places);
        }
        let profile = self.profile(&key, backend.profile.as_deref());
        let tls = self.tls(&format!("{key}.tls"), &backend.tls);
        let detection = self.detection(&key, backend.detection.as_deref());
        let auth_order = self.auth_order(&key, backend.auth_order.as_deref());
        let windows = backend.models.iter();
        let (url, auth) = (url?, auth?);
        Some(Backend {
            profile: profile.unwrap_or_else(|| usual_profile(&url, &auth)),
            url,
            auth,
            auth_order,
            headers,
            timeouts,
            detection,
            tls,
            trace_context: backend.trace_context,
            concurrency_max: backend.concurrency_max,
            context_window: backend.context_window,
            model_context_windows: windows
                .filter_map(|(model, own)| Some((model.clone(), own.context_window?)))
                .collect(),
        })
    }

    fn profile(&mut self, backend: &str, written: Option<&str>) -> Option<Profile> {
        let written = written?;
        let known = match written {
            "generic" => Some(Profile::Generic),
            "openai" => Some(Profile::OpenAi),
            "codex" => Some(Profile::Codex),
            _ => None,
        };
        if known.is_none() {
            let allowed = "\"generic\", \"openai\" or \"codex\"";
            self.wrong(&format!("{backend}.profile"), quoted(written), allowed);
        }
        known
    }

    fn detection(&mut self, backend: &str, written: Option<&str>) -> Detection {
        match written {
            None | Some("enforce") => Detection::Enforce,
            Some("shadow") => Detection::Shadow,
            Some("off") => Detection::Off,
            Some(other) => {
                let allowed = "\"enforce\", \"shadow\" or \"off\"";
                self.wrong(&format!("{backend}.detection"), quoted(other), allowed);
                Detection::default()
            }
        }
    }

    fn base_url(&mut self, key: &str, text: Option<&str>) -> Option<Url> {
        let mut url = self.url(key, text)?;
        let path = format!("{}/responses", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Some(url)
    }

    /// A URL to send requests to.
    pub(super) fn url(&mut self, key: &str, text: Option<&str>) -> Option<Url> {
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
        if parsed.is_none() {
            // Whatever stands before an `@` may be a password.
            let shown = if text.contains('@') {
                "a URL with a user or password".to_owned()
            } else {
                quoted(text)
            };
            self.wrong(key, shown, allowed);
        }
        parsed
    }

    /// Without TLS, everybody on the way could read the credential.
    pub(super) fn encrypted(&mut self, key: &str, url: &Url) {
        let is_loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let host = url.host_str().unwrap_or_default();
        let is_allowed = self.credentials.plain_http_hosts.iter().any(|allowed| allowed == host);
        if url.scheme() == "http" && !is_loopback && !is_allowed {
            self.wrong(
                key,
                format!("a credential over plain http:// to {host}"),
                "https://, a loopback address, or a host named in credentials.plain_http_hosts",
            );
        }
    }

    fn headers(&mut self, key: &str, written: &BTreeMap<String, Secret>) -> HeaderMap {
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
            let value = HeaderValue::try_from(value.expose()).ok();
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
/// What a backend is where nobody says it: whose login it takes, whose host it is.
fn usual_profile(url: &Url, auth: &[Auth]) -> Profile {
    let is_login = |auth: &Auth| matches!(auth, Auth::Codex { .. } | Auth::CodexReadOnly { .. });
    let host = url.host_str().unwrap_or_default();
    if auth.iter().any(is_login) {
        Profile::Codex
    } else if host == "openai.com" || host.ends_with(".openai.com") {
        Profile::OpenAi
    } else {
        Profile::Generic
    }
}
