//! Prometheus metrics. Label values come from the configuration or from closed sets, never from clients
//! or backends. The families are in [`families`], how [`document`] prints them in `docs/metrics.md`.

pub mod document;
pub mod families;

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Counter, Encoder as _, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::build::{COMMIT, VERSION};
use super::record::{AttemptState, End, Story};
use crate::verdict::Failure;
use families::Family;

/// Seconds from a quick local model to a long reasoning run.
const SECONDS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0];
/// Seconds of our own work: tens of microseconds, if all is well.
const OVERHEAD_SECONDS: &[f64] =
    &[0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1];
/// Seconds that a failover takes: from a refused connection to a silent backend.
const FAILOVER_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// The label for what is not known yet or not at all.
const NONE: &str = "none";
/// The class of an attempt whose client left before there was a verdict.
const ABANDONED: &str = "abandoned";

/// Every metric of the process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

impl Deref for Metrics {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What the clones of [`Metrics`] share.
#[derive(Debug)]
pub struct Inner {
    registry: Registry,
    requests: IntCounterVec,
    attempts: IntCounterVec,
    shadow_failures: IntCounterVec,
    repairs: IntCounterVec,
    retries: IntCounterVec,
    failovers: IntCounterVec,
    exhausted: IntCounterVec,
    benched: IntCounterVec,
    on_bench: IntGaugeVec,
    bench_due: IntGaugeVec,
    next_retry: GaugeVec,
    config_reloads: IntCounterVec,
    config_reloaded: IntGauge,
    credential_refreshes: IntCounterVec,
    credential_state: IntGaugeVec,
    credential_expiry: GaugeVec,
    /// Requests in work, streams included.
    pub in_flight: IntGauge,
    /// Requests in work that asked for a stream.
    pub streams_in_flight: IntGauge,
    request_duration: HistogramVec,
    time_to_first_output: HistogramVec,
    failover_duration: HistogramVec,
    overhead: Histogram,
    tokens: IntCounterVec,
    guard_refusals: IntCounterVec,
    runtime: Runtime,
}

/// How the threads of the process are doing.
#[derive(Clone, Debug)]
struct Runtime {
    workers: IntGauge,
    tasks: IntGauge,
    queued_tasks: IntGauge,
    busy: Counter,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A backend's answer went to the client whole.
    Answered,
    /// Every target failed, or the answer broke after output had gone out.
    Failed,
    /// A backend found fault with the request itself, and the client got its words.
    Refused,
    /// Turned down before any backend was called.
    Rejected,
    /// The client left before the answer was over.
    ClientGone,
}

impl Outcome {
    /// The word for it in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::ClientGone => "client_gone",
        }
    }
}

/// How a renewal of a credential ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// It was asked for and given.
    Renewed,
    /// Another process or person had renewed it.
    Adopted,
    /// It was refused for good.
    Refused,
    /// It could not be had now.
    Unavailable,
}

impl Refresh {
    /// The word for it in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Adopted => "adopted",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Metrics {
    /// Every metric at zero.
    ///
    /// # Errors
    ///
    /// When two families have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |family| made(&registry, IntCounterVec::new(opts(family), family.labels)?);
        let gauge = |family| made(&registry, IntGauge::with_opts(opts(family))?);
        let gauges = |family| made(&registry, IntGaugeVec::new(opts(family), family.labels)?);
        let times = |family| made(&registry, GaugeVec::new(opts(family), family.labels)?);
        let seconds = |family: &Family, buckets| {
            let opts = histogram(family, buckets);
            made(&registry, HistogramVec::new(opts, family.labels)?)
        };
        let metrics = Inner {
            requests: counter(&families::REQUESTS)?,
            attempts: counter(&families::ATTEMPTS)?,
            shadow_failures: counter(&families::SHADOW_FAILURES)?,
            repairs: counter(&families::REPAIRS)?,
            retries: counter(&families::RETRIES)?,
            failovers: counter(&families::FAILOVERS)?,
            exhausted: counter(&families::EXHAUSTED)?,
            benched: counter(&families::BENCHED)?,
            on_bench: gauges(&families::ON_BENCH)?,
            bench_due: gauges(&families::BENCH_DUE)?,
            next_retry: times(&families::NEXT_RETRY)?,
            config_reloads: counter(&families::CONFIG_RELOADS)?,
            config_reloaded: gauge(&families::CONFIG_RELOADED)?,
            credential_refreshes: counter(&families::CREDENTIAL_REFRESHES)?,
            credential_state: gauges(&families::CREDENTIAL_STATE)?,
            credential_expiry: times(&families::CREDENTIAL_EXPIRY)?,
            in_flight: gauge(&families::IN_FLIGHT)?,
            streams_in_flight: gauge(&families::STREAMS_IN_FLIGHT)?,
            request_duration: seconds(&families::REQUEST_DURATION, SECONDS)?,
            time_to_first_output: seconds(&families::TIME_TO_FIRST_OUTPUT, SECONDS)?,
            failover_duration: seconds(&families::FAILOVER_DURATION, FAILOVER_SECONDS)?,
            overhead: made(
                &registry,
                Histogram::with_opts(histogram(&families::OVERHEAD, OVERHEAD_SECONDS))?,
            )?,
            tokens: counter(&families::TOKENS)?,
            guard_refusals: counter(&families::GUARD_REFUSALS)?,
            runtime: Runtime {
                workers: gauge(&families::RUNTIME_WORKERS)?,
                tasks: gauge(&families::RUNTIME_TASKS)?,
                queued_tasks: gauge(&families::RUNTIME_QUEUED_TASKS)?,
                busy: made(&registry, Counter::with_opts(opts(&families::RUNTIME_BUSY))?)?,
            },
            registry,
        };
        metrics.config_reloaded.set(1);
        let build = made(
            &metrics.registry,
            GaugeVec::new(opts(&families::BUILD_INFO), families::BUILD_INFO.labels)?,
        )?;
        build.with_label_values(&[VERSION, COMMIT]).set(1.0);
        metrics.registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self(Arc::new(metrics)))
    }
}

impl Inner {
    /// A request is over.
    pub fn request(&self, story: &Story, end: End) {
        let route = story.route.as_deref().unwrap_or(NONE);
        let client = story.client.as_deref().unwrap_or(NONE);
        self.requests.with_label_values(&[route, end.outcome.as_str(), client]).inc();
        self.request_duration.with_label_values(&[route]).observe(end.duration.as_secs_f64());
        if story.is_stream {
            self.streams_in_flight.dec();
        }
        let Some(served) = story.served_by() else {
            if let Some(open) = story.attempts.last().filter(|last| last.state.is_open()) {
                self.attempts.with_label_values(&[&*open.backend, ABANDONED, NONE, NONE]).inc();
            }
            return;
        };
        let failure = match &served.state {
            AttemptState::Failed(failure) => Some(failure),
            AttemptState::Open | AttemptState::Relayed => None,
        };
        self.attempt(&served.backend, failure);
        if let Some(first_output) = end.first_output {
            let time = self.time_to_first_output.with_label_values(&[&served.backend]);
            time.observe(first_output.as_secs_f64());
            self.overhead.observe(story.overhead().as_secs_f64());
        }
        if let Some(time) = story.failover_time() {
            self.failover_duration.with_label_values(&[route]).observe(time.as_secs_f64());
        }
        if let Some(usage) = story.usage {
            for (kind, count) in [
                ("input", usage.input_tokens),
                ("cached_input", usage.cached_tokens),
                ("output", usage.output_tokens),
                ("reasoning", usage.reasoning_tokens),
            ] {
                let labels = [&*served.backend, &*served.model_label, kind];
                self.tokens.with_label_values(&labels).inc_by(count);
            }
        }
    }

    /// An attempt is over: relayed whole, or failed.
    pub fn attempt(&self, backend: &str, failure: Option<&Failure>) {
        let (class, detected_by, stage) = failure.map_or(("ok", NONE, NONE), |failure| {
            (failure.class.as_str(), failure.detected_by.as_str(), failure.stage.as_str())
        });
        self.attempts.with_label_values(&[backend, class, detected_by, stage]).inc();
    }

    /// A request is turned away at the door.
    pub fn turned_away(&self, reason: &str) {
        self.guard_refusals.with_label_values(&[reason]).inc();
    }

    /// A failure was seen in an answer that went to the client as it was.
    pub fn shadow_failure(&self, backend: &str, failure: &Failure) {
        let Failure { class, detected_by, stage, .. } = failure;
        let labels = [backend, class.as_str(), detected_by.as_str(), stage.as_str()];
        self.shadow_failures.with_label_values(&labels).inc();
    }

    /// Something was taken out of a request for an attempt.
    pub fn repaired(&self, backend: &str, kind: &str) {
        self.repairs.with_label_values(&[backend, kind]).inc();
    }

    /// The same target is asked again.
    pub fn retry(&self, backend: &str, failure: &Failure) {
        self.retries.with_label_values(&[backend, failure.class.as_str()]).inc();
    }

    /// A request goes on to another target.
    pub fn failover(&self, from: &str, to: &str, failure: &Failure) {
        let Failure { class, detected_by, stage, .. } = failure;
        let labels = [from, to, class.as_str(), detected_by.as_str(), stage.as_str()];
        self.failovers.with_label_values(&labels).inc();
    }

    /// Every target of a route failed.
    pub fn exhausted(&self, route: &str) {
        self.exhausted.with_label_values(&[route]).inc();
    }

    /// Something of a backend goes on the bench.
    pub fn benched(&self, backend: &str, scope: &str, class: &str) {
        self.benched.with_label_values(&[backend, scope, class]).inc();
    }

    /// Forgets what is said anew before each [`Self::render`], because a backend or credential may be
    /// gone.
    pub fn forget_states(&self) {
        self.on_bench.reset();
        self.bench_due.reset();
        self.next_retry.reset();
        self.credential_state.reset();
        self.credential_expiry.reset();
    }

    /// How many of a backend's are on the bench, and how many were there for their time and are due.
    pub fn on_bench(&self, backend: &str, scope: &str, benched: usize, due: usize) {
        for (gauge, count) in [(&self.on_bench, benched), (&self.bench_due, due)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            gauge.with_label_values(&[backend, scope]).set(count);
        }
    }

    /// When the first thing of a backend comes back from the bench.
    pub fn next_retry(&self, backend: &str, at: Option<SystemTime>) {
        match at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            Some(at) => self.next_retry.with_label_values(&[backend]).set(at.as_secs_f64()),
            // There was none to remove, most of the time.
            None => drop(self.next_retry.remove_label_values(&[backend])),
        }
    }

    /// The configuration was loaded again, or refused.
    pub fn config_reload(&self, is_loaded: bool) {
        self.config_reloaded.set(i64::from(is_loaded));
        let outcome = if is_loaded { "loaded" } else { "refused" };
        self.config_reloads.with_label_values(&[outcome]).inc();
    }

    /// A renewal of a credential is over.
    pub fn credential_refresh(&self, backend: &str, outcome: Refresh) {
        self.credential_refreshes.with_label_values(&[backend, outcome.as_str()]).inc();
    }

    /// How a credential stands: `is` of `states`, and when it expires.
    pub fn credential<'a>(
        &self,
        backend: &str,
        number: usize,
        states: impl Iterator<Item = &'a str>,
        is: &str,
        expires_at: Option<SystemTime>,
    ) {
        let number = number.to_string();
        for state in states {
            let gauge = self.credential_state.with_label_values(&[backend, &number, state]);
            gauge.set(i64::from(state == is));
        }
        let since_1970 = expires_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        if let Some(since_1970) = since_1970 {
            let gauge = self.credential_expiry.with_label_values(&[backend, &number]);
            gauge.set(since_1970.as_secs_f64());
        }
    }

    /// Everything in the text format of Prometheus.
    ///
    /// # Errors
    ///
    /// When a family cannot be written.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.runtime.look();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Registers a metric.
fn made<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: M,
) -> Result<M, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn opts(family: &Family) -> Opts {
    Opts::new(family.name, family.help)
}

fn histogram(family: &Family, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::from(opts(family)).buckets(buckets.to_vec())
}

impl Runtime {
    /// Asks the runtime that this is called in.
    fn look(&self) {
        let Ok(handle) = tokio::runtime::Handle::try_current() else { return };
        let now = handle.metrics();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.workers.set(number(now.num_workers()));
        self.tasks.set(number(now.num_alive_tasks()));
        self.queued_tasks.set(number(now.global_queue_depth()));
        let busy = (0..now.num_workers()).map(|worker| now.worker_total_busy_duration(worker));
        let busy = busy.sum::<Duration>().as_secs_f64();
        self.busy.inc_by((busy - self.busy.get()).max(0.0));
    }
}
