//! Tells a client that waits for a stream that its answer is on the way: after a while the head,
//! `response.created` and heartbeats go out, and failover goes on behind them.
//!
//! What has been told stays true: whoever answers goes on under the id and the numbers that the client
//! knows. Clients that wait for JSON are told nothing early.

mod body;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use tower::{Layer, Service};

use crate::backend::affinity::Affinity;
use crate::backend::answer::Exhausted;
use crate::backend::attempt::{Begun, Original, Planned};
use body::Announced;

/// How to announce.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When, counted from the request's start; `None`: never.
    pub after: Option<Duration>,
    /// The time between heartbeats.
    pub heartbeat: Duration,
    /// Bytes of one event.
    pub event_bytes_max: usize,
    /// Bytes of an error that comes as JSON.
    pub answer_bytes_max: usize,
    /// The code and the words for a chain that failed; with a code that clients take as final if the
    /// second one says so.
    pub explain: fn(&Exhausted, bool) -> (&'static str, String),
    /// Remembers which id stands for which.
    pub affinity: Arc<Affinity>,
}

/// Makes [`Announce`].
#[derive(Clone, Debug)]
pub struct AnnounceLayer {
    settings: Arc<Settings>,
}

impl AnnounceLayer {
    /// Announces by `settings`.
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings) }
    }
}

impl<S> Layer<S> for AnnounceLayer {
    type Service = Announce<S>;

    fn layer(&self, inner: S) -> Announce<S> {
        Announce { inner, settings: self.settings.clone() }
    }
}

/// Announces streams that take their time.
#[derive(Clone, Debug)]
pub struct Announce<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S> Service<Planned> for Announce<S>
where
    S: Service<Planned, Response = Response<Body>, Error = Exhausted>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Exhausted;
    type Future = BoxFuture<'static, Result<Response<Body>, Exhausted>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Exhausted>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, planned: Planned) -> Self::Future {
        let original = planned.original.clone();
        let asked = planned.plan.asked.clone();
        let answer = Box::pin(self.inner.call(planned));
        let after = self.settings.after.filter(|_| original.envelope.stream);
        let Some(after) = after else { return answer };
        let settings = self.settings.clone();
        Box::pin(async move {
            let mut answer: BoxFuture<'static, _> = answer;
            let due = original.record.started() + after;
            match tokio::time::timeout_at(due, &mut answer).await {
                Ok(answer) => answer,
                Err(_) => Ok(announce(settings, &original, &asked, answer)),
            }
        })
    }
}

fn announce(
    settings: Arc<Settings>,
    original: &Original,
    asked: &str,
    answer: BoxFuture<'static, Result<Response<Body>, Exhausted>>,
) -> Response<Body> {
    original.record.announced();
    let (mut headers, created) = match original.opening.begun() {
        Some(Begun { headers, created }) => (headers, created),
        None => (http::HeaderMap::new(), created(asked)),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let body = Announced::new(settings, original, created, answer);
    let mut response = Response::new(body.into_body());
    *response.headers_mut() = headers;
    response
}

/// A beginning of our own, where no backend has given one.
fn created(model: &str) -> Bytes {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    let id = format!("resp_{}", uuid::Uuid::now_v7().simple());
    crate::wire::lifecycle::response_created(model, now.map_or(0, |now| now.as_secs()), &id)
}

#[cfg(test)]
mod tests;
