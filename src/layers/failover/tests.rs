//! Failover by itself: scripted verdicts in, the targets that it asks out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tower::ServiceExt as _;

use super::*;
use crate::backend::testing::{config, planned};
use crate::config::checked::Retry;
use crate::verdict::{Class, DetectedBy, Stage};

pub(super) fn failure(class: Class, action: Action) -> Failure {
    Failure {
        class,
        detected_by: DetectedBy::Status,
        stage: Stage::BeforeCommit,
        action,
        detail: String::new(),
        repair: None,
        retry_after: None,
    }
}

pub(super) const POLICY: Policy = Policy {
    attempts_max: 8,
    retry: Retry {
        delay_max: Duration::from_millis(500),
        wait_max: Duration::from_secs(15),
        budget_percent: 20,
        budget_min: 2,
    },
    memory: Duration::ZERO,
};

/// Runs a chain of `a`, `b`, `c` whose attempts end as scripted: `None` is a good answer. Returns the
/// targets that were asked, and whether the client got an answer.
async fn run(policy: Policy, script: &[Option<Failure>]) -> (Vec<String>, bool) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let script = script.to_vec();
    let log = asked.clone();
    let inner = tower::service_fn(move |attempt: Attempt| {
        let mut log = log.lock().unwrap();
        let answer = match script[log.len()].clone() {
            None => Answer::Relay(Response::new(Body::empty())),
            Some(failure) => Answer::Failed(failure, Some(Response::new(Body::empty()))),
        };
        log.push(attempt.target.backend.name.to_string());
        async { Ok::<_, Infallible>(answer) }
    });
    let metrics = Metrics::new().unwrap();
    let bench = Arc::new(Bench::new(config().bench, metrics.clone()));
    let failover =
        FailoverLayer::new(policy, bench, Arc::new(Affinity::new(config().affinity)), metrics)
            .layer(inner);
    let answered = failover.oneshot(planned(false)).await.is_ok();
    let asked = asked.lock().unwrap().clone();
    (asked, answered)
}

#[tokio::test(start_paused = true)]
async fn a_failure_worth_it_is_retried_once_a_target() {
    let server = || Some(failure(Class::Server, Action::Retry));
    let (asked, answered) = run(POLICY, &[server(), server(), server(), None]).await;
    assert_eq!(asked, ["a", "a", "b", "b"]);
    assert!(answered);
}

#[tokio::test(start_paused = true)]
async fn other_failures_go_on_at_once() {
    let began = Instant::now();
    let timeout = || Some(failure(Class::Timeout, Action::Next));
    let (asked, answered) = run(POLICY, &[timeout(), timeout(), timeout()]).await;
    assert_eq!(asked, ["a", "b", "c"]);
    assert!(!answered);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_a_random_time_within_its_bound() {
    let mut waits = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        run(POLICY, &[Some(failure(Class::Server, Action::Retry)), None]).await;
        waits.push(began.elapsed());
    }
    // Timers count in whole milliseconds.
    assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(501)), "{waits:?}");
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 5, "not random: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clients_own_fault_ends_the_chain() {
    let (asked, answered) =
        run(POLICY, &[Some(failure(Class::InvalidRequest, Action::Return))]).await;
    assert_eq!(asked, ["a"]);
    assert!(answered, "the backend's own words are the answer");
}

#[tokio::test(start_paused = true)]
async fn without_known_sizes_an_oversized_request_ends_the_chain() {
    let (asked, answered) =
        run(POLICY, &[Some(failure(Class::ContextLength, Action::NextLarger))]).await;
    assert_eq!((asked.len(), answered), (1, true));
}

#[tokio::test(start_paused = true)]
async fn the_attempts_of_a_request_are_bounded() {
    let server = || Some(failure(Class::Server, Action::Retry));
    let policy = Policy { attempts_max: 3, ..POLICY };
    let (asked, answered) = run(policy, &[server(), server(), server()]).await;
    assert_eq!(asked, ["a", "a", "b"]);
    assert!(!answered);
}
