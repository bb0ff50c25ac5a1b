//! Ends an attempt whose answer's head does not come in time.
//!
//! The head of a stream comes when the backend has taken the request, that of a JSON answer when
//! it is finished: so the limits differ.

use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use crate::backend::attempt::Attempt;
use crate::backend::transport::TransportError;
use crate::verdict::TimeLimit;

/// Makes [`FirstByte`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstByteLayer;

impl<S> Layer<S> for FirstByteLayer {
    type Service = FirstByte<S>;

    fn layer(&self, inner: S) -> FirstByte<S> {
        FirstByte { inner }
    }
}

/// Ends an attempt whose answer's head does not come in time.
#[derive(Clone, Debug)]
pub struct FirstByte<S> {
    inner: S,
}

impl<S> Service<Attempt> for FirstByte<S>
where
    S: Service<Attempt, Error = TransportError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = TransportError;
    type Future = BoxFuture<'static, Result<S::Response, TransportError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let timeouts = attempt.target.backend.timeouts;
        let (limit, span) = if attempt.is_stream() {
            (TimeLimit::FirstByte, timeouts.first_byte)
        } else {
            (TimeLimit::Answer, timeouts.answer)
        };
        let (deadline, limit) = attempt.ends(limit, span);
        let answer = self.inner.call(attempt);
        Box::pin(async move {
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(TransportError::Timeout(limit)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use tokio::time::Instant;
    use tower::ServiceExt as _;

    use super::*;
    use crate::backend::testing::attempt;

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_come_ends_the_attempt() {
        for (stream, limit, seconds) in
            [(true, TimeLimit::FirstByte, 120), (false, TimeLimit::Answer, 600)]
        {
            let silent = tower::service_fn(|_: Attempt| {
                std::future::pending::<Result<Infallible, TransportError>>()
            });
            let began = Instant::now();
            let error = FirstByteLayer.layer(silent).oneshot(attempt(stream)).await.unwrap_err();
            assert!(matches!(error, TransportError::Timeout(passed) if passed == limit));
            // Timers count in whole milliseconds.
            let passed = began.elapsed();
            assert_eq!(passed.as_secs(), seconds, "{passed:?}");
            assert!(passed < Duration::from_secs(seconds) + Duration::from_millis(2));
        }
    }
}
