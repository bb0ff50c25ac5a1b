//! Adds the credential of an attempt's own backend.

use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::backend::attempt::Attempt;

/// Makes [`Authenticate`].
#[derive(Clone, Copy, Debug, Default)]
pub struct AuthenticateLayer;

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate { inner }
    }
}

/// Adds the credential of an attempt's own backend.
#[derive(Clone, Debug)]
pub struct Authenticate<S> {
    inner: S,
}

impl<S: Service<Attempt>> Service<Attempt> for Authenticate<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut attempt: Attempt) -> S::Future {
        attempt.target.backend.credential.apply(&mut attempt.headers);
        self.inner.call(attempt)
    }
}
