//! The way to a backend: one HTTP exchange, without retries and redirects of its own.
//!
//! `direct` asks over hyper's own client, because that costs a request least; `client` is reqwest, which knows
//! the proxies of the environment, for backends that are reached through one, and for token endpoints.

mod client;
mod direct;
mod tls;

use std::error::Error as StdError;
use std::io;
use std::task::{Context, Poll};

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tower::Service;
use url::Url;

use super::attempt::Attempt;
use crate::config::checked::Backend;
use crate::verdict::{Evidence, TimeLimit, TransportFault};
pub use client::Client;
use direct::{ConnectTimeout, Direct};

/// Why a backend cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The HTTP client could not be built.
    #[error("the HTTP client cannot be built: {0}")]
    Build(#[source] reqwest::Error),
    /// The authorities of the system, or a certificate and its key, cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] rustls::Error),
    /// The URL is none that can be asked.
    #[error("the URL cannot be asked: {0}")]
    Url(#[source] http::uri::InvalidUri),
    /// The secret does not fit into a header.
    #[error("the secret has characters that no header can hold")]
    Secret,
}

/// Why an exchange brought no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The connection.
    #[error("the connection failed ({fault:?})")]
    Fault {
        /// What happened.
        fault: TransportFault,
        /// The cause, without the URL, which may hold a key.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The clock.
    #[error("a time limit passed ({0:?})")]
    Timeout(TimeLimit),
}

impl TransportError {
    /// What this shows to a verdict.
    pub fn evidence(&self) -> Evidence<'static> {
        match self {
            Self::Fault { fault, .. } => Evidence::Transport(*fault),
            Self::Timeout(limit) => Evidence::Timeout(*limit),
        }
    }

    /// The error of an answer's body that came through [`Transport`].
    pub fn of_body(error: axum::Error) -> Self {
        match error.into_inner().downcast::<Self>() {
            Ok(error) => *error,
            Err(source) => Self::Fault { fault: TransportFault::Other, source },
        }
    }

    fn from_reqwest(error: reqwest::Error) -> Self {
        // Its message would hold the URL.
        let error = error.without_url();
        if error.is_timeout() {
            return Self::Timeout(TimeLimit::Connect);
        }
        let fault = fault_of(&error);
        Self::Fault { fault, source: error.into() }
    }

    fn from_hyper(error: impl StdError + Send + Sync + 'static) -> Self {
        let fault = fault_of(&error);
        let is_late = |cause: &(dyn StdError + 'static)| {
            let of_system = cause.downcast_ref::<io::Error>();
            cause.is::<ConnectTimeout>()
                || of_system.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        };
        if fault == TransportFault::Other && causes(&error).any(is_late) {
            return Self::Timeout(TimeLimit::Connect);
        }
        Self::Fault { fault, source: error.into() }
    }
}

/// The connections to one backend. No other backend's requests go over them.
#[derive(Clone, Debug)]
pub enum Connections {
    /// Straight to it.
    Direct(Box<Direct>),
    /// Through a proxy of the environment.
    Proxied(Client, Url),
}

impl Connections {
    /// Connections to a backend, none yet. `read_ahead_bytes_max` bounds what one of them has read and nobody has
    /// taken; a proxied one bounds that itself.
    ///
    /// # Errors
    ///
    /// When the TLS roots of the system cannot be used, or a certificate and its key do not fit.
    pub fn new(backend: &Backend, read_ahead_bytes_max: usize) -> Result<Self, ClientError> {
        let Backend { url, tls, timeouts, .. } = backend;
        if client::is_proxied(url) {
            return Ok(Self::Proxied(Client::new(url, timeouts.connect, tls)?, url.clone()));
        }
        Direct::new(url, timeouts.connect, tls, read_ahead_bytes_max)
            .map(|direct| Self::Direct(Box::new(direct)))
    }
}

/// Sends an attempt to its backend and hands out the answer as it comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transport;

impl Service<Attempt> for Transport {
    type Response = Response<Body>;
    type Error = TransportError;
    type Future = BoxFuture<'static, Result<Response<Body>, TransportError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let Attempt { target, headers, body, .. } = attempt;
        Box::pin(async move {
            match &target.backend.connections {
                Connections::Direct(direct) => {
                    let mut request = Request::post(direct.uri()).body(Full::new(body));
                    if let Ok(request) = &mut request {
                        *request.headers_mut() = headers;
                    }
                    let request = request.map_err(TransportError::from_hyper)?;
                    let answer = direct.send(request).await.map_err(TransportError::from_hyper)?;
                    Ok(answer.map(|body| Body::new(body.map_err(TransportError::from_hyper))))
                }
                Connections::Proxied(client, url) => {
                    let request = client.post(url.clone()).headers(headers).body(body);
                    let answer = request.send().await.map_err(TransportError::from_reqwest)?;
                    let answer = Response::<reqwest::Body>::from(answer);
                    Ok(answer.map(|body| Body::new(body.map_err(TransportError::from_reqwest))))
                }
            }
        })
    }
}

/// An error, what caused it, what caused that, and so on.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

/// What an error's chain of causes shows. By type, because texts differ from version to version.
fn fault_of(error: &(dyn StdError + 'static)) -> TransportFault {
    let mut fault = TransportFault::Other;
    for error in causes(error) {
        if error.is::<client::ResolveError>() {
            return TransportFault::Dns;
        }
        if error.is::<rustls::Error>() {
            return TransportFault::Tls;
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && !(error.is_parse() || error.is_user() || error.is_timeout())
        {
            // An exchange that broke off, over HTTP/1 or HTTP/2; what caused it may say more.
            fault = TransportFault::Reset;
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if let Some(inner) = error.get_ref() {
                // An I/O error hides what it wraps from `source`.
                match fault_of(inner) {
                    TransportFault::Other => {}
                    known => return known,
                }
            }
            match error.kind() {
                io::ErrorKind::ConnectionRefused => return TransportFault::Refused,
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => return TransportFault::Reset,
                _ => {}
            }
        }
    }
    fault
}
