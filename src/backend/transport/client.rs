//! reqwest, set up the way that we need it: for what is reached through a proxy of the environment, and for token
//! endpoints.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use url::{Host, Url};

use super::ClientError;
use super::tls;
use crate::config::checked::Tls;

/// Connections that may go through a proxy.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

impl Client {
    /// Connections to the origin of `url`.
    ///
    /// # Errors
    ///
    /// When the TLS roots of the system cannot be used, or a certificate and its key do not fit.
    pub fn new(url: &Url, connect_timeout: Duration, tls: &Tls) -> Result<Self, ClientError> {
        let mut tls = tls::config(tls)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut builder = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .retry(reqwest::retry::never())
            .redirect(redirect::Policy::none())
            .tcp_nodelay(true)
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(SystemResolver));
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        builder.build().map(Self).map_err(ClientError::Build)
    }

    /// A request over these connections.
    pub(in super::super) fn post(&self, url: Url) -> reqwest::RequestBuilder {
        self.0.post(url)
    }
}

/// Whether the environment has a proxy for a URL. It has none for this machine: a proxy on the way to the outside
/// has no way back in here.
pub(super) fn is_proxied(url: &Url) -> bool {
    let uri = url.as_str().parse::<Uri>();
    let has_proxy = |uri: &Uri| Matcher::from_system().intercept(uri).is_some();
    !is_loopback(url) && uri.as_ref().is_ok_and(has_proxy)
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

/// A name leads nowhere.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved")]
pub(super) struct ResolveError(#[source] pub(super) io::Error);

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = addresses(name.as_str()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// What a name stands for.
pub(super) async fn addresses(name: &str) -> Result<Vec<SocketAddr>, ResolveError> {
    let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveError)?;
    Ok(found.collect())
}
