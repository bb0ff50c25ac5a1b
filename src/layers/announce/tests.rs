//! Announcing by itself, under paused time: when, what, and what comes after it.

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep};
use tower::ServiceExt as _;

use super::*;
use crate::backend::testing::{config, planned};
use crate::wire::event::EventDetail;
use crate::wire::sse::write_event;

const AFTER: Duration = Duration::from_secs(20);

/// What the chain answers in the end.
type Answer = Result<Response<Body>, Exhausted>;

/// The answer of a chain that takes `time`, and how long its head took.
async fn ask(stream: bool, time: Duration, answer: Answer) -> (Answer, Duration) {
    let settings = Settings {
        after: Some(AFTER),
        heartbeat: Duration::from_secs(10),
        event_bytes_max: 1000,
        answer_bytes_max: 1000,
        explain: |_, _| ("all_backends_failed", "none".to_owned()),
        affinity: Arc::new(Affinity::new(config().affinity)),
    };
    let mut answer = Some(answer);
    let inner = tower::service_fn(move |_: Planned| {
        let answer = answer.take().unwrap();
        async move {
            sleep(time).await;
            answer
        }
    });
    let began = Instant::now();
    let answer = AnnounceLayer::new(settings).layer(inner).oneshot(planned(stream)).await;
    (answer, began.elapsed())
}

fn stream(events: &'static str) -> Answer {
    let mut response = Response::new(Body::from(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// The events of an announced answer: when each came, and its data.
async fn events(answer: Answer) -> Vec<(u64, serde_json::Value)> {
    let began = Instant::now();
    let mut body = answer.unwrap().into_body();
    let mut events = Vec::new();
    while let Some(frame) = body.frame().await {
        let event = frame.unwrap().into_data().unwrap();
        let fields = crate::wire::sse::EventFields::read(&event);
        let data = serde_json::from_slice(&fields.data.unwrap()).unwrap();
        events.push((began.elapsed().as_secs(), data));
    }
    events
}

const DELTA: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":7}\n\n";

#[tokio::test(start_paused = true)]
async fn what_comes_in_time_is_not_announced() {
    let (answer, head) = ask(true, AFTER / 2, stream(DELTA)).await;
    assert_eq!(head, AFTER / 2);
    assert_eq!(answer.unwrap().into_body().collect().await.unwrap().to_bytes(), DELTA);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_json_is_told_nothing_early() {
    let (answer, head) = ask(false, AFTER * 9, Ok(Response::new("{}".into()))).await;
    assert_eq!(head, AFTER * 9);
    assert_eq!(answer.unwrap().into_body().collect().await.unwrap().to_bytes(), "{}");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_out_until_the_first_output() {
    let (answer, head) = ask(true, AFTER + Duration::from_secs(35), stream(DELTA)).await;
    assert_eq!(head, AFTER);
    let events = events(answer).await;
    let told: Vec<_> =
        events.iter().map(|(at, data)| (*at, data["type"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            (0, "response.created"),
            (10, "response.in_progress"),
            (20, "response.in_progress"),
            (30, "response.in_progress"),
            (35, "response.output_text.delta"),
            (35, "response.failed"),
        ]
    );
    assert_eq!(events[0].1["response"]["model"], "m");
    assert_eq!(
        (&events[0].1["sequence_number"], &events[4].1["sequence_number"]),
        (&0.into(), &4.into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_failed_is_told_in_an_event() {
    let exhausted = Exhausted { attempts: Vec::new() };
    let events = events(ask(true, AFTER * 2, Err(exhausted)).await.0).await;
    let (at, last) = events.last().unwrap();
    assert_eq!(
        (*at, &last["type"], &last["sequence_number"]),
        (20, &"response.failed".into(), &2.into())
    );
    assert_eq!(last["response"]["id"], events[0].1["response"]["id"]);
    assert_eq!(last["response"]["error"]["code"], "all_backends_failed");
}

#[tokio::test(start_paused = true)]
async fn a_backends_own_words_are_told_in_an_event() {
    let mut refusal =
        Response::new(Body::from(r#"{"error":{"code":"invalid_prompt","message":"no"}}"#));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    let events = events(ask(true, AFTER * 2, Ok(refusal)).await.0).await;
    let error = &events.last().unwrap().1["response"]["error"];
    assert_eq!(*error, serde_json::json!({ "code": "invalid_prompt", "message": "no" }));
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_a_backend_has_shown_is_the_one_that_is_told() {
    let planned = planned(true);
    let created =
        write_event("response.created", r#"{"type":"response.created","response":{"id":"own"}}"#);
    let shown = created.clone();
    planned.original.opening.begins(|| Begun {
        headers: [("x-own".parse().unwrap(), "1".parse().unwrap())].into_iter().collect(),
        created: shown,
    });
    let settings = Settings {
        after: Some(AFTER),
        heartbeat: AFTER,
        event_bytes_max: 1000,
        answer_bytes_max: 1000,
        explain: |_, _| ("", String::new()),
        affinity: Arc::new(Affinity::new(config().affinity)),
    };
    let inner = tower::service_fn(|_: Planned| std::future::pending::<Answer>());
    let answer = AnnounceLayer::new(settings).layer(inner).oneshot(planned).await.unwrap();
    assert_eq!(answer.headers()["x-own"], "1");
    let first = answer.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, created);
    assert!(EventDetail::read(&first).is_some());
}
