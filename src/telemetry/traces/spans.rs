//! The spans of a request: one for it, one for each attempt, with the attributes of OpenTelemetry's
//! conventions for HTTP servers (semantic-conventions 1.41) and for clients of generative models
//! (semantic-conventions-genai, `docs/gen-ai-spans.md`). The latter's names are in no crate any more.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, TraceId};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::context::TraceContext;
use crate::telemetry::build::VERSION;
use crate::telemetry::metrics::Outcome;
use crate::telemetry::record::{AttemptState, AttemptStory, End, Record, Repaired, Story};

/// The spans of a request that is over, if its trace is recorded.
pub(super) fn of(record: &Record, story: &Story) -> Vec<SpanData> {
    let context = record.trace().filter(|context| context.is_sampled);
    let (Some(context), Some(end)) = (context, story.end) else { return Vec::new() };
    let made = Made { context, began: record.began_at(), end };
    let attempts = story.attempts.iter().enumerate();
    std::iter::once(made.request(record, story))
        .chain(attempts.map(|(number, attempt)| made.attempt(story, number, attempt)))
        .collect()
}

/// What all spans of a request are made of.
struct Made {
    context: TraceContext,
    began: SystemTime,
    end: End,
}

impl Made {
    fn request(&self, record: &Record, story: &Story) -> SpanData {
        let end = self.end;
        let mut attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", "/v1/responses"),
            KeyValue::new("sidestep.request_id", record.id().to_owned()),
            KeyValue::new("sidestep.outcome", end.outcome.as_str()),
        ];
        let mut add = |name, value: Option<String>| {
            attributes.extend(value.map(|value| KeyValue::new(name, value)));
        };
        add("sidestep.client", story.client.as_deref().map(str::to_owned));
        add("sidestep.route", story.route.as_deref().map(str::to_owned));
        add("gen_ai.request.model", story.model.clone());
        if let Some(status) = end.status {
            attributes.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        }
        // A request that was refused is the client's failure, not the server's.
        let status = if end.outcome == Outcome::Failed {
            let last = story.attempts.last().map_or("no_backend", |last| last.state.word());
            attributes.push(KeyValue::new("error.type", last));
            Status::error(story.error.clone().unwrap_or_default())
        } else {
            Status::Unset
        };
        self.span(Span {
            id: self.context.span,
            parent: self.context.parent,
            kind: SpanKind::Server,
            name: "POST /v1/responses".to_owned(),
            from: Duration::ZERO,
            to: end.duration,
            attributes,
            status,
        })
    }

    fn attempt(&self, story: &Story, number: usize, attempt: &AttemptStory) -> SpanData {
        let mut attributes = vec![
            KeyValue::new("gen_ai.operation.name", "chat"),
            KeyValue::new(
                "gen_ai.provider.name",
                attempt.provider.map_or_else(|| attempt.backend.to_string(), str::to_owned),
            ),
            KeyValue::new("gen_ai.request.model", attempt.model.to_string()),
            KeyValue::new("gen_ai.request.stream", story.is_stream),
            KeyValue::new("sidestep.backend", attempt.backend.to_string()),
        ];
        if !attempt.repaired.is_empty() {
            let names: Vec<&str> = attempt.repaired.iter().map(Repaired::as_str).collect();
            attributes.push(KeyValue::new("sidestep.repaired", names.join(", ")));
        }
        let is_served = story.served_by().is_some_and(|served| std::ptr::eq(served, attempt));
        if is_served {
            self.answer(story, attempt, &mut attributes);
        }
        let status = match &attempt.state {
            AttemptState::Open | AttemptState::Relayed => Status::Unset,
            AttemptState::Failed(failure) => {
                attributes.extend([
                    KeyValue::new("error.type", failure.class.as_str()),
                    KeyValue::new("sidestep.detected_by", failure.detected_by.as_str()),
                    KeyValue::new("sidestep.stage", failure.stage.as_str()),
                ]);
                Status::error(failure.detail.clone())
            }
        };
        let judged = attempt.judged.filter(|_| !is_served);
        self.span(Span {
            id: self.context.attempt(number),
            parent: Some(self.context.span),
            kind: SpanKind::Client,
            name: format!("chat {}", attempt.model),
            from: attempt.began,
            to: judged.map_or(self.end.duration, |judged| attempt.began + judged),
            attributes,
            status,
        })
    }

    /// What is known of the answer that the client got.
    fn answer(&self, story: &Story, attempt: &AttemptStory, attributes: &mut Vec<KeyValue>) {
        if let Some(first_output) = self.end.first_output {
            let waited = first_output.saturating_sub(attempt.began).as_secs_f64();
            attributes.push(KeyValue::new("gen_ai.response.time_to_first_chunk", waited));
        }
        let Some(usage) = story.usage else { return };
        for (name, tokens) in [
            ("gen_ai.usage.input_tokens", usage.input_tokens),
            ("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
            ("gen_ai.usage.output_tokens", usage.output_tokens),
            ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
        ] {
            attributes.push(KeyValue::new(name, i64::try_from(tokens).unwrap_or(i64::MAX)));
        }
    }

    fn span(&self, span: Span) -> SpanData {
        let flags = TraceFlags::SAMPLED;
        let trace = TraceId::from(self.context.trace_id);
        let own =
            SpanContext::new(trace, SpanId::from(span.id), flags, false, TraceState::default());
        SpanData {
            span_context: own,
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: span.kind == SpanKind::Server && span.parent.is_some(),
            span_kind: span.kind,
            name: span.name.into(),
            start_time: self.began + span.from,
            end_time: self.began + span.to,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.status,
            instrumentation_scope: InstrumentationScope::builder("sidestep")
                .with_version(VERSION)
                .build(),
        }
    }
}

/// One span. Times count from the request's beginning.
struct Span {
    id: u64,
    parent: Option<u64>,
    kind: SpanKind,
    name: String,
    from: Duration,
    to: Duration,
    attributes: Vec<KeyValue>,
    status: Status,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::StatusCode;

    use super::*;
    use crate::verdict::{Evidence, Failure, Rules, Stage};
    use crate::wire::response::Usage;

    const CALLER: TraceContext =
        TraceContext { trace_id: 7, parent: Some(8), span: 9, is_sampled: true };

    fn attempt(backend: &str, began: u64) -> AttemptStory {
        AttemptStory {
            backend: backend.into(),
            provider: (backend == "second").then_some("openai"),
            model: "m".into(),
            credential: None,
            model_label: "m".into(),
            repaired: Vec::new(),
            began: Duration::from_millis(began),
            judged: None,
            state: AttemptState::Open,
        }
    }

    /// A request whose first target refuses the credential and whose second one answers.
    fn rescued(context: TraceContext) -> Vec<SpanData> {
        let record = Record::traced("req_1".to_owned(), Some(context));
        record.asked("m", true);
        let evidence = Evidence::Status { status: 401, error: None };
        let failure = Failure::from_evidence(&Rules::default(), &evidence, Stage::BeforeRequest);
        let first = record.attempt_began(attempt("first", 0));
        record.attempt_ended(first, AttemptState::Failed(failure), Duration::from_millis(5));
        let second = record.attempt_began(attempt("second", 6));
        record.attempt_ended(second, AttemptState::Relayed, Duration::from_millis(2));
        record.headed(|_| {});
        record.used(Some(Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() }));
        record.completed(None);
        record.ended(Some(StatusCode::OK), |_| Outcome::Answered, |_, _| {});
        record.read(|story| of(&record, story))
    }

    fn attributes(span: &SpanData) -> BTreeMap<String, String> {
        let pairs = span.attributes.iter();
        pairs.map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_a_span_and_each_attempt_one_below_it() {
        let spans = rescued(CALLER);
        let [request, first, second] = &spans[..] else { panic!("{spans:?}") };
        assert!(spans.iter().all(|span| span.span_context.trace_id() == TraceId::from(7)));
        assert_eq!(request.parent_span_id, SpanId::from(8));
        assert!(request.parent_span_is_remote);
        assert_eq!(request.span_context.span_id(), SpanId::from(9));
        assert_eq!(attributes(request)["sidestep.request_id"], "req_1");
        assert_eq!(attributes(request)["http.response.status_code"], "200");
        assert_eq!(request.status, Status::Unset);
        assert_eq!([first, second].map(|span| span.parent_span_id), [SpanId::from(9); 2]);
        assert_eq!(
            [first, second].map(|span| span.span_kind.clone()),
            [SpanKind::Client, SpanKind::Client]
        );

        let failed = attributes(first);
        assert_eq!(failed["error.type"], "auth");
        assert_eq!(failed["sidestep.detected_by"], "status");
        assert_eq!(failed["gen_ai.provider.name"], "first");
        assert!(matches!(first.status, Status::Error { .. }));
        let lasted = first.end_time.duration_since(first.start_time).unwrap();
        assert_eq!(lasted, Duration::from_millis(5));

        let served = attributes(second);
        assert_eq!(served["gen_ai.provider.name"], "openai");
        assert_eq!(served["gen_ai.usage.output_tokens"], "4");
        assert!(!failed.contains_key("gen_ai.usage.output_tokens"));
        assert_eq!(second.status, Status::Unset);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trace_that_the_caller_does_not_record_is_not_exported() {
        assert!(rescued(TraceContext { is_sampled: false, ..CALLER }).is_empty());
    }
}
