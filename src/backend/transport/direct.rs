//! hyper's client, straight to one backend: HTTP/1.1 or HTTP/2, as the backend wants it.

use std::fmt;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Uri};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::Service;
use url::Url;

use super::client::{ResolveError, addresses};
use super::{ClientError, tls};
use crate::config::checked::Tls;

/// How long a connection is kept that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How often the other side of a silent connection is looked for, and how many times in vain.
const KEEPALIVE: (Duration, u32) = (Duration::from_secs(15), 3);
/// How long sent bytes may be on their way before the connection counts as broken.
const SENT_TIMEOUT: Duration = Duration::from_secs(30);

type Connector = Timed<HttpsConnector<HttpConnector<SystemResolver>>>;

/// Connections to one backend.
#[derive(Clone)]
pub struct Direct {
    client: legacy::Client<Connector, Full<Bytes>>,
    uri: Uri,
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URI may hold a key.
        f.debug_struct("Direct").finish_non_exhaustive()
    }
}

impl Direct {
    /// Connections to `url`. `read_ahead_bytes_max` bounds what one of them has read and nobody has taken.
    pub(super) fn new(
        url: &Url,
        connect_timeout: Duration,
        tls: &Tls,
        read_ahead_bytes_max: usize,
    ) -> Result<Self, ClientError> {
        let mut http = HttpConnector::new_with_resolver(SystemResolver);
        http.enforce_http(false);
        // Events are small, and waiting for more of them delays each by up to 40 ms.
        http.set_nodelay(true);
        // Of several addresses, each has its part of the time.
        http.set_connect_timeout(Some(connect_timeout));
        let (interval, retries) = KEEPALIVE;
        http.set_keepalive(Some(interval));
        http.set_keepalive_interval(Some(interval));
        http.set_keepalive_retries(Some(retries));
        #[cfg(target_os = "linux")]
        http.set_tcp_user_timeout(Some(SENT_TIMEOUT));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(tls)?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(read_ahead_bytes_max)
            .build(Timed { inner: https, limit: connect_timeout });
        let uri = url.as_str().parse().map_err(ClientError::Url)?;
        Ok(Self { client, uri })
    }

    /// Where the requests go.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn send(&self, request: Request<Full<Bytes>>) -> legacy::ResponseFuture {
        self.client.request(request)
    }
}

/// The system's resolver, with an error that can be told from others.
#[derive(Clone, Copy, Debug)]
struct SystemResolver;

impl Service<Name> for SystemResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = BoxFuture<'static, Result<Self::Response, ResolveError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(async move { addresses(name.as_str()).await.map(Vec::into_iter) })
    }
}

/// A connection was not there in time: name lookup, TCP and TLS together.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection was not there in time")]
pub(super) struct ConnectTimeout;

/// Gives up a connection that is not there in time.
#[derive(Clone, Debug)]
struct Timed<C> {
    inner: C,
    limit: Duration,
}

impl<C> Service<Uri> for Timed<C>
where
    C: Service<Uri, Error = Box<dyn std::error::Error + Send + Sync>>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = BoxFuture<'static, Result<C::Response, C::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = tokio::time::timeout(self.limit, self.inner.call(uri));
        Box::pin(async move { connected.await.unwrap_or_else(|_| Err(ConnectTimeout.into())) })
    }
}
