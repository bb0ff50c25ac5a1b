//! The way to a backend: one HTTP exchange, without retries and redirects of its own.

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::Response;
use http_body_util::BodyExt as _;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, Identity, redirect};
use tower::Service;
use url::{Host, Url};

use super::attempt::Attempt;
use crate::config::checked::Tls;
use crate::verdict::{Evidence, TimeLimit, TransportFault};

/// Why a backend cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The HTTP client could not be built.
    #[error("the HTTP client cannot be built: {0}")]
    Build(#[source] reqwest::Error),
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
}

/// The connections to one backend.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

impl Client {
    /// Connections to the origin of `url`.
    ///
    /// # Errors
    ///
    /// When the TLS roots of the system cannot be used, or a certificate and its key do not fit.
    pub fn new(url: &Url, connect_timeout: Duration, tls: &Tls) -> Result<Self, ClientError> {
        // The second and later calls find it installed: that is no error.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .retry(reqwest::retry::never())
            .redirect(redirect::Policy::none())
            .tcp_nodelay(true)
            .dns_resolver(Arc::new(SystemResolver));
        if let Some(ca) = &tls.ca {
            let bundle = Certificate::from_pem_bundle(ca.expose().as_bytes());
            builder = builder.tls_certs_merge(bundle.map_err(ClientError::Build)?);
        }
        if let Some(identity) = &tls.identity {
            let identity = Identity::from_pem(identity.expose().as_bytes());
            builder = builder.identity(identity.map_err(ClientError::Build)?);
        }
        if is_loopback(url) {
            // A proxy on the way to the outside has no way back in here.
            builder = builder.no_proxy();
        }
        builder.build().map(Self).map_err(ClientError::Build)
    }

    /// A request over these connections.
    pub(super) fn post(&self, url: Url) -> reqwest::RequestBuilder {
        self.0.post(url)
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
        let backend = attempt.target.backend;
        Box::pin(async move {
            let request = backend
                .client
                .post(backend.url.clone())
                .headers(attempt.headers)
                .body(attempt.body);
            let response = request.send().await.map_err(TransportError::from_reqwest)?;
            let response = Response::<reqwest::Body>::from(response);
            Ok(response.map(|body| Body::new(body.map_err(TransportError::from_reqwest))))
        })
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The system's resolver, with an error that can be told from others.
#[derive(Debug)]
struct SystemResolver;

#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved")]
struct ResolveError(#[source] io::Error);

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(ResolveError)?;
            Ok(Box::new(found.collect::<Vec<SocketAddr>>().into_iter()) as Addrs)
        })
    }
}

/// What an error's chain of causes shows. By type, because texts differ from version to version.
fn fault_of(error: &(dyn StdError + 'static)) -> TransportFault {
    let mut fault = TransportFault::Other;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ResolveError>() {
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
        cause = error.source();
    }
    fault
}
