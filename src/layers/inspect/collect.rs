//! A stream for a client that asked for JSON: read whole, put together, judged like any JSON body.

use bytes::Bytes;
use http::response::Parts;

use super::reader::BodyReader;
use super::{Inspection, JSON, event_defect, failed_event};
use crate::backend::answer::Answer;
use crate::verdict::{Carrier, Defect, Evidence};
use crate::wire::assemble::Assembler;
use crate::wire::error_object::ErrorObject;
use crate::wire::event::{EventDetail, EventKind};

impl Inspection {
    pub(super) async fn collect(self, parts: Parts, reader: BodyReader) -> Answer {
        let limits = self.settings.limits;
        let mut events = reader.into_events(limits.event_bytes_max);
        let mut assembler = Assembler::default();
        let mut created = None;
        let mut bytes = 0;
        loop {
            let event = match self.in_time(events.next()).await {
                Ok(Some(event)) => event,
                Ok(None) => return self.failed(&event_defect(Defect::NoTerminalEvent), None),
                Err(evidence) => return self.failed(&evidence, None),
            };
            bytes += event.len();
            if bytes > limits.answer_bytes_max {
                return self.failed(&event_defect(Defect::BrokenEvent), None);
            }
            let kind = EventKind::of(&event);
            match kind {
                EventKind::Failed | EventKind::Error => {
                    let mut error = EventDetail::read(&event).and_then(|detail| detail.error());
                    if kind == EventKind::Failed && error.is_none() {
                        error = self.reason_after(&mut events, drop).await;
                    }
                    let told =
                        if kind == EventKind::Failed { Some(&event) } else { created.as_ref() };
                    return self.spoken_json(&parts, told, error.as_ref());
                }
                EventKind::Cancelled => return self.failed(&event_defect(Defect::Cancelled), None),
                EventKind::Broken => return self.failed(&event_defect(Defect::BrokenEvent), None),
                EventKind::Done => {
                    return self.failed(&event_defect(Defect::NoTerminalEvent), None);
                }
                EventKind::Created => created = Some(event),
                _ => {
                    if let Some(response) = assembler.push(&event, kind) {
                        return self.judge_json(&parts, Bytes::from(response.to_string()));
                    }
                }
            }
        }
    }

    /// A failure that the backend speaks of: the response object that JSON would have brought.
    fn spoken_json(
        &self,
        parts: &Parts,
        told: Option<&Bytes>,
        error: Option<&ErrorObject>,
    ) -> Answer {
        let failed = EventDetail::read(&failed_event(told, 0, error));
        let own = failed.and_then(EventDetail::into_response);
        let own = own.map(|response| self.good(parts, JSON, response.to_string()));
        self.spoken_failure(parts, &Evidence::Error { carrier: Carrier::Event, error }, own)
    }
}
