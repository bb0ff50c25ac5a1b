//! The exchange of a refresh token for new tokens (RFC 6749, section 6), and what a refusal means.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, CONTENT_TYPE};
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::super::headers::retry_after;
use super::super::transport::{Client, ClientError};
use super::error::CredentialError;
use crate::config::Secret;
use crate::config::auth::{self, TokenBody};
use crate::config::checked::Tls;
use crate::verdict::CredentialFault;

/// Codes that say that a refresh token will never be taken again (RFC 6749, section 5.2; the
/// Codex CLI's `login` crate; NousResearch/hermes-agent#27911).
const DEAD: &[&str] = &[
    "invalid_grant", "invalid_token", "invalid_request", "refresh_token_expired",
    "refresh_token_reused", "refresh_token_invalidated", "unauthorized_client", "invalid_client",
];
/// Those of them that speak of the configuration and not of the refresh token.
const OF_THE_CLIENT: &[&str] = &["unauthorized_client", "invalid_client"];

/// A place where refresh tokens are exchanged.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) endpoint: auth::TokenEndpoint,
    pub(super) client: Client,
    pub(super) timeout: Duration,
    pub(super) bytes_max: usize,
}

/// What a token endpoint gives.
#[derive(Debug, Deserialize)]
pub(super) struct Granted {
    pub(super) access_token: Secret,
    /// Absent: the one that was sent stays good.
    pub(super) refresh_token: Option<Secret>,
    pub(super) id_token: Option<Secret>,
    /// Seconds.
    pub(super) expires_in: Option<f64>,
}

/// Why it gives nothing.
#[derive(Debug)]
pub(super) enum Refusal {
    /// This refresh token is dead: the code says why.
    Dead(String),
    /// It does not know us; the refresh token may be good.
    Client(String),
    /// Not now.
    Transient(CredentialError),
}

impl Exchange {
    pub(super) fn new(
        endpoint: auth::TokenEndpoint,
        timeout: Duration,
        bytes_max: usize,
    ) -> Result<Self, ClientError> {
        let client = Client::new(&endpoint.url, timeout, &Tls::default())?;
        Ok(Self { endpoint, client, timeout, bytes_max })
    }

    /// Sends a refresh token. Once it is on its way it may be spent, whatever comes back.
    pub(super) async fn refresh(&self, refresh_token: &Secret) -> Result<Granted, Refusal> {
        match tokio::time::timeout(self.timeout, self.post(refresh_token)).await {
            Ok(result) => result,
            Err(_) => {
                let what =
                    format!("no answer within {:?} (credentials.refresh_timeout)", self.timeout);
                Err(self.transient(CredentialFault::Timeout, &what))
            }
        }
    }

    async fn post(&self, refresh_token: &Secret) -> Result<Granted, Refusal> {
        let (media_type, body) = self.body(refresh_token);
        let unavailable = |what: &str| self.transient(CredentialFault::Unavailable, what);
        let request = self
            .client
            .post(self.endpoint.url.clone())
            .header(CONTENT_TYPE, media_type)
            .header(ACCEPT, "application/json")
            .body(body.to_string());
        // Without the URL, which may hold a key.
        let response =
            request.send().await.map_err(|error| unavailable(&causes(&error.without_url())))?;
        let status = response.status().as_u16();
        let wait = retry_after(response.headers(), SystemTime::now());
        let body = self.limited(response).await.map_err(|what| unavailable(&what))?;
        if (200..300).contains(&status) {
            return serde_json::from_str(body.expose())
                .map_err(|_| unavailable("its answer holds no access_token"));
        }
        let code = code_of(body.expose());
        let is = |codes: &[&str]| code.as_deref().is_some_and(|code| codes.contains(&code));
        let told = code.clone().unwrap_or_else(|| format!("status {status}"));
        if is(OF_THE_CLIENT) {
            Err(Refusal::Client(told))
        } else if is(DEAD) || matches!(status, 401 | 403) {
            Err(Refusal::Dead(told))
        } else {
            let mut error = self.error(CredentialFault::Unavailable, &told);
            error.retry_after = wait;
            Err(Refusal::Transient(error))
        }
    }

    fn body(&self, refresh_token: &Secret) -> (&'static str, Zeroizing<String>) {
        let auth::TokenEndpoint { client_id, client_secret, scope, body, .. } = &self.endpoint;
        let mut fields = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose()),
            ("client_id", client_id.as_str()),
        ];
        fields.extend(client_secret.as_ref().map(|secret| ("client_secret", secret.expose())));
        fields.extend(scope.as_deref().map(|scope| ("scope", scope)));
        match body {
            TokenBody::Form => {
                let form = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(fields)
                    .finish();
                ("application/x-www-form-urlencoded", Zeroizing::new(form))
            }
            TokenBody::Json => {
                let object: serde_json::Map<String, Value> = fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), json!(value)))
                    .collect();
                ("application/json", Zeroizing::new(Value::Object(object).to_string()))
            }
        }
    }

    async fn limited(&self, mut response: reqwest::Response) -> Result<Secret, String> {
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) =
            response.chunk().await.map_err(|error| causes(&error.without_url()))?
        {
            if body.len() + chunk.len() > self.bytes_max {
                return Err(format!(
                    "its answer is larger than {} bytes (credentials.token_bytes_max)",
                    self.bytes_max
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Secret::from(String::from_utf8_lossy(&body).into_owned()))
    }

    fn transient(&self, fault: CredentialFault, what: &str) -> Refusal {
        Refusal::Transient(self.error(fault, what))
    }

    pub(super) fn error(&self, fault: CredentialFault, what: &str) -> CredentialError {
        CredentialError::new(fault, format!("token endpoint {}: {what}", host(&self.endpoint.url)))
    }
}

/// What names a URL without its query.
pub(super) fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

/// The code of an error body: `{"error":"code"}` (RFC 6749), `{"error":{"code":"code"}}` (OpenAI), or
/// flat. Only what looks like a code: it goes into logs.
fn code_of(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).ok()?;
    let error = body.get("error").unwrap_or(&body);
    let code = [error, &error["code"], &error["type"], &error["error"], &body["code"]]
        .into_iter()
        .find_map(Value::as_str)?;
    let is_code = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    (code.len() <= 64 && code.chars().all(is_code)).then(|| code.to_owned())
}

/// An error with its causes, in one line.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_code_flat_and_nested() {
        for (body, code) in [
            (r#"{"error":"invalid_grant","error_description":"x"}"#, Some("invalid_grant")),
            (
                r#"{"error":{"code":"refresh_token_reused","message":"x"}}"#,
                Some("refresh_token_reused"),
            ),
            (
                r#"{"error":{"type":"invalid_request_error","code":null}}"#,
                Some("invalid_request_error"),
            ),
            (r#"{"code":"refresh_token_expired"}"#, Some("refresh_token_expired")),
            (r#"{"error":"the token secret-1 is bad"}"#, None),
            ("<html>", None),
            ("[]", None),
            ("null", None),
        ] {
            assert_eq!(code_of(body).as_deref(), code, "{body}");
        }
    }
}
