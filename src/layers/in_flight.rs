//! Lets `limits.in_flight_max` requests in, and `limits.queue_max` wait for their turn. A request
//! counts until its body's last byte, because a stream is most of its work.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt as _};

use super::guarded::Guarded;
use crate::config::checked::Limits;

/// Makes [`InFlight`].
#[derive(Clone, Debug)]
pub struct InFlightLayer {
    permits: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    queue_timeout: Duration,
    refuse: fn() -> Response<Body>,
}

impl InFlightLayer {
    /// Keeps these limits; `refuse` answers those for whom there is no place, or none in time.
    pub fn new(limits: Limits, refuse: fn() -> Response<Body>) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            permits: places(limits.in_flight_max),
            queue: places(limits.queue_max),
            queue_timeout: limits.queue_timeout,
            refuse,
        }
    }
}

impl<S> Layer<S> for InFlightLayer {
    type Service = InFlight<S>;

    fn layer(&self, inner: S) -> InFlight<S> {
        InFlight { inner, settings: self.clone() }
    }
}

/// Refuses requests beyond a limit.
#[derive(Clone, Debug)]
pub struct InFlight<S> {
    inner: S,
    settings: InFlightLayer,
}

impl<S> Service<Request<Body>> for InFlight<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let InFlightLayer { permits, queue, queue_timeout, refuse } = self.settings.clone();
        if let Ok(permit) = permits.clone().try_acquire_owned() {
            let answer = self.inner.call(request);
            return Box::pin(async { Ok(answer.await?.map(|body| Guarded::wrap(body, permit))) });
        }
        let Ok(place) = queue.try_acquire_owned() else {
            return Box::pin(async move { Ok(refuse()) });
        };
        let inner = self.inner.clone();
        Box::pin(async move {
            let permit = tokio::time::timeout(queue_timeout, permits.acquire_owned()).await;
            drop(place);
            let Ok(Ok(permit)) = permit else { return Ok(refuse()) };
            Ok(inner.oneshot(request).await?.map(|body| Guarded::wrap(body, permit)))
        })
    }
}
