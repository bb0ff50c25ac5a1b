//! The body of a stream after its verdict: held events first, then the rest as it comes, each event
//! whole and in the backend's own bytes. Nothing is ever replayed or spliced here.
//!
//! A side scan looks for the end. A stream that is cut, stalls or breaks ends with exactly one
//! well-formed `response.failed`, so that a truncated answer never looks complete.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep};

use super::reader::EventReader;
use super::{Inspection, event_defect, failed_event};
use crate::verdict::{Carrier, Defect, Evidence, Failure, Stage, TimeLimit};
use crate::wire::error_object::ErrorObject;
use crate::wire::event::{EventDetail, EventKind, sequence_number};
use crate::wire::response::ResponseSummary;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Output may come.
    Open,
    /// An `error` event has come: its `response.failed` may follow.
    Errored,
    /// A terminal event has come: `[DONE]` and the end may follow.
    Terminated,
    /// The last byte has been handed out.
    Closed,
}

/// A committed stream.
#[derive(Debug)]
pub(super) struct Relay {
    inspection: Inspection,
    held: VecDeque<Bytes>,
    events: EventReader,
    /// Ends the silence that the current phase allows.
    silence: Pin<Box<Sleep>>,
    /// Whether the backend is being waited for: while the client takes its time, no clock runs.
    is_waiting: bool,
    phase: Phase,
    /// A copy: a part of what was read would keep all of it in memory.
    created: Option<Bytes>,
    /// The last sequence number.
    number: Option<u64>,
    relayed: u64,
    /// What an `error` event said, while its `response.failed` is awaited.
    error: Option<ErrorObject>,
}

impl Relay {
    pub(super) fn new(inspection: &Inspection, held: Vec<Bytes>, events: EventReader) -> Self {
        Self {
            inspection: inspection.clone(),
            held: held.into(),
            events,
            silence: Box::pin(tokio::time::sleep(inspection.timeouts.idle)),
            is_waiting: false,
            phase: Phase::Open,
            created: None,
            number: None,
            relayed: 0,
            error: None,
        }
    }

    /// Takes note of an event on its way to the client; `None` if the client must not see it.
    fn pass(&mut self, event: Bytes) -> Option<Bytes> {
        let kind = EventKind::of(&event);
        if self.phase == Phase::Terminated {
            // One terminal event is the rule; what comes after it is only the end mark.
            return (kind == EventKind::Done).then_some(event);
        }
        match kind {
            EventKind::Created if self.created.is_none() => {
                self.inspection.gave(|| EventDetail::read(&event)?.summary()?.id);
                self.created = Some(Bytes::copy_from_slice(&event));
            }
            EventKind::Completed | EventKind::Incomplete => {
                let Some(detail) = EventDetail::read(&event) else {
                    return Some(self.break_off(&event_defect(Defect::BrokenEvent)));
                };
                let summary = detail.summary();
                self.inspection.record.used(summary.as_ref().and_then(|summary| summary.usage));
                if let Some(summary) = summary.filter(ResponseSummary::has_failed) {
                    // Codex would take it for success.
                    self.error = summary.error.or(self.error.take());
                    return Some(self.break_off(&spoken(None)));
                }
                self.terminate(None);
            }
            EventKind::Failed => {
                let Some(detail) = EventDetail::read(&event) else {
                    return Some(self.break_off(&event_defect(Defect::BrokenEvent)));
                };
                let error = detail.error().or(self.error.take());
                let failure = self.failure(&spoken(error.as_ref()));
                self.terminate(Some(failure));
                // Codex acts on a failure only when the body is over.
                self.phase = Phase::Closed;
            }
            EventKind::Cancelled => {
                return Some(self.break_off(&event_defect(Defect::Cancelled)));
            }
            EventKind::Error => {
                self.error = EventDetail::read(&event).and_then(|detail| detail.error());
                self.phase = Phase::Errored;
                let wait = self.inspection.settings.stream.after_error_timeout;
                self.allow_silence(wait);
            }
            EventKind::Broken | EventKind::Done => {
                let defect = if kind == EventKind::Done {
                    Defect::NoTerminalEvent
                } else {
                    Defect::BrokenEvent
                };
                return Some(self.break_off(&event_defect(defect)));
            }
            EventKind::Created
            | EventKind::Progress
            | EventKind::Output
            | EventKind::ItemDone
            | EventKind::Reasoning => {}
        }
        self.relayed += 1;
        // Comments and keep-alives have no number of their own.
        self.number = sequence_number(&event).or(self.number);
        match kind {
            // Most events are these, and hold none.
            EventKind::Output | EventKind::Reasoning => Some(event),
            _ => Some(self.inspection.marked(event)),
        }
    }

    /// The stream has come to its own end.
    fn terminate(&mut self, failure: Option<Failure>) {
        let Inspection { settings, target, credential, .. } = &self.inspection;
        if failure.is_none() {
            settings.bench.succeeded(target, credential);
        }
        self.inspection.record.completed(failure);
        self.phase = Phase::Terminated;
        self.allow_silence(self.inspection.settings.stream.after_terminal_timeout);
    }

    /// Ends a stream that its backend did not end: the bytes to send last.
    fn break_off(&mut self, evidence: &Evidence<'_>) -> Bytes {
        let failure = match &self.error {
            None => self.failure(evidence),
            error => self.failure(&spoken(error.as_ref())),
        };
        let next = self.number.map_or(self.relayed, |last| last + 1);
        let event = failed_event(self.created.as_ref(), next, self.error.as_ref());
        tracing::warn!(
            request_id = self.inspection.record.id(),
            class = failure.class.as_str(),
            detected_by = failure.detected_by.as_str(),
            detail = failure.detail,
            "the answer broke after output had gone out"
        );
        self.inspection.record.completed(Some(failure));
        self.phase = Phase::Closed;
        event
    }

    /// A failure that nothing can be done about any more, but to remember it.
    fn failure(&self, evidence: &Evidence<'_>) -> Failure {
        let Inspection { settings, target, credential, .. } = &self.inspection;
        let mut failure = Failure::from_evidence(&settings.rules, evidence, Stage::AfterCommit);
        let wait = evidence.error().and_then(|error| error.wait);
        failure.retry_after = wait.and_then(|wait| wait.left(SystemTime::now()));
        settings.bench.failed(target, credential, &failure);
        failure
    }

    fn allow_silence(&mut self, span: std::time::Duration) {
        self.silence.as_mut().reset(Instant::now() + span);
    }

    /// What comes next from the backend, or in its place.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let polled = match self.events.poll_next(cx) {
            Poll::Ready(polled) => polled,
            Poll::Pending => {
                if self.phase == Phase::Open && !std::mem::replace(&mut self.is_waiting, true) {
                    self.allow_silence(self.inspection.timeouts.idle);
                }
                ready!(self.silence.as_mut().poll(cx));
                return Poll::Ready(self.end(&Evidence::Timeout(TimeLimit::Idle)));
            }
        };
        Poll::Ready(match polled {
            Ok(Some(event)) => {
                self.is_waiting = false;
                Next::Event(event)
            }
            Ok(None) => self.end(&event_defect(Defect::NoTerminalEvent)),
            Err(error) => self.end(&error.evidence()),
        })
    }

    /// Nothing more comes. After a terminal event that is as it should be, however it came about.
    fn end(&mut self, evidence: &Evidence<'_>) -> Next {
        match self.phase {
            Phase::Terminated | Phase::Closed => {
                self.phase = Phase::Closed;
                Next::Over
            }
            Phase::Open | Phase::Errored => Next::Last(self.break_off(evidence)),
        }
    }
}

/// The evidence of a backend's own words.
fn spoken(error: Option<&ErrorObject>) -> Evidence<'_> {
    Evidence::Error { carrier: Carrier::Event, error }
}

/// What comes next in a stream.
enum Next {
    /// An event of the backend.
    Event(Bytes),
    /// The event with which Sidestep ends the stream.
    Last(Bytes),
    /// Nothing: the stream has ended by itself.
    Over,
}

impl HttpBody for Relay {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            if this.phase == Phase::Closed {
                return Poll::Ready(None);
            }
            let next = match this.held.pop_front() {
                Some(event) => Next::Event(event),
                None => ready!(this.poll_next(cx)),
            };
            let bytes = match next {
                Next::Event(event) => this.pass(event),
                Next::Last(event) => Some(event),
                Next::Over => None,
            };
            if let Some(bytes) = bytes {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }
}
