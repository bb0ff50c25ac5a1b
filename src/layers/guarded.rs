//! A body that something lives as long as: not a layer, but what several of them need.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// What is told whether a body came to its end. Dropped without [`Guard::ended`], it did not.
pub(super) trait Guard: Send + Unpin + 'static {
    /// The body has been read to its end.
    fn ended(self);
}

/// A place among a limited number: it is free again however the body ended.
impl Guard for OwnedSemaphorePermit {
    fn ended(self) {}
}

/// A body with its guard.
#[derive(Debug)]
pub(super) struct Guarded<G: Guard> {
    body: Body,
    guard: Option<G>,
}

impl<G: Guard> Guarded<G> {
    pub(super) fn wrap(body: Body, guard: G) -> Body {
        Body::new(Self { body, guard: Some(guard) })
    }
}

impl<G: Guard> HttpBody for Guarded<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if frame.is_none()
            && let Some(guard) = this.guard.take()
        {
            guard.ended();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<G: Guard> Drop for Guarded<G> {
    fn drop(&mut self) {
        // The server asks a body of known length for no more than that length.
        if self.body.is_end_stream()
            && let Some(guard) = self.guard.take()
        {
            guard.ended();
        }
    }
}
