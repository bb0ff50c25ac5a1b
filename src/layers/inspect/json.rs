//! The verdict on a JSON body: its status first, then its error, then its output.

use axum::body::Body;
use bytes::Bytes;
use http::response::Parts;
use tower_http::timeout::TimeoutBody;

use super::reader::BodyReader;
use super::{EVENT_STREAM, Inspection, JSON, body_defect, failed_event};
use crate::backend::answer::Answer;
use crate::verdict::{Carrier, Defect, Evidence};
use crate::wire::response::{ResponseSummary, Status};
use crate::wire::unfold::unfold;

impl Inspection {
    pub(super) async fn json(self, parts: Parts, mut reader: BodyReader) -> Answer {
        let read = self.in_time(reader.whole(self.settings.limits.answer_bytes_max)).await;
        match read {
            Ok(Some(body)) => self.judge_json(&parts, body),
            // Too large to judge, and far too large for a failure.
            Ok(None) => {
                tracing::warn!(
                    request_id = self.record.id(),
                    "an answer beyond limits.answer_bytes_max is relayed unjudged"
                );
                let rest = TimeoutBody::new(self.timeouts.idle, reader.into_body());
                Answer::Relay(self.good(&parts, JSON, Body::new(rest)))
            }
            // The head promised more than came: a truncated body, however the connection ended.
            Err(Evidence::Transport(_)) => self.failed(&body_defect(Defect::BrokenJson), None),
            Err(evidence) => self.failed(&evidence, None),
        }
    }

    /// The verdict on a whole JSON body; a good one goes out in the form that the client asked for.
    pub(super) fn judge_json(&self, parts: &Parts, body: Bytes) -> Answer {
        let Some(summary) = ResponseSummary::read(&body) else {
            return self.failed(&body_defect(defect_of(&body)), None);
        };
        let error = Evidence::Error { carrier: Carrier::Body, error: summary.error.as_ref() };
        let evidence = match summary.status {
            Status::Cancelled => Some(body_defect(Defect::Cancelled)),
            _ if summary.has_failed() => Some(error),
            Status::Unfinished if !self.is_background => Some(body_defect(Defect::Unfinished)),
            Status::Completed | Status::Unknown if !summary.has_output => {
                Some(body_defect(Defect::Empty))
            }
            _ => None,
        };
        if let Some(evidence) = evidence {
            let own = self.own_json(parts, &body, &summary);
            return self.spoken_failure(parts, &evidence, Some(own));
        }
        let body = self.marked(body);
        self.record.used(summary.usage);
        self.gave(|| summary.id);
        self.settings.bench.answered(&self.target, &self.credential);
        self.settings.bench.succeeded(&self.target, &self.credential);
        if self.wants_stream
            && let Some(events) = unfold(&body)
        {
            return Answer::Relay(self.good(parts, EVENT_STREAM, events));
        }
        Answer::Relay(self.good(parts, JSON, body))
    }

    /// A failure's own words. To a client that reads a stream, JSON would say nothing at all: Codex
    /// and the SDKs wait for events.
    fn own_json(
        &self,
        parts: &Parts,
        body: &Bytes,
        summary: &ResponseSummary,
    ) -> axum::response::Response {
        if !self.wants_stream {
            return self.good(parts, JSON, body.clone());
        }
        let told = unfold(body).filter(|_| summary.status != Status::Unknown);
        let events = told.unwrap_or_else(|| failed_event(None, 0, summary.error.as_ref()));
        self.good(parts, EVENT_STREAM, events)
    }
}

/// What is wrong with a body that is no response object.
fn defect_of(body: &[u8]) -> Defect {
    let text = body.trim_ascii_start();
    if serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok() {
        Defect::NotAResponse
    } else if text.starts_with(b"{") || text.starts_with(b"[") {
        Defect::BrokenJson
    } else {
        Defect::NotAnAnswer
    }
}
