//! Gives each request its id and its record, and when it is over writes its log line and counts it.
//!
//! A request is over when its answer's body is, or when the client leaves: the server then drops
//! the future or the body, and with it the guard below.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::SystemTime;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tower::{Layer, Service};
use uuid::Uuid;

use super::guarded::{Guard, Guarded};
use crate::telemetry::entry::milliseconds;
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::{Metrics, Outcome};
use crate::telemetry::record::{AttemptState, Client, End, Record, Story};
use crate::telemetry::traces::context::TraceContext;
use crate::verdict::Action;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-sidestep-attempts");
const REPAIRED: HeaderName = HeaderName::from_static("x-sidestep-repaired");
const BACKEND: HeaderName = HeaderName::from_static("x-sidestep-backend");
const MODEL: HeaderName = HeaderName::from_static("x-sidestep-model");

/// Makes [`ObserveRequest`].
#[derive(Clone, Debug)]
pub struct ObserveRequestLayer {
    metrics: Metrics,
    journal: Journal,
    is_traced: bool,
}

impl ObserveRequestLayer {
    /// Counts in `metrics`, writes down in `journal`; gives requests a place in a trace if `is_traced`.
    pub fn new(metrics: Metrics, journal: Journal, is_traced: bool) -> Self {
        Self { metrics, journal, is_traced }
    }
}

impl<S> Layer<S> for ObserveRequestLayer {
    type Service = ObserveRequest<S>;

    fn layer(&self, inner: S) -> ObserveRequest<S> {
        ObserveRequest { inner, layer: self.clone() }
    }
}

/// Observes each request from its head to its answer's last byte.
#[derive(Clone, Debug)]
pub struct ObserveRequest<S> {
    inner: S,
    layer: ObserveRequestLayer,
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
        let id = format!("req_{}", new_id().simple());
        let trace = self.layer.is_traced.then(|| TraceContext::begin(request.headers()));
        let record = Record::traced(id, trace);
        if let Some(client) = request.extensions().get::<Client>() {
            record.sent_by(client);
        }
        request.extensions_mut().insert(record.clone());
        let layer = self.layer.clone();
        layer.metrics.in_flight.inc();
        layer.journal.begins(&record);
        let mut guard = RequestGuard { record, layer, status: None, ended: false };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            guard.head(&mut response);
            Ok(response.map(|body| Guarded::wrap(body, guard)))
        })
    }
}

/// Version 7 (RFC 9562, section 5.7): ids sort by time, which helps whoever reads logs. They need not be hard to
/// guess, so that the system is not asked for randomness each time.
fn new_id() -> Uuid {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(since_1970.as_millis()).unwrap_or_default();
    let random = fastrand::u128(..).to_ne_bytes();
    let random = random.first_chunk().copied().unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
}

/// Lives as long as its request.
#[derive(Debug)]
struct RequestGuard {
    record: Record,
    layer: ObserveRequestLayer,
    /// `None` until the answer's head is there.
    status: Option<StatusCode>,
    ended: bool,
}

impl RequestGuard {
    /// The answer's head is there: says in its headers what happened.
    fn head(&mut self, response: &mut Response<Body>) {
        self.status = Some(response.status());
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        set(REQUEST_ID, self.record.id());
        self.record.headed(|story| {
            if story.attempts.is_empty() {
                return;
            }
            set(ATTEMPTS, &story.attempts_header());
            if let Some(repaired) = story.repaired_line() {
                set(REPAIRED, &repaired);
            }
            let is_settled = !story.is_exhausted && !story.is_announced;
            if let Some(attempt) = story.attempts.last().filter(|_| is_settled) {
                set(BACKEND, &attempt.backend);
                set(MODEL, &attempt.model);
            }
        });
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

    fn log(&self, story: &Story, end: End) {
        let usage = story.usage.unwrap_or_default();
        tracing::info!(
            request_id = self.record.id(),
            client = story.client.as_deref(),
            route = story.route.as_deref().unwrap_or("none"),
            model = story.model.as_deref().unwrap_or_default(),
            stream = story.is_stream,
            status = self.status.map_or(0, |status| status.as_u16()),
            outcome = end.outcome.as_str(),
            backend = story.served_by().map_or("none", |attempt| &*attempt.backend),
            attempts = story.attempts_line(),
            repaired = story.repaired_line(),
            error = story.error.as_deref().filter(|_| !story.is_exhausted),
            duration_ms = milliseconds(end.duration),
            first_output_ms = end.first_output.map(milliseconds),
            overhead_ms = milliseconds(story.overhead()),
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
        let ObserveRequestLayer { metrics, journal, .. } = &self.layer;
        metrics.in_flight.dec();
        let judge = |story: &Story| self.outcome(story);
        self.record.ended(self.status, judge, |story, end| {
            metrics.request(story, end);
            journal.ended(&self.record, story, end);
            self.log(story, end);
        });
    }
}
