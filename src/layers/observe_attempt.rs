//! Writes down each attempt: when it began, its verdict, how long that took.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use crate::backend::answer::Answer;
use crate::backend::attempt::Attempt;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::{AttemptState, AttemptStory};
use crate::telemetry::traces::context::TRACEPARENT;

/// Makes [`ObserveAttempt`].
#[derive(Clone, Debug)]
pub struct ObserveAttemptLayer {
    metrics: Metrics,
}

impl ObserveAttemptLayer {
    /// Counts in `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for ObserveAttemptLayer {
    type Service = ObserveAttempt<S>;

    fn layer(&self, inner: S) -> ObserveAttempt<S> {
        ObserveAttempt { inner, metrics: self.metrics.clone() }
    }
}

/// Writes down each attempt.
#[derive(Clone, Debug)]
pub struct ObserveAttempt<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> Service<Attempt> for ObserveAttempt<S>
where
    S: Service<Attempt, Response = Answer, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut attempt: Attempt) -> Self::Future {
        let record = attempt.original.record.clone();
        let target = attempt.target.clone();
        let started = attempt.started;
        let metrics = self.metrics.clone();
        for repaired in &attempt.repaired {
            metrics.repaired(&target.backend.name, repaired.kind());
        }
        let number = record.attempt_began(AttemptStory {
            backend: target.backend.name.clone(),
            provider: target.backend.profile.provider,
            model: target.model.clone(),
            model_label: target.model_label.clone(),
            credential: target.backend.credential_number(attempt.lease.credential()),
            repaired: attempt.repaired.clone(),
            began: started.duration_since(record.started()),
            judged: None,
            state: AttemptState::Open,
        });
        let traceparent = record.trace().and_then(|trace| trace.traceparent(number));
        if let Some(traceparent) = traceparent.filter(|_| target.backend.trace_context) {
            attempt.headers.insert(TRACEPARENT, traceparent);
        }
        let answer = self.inner.call(attempt);
        Box::pin(async move {
            let answer = answer.await?;
            let state = match &answer {
                // Counted when its body is over: it can still break.
                Answer::Relay(_) | Answer::Unjudged(_) => AttemptState::Relayed,
                Answer::Failed(failure, _) => {
                    metrics.attempt(&target.backend.name, Some(failure));
                    AttemptState::Failed(failure.clone())
                }
            };
            record.attempt_ended(number, state, started.elapsed());
            Ok(answer)
        })
    }
}
