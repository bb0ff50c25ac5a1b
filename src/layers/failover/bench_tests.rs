//! Health over several requests, under paused time: what is passed over, for how long, what comes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, advance};
use tower::ServiceExt as _;

use super::tests::{POLICY, failure};
use super::*;
use crate::backend::headers::Headroom;
use crate::backend::route::Plan;
use crate::backend::testing::{config, plan, request};
use crate::config::checked::{self, Retry};
use crate::verdict::{Class, Stage};

/// A chain of `a`, `b`, `c`, each of which behaves as it is told to until it is told otherwise.
#[derive(Clone)]
struct Chain {
    plan: Plan,
    bench: Arc<Bench>,
    layer: FailoverLayer,
    behaviour: Arc<Mutex<HashMap<String, Behaviour>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
enum Behaviour {
    Fails(Failure),
    Hangs,
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn wants(class: Class, action: Action, wait: Option<Duration>) -> Behaviour {
    Behaviour::Fails(Failure { retry_after: wait, ..failure(class, action) })
}

impl Chain {
    fn new() -> Self {
        Self::with(config().bench, POLICY)
    }

    fn with(settings: checked::Bench, policy: Policy) -> Self {
        let metrics = Metrics::new().unwrap();
        let bench = Arc::new(Bench::new(settings, metrics.clone()));
        let affinity = Arc::new(Affinity::new(config().affinity));
        Self {
            plan: plan(),
            layer: FailoverLayer::new(policy, bench.clone(), affinity, metrics),
            bench,
            behaviour: Arc::default(),
            asked: Arc::default(),
        }
    }

    fn set(&self, name: &str, behaviour: Behaviour) {
        self.behaviour.lock().unwrap().insert(name.to_owned(), behaviour);
    }

    fn heal(&self, name: &str) {
        self.behaviour.lock().unwrap().remove(name);
    }

    async fn send(self) -> bool {
        let layer = self.layer.clone();
        let planned = request(self.plan.clone(), false);
        let inner = tower::service_fn(move |attempt: Attempt| {
            let name = attempt.target.backend.name.to_string();
            self.asked.lock().unwrap().push(name.clone());
            let behaviour = self.behaviour.lock().unwrap().get(&name).cloned();
            if behaviour.is_none() {
                // What `inspect` does when an answer is whole.
                self.bench.answered(&attempt.target, attempt.lease.credential());
                self.bench.succeeded(&attempt.target, attempt.lease.credential());
            }
            async move {
                Ok::<_, Infallible>(match behaviour {
                    None => Answer::Relay(Response::new(Body::empty())),
                    Some(Behaviour::Fails(failure)) => Answer::Failed(failure, None),
                    Some(Behaviour::Hangs) => std::future::pending().await,
                })
            }
        });
        layer.layer(inner).oneshot(planned).await.is_ok()
    }

    /// The backends that one request asks.
    async fn ask(&self) -> String {
        self.asked.lock().unwrap().clear();
        self.clone().send().await;
        self.asked.lock().unwrap().concat()
    }

    /// How long `a` stays unasked.
    async fn absence(&self, precision: Duration) -> Duration {
        let began = Instant::now();
        while !self.ask().await.starts_with('a') {
            advance(precision).await;
        }
        began.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn what_keeps_failing_is_passed_over_until_one_probe_finds_it_well() {
    let chain = Chain::new();
    chain.set("a", wants(Class::Server, Action::Next, None));
    assert_eq!([chain.ask().await, chain.ask().await], ["ab", "ab"], "one failure is no outage");
    assert_eq!(chain.ask().await, "b");
    advance(seconds(7)).await;
    assert_eq!(chain.ask().await, "ab", "the probe still fails");
    assert_eq!(chain.ask().await, "b");
    chain.heal("a");
    advance(seconds(13)).await;
    assert_eq!(chain.ask().await, "a");
    assert_eq!(chain.ask().await, "a");
    chain.set("a", wants(Class::Server, Action::Next, None));
    assert_eq!(chain.ask().await, "ab");
    assert_eq!(chain.ask().await, "ab", "what was before is forgotten");
}

#[tokio::test(start_paused = true)]
async fn the_time_on_the_bench_doubles_up_to_a_limit() {
    let chain = Chain::new();
    chain.set("a", wants(Class::Timeout, Action::Next, None));
    chain.ask().await;
    chain.ask().await;
    for expected in [5, 10, 20, 40, 80, 160, 300, 300] {
        let absence = chain.absence(Duration::from_millis(500)).await.as_secs_f64();
        let (least, most) = (0.8 * f64::from(expected) - 0.6, 1.2 * f64::from(expected) + 0.6);
        assert!((least..most).contains(&absence), "{absence} for {expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_fail_together_count_once() {
    let chain = Chain::new();
    chain.set("a", wants(Class::Network, Action::Next, None));
    let all: Vec<_> = (0..50).map(|_| tokio::spawn(chain.clone().send())).collect();
    for one in all {
        assert!(one.await.unwrap());
    }
    assert!(
        chain.absence(seconds(1)).await < seconds(8),
        "the first time on the bench, not the fiftieth"
    );
}

#[tokio::test(start_paused = true)]
async fn one_request_at_a_time_probes() {
    let chain = Chain::new();
    chain.set("a", wants(Class::Server, Action::Next, None));
    chain.ask().await;
    chain.ask().await;
    advance(seconds(7)).await;
    chain.set("a", Behaviour::Hangs);
    let probing = tokio::spawn(chain.clone().send());
    tokio::task::yield_now().await;
    assert_eq!(chain.ask().await, "b", "the others go on");
    // The client leaves: the right to probe comes back.
    probing.abort();
    let _ = probing.await;
    chain.heal("a");
    assert_eq!(chain.ask().await, "a");
}

#[tokio::test(start_paused = true)]
async fn a_named_reset_is_kept() {
    for (class, wait) in [(Class::Quota, 9000), (Class::RateLimit, 90)] {
        let chain = Chain::new();
        chain.set("a", wants(class, Action::Next, Some(seconds(wait))));
        assert_eq!(chain.ask().await, "ab");
        let absence = chain.absence(seconds(10)).await;
        assert!(absence >= seconds(wait), "not a moment sooner: {absence:?}");
        assert!(absence <= seconds(wait).mul_f64(1.05) + seconds(10), "{absence:?}");
    }
    let chain = Chain::new();
    chain.set("a", wants(Class::Quota, Action::Next, Some(seconds(30 * 86_400))));
    chain.ask().await;
    advance(seconds(7 * 86_400).mul_f64(1.06)).await;
    assert_eq!(chain.ask().await, "ab", "bench.reset_max");
}

#[tokio::test(start_paused = true)]
async fn what_the_request_is_to_blame_for_never_counts() {
    let chain = Chain::new();
    for (class, action) in [
        (Class::InvalidRequest, Action::Return),
        (Class::Policy, Action::Return),
        (Class::ContextLength, Action::NextLarger),
        (Class::Reasoning, Action::Next),
        (Class::Cancelled, Action::Next),
    ] {
        chain.set("a", wants(class, action, None));
        for _ in 0..5 {
            assert!(chain.ask().await.starts_with('a'), "{class}");
        }
    }
    let Behaviour::Fails(unobtained) = wants(Class::Auth, Action::Next, None) else {
        unreachable!()
    };
    chain.set("a", Behaviour::Fails(Failure { stage: Stage::BeforeRequest, ..unobtained }));
    for _ in 0..5 {
        assert_eq!(chain.ask().await, "ab", "the credential knows itself when to try again");
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_are_benched_what_comes_back_soonest_is_tried() {
    let chain = Chain::new();
    for (name, wait) in [("a", 300), ("b", 100), ("c", 200)] {
        chain.set(name, wants(Class::Quota, Action::Next, Some(seconds(wait))));
    }
    assert_eq!(chain.ask().await, "abc");
    assert_eq!(chain.ask().await, "bca");
    chain.heal("c");
    assert_eq!(chain.ask().await, "bc");
    assert_eq!(chain.ask().await, "c", "a success brings it back at once");
}

#[tokio::test(start_paused = true)]
async fn when_all_are_benched_the_client_may_be_told_at_once() {
    let settings = checked::Bench { try_soonest: false, ..config().bench };
    let chain = Chain::with(settings, POLICY);
    for name in ["a", "b", "c"] {
        chain.set(name, wants(Class::Auth, Action::Next, None));
    }
    assert_eq!(chain.ask().await, "abc");
    assert_eq!(chain.ask().await, "");
    advance(seconds(400)).await;
    assert_eq!(chain.ask().await, "abc");
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_is_taken_only_when_nothing_else_is_left() {
    let chain = Chain::new();
    let began = Instant::now();
    chain.set("a", wants(Class::RateLimit, Action::Next, Some(seconds(3))));
    assert_eq!(chain.ask().await, "ab");
    assert_eq!(began.elapsed(), seconds(0), "another one is free");

    for (name, wait) in [("a", 9), ("b", 3), ("c", 60)] {
        chain.set(name, wants(Class::RateLimit, Action::Next, Some(seconds(wait))));
    }
    let healing = chain.clone();
    tokio::spawn(async move {
        tokio::time::sleep(seconds(2)).await;
        healing.heal("b");
    });
    assert_eq!(chain.ask().await, "bcab");
    let passed = began.elapsed();
    assert!(passed >= seconds(3) && passed < seconds(4), "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn no_wait_goes_beyond_its_limit_or_the_deadline() {
    let wait = |wait| wants(Class::RateLimit, Action::Next, Some(seconds(wait)));
    let chain = Chain::new();
    for name in ["a", "b", "c"] {
        chain.set(name, wait(16));
    }
    let began = Instant::now();
    assert_eq!(chain.ask().await.len(), 3);
    assert_eq!(began.elapsed(), seconds(0), "retry.wait_max");

    let patient = Retry { wait_max: seconds(86_400), ..POLICY.retry };
    let chain = Chain::with(config().bench, Policy { retry: patient, ..POLICY });
    for name in ["a", "b", "c"] {
        chain.set(name, wait(1000));
    }
    chain.ask().await;
    assert_eq!(began.elapsed(), seconds(0), "limits.request_timeout");

    for name in ["a", "b", "c"] {
        chain.set(name, wait(1));
    }
    let asked = chain.ask().await;
    assert_eq!(asked.len(), 8, "limits.attempts_max");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_amplified_by_retries() {
    let off = checked::Bench { enabled: false, ..config().bench };
    let at_once = Retry { delay_max: Duration::ZERO, ..POLICY.retry };
    let chain = Chain::with(off, Policy { retry: at_once, ..POLICY });
    chain.set("a", wants(Class::Server, Action::Retry, None));
    let mut retries = 0;
    for _ in 0..200 {
        retries += chain.ask().await.matches('a').count() - 1;
        advance(Duration::from_millis(5)).await;
    }
    // A fifth of the requests, and two a second over the ten seconds that count as recent.
    assert!((20..=62).contains(&retries), "{retries} retries of 200 requests");
}

#[tokio::test(start_paused = true)]
async fn who_has_little_left_comes_last_until_it_is_full_again() {
    let settings = checked::Bench { headroom_percent: 5, ..config().bench };
    let chain = Chain::with(settings, POLICY);
    let left = |percent| {
        let target = &chain.plan.targets[0];
        let credential = &target.backend.credentials.all()[0];
        let reset = Some(seconds(60));
        chain.bench.left(target, credential, || Some(Headroom { percent, reset }));
    };
    left(5.0);
    assert_eq!(chain.ask().await, "a");
    left(4.9);
    assert_eq!(chain.ask().await, "b");
    chain.set("b", wants(Class::Quota, Action::Next, None));
    chain.set("c", wants(Class::Quota, Action::Next, None));
    assert_eq!(chain.ask().await, "bca", "before what is on the bench");
    assert_eq!(chain.ask().await, "a");
    chain.heal("b");
    advance(seconds(61)).await;
    left(4.0);
    left(50.0);
    assert_eq!(chain.ask().await, "a", "it has enough again");
}

#[tokio::test(start_paused = true)]
async fn a_dead_chain_is_answered_from_memory_for_a_while() {
    let chain = Chain::with(config().bench, Policy { memory: seconds(2), ..POLICY });
    for name in ["a", "b", "c"] {
        chain.set(name, wants(Class::Quota, Action::Next, None));
    }
    assert_eq!(chain.ask().await, "abc");
    assert_eq!(chain.ask().await, "");
    advance(seconds(1)).await;
    assert!(!chain.clone().send().await, "it hears what the last one heard");
    advance(seconds(2)).await;
    assert_eq!(chain.ask().await.len(), 3, "then it is tried again");
}
