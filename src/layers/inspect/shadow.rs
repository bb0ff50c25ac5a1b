//! `detection = "shadow"`: the client gets the answer as it is and when it comes, and a copy of it is
//! judged as it would be otherwise. What would have been a failure is logged and counted.
//!
//! The judge runs within the body's own polls: it sees a piece right after the client does, never holds
//! one up, and goes when the client goes.

use std::error::Error as StdError;
use std::iter::successors;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use tokio::time::Instant;
use tower_http::timeout::{DeadlineBody, TimeoutBody};

use super::{Inspection, Settings};
use crate::backend::answer::Answer;
use crate::backend::transport::TransportError;
use crate::telemetry::record::{AttemptState, Record};
use crate::verdict::{Class, Failure, Stage, TimeLimit};

/// Pieces that may wait for the judge. It takes them at once, unless it is no longer interested.
const PIECES_MAX: usize = 64;

/// An answer on its way to the client, perhaps with its judge.
struct AsItIs {
    body: Body,
    record: Record,
    settings: Arc<Settings>,
    /// Gone when the body is over, or the judge does not follow.
    copy: Option<Sender<Bytes, TransportError>>,
    judge: Option<BoxFuture<'static, ()>>,
}

impl Inspection {
    /// The answer as it is, and nobody looks.
    pub(super) fn unjudged(self, response: Response<Body>) -> Response<Body> {
        self.limited(response).map(|body| {
            let Self { record, settings, .. } = self;
            Body::new(AsItIs { body, record, settings, copy: None, judge: None })
        })
    }

    /// The answer as it is, judged on the side.
    pub(super) fn shadow(self, response: Response<Body>) -> Response<Body> {
        let (copy, copied) = Channel::new(PIECES_MAX);
        let mut twin = Response::new(Body::new(copied));
        *twin.status_mut() = response.status();
        twin.headers_mut().clone_from(response.headers());
        // Its share of the task's time is the body's to give.
        let judge = tokio::task::unconstrained(self.clone().judge(twin)).boxed();
        self.limited(response).map(|body| {
            let Self { record, settings, .. } = self;
            Body::new(AsItIs { body, record, settings, copy: Some(copy), judge: Some(judge) })
        })
    }

    /// The answer as it is; only its time is limited.
    fn limited(&self, response: Response<Body>) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let body = Body::new(TimeoutBody::new(self.timeouts.idle, body));
        if self.wants_stream {
            return self.own_words(&parts, body);
        }
        let left = self.verdict_by.0.saturating_duration_since(Instant::now());
        self.own_words(&parts, Body::new(DeadlineBody::new(left, body)))
    }

    async fn judge(self, twin: Response<Body>) {
        let Self { record, settings, target, conversation, .. } = self.clone();
        let failure = match self.inspect(twin).await {
            Answer::Failed(failure, _) => {
                // The client gets a failure; unless it is only slow, and may still be good.
                if failure.class != Class::Timeout {
                    settings.metrics.attempt(&target.backend.name, Some(&failure));
                    record.completed(Some(failure.clone()));
                }
                Some(failure)
            }
            Answer::Relay(answer) | Answer::Unjudged(answer) => {
                let mut body = answer.into_body();
                while let Some(Ok(_)) = body.frame().await {}
                late_failure(&record)
            }
        };
        match failure {
            None => record.completed(None),
            Some(failure) => {
                settings.affinity.left(conversation, &target);
                settings.metrics.shadow_failure(&target.backend.name, &failure);
                tracing::warn!(
                    request_id = record.id(),
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
    match record.read(|story| story.attempts.last().map(|last| last.state.clone()))? {
        AttemptState::Failed(failure) => Some(failure),
        AttemptState::Open | AttemptState::Relayed => None,
    }
}

impl AsItIs {
    /// Shows the judge what the client gets.
    fn show(&mut self, frame: &Poll<Option<Result<Frame<Bytes>, axum::Error>>>) {
        match frame {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                let Some(copy) = &mut self.copy else { return };
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
            Poll::Ready(Some(Err(error))) => match self.copy.take() {
                Some(copy) => copy.abort(same(error)),
                // Nobody judges, but that the answer broke is plain to see.
                None if self.judge.is_none() => {
                    let evidence = same(error).evidence();
                    let rules = &self.settings.rules;
                    let failure = Failure::from_evidence(rules, &evidence, Stage::AfterCommit);
                    self.record.completed(Some(failure));
                }
                None => {}
            },
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
        // The only error of our own: see `limited`.
        None => TransportError::Timeout(TimeLimit::Idle),
    }
}

impl HttpBody for AsItIs {
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
