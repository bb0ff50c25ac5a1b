//! Gives each request its id and its record, and when it is over writes its log line and counts it.
//!
//! A request is over when its answer's body is, or when the client leaves: the server then drops
//! the future or the body, and with it the guard below.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode};
use tower::{Layer, Service};
use uuid::Uuid;

use super::guarded::{Guard, Guarded};
use crate::telemetry::metrics::{Metrics, Outcome};
use crate::telemetry::record::{AttemptState, Record, Story};
use crate::verdict::Action;

/// Makes [`ObserveRequest`].
#[derive(Clone, Debug)]
pub struct ObserveRequestLayer {
    metrics: Metrics,
}

impl ObserveRequestLayer {
    /// Counts in `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for ObserveRequestLayer {
    type Service = ObserveRequest<S>;

    fn layer(&self, inner: S) -> ObserveRequest<S> {
        ObserveRequest { inner, metrics: self.metrics.clone() }
    }
}

/// Observes each request from its head to its answer's last byte.
#[derive(Clone, Debug)]
pub struct ObserveRequest<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> Service<Request<Body>> for ObserveRequest<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Version 7: ids sort by time, which helps whoever reads logs.
        let record = Record::new(format!("req_{}", Uuid::now_v7().simple()));
        request.extensions_mut().insert(record.clone());
        self.metrics.in_flight.inc();
        let mut guard =
            RequestGuard { record, metrics: self.metrics.clone(), status: None, ended: false };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            guard.head(&mut response);
            Ok(response.map(|body| Guarded::wrap(body, guard)))
        })
    }
}

/// Lives as long as its request.
#[derive(Debug)]
struct RequestGuard {
    record: Record,
    metrics: Metrics,
    /// `None` until the answer's head is there.
    status: Option<StatusCode>,
    ended: bool,
}

impl RequestGuard {
    /// The answer's head is there: says in its headers what happened.
    fn head(&mut self, response: &mut Response<Body>) {
        self.status = Some(response.status());
        let story = self.record.headed();
        let headers = response.headers_mut();
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        set("x-request-id", self.record.id());
        if story.attempts.is_empty() {
            return;
        }
        set("x-sidestep-attempts", &story.attempts_header());
        if !story.repaired.is_empty() {
            set("x-sidestep-repaired", &story.repaired_line());
        }
        let is_settled = !story.is_exhausted && !story.is_announced;
        if let Some(attempt) = story.attempts.last().filter(|_| is_settled) {
            set("x-sidestep-backend", &attempt.backend);
            set("x-sidestep-model", &attempt.model);
        }
    }

    fn outcome(&self, story: &Story) -> Outcome {
        if let Some(attempt) = story.served_by() {
            return match attempt.state {
                AttemptState::Failed(_) => Outcome::Failed,
                _ if story.is_complete || self.ended => Outcome::Answered,
                _ => Outcome::ClientGone,
            };
        }
        match self.status {
            None => Outcome::ClientGone,
            Some(_) => match story.attempts.last().map(|attempt| &attempt.state) {
                None if story.is_exhausted => Outcome::Failed,
                None => Outcome::Rejected,
                Some(AttemptState::Failed(failure))
                    if matches!(failure.action, Action::Return | Action::NextLarger) =>
                {
                    Outcome::Refused
                }
                Some(_) => Outcome::Failed,
            },
        }
    }

    fn log(&self, story: &Story, outcome: Outcome, duration: Duration) {
        let usage = story.usage.unwrap_or_default();
        let after = |at: tokio::time::Instant| at.duration_since(self.record.started());
        tracing::info!(
            request_id = self.record.id(),
            route = story.route.as_deref().unwrap_or("none"),
            model = story.model.as_deref().unwrap_or_default(),
            stream = story.is_stream,
            status = self.status.map_or(0, |status| status.as_u16()),
            outcome = outcome.as_str(),
            backend = story.served_by().map_or("none", |attempt| &*attempt.backend),
            attempts = story.attempts_line(),
            repaired = (!story.repaired.is_empty()).then(|| story.repaired_line()),
            duration_ms = milliseconds(duration),
            first_output_ms = story.answered.map(after).map(milliseconds),
            overhead_ms = milliseconds(overhead(story)),
            input_tokens = usage.input_tokens,
            cached_tokens = usage.cached_tokens,
            output_tokens = usage.output_tokens,
            "request"
        );
    }
}

impl Guard for RequestGuard {
    fn ended(mut self) {
        self.ended = true;
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let story = self.record.story();
        let outcome = self.outcome(&story);
        let duration = self.record.started().elapsed();
        self.metrics.in_flight.dec();
        self.metrics.request(story.route.as_deref(), outcome, duration);
        if let Some(attempt) = story.served_by() {
            let failure = match &attempt.state {
                AttemptState::Failed(failure) => Some(failure),
                AttemptState::Open | AttemptState::Relayed => None,
            };
            self.metrics.attempt(&attempt.backend, failure);
            if let Some(answered) = story.answered {
                let since_start = answered.duration_since(self.record.started());
                self.metrics.first_output(&attempt.backend, since_start, overhead(&story));
            }
        }
        self.log(&story, outcome, duration);
    }
}

/// The time between a request's last byte and its answer's head that no backend took.
fn overhead(story: &Story) -> Duration {
    match (story.body_read, story.answered) {
        (Some(read), Some(answered)) => answered.duration_since(read).saturating_sub(story.waited),
        _ => Duration::ZERO,
    }
}

/// Milliseconds to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
