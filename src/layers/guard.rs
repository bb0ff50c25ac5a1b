//! Turns away at the door who may not come in: a name that is not ours, a web page of another origin, a
//! client without a key.
//!
//! A key stays here: the header that brought it is taken out of the request, so that no backend sees it. Whose
//! it is goes on with the request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::{Either, Ready, ready};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Request, Response, Version};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use tower::{Layer, Service};

use crate::config::checked::Access;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::Client;

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not say whom it is for (RFC 9112, section 3.2).
    NoHost,
    /// It is for somebody of this name.
    Host(String),
    /// A web page of this origin made it.
    Origin(String),
    /// It has no key, or none that is known.
    Key,
}

impl Refusal {
    /// The label for it.
    const fn reason(&self) -> &'static str {
        match self {
            Self::NoHost | Self::Host(_) => "host",
            Self::Origin(_) => "origin",
            Self::Key => "key",
        }
    }
}

/// Says whom to let in, now.
type Current = Arc<dyn Fn() -> Arc<Access> + Send + Sync>;

/// Makes [`Guard`].
#[derive(Clone)]
pub struct GuardLayer {
    access: Current,
    metrics: Metrics,
    refuse: fn(Refusal, &str) -> Response<Body>,
}

impl std::fmt::Debug for GuardLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardLayer").finish_non_exhaustive()
    }
}

impl GuardLayer {
    /// Lets in whom `access` says; `refuse` answers the others, by the path that they asked for.
    pub fn new(
        access: impl Fn() -> Arc<Access> + Send + Sync + 'static,
        metrics: Metrics,
        refuse: fn(Refusal, &str) -> Response<Body>,
    ) -> Self {
        Self { access: Arc::new(access), metrics, refuse }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, layer: self.clone() }
    }
}

/// Lets a request in, or not.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
    layer: GuardLayer,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let access = (self.layer.access)();
        match admit(&access, &mut request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(refusal) => {
                self.layer.metrics.turned_away(refusal.reason());
                tracing::debug!(?refusal, "turned away");
                let answer = (self.layer.refuse)(refusal, request.uri().path());
                Either::Right(ready(Ok(answer)))
            }
        }
    }
}

fn admit(access: &Access, request: &mut Request<Body>) -> Result<(), Refusal> {
    let origin = request.headers().get(ORIGIN);
    if origin.is_some() || !is_called_by_address(request) {
        let host = called(access, request)?;
        if let Some(origin) = origin.map(|origin| String::from_utf8_lossy(origin.as_bytes()))
            && !is_known_origin(access, &origin, host.as_ref())
        {
            return Err(Refusal::Origin(shown(&origin)));
        }
    }
    // Health checks have no key, and learn nothing.
    let is_probe = matches!(request.uri().path(), "/healthz" | "/readyz");
    if access.clients.is_empty() || is_probe {
        return Ok(());
    }
    let Some((header, name)) = key_of(access, request.headers()) else { return Err(Refusal::Key) };
    request.headers_mut().remove(header);
    request.extensions_mut().insert(Client(name));
    Ok(())
}

/// Whether it is for an address, and says so once: nearly every request is, and then there is no more to look at.
fn is_called_by_address(request: &Request<Body>) -> bool {
    let mut told = request.headers().get_all(HOST).iter();
    let host = told.next().filter(|_| told.next().is_none() && request.uri().authority().is_none());
    let host = host.and_then(|host| host.to_str().ok());
    host.is_some_and(|host| host.parse::<SocketAddr>().is_ok() || host.parse::<Ipv4Addr>().is_ok())
}

/// By which name it is called, if that is one of ours.
fn called(access: &Access, request: &Request<Body>) -> Result<Option<Authority>, Refusal> {
    let mut told = request.headers().get_all(HOST).iter();
    let host = match (told.next(), told.next()) {
        (Some(host), None) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
        // Browsers speak HTTP/1.1; health checks of old load balancers may not.
        (None, _) if request.version() == Version::HTTP_10 => return Ok(None),
        _ => return Err(Refusal::NoHost),
    };
    let authority = host.parse::<Authority>().map_err(|_| Refusal::Host(shown(&host)))?;
    // A request line with a whole URL counts more than the header, so both have to be right.
    for one in [Some(&authority), request.uri().authority()].into_iter().flatten() {
        if !is_ours(access, one.host()) {
            return Err(Refusal::Host(shown(one.host())));
        }
    }
    Ok(Some(authority))
}

/// An address cannot be rebound, and `localhost` is always this machine (RFC 6761, section 6.3).
fn is_ours(access: &Access, host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || host == "localhost"
        || host.ends_with(".localhost")
        || access.allowed_hosts.iter().any(|name| name.eq_ignore_ascii_case(&host))
}

/// The page is our own, or one that is named.
fn is_known_origin(access: &Access, origin: &str, host: Option<&Authority>) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let is_own = host.is_some_and(|host| rest.is_some_and(|rest| host.as_str() == rest));
    is_own || access.allowed_origins.iter().any(|known| known == origin)
}

/// The header that holds a key, and whose it is.
fn key_of(access: &Access, headers: &HeaderMap) -> Option<(HeaderName, Arc<str>)> {
    const OWN: HeaderName = HeaderName::from_static("x-sidestep-key");
    const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
    [OWN, AUTHORIZATION, API_KEY].into_iter().find_map(|header| {
        let value = headers.get(&header)?.as_bytes();
        let name = if header == AUTHORIZATION {
            owner(access, &authorization(value)?)?
        } else {
            owner(access, value)?
        };
        Some((header, name))
    })
}

/// The key in `Bearer KEY`, or in `Basic`, where browsers put it as a password.
fn authorization(value: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(value).ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().as_bytes().to_vec());
    }
    let decoded =
        scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(rest.trim()).ok())??;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// Whose a key is. Every key is looked at whole, so that the time taken tells nothing but lengths.
fn owner(access: &Access, key: &[u8]) -> Option<Arc<str>> {
    let mut found = u32::MAX;
    for (index, client) in (0u32..).zip(&access.clients) {
        let is_same: Choice = client.key.expose().as_bytes().ct_eq(key);
        found.conditional_assign(&index, is_same);
    }
    let found = usize::try_from(found).ok()?;
    access.clients.get(found).map(|client| client.name.clone())
}

/// What a stranger says of itself goes into an error message.
fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}
