//! Keeps a backend's `concurrency_max`: an attempt counts until its answer's last byte.
//!
//! The walk through the chain passes full backends over; an attempt gets here with a full backend only
//! when no other is left, and waits its turn then.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt as _};

use super::guarded::Guarded;
use crate::backend::answer::Answer;
use crate::backend::attempt::Attempt;
use crate::verdict::{Evidence, Failure, Rules, Stage, TimeLimit};

/// Makes [`Concurrency`].
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer {
    queue_timeout: Duration,
    rules: Arc<Rules>,
}

impl ConcurrencyLayer {
    /// Waits for `queue_timeout` at most; judges by `rules` what it means that this was not enough.
    pub fn new(queue_timeout: Duration, rules: Arc<Rules>) -> Self {
        Self { queue_timeout, rules }
    }
}

impl<S> Layer<S> for ConcurrencyLayer {
    type Service = Concurrency<S>;

    fn layer(&self, inner: S) -> Concurrency<S> {
        Concurrency { inner, settings: self.clone() }
    }
}

/// Keeps a backend's `concurrency_max`.
#[derive(Clone, Debug)]
pub struct Concurrency<S> {
    inner: S,
    settings: ConcurrencyLayer,
}

impl<S> Service<Attempt> for Concurrency<S>
where
    S: Service<Attempt, Response = Answer, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut attempt: Attempt) -> Self::Future {
        let Some(slots) = attempt.target.backend.slots.clone() else {
            return Box::pin(self.inner.call(attempt));
        };
        let Self { inner, settings } = self.clone();
        Box::pin(async move {
            let until = attempt.original.deadline.min(Instant::now() + settings.queue_timeout);
            let Ok(Ok(slot)) = tokio::time::timeout_at(until, slots.acquire_owned()).await else {
                let evidence = Evidence::Timeout(TimeLimit::Queue);
                let failure =
                    Failure::from_evidence(&settings.rules, &evidence, Stage::BeforeRequest);
                return Ok(Answer::Failed(failure, None));
            };
            attempt.started = Instant::now();
            Ok(match inner.oneshot(attempt).await? {
                Answer::Relay(answer) => {
                    Answer::Relay(answer.map(|body| Guarded::wrap(body, slot)))
                }
                Answer::Unjudged(answer) => {
                    Answer::Unjudged(answer.map(|body| Guarded::wrap(body, slot)))
                }
                failed @ Answer::Failed(..) => failed,
            })
        })
    }
}
