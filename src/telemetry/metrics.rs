//! Prometheus metrics: each family with its name, help and labels in one place. Label values come
//! from the configuration or from closed sets, never from clients or backends.

use std::time::{Duration, SystemTime};

use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::verdict::Failure;

/// Seconds from a quick local model to a long reasoning run.
const SECONDS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0];
/// Seconds of our own work: tens of microseconds, if all is well.
const OVERHEAD_SECONDS: &[f64] =
    &[0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1];

/// The label for what is not known yet or not at all.
const NONE: &str = "none";

/// Every metric of the process.
#[derive(Clone, Debug)]
pub struct Metrics {
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
    config_reloads: IntCounterVec,
    credential_refreshes: IntCounterVec,
    credential_state: IntGaugeVec,
    credential_expiry: GaugeVec,
    /// Requests in work, streams included.
    pub in_flight: IntGauge,
    request_duration: HistogramVec,
    time_to_first_output: HistogramVec,
    overhead: Histogram,
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
        let metrics = Self {
            requests: counter(&registry, "requests_total", "Requests that are over, by route and outcome.", &["route", "outcome"])?,
            attempts: counter(
                &registry,
                "attempts_total",
                "Attempts at a backend, by class (ok: relayed), by what showed a failure (status, body, event, transport, timeout) and when (before_commit, after_commit).",
                &["backend", "class", "detected_by", "stage"],
            )?,
            shadow_failures: counter(
                &registry,
                "shadow_failures_total",
                "Failures in answers of backends with detection = \"shadow\", which went to the client as they were.",
                &["backend", "class", "detected_by", "stage"],
            )?,
            repairs: counter(&registry, "repairs_total", "Attempts whose request had something taken out, by what: encrypted reasoning or item ids of another backend, a field that the target has refused.", &["backend", "kind"])?,
            retries: counter(&registry, "retries_total", "Second attempts at the same target, by the class that caused them.", &["backend", "class"])?,
            failovers: counter(&registry, "failovers_total", "Requests that went on from one backend to the next, by the class that caused it.", &["from", "to", "class"])?,
            exhausted: counter(&registry, "exhausted_total", "Requests for which every target failed.", &["route"])?,
            benched: counter(&registry, "benched_total", "Times that something of a backend went on the bench, by what (credential, account, target, backend) and class.", &["backend", "scope", "class"])?,
            on_bench: IntGaugeVec::new(Opts::new("sidestep_on_bench", "How many credentials, accounts, targets of a backend are on the bench; 1 for the backend itself."), &["backend", "scope"])?,
            config_reloads: counter(&registry, "config_reloads_total", "Times that the configuration was loaded again, by outcome (loaded, refused: the old one stays).", &["outcome"])?,
            credential_refreshes: counter(&registry, "credential_refreshes_total", "Renewals of a credential, by outcome (renewed, adopted from another process or a changed file, refused for good, unavailable for now).", &["backend", "outcome"])?,
            credential_state: IntGaugeVec::new(Opts::new("sidestep_credential_state", "1 for the state that a credential is in, 0 for every other; the credentials of a backend are numbered from 0."), &["backend", "credential", "state"])?,
            credential_expiry: GaugeVec::new(Opts::new("sidestep_credential_expiry_timestamp_seconds", "When a credential's current token expires, in seconds since 1970, where that is known."), &["backend", "credential"])?,
            in_flight: IntGauge::new("sidestep_requests_in_flight", "Requests in work, streams included.")?,
            request_duration: histogram(&registry, "request_duration_seconds", "Time from a request's head to its answer's last byte.", "route")?,
            time_to_first_output: histogram(&registry, "time_to_first_output_seconds", "Time from a request's head to the first output of the backend that answered.", "backend")?,
            overhead: Histogram::with_opts(
                HistogramOpts::new(
                    "sidestep_overhead_seconds",
                    "Time from a request's last byte to its answer's head, less the time spent waiting for backends.",
                )
                .buckets(OVERHEAD_SECONDS.to_vec()),
            )?,
            registry,
        };
        metrics.registry.register(Box::new(metrics.in_flight.clone()))?;
        metrics.registry.register(Box::new(metrics.on_bench.clone()))?;
        metrics.registry.register(Box::new(metrics.credential_state.clone()))?;
        metrics.registry.register(Box::new(metrics.credential_expiry.clone()))?;
        metrics.registry.register(Box::new(metrics.overhead.clone()))?;
        metrics.registry.register(Box::new(build_info()?))?;
        metrics.registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// A request is over.
    pub fn request(&self, route: Option<&str>, outcome: Outcome, duration: Duration) {
        let route = route.unwrap_or(NONE);
        self.requests.with_label_values(&[route, outcome.as_str()]).inc();
        self.request_duration.with_label_values(&[route]).observe(duration.as_secs_f64());
    }

    /// An attempt is over: relayed whole, or failed.
    pub fn attempt(&self, backend: &str, failure: Option<&Failure>) {
        let (class, detected_by, stage) = failure.map_or(("ok", NONE, NONE), |failure| {
            (failure.class.as_str(), failure.detected_by.as_str(), failure.stage.as_str())
        });
        self.attempts.with_label_values(&[backend, class, detected_by, stage]).inc();
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
        self.failovers.with_label_values(&[from, to, failure.class.as_str()]).inc();
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
        self.credential_state.reset();
        self.credential_expiry.reset();
    }

    /// How many of a backend's are on the bench.
    pub fn on_bench(&self, backend: &str, scope: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.on_bench.with_label_values(&[backend, scope]).set(count);
    }

    /// The configuration was loaded again, or refused.
    pub fn config_reload(&self, is_loaded: bool) {
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

    /// The first output of an answer is there.
    pub fn first_output(&self, backend: &str, since_start: Duration, overhead: Duration) {
        self.time_to_first_output.with_label_values(&[backend]).observe(since_start.as_secs_f64());
        self.overhead.observe(overhead.as_secs_f64());
    }

    /// Everything in the text format of Prometheus.
    ///
    /// # Errors
    ///
    /// When a family cannot be written.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn counter(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let family = IntCounterVec::new(Opts::new(name, help).namespace("sidestep"), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<HistogramVec, prometheus::Error> {
    let opts = HistogramOpts::new(name, help).namespace("sidestep").buckets(SECONDS.to_vec());
    let family = HistogramVec::new(opts, &[label])?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn build_info() -> Result<Gauge, prometheus::Error> {
    let opts = Opts::new("sidestep_build_info", "Always 1; the version is in the label.")
        .const_label("version", env!("CARGO_PKG_VERSION"));
    let gauge = Gauge::with_opts(opts)?;
    gauge.set(1.0);
    Ok(gauge)
}
