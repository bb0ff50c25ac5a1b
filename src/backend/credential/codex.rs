//! The ChatGPT login of the Codex CLI: a copy of our own, or the CLI's file, read only.
//!
//! Two owners of one login log each other out, because its refresh token is good for one exchange
//! (openai/codex#6028). So Sidestep keeps a login of its own, or never renews.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::error::CredentialError;
use super::file::read_secret;
use super::jwt::Claims;
use super::oauth;
use super::source::{Reading, Renewed, Source};
use super::token::Token;
use super::token_file::Tokens;
use crate::config::Secret;
use crate::verdict::CredentialFault;

/// The account that a request is for.
const ACCOUNT_ID: HeaderName = HeaderName::from_static("chatgpt-account-id");
/// Which program asks. The backend's firewall lets only the CLI and its kin through.
const ORIGINATOR: HeaderName = HeaderName::from_static("originator");
const CLI: HeaderValue = HeaderValue::from_static("codex_cli_rs");
const CLI_AGENT: HeaderValue =
    HeaderValue::from_static("codex_cli_rs/0.169.0 (Linux; x86_64) sidestep");

/// The CLI's `auth.json`.
#[derive(Deserialize)]
struct AuthJson {
    tokens: Option<CliTokens>,
    last_refresh: Option<String>,
}

#[derive(Deserialize)]
struct CliTokens {
    id_token: Option<Secret>,
    access_token: Secret,
    refresh_token: Option<Secret>,
    account_id: Option<Secret>,
}

/// The CLI's own login, which only the CLI renews.
#[derive(Debug)]
pub(super) struct CliLogin {
    pub(super) file: PathBuf,
    pub(super) bytes_max: usize,
}

impl Source for CliLogin {
    fn origin(&self) -> String {
        format!("file {} (read only)", self.file.display())
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.file)
    }

    fn read(&self) -> Result<Reading, CredentialError> {
        let tokens = read_auth_json(&self.file, self.bytes_max)?;
        Ok(Reading {
            token: token_of(&tokens)?,
            last_refresh: tokens.last_refresh(),
            refused: None,
        })
    }

    fn fixed_because(&self) -> Option<CredentialError> {
        Some(self.unchanged())
    }

    fn renew(&self, _: Option<Token>) -> BoxFuture<'_, Result<Renewed, CredentialError>> {
        Box::pin(async { Err(self.unchanged()) })
    }
}

impl CliLogin {
    fn unchanged(&self) -> CredentialError {
        CredentialError::new(
            CredentialFault::Expired,
            format!("file {}: run the Codex CLI, which renews it", self.file.display()),
        )
    }
}

/// The tokens in the CLI's `auth.json`.
///
/// # Errors
///
/// When there is no such file, or no ChatGPT login in it.
pub fn read_auth_json(path: &Path, bytes_max: usize) -> Result<Tokens, CredentialError> {
    let problem =
        |fault, what: &str| CredentialError::new(fault, format!("file {}: {what}", path.display()));
    let text = read_secret(path, bytes_max)?;
    // Serde's own words would quote what stands there.
    let read: AuthJson = serde_json::from_str(text.expose())
        .map_err(|_| problem(CredentialFault::Unreadable, "no auth.json of the Codex CLI"))?;
    let Some(tokens) = read.tokens else {
        let what = "no ChatGPT login in it; an API key goes into kind = \"bearer\"";
        return Err(problem(CredentialFault::Missing, what));
    };
    let last_refresh = read.last_refresh.and_then(|date| humantime::parse_rfc3339(&date).ok());
    let last_refresh = last_refresh.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    Ok(Tokens {
        access_token: Some(tokens.access_token),
        refresh_token: tokens.refresh_token,
        id_token: tokens.id_token,
        account_id: tokens.account_id,
        expires_at: None,
        last_refresh: last_refresh.map(|since| since.as_secs()),
        refused: None,
    })
}

/// What a ChatGPT login sends: its access token, its account, and what makes it a Codex request.
pub(super) fn token_of(tokens: &Tokens) -> Result<Option<Token>, CredentialError> {
    let Some(token) = oauth::token_of(tokens)? else { return Ok(None) };
    let mut account_id = tokens.account_id.clone();
    for part in [&tokens.access_token, &tokens.id_token].into_iter().flatten() {
        let claims = Claims::read(part.expose()).unwrap_or_default();
        account_id = account_id.or_else(|| claims.account_id().map(Secret::from));
    }
    let token = token.completed_by(complete);
    Ok(Some(match account_id {
        Some(account_id) => token.with_header(ACCOUNT_ID, account_id.expose())?,
        None => token,
    }))
}

/// Names the CLI where the client is not one of its kin.
fn complete(headers: &mut HeaderMap) {
    if !headers.contains_key(ORIGINATOR) {
        headers.insert(ORIGINATOR, CLI);
        headers.insert(USER_AGENT, CLI_AGENT);
    }
}
