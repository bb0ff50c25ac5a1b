//! `detection = "shadow"`: the client gets the answer as it is and when it comes, and a copy of it is
//! judged as it would be otherwise. What would have been a failure is logged and counted.
//!
//! The judge runs within the body's own polls: it sees a piece right after the client does, never holds
//! one up, and goes when the client goes.

use std::error::Error as StdError;
use std::iter::successors;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use tower_http::timeout::TimeoutBody;

use super::Inspection;
use crate::backend::answer::Answer;
use crate::backend::transport::TransportError;
use crate::telemetry::record::{AttemptState, Record};
use crate::verdict::{Failure, TimeLimit};

/// Pieces that may wait for the judge. It takes them at once, unless it is no longer interested.
const PIECES_MAX: usize = 64;

/// An answer on its way to the client, with its judge.
struct Shadowed {
    body: Body,
    /// Gone when the body is over, or the judge does not follow.
    copy: Option<Sender<Bytes, TransportError>>,
    judge: Option<BoxFuture<'static, ()>>,
}

impl Inspection {
    /// The answer as it is; silence alone is limited.
    pub(super) fn as_it_is(&self, response: Response<Body>) -> Response<Body> {
        let (parts, body) = response.into_parts();
        self.own_words(&parts, Body::new(TimeoutBody::new(self.timeouts.idle, body)))
    }

    /// The answer as it is, judged on the side.
    pub(super) fn shadow(self, response: Response<Body>) -> Response<Body> {
        let (copy, copied) = Channel::new(PIECES_MAX);
        let mut twin = Response::new(Body::new(copied));
        *twin.status_mut() = response.status();
        twin.headers_mut().clone_from(response.headers());
        let answer = self.as_it_is(response);
        let judge = Some(self.judge(twin).boxed());
        answer.map(|body| Body::new(Shadowed { body, copy: Some(copy), judge }))
    }

    async fn judge(self, twin: Response<Body>) {
        // What the judge says of the request is no news to its own record but for the tokens.
        let own = self.record.clone();
        let record = Record::new(own.id().to_owned());
        record.attempt_began(&self.target.backend.name, &self.target.model);
        let settings = self.settings.clone();
        let target = self.target.clone();
        let failure = match (Self { record: record.clone(), ..self }).inspect(twin).await {
            Answer::Failed(failure, _) => Some(failure),
            Answer::Relay(answer) => {
                let mut body = answer.into_body();
                while let Some(Ok(_)) = body.frame().await {}
                late_failure(&record)
            }
        };
        own.used(record.story().usage);
        match failure {
            None => own.completed(None),
            Some(failure) => {
                settings.metrics.shadow_failure(&target.backend.name, &failure);
                tracing::warn!(
                    request_id = own.id(),
                    target = target.to_string(),
                    class = failure.class.as_str(),
                    detected_by = failure.detected_by.as_str(),
                    stage = failure.stage.as_str(),
                    action = failure.action.as_str(),
                    detail = failure.detail,
                    "shadow: this would have been a failure"
                );
            }
        }
    }
}

/// What broke an answer after its first output.
fn late_failure(record: &Record) -> Option<Failure> {
    match record.story().attempts.pop()?.state {
        AttemptState::Failed(failure) => Some(failure),
        AttemptState::Open | AttemptState::Relayed => None,
    }
}

impl Shadowed {
    /// Shows the judge what the client gets.
    fn show(&mut self, frame: &Poll<Option<Result<Frame<Bytes>, axum::Error>>>) {
        let Some(copy) = &mut self.copy else { return };
        match frame {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                let follows = frame
                    .data_ref()
                    .is_none_or(|data| copy.try_send(Frame::data(data.clone())).is_ok());
                if !follows {
                    // It has its verdict, or cannot have one any more.
                    (self.copy, self.judge) = (None, None);
                } else if self.body.is_end_stream() {
                    self.copy = None;
                }
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(copy) = self.copy.take() {
                    copy.abort(same(error));
                }
            }
            Poll::Ready(None) => self.copy = None,
        }
    }
}

/// Another error that shows the same.
fn same(error: &axum::Error) -> TransportError {
    let mut causes =
        successors(Some(error as &(dyn StdError + 'static)), |error| (*error).source());
    match causes.find_map(|cause| cause.downcast_ref()) {
        Some(TransportError::Fault { fault, source }) => {
            TransportError::Fault { fault: *fault, source: source.to_string().into() }
        }
        Some(TransportError::Timeout(limit)) => TransportError::Timeout(*limit),
        // The only error of our own: see `as_it_is`.
        None => TransportError::Timeout(TimeLimit::Idle),
    }
}

impl HttpBody for Shadowed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        this.show(&frame);
        if let Some(judge) = &mut this.judge
            && judge.as_mut().poll(cx).is_ready()
        {
            (this.judge, this.copy) = (None, None);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
