//! The body of an announced answer: `response.created` and heartbeats while the chain is worked
//! through, then the answer.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Response;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, Limited};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::Settings;
use crate::backend::answer::Exhausted;
use crate::backend::attempt::Original;
use crate::telemetry::record::Record;
use crate::wire::continuation::Continuation;
use crate::wire::error_object::ErrorObject;
use crate::wire::sse::EventSplitter;

/// An announced answer.
pub(super) struct Announced {
    settings: Arc<Settings>,
    record: Record,
    wants_event: bool,
    beats: Interval,
    stream: Continuation,
    /// Whether it is remembered whose response the client knows under which id.
    is_remembered: bool,
    /// `response.created`, until the client has it.
    created: Option<Bytes>,
    stage: Stage,
}

enum Stage {
    /// Nobody has answered yet.
    Waiting(BoxFuture<'static, Result<Response<Body>, Exhausted>>),
    /// Somebody answers.
    Relaying { body: Body, events: EventSplitter },
    /// It has ended, perhaps without saying how.
    Ending,
    /// The last byte has been handed out.
    Over,
}

impl Announced {
    pub(super) fn new(
        settings: Arc<Settings>,
        original: &Original,
        created: Bytes,
        answer: BoxFuture<'static, Result<Response<Body>, Exhausted>>,
    ) -> Self {
        let first = Instant::now() + settings.heartbeat;
        let mut beats = tokio::time::interval_at(first, settings.heartbeat);
        // A client that took its time does not get all that it missed.
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            beats,
            settings,
            record: original.record.clone(),
            wants_event: original.wants_event,
            stream: Continuation::new(created.clone()),
            is_remembered: false,
            created: Some(created),
            stage: Stage::Waiting(answer),
        }
    }

    pub(super) fn into_body(self) -> Body {
        Body::from_stream(futures_util::stream::unfold(self, |mut this| async {
            let bytes = this.next().await?;
            Some((bytes, this))
        }))
    }

    /// What goes out next; `None` when everything has.
    async fn next(&mut self) -> Option<Result<Bytes, axum::Error>> {
        if let Some(created) = self.created.take() {
            return Some(Ok(created));
        }
        loop {
            match &mut self.stage {
                Stage::Waiting(answer) => {
                    let answer = tokio::select! {
                        biased;
                        answer = answer => answer,
                        _ = self.beats.tick() => {
                            return Some(Ok(self.stream.heartbeat()));
                        }
                    };
                    if let Some(last) = self.answered(answer).await {
                        self.stage = Stage::Over;
                        return Some(Ok(last));
                    }
                }
                Stage::Relaying { body, events } => match events.next_event() {
                    Ok(Some(event)) => {
                        if let Some(event) = self.pass(event) {
                            return Some(Ok(event));
                        }
                    }
                    Ok(None) => match body.frame().await {
                        Some(Ok(frame)) => {
                            if let Ok(data) = frame.into_data() {
                                events.push(data);
                            }
                        }
                        end => {
                            let rest = events.finish().filter(|_| end.is_none());
                            let rest = rest.and_then(|rest| self.pass(rest));
                            self.stage = Stage::Ending;
                            if let Some(rest) = rest {
                                return Some(Ok(rest));
                            }
                        }
                    },
                    // Whoever relays has the same limit, and has kept it.
                    Err(error) => return Some(Err(axum::Error::new(error))),
                },
                Stage::Ending => {
                    self.stage = Stage::Over;
                    let cut = "the backend did not complete its answer";
                    let last = || Ok(self.stream.failed("server_error", cut));
                    return (!self.stream.is_over()).then(last);
                }
                Stage::Over => return None,
            }
        }
    }

    /// The chain has come to its end: the event that ends the stream, if there is no other.
    async fn answered(&mut self, answer: Result<Response<Body>, Exhausted>) -> Option<Bytes> {
        let response = match answer {
            Ok(response) => response,
            Err(exhausted) => {
                self.record.exhausted();
                let (code, message) = (self.settings.explain)(&exhausted, self.wants_event);
                return Some(self.stream.failed(code, &message));
            }
        };
        if is_stream(&response) {
            self.record.answered();
            let events = EventSplitter::new(self.settings.event_bytes_max);
            self.stage = Stage::Relaying { body: response.into_body(), events };
            return None;
        }
        // A backend's own words about the request, which would have been JSON.
        let body = Limited::new(response.into_body(), self.settings.answer_bytes_max);
        let body = body.collect().await.map(http_body_util::Collected::to_bytes);
        let error = body.ok().and_then(|body| ErrorObject::in_error_body(&body));
        let error = error.unwrap_or_default();
        let message = match &*error.message {
            "" => "the backend did not give its answer as a stream",
            message => message,
        };
        Some(self.stream.failed(error.code().unwrap_or("server_error"), message))
    }

    /// An event on its way to the client.
    fn pass(&mut self, event: Bytes) -> Option<Bytes> {
        let event = self.stream.pass(event);
        if !self.is_remembered
            && let Some((told, own)) = self.stream.renamed()
        {
            // At once: clients leave when they have what they want.
            self.settings.affinity.renamed(told, own);
            self.is_remembered = true;
        }
        event
    }
}

/// Relays mislabel streams; what is JSON by its name is none.
fn is_stream(response: &Response<Body>) -> bool {
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = media_type.is_some_and(|media_type| {
        media_type.trim_start().to_ascii_lowercase().starts_with("application/json")
    });
    response.status().is_success() && !is_json
}
