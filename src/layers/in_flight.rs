//! Refuses requests beyond `limits.in_flight_max`. A request counts until its body's last byte,
//! because a stream is most of its work.

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use super::guarded::{Guard, Guarded};

/// Makes [`InFlight`].
#[derive(Clone, Debug)]
pub struct InFlightLayer {
    permits: Arc<Semaphore>,
    refuse: fn() -> Response<Body>,
}

impl InFlightLayer {
    /// At most `in_flight_max` requests at one time; `refuse` answers the others.
    pub fn new(in_flight_max: usize, refuse: fn() -> Response<Body>) -> Self {
        let permits = in_flight_max.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(permits)), refuse }
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

impl Guard for OwnedSemaphorePermit {
    fn ended(self) {}
}

impl<S> Service<Request<Body>> for InFlight<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
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
        let Ok(permit) = self.settings.permits.clone().try_acquire_owned() else {
            let refused = (self.settings.refuse)();
            return Box::pin(async { Ok(refused) });
        };
        let answer = self.inner.call(request);
        Box::pin(async { Ok(answer.await?.map(|body| Guarded::wrap(body, permit))) })
    }
}
