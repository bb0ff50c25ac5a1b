//! Holds a stream back until it is clear what it is.
//!
//! Lifecycle events, added items and keep-alives are held; the first output, a finished item or a
//! clean terminal event commits; a failure before that is a failure like any other.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::response::Parts;

use super::reader::{BodyReader, EventReader};
use super::relay::Relay;
use super::{EVENT_STREAM, Inspection, event_defect, failed_event};
use crate::backend::answer::Answer;
use crate::verdict::{Carrier, Defect, Evidence};
use crate::wire::error_object::ErrorObject;
use crate::wire::event::{EventDetail, EventKind};
use crate::wire::response::{ResponseSummary, Status};

/// What one more event means for a stream that is held.
enum Step {
    /// Nothing yet.
    Hold,
    /// This is an answer.
    Commit,
    /// This is a failure that the backend speaks of.
    Spoken(Option<ErrorObject>),
    /// This is a failure that it does not speak of.
    Defect(Defect),
}

/// Events that wait for a verdict.
#[derive(Debug, Default)]
struct Held {
    events: Vec<Bytes>,
    bytes: usize,
    /// Reasoning is among them: output that is held back.
    has_reasoning: bool,
}

impl Held {
    fn push(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.events.push(event);
    }

    /// The held events as the words of a backend that failed, ending as a failed stream ends.
    ///
    /// Codex ignores `error` events and takes `response.completed` for success whatever is in it:
    /// so `response.failed` follows the one and replaces the other.
    fn into_own_words(mut self, error: Option<&ErrorObject>) -> Bytes {
        let kinds: Vec<EventKind> = self.events.iter().map(|event| EventKind::of(event)).collect();
        if !kinds.contains(&EventKind::Failed) {
            if kinds.last() != Some(&EventKind::Error) {
                self.events.pop();
            }
            let number = |event: &Bytes| EventDetail::read(event)?.sequence_number();
            let last = self.events.iter().rev().find_map(number);
            let created = kinds.iter().position(|kind| *kind == EventKind::Created);
            let created = created.and_then(|at| self.events.get(at));
            self.events.push(failed_event(created, last.map_or(0, |last| last + 1), error));
        }
        let mut joined = BytesMut::with_capacity(self.bytes);
        self.events.iter().for_each(|event| joined.extend_from_slice(event));
        joined.freeze()
    }
}

impl Inspection {
    pub(super) async fn hold(self, parts: Parts, reader: BodyReader) -> Answer {
        let limits = self.settings.limits;
        let mut events = reader.into_events(limits.event_bytes_max);
        let mut held = Held::default();
        loop {
            let event = match self.in_time(events.next()).await {
                Ok(Some(event)) => event,
                Ok(None) => return self.failed(&event_defect(Defect::NoTerminalEvent), None),
                Err(evidence) => return self.failed(&evidence, None),
            };
            let kind = EventKind::of(&event);
            if kind == EventKind::Created {
                self.begins(&parts, &event);
            }
            let step = self.step(&mut held, &event, kind);
            held.push(event);
            let is_full =
                held.events.len() >= limits.held_events_max || held.bytes >= limits.held_bytes_max;
            match step {
                Step::Hold if !is_full => {}
                Step::Hold | Step::Commit => {
                    let relay = Relay::new(&self, held.events, events);
                    return Answer::Relay(self.good(&parts, EVENT_STREAM, Body::new(relay)));
                }
                Step::Spoken(None) if kind == EventKind::Failed => {
                    let error = self.reason_after(&mut events, |event| held.push(event)).await;
                    return self.spoken(&parts, held, error.as_ref());
                }
                Step::Spoken(error) => return self.spoken(&parts, held, error.as_ref()),
                Step::Defect(Defect::Cancelled) => {
                    let own = self.good(&parts, EVENT_STREAM, held.into_own_words(None));
                    return self.failed(&event_defect(Defect::Cancelled), Some(own));
                }
                Step::Defect(defect) => return self.failed(&event_defect(defect), None),
            }
        }
    }

    fn step(&self, held: &mut Held, event: &Bytes, kind: EventKind) -> Step {
        match (kind, EventDetail::read(event)) {
            (EventKind::Created | EventKind::Progress, _) => Step::Hold,
            (EventKind::Cancelled, _) => Step::Defect(Defect::Cancelled),
            (EventKind::Done, _) => Step::Defect(Defect::NoTerminalEvent),
            (EventKind::Broken, _) | (_, None) => Step::Defect(Defect::BrokenEvent),
            (kind, Some(detail)) => self.step_of(held, kind, &detail),
        }
    }

    /// The same for events whose data decides.
    fn step_of(&self, held: &mut Held, kind: EventKind, detail: &EventDetail) -> Step {
        match kind {
            EventKind::Failed | EventKind::Error => Step::Spoken(detail.error()),
            EventKind::Completed => completed(held, detail),
            EventKind::Incomplete => Step::Commit,
            _ if detail.is_empty_delta() => Step::Hold,
            _ if kind == EventKind::Reasoning || detail.is_reasoning_item() => {
                held.has_reasoning = true;
                if self.settings.stream.hold_reasoning { Step::Hold } else { Step::Commit }
            }
            _ => Step::Commit,
        }
    }

    /// Azure's `response.failed` has no error: the `error` event that says why comes soon after it.
    /// What is read on the way is given to `keep`.
    pub(super) async fn reason_after(
        &self,
        events: &mut EventReader,
        mut keep: impl FnMut(Bytes),
    ) -> Option<ErrorObject> {
        let reason = async {
            for _ in 0..self.settings.limits.held_events_max {
                let event = events.next().await.ok().flatten()?;
                let kind = EventKind::of(&event);
                let error = EventDetail::read(&event).and_then(|detail| detail.error());
                match kind {
                    EventKind::Error => {
                        keep(event);
                        return error;
                    }
                    EventKind::Progress => keep(event),
                    _ => return None,
                }
            }
            None
        };
        let wait = self.settings.stream.after_error_timeout;
        tokio::time::timeout(wait, reason).await.ok().flatten()
    }

    /// A failure that the backend speaks of.
    fn spoken(&self, parts: &Parts, held: Held, error: Option<&ErrorObject>) -> Answer {
        let own = self.good(parts, EVENT_STREAM, held.into_own_words(error));
        let evidence = Evidence::Error { carrier: Carrier::Event, error };
        self.spoken_failure(parts, &evidence, Some(own))
    }
}

/// A completed stream without output before: its terminal event may hold all of it, or nothing.
fn completed(held: &Held, detail: &EventDetail) -> Step {
    match detail.summary() {
        Some(ResponseSummary { status: Status::Cancelled, .. }) => Step::Defect(Defect::Cancelled),
        Some(summary) if summary.has_failed() => Step::Spoken(summary.error),
        Some(ResponseSummary { has_output: true, .. }) => Step::Commit,
        _ if held.has_reasoning => Step::Commit,
        _ => Step::Defect(Defect::Empty),
    }
}
