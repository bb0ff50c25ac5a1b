//! Goes from target to target until one answers.
//!
//! Decides by verdicts alone: no status, header or body is looked at here. The loop is bounded by
//! `limits.attempts_max`, each target is asked twice at most.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::Response;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::backend::Target;
use crate::backend::answer::{Answer, Exhausted};
use crate::backend::attempt::{Attempt, Planned};
use crate::telemetry::metrics::Metrics;
use crate::verdict::{Action, Failure};

/// The bounds within which failures are acted upon.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Attempts for one request.
    pub attempts_max: usize,
    /// The longest wait before a retry on the same target.
    pub retry_delay_max: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Ask the same target once more.
    Retry,
    /// Ask the target at this place in the chain.
    Next(usize),
    /// Give the client this answer.
    Return,
    /// No target is left.
    GiveUp,
}

/// Where a request stands in its chain.
#[derive(Clone, Copy, Debug)]
struct Position<'a> {
    targets: &'a [Target],
    index: usize,
    attempts: usize,
    was_retried: bool,
}

impl Policy {
    fn step(&self, failure: &Failure, at: Position<'_>) -> Step {
        let may_go_on = at.attempts < self.attempts_max;
        match failure.action {
            Action::Retry if may_go_on && !at.was_retried => Step::Retry,
            Action::Retry | Action::Next => match at.index + 1 {
                next if may_go_on && next < at.targets.len() => Step::Next(next),
                _ => Step::GiveUp,
            },
            Action::NextLarger if may_go_on => {
                let size = |target: &Target| target.context_window();
                let too_small = at.targets.get(at.index).and_then(size);
                let larger = (at.index + 1..at.targets.len())
                    .find(|next| too_small.is_some() && size(&at.targets[*next]) > too_small);
                larger.map_or(Step::Return, Step::Next)
            }
            Action::NextLarger | Action::Return => Step::Return,
        }
    }

    /// Full jitter: clients that failed together do not come back together.
    fn retry_delay(&self) -> Duration {
        self.retry_delay_max.mul_f64(fastrand::f64())
    }
}

/// Makes [`Failover`].
#[derive(Clone, Debug)]
pub struct FailoverLayer {
    policy: Policy,
    metrics: Metrics,
}

impl FailoverLayer {
    /// Acts by `policy`, counts in `metrics`.
    pub fn new(policy: Policy, metrics: Metrics) -> Self {
        Self { policy, metrics }
    }
}

impl<S> Layer<S> for FailoverLayer {
    type Service = Failover<S>;

    fn layer(&self, inner: S) -> Failover<S> {
        Failover { inner, policy: self.policy, metrics: self.metrics.clone() }
    }
}

/// Goes from target to target until one answers.
#[derive(Clone, Debug)]
pub struct Failover<S> {
    inner: S,
    policy: Policy,
    metrics: Metrics,
}

impl<S> Service<Planned> for Failover<S>
where
    S: Service<Attempt, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Exhausted;
    type Future = BoxFuture<'static, Result<Response<Body>, Exhausted>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Exhausted>> {
        // Readiness is asked for attempt by attempt.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, planned: Planned) -> Self::Future {
        let this = self.clone();
        Box::pin(this.run(planned))
    }
}

impl<S> Failover<S>
where
    S: Service<Attempt, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    async fn run(self, Planned { original, plan }: Planned) -> Result<Response<Body>, Exhausted> {
        let targets = plan.targets.as_slice();
        let mut failed = Vec::new();
        let (mut index, mut was_retried) = (0, false);
        while let Some(target) = targets.get(index) {
            let attempt = Attempt::bind(&original, target);
            let Ok(answer) = tower::ServiceExt::oneshot(self.inner.clone(), attempt).await;
            let (failure, own_words) = match answer {
                Answer::Relay(response) => return Ok(response),
                Answer::Failed(failure, own_words) => (failure, own_words),
            };
            failed.push((target.clone(), failure.clone()));
            let at = Position { targets, index, attempts: failed.len(), was_retried };
            match self.policy.step(&failure, at) {
                Step::Retry => {
                    self.metrics.retry(&target.backend.name, &failure);
                    let began = Instant::now();
                    tokio::time::sleep(self.policy.retry_delay()).await;
                    original.record.waited(began.elapsed());
                    was_retried = true;
                }
                Step::Next(next) => {
                    self.tell(original.record.id(), target, &targets[next], &failure);
                    (index, was_retried) = (next, false);
                }
                Step::Return => match own_words {
                    Some(own_words) => return Ok(own_words),
                    None => break,
                },
                Step::GiveUp => {
                    self.metrics.exhausted(&plan.route.name);
                    tracing::warn!(
                        request_id = original.record.id(),
                        route = &*plan.route.name,
                        last = target.to_string(),
                        class = failure.class.as_str(),
                        detected_by = failure.detected_by.as_str(),
                        detail = failure.detail,
                        "every target failed"
                    );
                    match own_words {
                        // The words of one among several would hide what the others said.
                        Some(own_words) if targets.len() == 1 => return Ok(own_words),
                        _ => break,
                    }
                }
            }
        }
        Err(Exhausted { attempts: failed })
    }

    fn tell(&self, request_id: &str, from: &Target, to: &Target, failure: &Failure) {
        self.metrics.failover(&from.backend.name, &to.backend.name, failure);
        tracing::warn!(
            request_id,
            // As strings, which are escaped: a client chooses the model's name.
            from = from.to_string(),
            to = to.to_string(),
            class = failure.class.as_str(),
            detected_by = failure.detected_by.as_str(),
            detail = failure.detail,
            "failover"
        );
    }
}

#[cfg(test)]
#[path = "failover_tests.rs"]
mod tests;
