//! The functions that every request or event goes through, with inputs as they come: for `benches/hot.rs`, which
//! tells the time, and `src/bin/hot.rs`, which lets callgrind count instructions.

use std::hint::black_box;

use bytes::Bytes;
use sidestep::verdict::{Carrier, Evidence, Failure, Rules, Stage};
use sidestep::wire::error_object::ErrorObject;
use sidestep::wire::event::{EventKind, sequence_number};
use sidestep::wire::request::Envelope;
use sidestep::wire::response::ResponseSummary;
use sidestep::wire::sse::EventSplitter;

/// One of them, and its input.
pub struct Hot {
    /// What it is called.
    pub name: &'static str,
    /// Does it once.
    pub run: Box<dyn Fn()>,
}

fn hot(name: &'static str, run: impl Fn() + 'static) -> Hot {
    Hot { name, run: Box::new(run) }
}

/// All of them.
pub fn all() -> Vec<Hot> {
    let (small, large) = (request(1), request(220));
    let spliced = large.clone();
    let envelope = Envelope::read(&large).unwrap_or_else(|error| unreachable!("{error}"));
    let (answer, deltas) = (answer(), Bytes::from(DELTA.repeat(16)));
    let refusal = Bytes::from_static(REFUSAL.as_bytes());
    let rules = Rules::default();
    vec![
        hot("envelope_of_a_short_request", move || drop(black_box(Envelope::read(&small)))),
        hot("envelope_of_64_kib", move || drop(black_box(Envelope::read(&large)))),
        hot("model_splice_in_64_kib", move || {
            drop(black_box(envelope.with_model(&spliced, "another-model")));
        }),
        hot("events_in_a_chunk_of_16", move || {
            let mut splitter = EventSplitter::new(1 << 20);
            splitter.push(deltas.clone());
            while let Ok(Some(event)) = splitter.next_event() {
                black_box((EventKind::of(&event), sequence_number(&event)));
            }
        }),
        hot("summary_of_an_answer", move || drop(black_box(ResponseSummary::read(&answer)))),
        hot("verdict_on_a_failed_body", move || {
            let error = ErrorObject::in_error_body(&refusal);
            let evidence = Evidence::Error { carrier: Carrier::Body, error: error.as_ref() };
            drop(black_box(Failure::from_evidence(&rules, &evidence, Stage::BeforeCommit)));
        }),
    ]
}

fn request(turns: usize) -> Bytes {
    let turn = "{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"What does \\\"foo.rs\\\" do?\\nRead it and tell me, in a few words, how its parts fit together, what it exports and who calls it, please. Then say what you would change about it, and why that would be better for those who have to read it.\"}]}";
    let turns = vec![turn; turns].join(",");
    Bytes::from(format!(
        "{{\"model\":\"gpt-5\",\"stream\":true,\"store\":false,\"input\":[{turns}]}}"
    ))
}

fn answer() -> Bytes {
    let text = "All work and no play makes Jack a dull boy. ".repeat(26);
    Bytes::from(format!(
        r#"{{"id":"resp_68b0c1f668b0c1f6","object":"response","created_at":1790000000,"status":"completed","background":false,"error":null,"model":"gpt-5","output":[{{"id":"msg_68b0c1f6","type":"message","status":"completed","content":[{{"type":"output_text","annotations":[],"logprobs":[],"text":"{text}"}}],"role":"assistant"}}],"parallel_tool_calls":true,"reasoning":{{"effort":null,"summary":null}},"temperature":1.0,"usage":{{"input_tokens":36,"input_tokens_details":{{"cached_tokens":0}},"output_tokens":287,"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":323}},"metadata":{{}}}}"#
    ))
}

const DELTA: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":17,\"item_id\":\"msg_68b0c1f668b0c1f668b0c1f6\",\"output_index\":0,\"content_index\":0,\"delta\":\" word\",\"logprobs\":[]}\n\n";
const REFUSAL: &str = r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
