//! What proves to a backend who we are.
//!
//! A credential either never changes or is kept fresh by `renewal`, which gets
//! its tokens from a `source`: one file for each kind. [`Lease`] is what a request holds of a
//! credential, [`Pool`] what a backend does.

pub mod codex;
pub mod error;
pub mod lease;
pub mod pool;
pub mod status;
pub mod token_file;

mod command;
mod file;
mod jwt;
mod oauth;
mod renewal;
mod source;
mod token;
mod token_endpoint;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use super::transport::ClientError;
use crate::config::auth::{Auth, TokenEndpoint};
use crate::config::checked::Credentials;
use crate::telemetry::metrics::Metrics;
use crate::wire::blob::Issuer;
pub use error::CredentialError;
pub use lease::Lease;
pub use pool::Pool;
use renewal::Renewal;
use source::Source;
use token::Token;
use token_file::{TokenFile, Tokens};

/// Headers of a client that carry its own credential.
const OF_CLIENTS: [HeaderName; 3] = [
    AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("chatgpt-account-id"),
];

/// A credential. `Debug` shows no secret.
#[derive(Debug)]
pub struct Credential {
    /// The backend that it was made for; others may share it.
    owner: Arc<str>,
    /// Names it among all: the backend and its number there.
    id: Arc<str>,
    /// Tells it from another one at the same place.
    identity: Issuer,
    kind_word: &'static str,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The backend asks for nothing.
    None,
    /// The client's own credential.
    Passthrough,
    /// A secret that stays the same while the program runs.
    Fixed { token: Token, origin: String },
    /// A token that is kept fresh.
    Renewed(Arc<Renewal>),
}

impl Credential {
    /// The credential of the configuration. `backend` is whose it is in logs and metrics, `number` its
    /// place there.
    ///
    /// Reads the file that it may have; a file that is not there is no error yet.
    ///
    /// # Errors
    ///
    /// When the secret has characters that no header can hold, or no HTTP client can be built.
    pub fn new(
        auth: &Auth,
        settings: Credentials,
        backend: &Arc<str>,
        number: usize,
        metrics: &Metrics,
    ) -> Result<Self, ClientError> {
        let kind = Self::kind(auth, settings, backend, metrics)?;
        let id = format!("{backend}/{number}").into();
        let identity = Issuer::new(&match auth {
            // Two of these say nothing of each other.
            Auth::None | Auth::Passthrough => format!("{backend} {auth:?}"),
            // Its Debug does not show the secret.
            Auth::Fixed { secret, .. } => format!("{auth:?} {}", secret.expose()),
            _ => format!("{auth:?}"),
        });
        Ok(Self { owner: backend.clone(), id, identity, kind_word: auth.kind(), kind })
    }

    fn kind(
        auth: &Auth,
        settings: Credentials,
        backend: &Arc<str>,
        metrics: &Metrics,
    ) -> Result<Kind, ClientError> {
        let bytes_max = settings.token_bytes_max;
        let source: Box<dyn Source> = match auth.clone() {
            Auth::None => return Ok(Kind::None),
            Auth::Passthrough => return Ok(Kind::Passthrough),
            Auth::Fixed { header, secret, origin } => {
                let token =
                    Token::new(&header, secret.expose()).map_err(|_| ClientError::Secret)?;
                return Ok(Kind::Fixed { token, origin });
            }
            Auth::File { header, file } => Box::new(file::SecretFile { header, file, bytes_max }),
            Auth::Command { header, command, timeout, refresh_interval } => {
                Box::new(command::Command { header, command, timeout, refresh_interval, bytes_max })
            }
            Auth::OAuth { endpoint, file } => {
                let file = TokenFile { path: file, bytes_max };
                let again = "sidestep login oauth --backend NAME";
                Box::new(login(endpoint, file, settings, oauth::token_of, again)?)
            }
            Auth::Codex { endpoint, file } => {
                let file = TokenFile { path: file, bytes_max };
                let again = "sidestep login codex --import";
                Box::new(login(endpoint, file, settings, codex::token_of, again)?)
            }
            Auth::CodexReadOnly { file } => Box::new(codex::CliLogin { file, bytes_max }),
        };
        let renewal = Renewal::new(source, settings, backend.clone(), metrics.clone());
        Ok(Kind::Renewed(Arc::new(renewal)))
    }

    /// The backend that it was made for; others may share it.
    pub fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// Names it among all, without saying anything of it.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// A short digest that tells it from another one at the same place, in each process: for memory and
    /// files of our own alone.
    pub fn identity(&self) -> Issuer {
        self.identity
    }

    /// Whether it is the client's own, so that its rejection is the client's to hear of.
    pub fn is_clients_own(&self) -> bool {
        matches!(self.kind, Kind::Passthrough)
    }

    /// Whether the backend asks for nothing: then there is nothing that targets could share.
    pub fn is_none(&self) -> bool {
        matches!(self.kind, Kind::None)
    }

    /// Whether its file has changed since it was read last.
    pub fn has_news(&self) -> bool {
        self.renewal().is_some_and(|renewal| renewal.has_news())
    }

    /// Waits until no renewal is running, so that the end of the process breaks none off.
    pub async fn settle(&self) {
        if let Some(renewal) = self.renewal() {
            renewal.settle().await;
        }
    }

    fn renewal(&self) -> Option<&Arc<Renewal>> {
        match &self.kind {
            Kind::Renewed(renewal) => Some(renewal),
            Kind::None | Kind::Passthrough | Kind::Fixed { .. } => None,
        }
    }

    /// Adds what needs no renewal, and gives back what does.
    fn apply_fixed(&self, client: &HeaderMap, headers: &mut HeaderMap) -> Option<&Arc<Renewal>> {
        match &self.kind {
            Kind::None => None,
            Kind::Passthrough => {
                for name in OF_CLIENTS {
                    if let Some(value) = client.get(&name) {
                        let mut value = value.clone();
                        value.set_sensitive(true);
                        headers.insert(name, value);
                    }
                }
                None
            }
            Kind::Fixed { token, .. } => {
                token.apply(headers);
                None
            }
            Kind::Renewed(renewal) => Some(renewal),
        }
    }
}

fn login(
    endpoint: TokenEndpoint,
    file: TokenFile,
    settings: Credentials,
    token_of: fn(&Tokens) -> Result<Option<Token>, CredentialError>,
    login_command: &'static str,
) -> Result<oauth::Login, ClientError> {
    let Credentials { refresh_timeout, token_bytes_max, .. } = settings;
    /// A peer that renews may take as long as its own exchange and some more.
    const LOCK_TIMEOUT_MIN: Duration = Duration::from_secs(15);
    let lock_timeout = LOCK_TIMEOUT_MIN.max(refresh_timeout + Duration::from_secs(5));
    Ok(oauth::Login {
        exchange: token_endpoint::Exchange::new(endpoint, refresh_timeout, token_bytes_max)?,
        file,
        lock_timeout,
        token_of,
        login_command,
        unsaved: Mutex::default(),
    })
}
