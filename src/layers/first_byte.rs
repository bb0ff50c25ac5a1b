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
        let is_hurried = !attempt.is_last && timeouts.first_output < timeouts.first_byte;
        let (limit, span) = match attempt.is_stream() {
            // The first output cannot come before the head.
            true if is_hurried => (TimeLimit::FirstOutput, timeouts.first_output),
            true => (TimeLimit::FirstByte, timeouts.first_byte),
            false => (TimeLimit::Answer, timeouts.answer),
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
    use crate::backend::testing::{attempt, attempt_with, config};

    async fn ends(attempt: Attempt) -> (TimeLimit, Duration) {
        let silent = tower::service_fn(|_: Attempt| {
            std::future::pending::<Result<Infallible, TransportError>>()
        });
        let began = Instant::now();
        match FirstByteLayer.layer(silent).oneshot(attempt).await.unwrap_err() {
            TransportError::Timeout(limit) => (limit, began.elapsed()),
            fault @ TransportError::Fault { .. } => panic!("{fault}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_output_is_not_waited_for_longer_because_there_is_no_head() {
        for (is_last, limit, seconds) in
            [(false, TimeLimit::FirstOutput, 4), (true, TimeLimit::FirstByte, 120)]
        {
            let mut config = config();
            for backend in config.backends.values_mut() {
                backend.timeouts.first_output = Duration::from_secs(4);
            }
            let attempt = Attempt { is_last, ..attempt_with(&config, true) };
            let (passed, after) = ends(attempt).await;
            assert_eq!((passed, after.as_secs()), (limit, seconds));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_come_ends_the_attempt() {
        for (stream, limit, seconds) in
            [(true, TimeLimit::FirstByte, 120), (false, TimeLimit::Answer, 600)]
        {
            let (passed, after) = ends(attempt(stream)).await;
            assert_eq!(passed, limit);
            // Timers count in whole milliseconds.
            assert_eq!(after.as_secs(), seconds, "{after:?}");
            assert!(after < Duration::from_secs(seconds) + Duration::from_millis(2));
        }
    }
}
