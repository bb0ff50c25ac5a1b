//! Goes from target to target until one answers.
//!
//! Decides by verdicts alone: no status, header or body is looked at here. The loop is bounded by
//! `limits.attempts_max`; with one credential, a target is asked three times at most: once more after a
//! renewal, once more after a failure that is worth a retry.

mod memory;
mod walk;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::Response;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::backend::Target;
use crate::backend::affinity::Affinity;
use crate::backend::answer::{Answer, Exhausted};
use crate::backend::attempt::{Attempt, Original, Planned};
use crate::backend::bench::Bench;
use crate::backend::refused::Field;
use crate::backend::route::Plan;
use crate::telemetry::metrics::Metrics;
use crate::verdict::{Action, Failure, Repair};
use memory::Memory;
pub use walk::Policy;
use walk::{Step, Walk};

/// Makes [`Failover`].
#[derive(Clone, Debug)]
pub struct FailoverLayer {
    policy: Policy,
    bench: Arc<Bench>,
    affinity: Arc<Affinity>,
    memory: Arc<Memory>,
    metrics: Metrics,
}

impl FailoverLayer {
    /// Acts by `policy`, keeps what fails on `bench`, remembers in `affinity` who served whom, counts
    /// in `metrics`.
    pub fn new(
        policy: Policy,
        bench: Arc<Bench>,
        affinity: Arc<Affinity>,
        metrics: Metrics,
    ) -> Self {
        let memory = Arc::new(Memory::new(policy.memory));
        Self { policy, bench, affinity, memory, metrics }
    }
}

impl<S> Layer<S> for FailoverLayer {
    type Service = Failover<S>;

    fn layer(&self, inner: S) -> Failover<S> {
        let Self { policy, bench, affinity, memory, metrics } = self.clone();
        Failover { inner, policy, bench, affinity, memory, metrics }
    }
}

/// Goes from target to target until one answers.
#[derive(Clone, Debug)]
pub struct Failover<S> {
    inner: S,
    policy: Policy,
    bench: Arc<Bench>,
    affinity: Arc<Affinity>,
    memory: Arc<Memory>,
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
        let deadline = original.deadline;
        let mut walk = self.begin(&plan, deadline)?;
        let mut failed = Vec::new();
        let mut is_stripped = false;
        loop {
            let target = walk.target();
            let (lease, is_last) = (walk.lease(), walk.is_last());
            let attempt = Attempt::bind(&original, target, lease, is_last, is_stripped);
            let Ok(answer) = tower::ServiceExt::oneshot(self.inner.clone(), attempt).await;
            let (failure, own_words) = match answer {
                Answer::Relay(response) => {
                    self.affinity.served(original.conversation, target);
                    self.bench.answered(target, walk.lease().credential());
                    return Ok(response);
                }
                Answer::Unjudged(response) => return Ok(response),
                Answer::Failed(failure, own_words) => (failure, own_words),
            };
            failed.push((target.clone(), failure.clone()));
            let began = Instant::now();
            let renewed = tokio::time::timeout_at(deadline, renew(&walk, &failure)).await;
            let is_mended =
                renewed.unwrap_or(false) || repair(&original, target, &failure, &mut is_stripped);
            if !is_mended {
                self.affinity.left(original.conversation, target);
                self.bench.failed(target, walk.lease().credential(), &failure);
            }
            match walk.step(&failure, is_mended) {
                Step::Renewed | Step::Repaired | Step::NextCredential => {
                    self.metrics.retry(&target.backend.name, &failure);
                }
                Step::Retry => {
                    self.metrics.retry(&target.backend.name, &failure);
                    let until = Instant::now() + self.policy.retry_delay();
                    tokio::time::sleep_until(until.min(deadline)).await;
                }
                Step::Wait(until) => {
                    is_stripped = false;
                    self.metrics.retry(&walk.target().backend.name, &failure);
                    tracing::info!(
                        request_id = original.record.id(),
                        target = walk.target().to_string(),
                        seconds = (until - began).as_secs_f64(),
                        "every target has failed: waiting as long as one of them asked to"
                    );
                    tokio::time::sleep_until(until).await;
                }
                Step::Next => {
                    is_stripped = false;
                    self.tell(original.record.id(), target, walk.target(), &failure);
                }
                Step::Return => return own_words.ok_or(Exhausted { attempts: failed }),
                Step::GiveUp => {
                    self.gave_up(original.record.id(), &plan.route.name, target, &failure);
                    let exhausted = Exhausted { attempts: failed };
                    self.memory.keep(&self.bench, &plan.targets, &exhausted);
                    // The words of one among several would hide what the others said.
                    let is_alone = plan.targets.len() == 1 && !plan.is_pinned;
                    return own_words.filter(|_| is_alone).ok_or(exhausted);
                }
            }
            original.record.waited(began.elapsed());
        }
    }

    /// The beginning of a chain, unless it is dead and nobody asks it.
    fn begin<'a>(&'a self, plan: &'a Plan, deadline: Instant) -> Result<Walk<'a>, Exhausted> {
        let exhausted = match self.memory.recall(&self.bench, &plan.targets) {
            Some(exhausted) => exhausted,
            None => match Walk::begin(self.policy, &self.bench, &plan.targets, deadline) {
                Some(walk) => return Ok(walk),
                None => Exhausted { attempts: Vec::new() },
            },
        };
        self.metrics.exhausted(&plan.route.name);
        Err(exhausted)
    }

    fn gave_up(&self, request_id: &str, route: &str, last: &Target, failure: &Failure) {
        self.metrics.exhausted(route);
        tracing::warn!(
            request_id,
            route,
            last = last.to_string(),
            class = failure.class.as_str(),
            detected_by = failure.detected_by.as_str(),
            detail = failure.detail,
            "every target failed"
        );
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

/// Renews the credential that a failure calls into question, if that makes sense; whether there is a
/// newer one now.
async fn renew(walk: &Walk<'_>, failure: &Failure) -> bool {
    if failure.action != Action::Refresh {
        return false;
    }
    if walk.was_renewed() {
        walk.lease().pause();
    }
    walk.may_renew() && walk.lease().renew().await
}

/// Prepares to leave out of the request what a target finds fault with; whether there is such a thing
/// that has not been left out yet.
fn repair(original: &Original, target: &Target, failure: &Failure, is_stripped: &mut bool) -> bool {
    match &failure.repair {
        None => false,
        Some(Repair::History) => {
            original.may_hold_foreign() && !std::mem::replace(is_stripped, true)
        }
        Some(Repair::Field(name)) => match Field::parse(name) {
            Some(field) if original.envelope.has_field(&original.body, field.outer()) => {
                let is_news = target.backend.refused.learn(&target.model, field);
                if is_news {
                    tracing::info!(
                        request_id = original.record.id(),
                        target = target.to_string(),
                        field = name,
                        "this target refuses a field: it is left out from now on"
                    );
                }
                is_news
            }
            Some(_) | None => false,
        },
    }
}

#[cfg(test)]
mod bench_tests;
#[cfg(test)]
mod tests;
