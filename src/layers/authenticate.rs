//! Adds the credential of an attempt's own backend; without one, the attempt has failed before
//! anything was sent.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt as _};

use crate::backend::answer::Answer;
use crate::backend::attempt::Attempt;
use crate::verdict::{Evidence, Failure, Rules, Stage, TimeLimit};

/// Makes [`Authenticate`].
#[derive(Clone, Debug)]
pub struct AuthenticateLayer {
    rules: Arc<Rules>,
}

impl AuthenticateLayer {
    /// Judges by `rules` what it means that there is no credential.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { rules }
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate { inner, rules: self.rules.clone() }
    }
}

/// Adds the credential of an attempt's own backend.
#[derive(Clone, Debug)]
pub struct Authenticate<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> Service<Attempt> for Authenticate<S>
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
        if attempt.lease.apply_ready(&attempt.original.headers, &mut attempt.headers) {
            return Box::pin(self.inner.call(attempt));
        }
        let Self { inner, rules } = self.clone();
        Box::pin(async move {
            let Attempt { lease, original, headers, .. } = &mut attempt;
            let applied = lease.apply(&original.headers, headers);
            let evidence = match tokio::time::timeout_at(original.deadline, applied).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(Evidence::Credential(error.fault)),
                Err(_) => Some(Evidence::Timeout(TimeLimit::Request)),
            };
            if let Some(evidence) = evidence {
                let failure = Failure::from_evidence(&rules, &evidence, Stage::BeforeRequest);
                return Ok(Answer::Failed(failure, None));
            }
            // The backend's time begins now.
            attempt.started = Instant::now();
            inner.oneshot(attempt).await
        })
    }
}
