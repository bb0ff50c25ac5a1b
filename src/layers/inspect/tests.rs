//! Inspection by itself, under paused time: how long it waits, and for what.

use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::*;
use crate::backend::testing::{attempt, config};
use crate::verdict::Class;
use crate::wire::event::EventDetail;

/// A stream that sends `first` at once, then `then` every `pause`, for ever.
fn stream(first: &'static [&'static str], pause: Duration, then: &'static str) -> Response<Body> {
    let events = futures_util::stream::unfold(0, move |count| async move {
        let event = match first.get(count) {
            Some(event) => *event,
            None => {
                tokio::time::sleep(pause).await;
                then
            }
        };
        Some((Ok::<_, axum::Error>(Frame::data(Bytes::from_static(event.as_bytes()))), count + 1))
    });
    let mut response = Response::new(Body::new(StreamBody::new(events)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    response
}

async fn inspect(response: Response<Body>) -> Answer {
    inspect_attempt(response, attempt(true)).await
}

async fn inspect_attempt(response: Response<Body>, attempt: Attempt) -> Answer {
    let config = config();
    let settings = Settings {
        rules: config.rules.clone(),
        limits: config.limits,
        stream: config.stream,
        affinity: Arc::new(Affinity::new(config.affinity)),
        mark_reasoning: true,
        metrics: Metrics::new().unwrap(),
        bench: Arc::new(Bench::new(config.bench, Metrics::new().unwrap())),
    };
    let mut response = Some(response);
    let inner = tower::service_fn(move |_: Attempt| {
        let response = response.take().unwrap();
        async { Ok::<_, TransportError>(response) }
    });
    let Ok(answer) = InspectLayer::new(settings).layer(inner).oneshot(attempt).await;
    answer
}

const CREATED: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\"}}\n\n";
const DELTA: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"delta\":\"x\"}\n\n";
const KEEP_ALIVE: &str =
    "event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":5}\n\n";
const NEVER: Duration = Duration::from_secs(1 << 20);

fn timed_out(answer: Answer) -> Class {
    match answer {
        Answer::Failed(failure, None) => failure.class,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn keep_alives_do_not_put_off_the_first_output() {
    let began = Instant::now();
    let answer = inspect(stream(&[CREATED], Duration::from_secs(10), KEEP_ALIVE)).await;
    assert_eq!(timed_out(answer), Class::Timeout);
    assert_eq!(began.elapsed().as_secs(), 300, "timeouts.first_output");
}

#[tokio::test(start_paused = true)]
async fn the_last_target_that_is_left_may_be_slow_until_the_request_is_over() {
    let began = Instant::now();
    let last = Attempt { is_last: true, ..attempt(true) };
    let answer = stream(&[CREATED], Duration::from_secs(10), KEEP_ALIVE);
    let Answer::Failed(failure, None) = inspect_attempt(answer, last).await else {
        panic!("a failure");
    };
    assert_eq!((failure.class, failure.detail.as_str()), (Class::Timeout, "request"));
    assert_eq!(began.elapsed().as_secs(), 900, "limits.request_timeout");
}

#[tokio::test(start_paused = true)]
async fn silence_before_output_ends_the_attempt() {
    let began = Instant::now();
    let answer = inspect(stream(&[CREATED], NEVER, CREATED)).await;
    assert_eq!(timed_out(answer), Class::Timeout);
    assert_eq!(began.elapsed().as_secs(), 300, "timeouts.idle");
}

#[tokio::test(start_paused = true)]
async fn comments_count_as_life_within_a_stream() {
    // A backend that works for hours and says so is not cut off after its first output.
    let answer = inspect(stream(&[CREATED, DELTA], Duration::from_secs(200), ": alive\n\n")).await;
    let Answer::Relay(response) = answer else { panic!("a good answer") };
    let mut body = response.into_body();
    let began = Instant::now();
    for _ in 0..20 {
        body.frame().await.unwrap().unwrap();
    }
    assert!(began.elapsed() > Duration::from_secs(3000));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_its_time_is_no_silence_of_the_backend() {
    let answer = inspect(stream(&[CREATED, DELTA], Duration::from_secs(1), DELTA)).await;
    let Answer::Relay(response) = answer else { panic!("a good answer") };
    let mut body = response.into_body();
    for event in [CREATED, DELTA, DELTA] {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, event);
        tokio::time::advance(Duration::from_secs(3600)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn silence_after_output_ends_the_stream_with_failed() {
    let answer = inspect(stream(&[CREATED, DELTA], NEVER, DELTA)).await;
    let Answer::Relay(response) = answer else { panic!("a good answer") };
    let began = Instant::now();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(began.elapsed().as_secs(), 300, "timeouts.idle");
    let failed = body.strip_prefix([CREATED, DELTA].concat().as_bytes()).unwrap();
    let detail = EventDetail::read(failed).unwrap();
    assert_eq!(detail.sequence_number(), Some(5));
    assert_eq!(detail.into_response().unwrap()["id"], "resp_1");
}

#[tokio::test]
async fn a_stream_is_known_by_its_first_bytes_however_they_come() {
    for start in ["\u{feff}", "\n \n", "", "eve"] {
        let chunks = [start.to_owned(), CREATED.replacen(start.trim(), "", 1), DELTA.to_owned()];
        let chunks = chunks.map(|chunk| Ok::<_, axum::Error>(Frame::data(Bytes::from(chunk))));
        let body = Body::new(StreamBody::new(futures_util::stream::iter(chunks)));
        let answer = inspect(Response::new(body)).await;
        assert!(matches!(answer, Answer::Relay(_)), "{start:?}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_end_cuts_short_is_not_relayed() {
    let cut = "event: response.output_item.done\ndata: {\"type\":\"x\",\"item\":{\"a\":1}";
    let body = Body::from([CREATED, DELTA, cut].concat());
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    let Answer::Relay(response) = inspect(response).await else { panic!("a good answer") };
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let failed = body.strip_prefix([CREATED, DELTA].concat().as_bytes()).unwrap();
    assert!(failed.starts_with(b"event: response.failed\n"));
}

#[tokio::test(start_paused = true)]
async fn each_event_is_a_frame_of_the_backends_own_bytes() {
    let both: &'static str = Box::leak([CREATED, DELTA, KEEP_ALIVE].concat().into_boxed_str());
    let answer = inspect(stream(Box::leak(Box::new([both])), NEVER, DELTA)).await;
    let Answer::Relay(response) = answer else { panic!("a good answer") };
    let mut body = response.into_body();
    for event in [CREATED, DELTA, KEEP_ALIVE] {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame, event);
        let chunk = both.as_bytes().as_ptr_range();
        assert!(chunk.contains(&frame.as_ptr()), "no copy of an event within a chunk");
    }
}
