//! How a backend knows us, as it is used. `Debug` shows no secret.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use url::Url;

use super::secret::Secret;

/// One credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// The backend asks for nothing.
    None,
    /// The client's own credential goes on to the backend.
    Passthrough,
    /// A secret that stays the same while the program runs.
    Fixed {
        /// Where it is sent.
        header: AuthHeader,
        /// The secret.
        secret: Secret,
        /// Where it comes from, in words without the secret.
        origin: String,
    },
    /// A secret in a file that others may change at any time.
    File {
        /// Where it is sent.
        header: AuthHeader,
        /// The file.
        file: PathBuf,
    },
    /// A program that prints a token.
    Command {
        /// Where it is sent.
        header: AuthHeader,
        /// The program and its arguments. Never empty.
        command: Vec<String>,
        /// How long it may take.
        timeout: Duration,
        /// How long its output is good for, where it does not say so itself.
        refresh_interval: Option<Duration>,
    },
    /// A refresh token, exchanged for access tokens (RFC 6749, section 6).
    OAuth {
        /// Where it is exchanged.
        endpoint: TokenEndpoint,
        /// Our own file with the tokens.
        file: PathBuf,
    },
    /// A ChatGPT login as the Codex CLI makes it, in a copy of our own.
    Codex {
        /// Where its refresh token is exchanged.
        endpoint: TokenEndpoint,
        /// Our own file with the tokens.
        file: PathBuf,
    },
    /// The Codex CLI's own login, which only the CLI refreshes.
    CodexReadOnly {
        /// The CLI's file.
        file: PathBuf,
    },
}

impl Auth {
    /// The word for its kind, as in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Passthrough => "passthrough",
            Self::Fixed { header, .. } | Self::File { header, .. } => match header {
                AuthHeader::Bearer => "bearer",
                AuthHeader::Named(_) => "header",
            },
            Self::Command { .. } => "command",
            Self::OAuth { .. } => "oauth",
            Self::Codex { .. } | Self::CodexReadOnly { .. } => "codex",
        }
    }
}

/// The header that carries a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthHeader {
    /// `Authorization: Bearer SECRET` (RFC 6750, section 2.1).
    Bearer,
    /// A header of this name, with the secret alone.
    Named(HeaderName),
}

/// Where a refresh token is exchanged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// Its URL.
    pub url: Url,
    /// Who we are there.
    pub client_id: String,
    /// What proves it.
    pub client_secret: Option<Secret>,
    /// What is asked for.
    pub scope: Option<String>,
    /// How the request is written.
    pub body: TokenBody,
}

/// How the request to a token endpoint is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenBody {
    /// `application/x-www-form-urlencoded`, the standard.
    Form,
    /// JSON, as the Codex CLI sends it.
    Json,
}

/// Which credential of several a request tries first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthOrder {
    /// Always the first.
    InOrder,
    /// Each in its turn.
    RoundRobin,
}
