//! From as written to as used: every value checked, every reference resolved, every problem noted.

mod auth;
mod backend;
mod routes;
mod server;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use url::Url;

use crate::verdict::{Action, Class, Rules};

use super::checked::{self, Config, ExhaustedStyle, Timeouts};
use super::load::Origin;
use super::problem::Problem;
use super::written::{self, Written};

/// Checks a configuration. `None` only when a problem has been noted.
pub(super) fn check(
    written: &Written,
    origin: &Origin,
    environment: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> Option<Config> {
    let credentials = &written.credentials;
    let mut check = Check { origin, environment, credentials, problems };
    let access = check.access(&written.server, &written.clients);
    let server = check.server(&written.server, !access.clients.is_empty());
    let log = check.log(&written.log);
    let limits = check.limits(&written.limits);
    let timeouts = check.timeouts(&written.timeouts);
    let rules = check.rules(&written.failures);
    let credentials = check.credentials();
    let names: BTreeSet<String> = written.backends.keys().cloned().collect();
    if names.is_empty() {
        check.wrong(
            "backends",
            "no backend",
            "at least one [backends.NAME] table; `sidestep init` writes a first configuration, `sidestep demo` needs none",
        );
    }
    let backends: BTreeMap<_, _> = written
        .backends
        .iter()
        .filter_map(|(name, backend)| Some((name.clone(), check.backend(name, backend, timeouts)?)))
        .collect();
    let routes = check.routes(&written.routes, &names);
    Some(Config {
        server: server?,
        access: access.into(),
        log,
        journal: checked::Journal {
            entries_max: written.journal.entries_max,
            listeners_max: written.journal.listeners_max,
        },
        traces_endpoint: check.traces(&written.traces),
        limits,
        stream: check.stream(&written.stream),
        retry: check.retry(&written.retry),
        bench: check.bench(&written.bench),
        bench_file: Some(&written.bench.file)
            .filter(|file| !file.as_os_str().is_empty())
            .map(|file| check.path(file)),
        affinity: check.affinity(&written.affinity),
        mark_reasoning: written.conversation.mark_reasoning,
        retry_after: checked::RetryAfter {
            default: written.retry_after.default.0.min(written.retry_after.max.0),
            max: written.retry_after.max.0,
        },
        exhausted: check.exhausted(&written.exhausted),
        credentials,
        rules,
        backends,
        routes,
    })
}

struct Check<'a> {
    origin: &'a Origin,
    environment: &'a BTreeMap<String, String>,
    credentials: &'a written::Credentials,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn wrong(&mut self, key: &str, found: impl Into<String>, allowed: impl Into<String>) {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        // A value that could not be read has been reported, and what follows from it is no news.
        if self.problems.iter().any(|problem| problem.key == key) {
            return;
        }
        self.problems.push(Problem {
            source: self.origin.source_of(&path),
            key: key.to_owned(),
            found: found.into(),
            allowed: allowed.into(),
        });
    }

    fn traces(&mut self, traces: &written::Traces) -> Option<Url> {
        let endpoint = Some(traces.endpoint.as_str()).filter(|text| !text.is_empty())?;
        if cfg!(not(feature = "otlp")) {
            let allowed =
                "nothing in this binary; one built with `--features otlp` can export traces";
            self.wrong("traces.endpoint", quoted(endpoint), allowed);
            return None;
        }
        self.url("traces.endpoint", Some(endpoint))
    }

    fn log(&mut self, log: &written::Log) -> checked::Log {
        if !matches!(log.format.as_str(), "text" | "json") {
            self.wrong("log.format", quoted(&log.format), "\"text\" or \"json\"");
        }
        if !is_filter(&log.level) {
            self.wrong("log.level", quoted(&log.level), "\"error\", \"warn\", \"info\", \"debug\", \"trace\" or a filter such as \"sidestep=debug\"");
        }
        checked::Log { json: log.format == "json", level: log.level.clone() }
    }

    fn limits(&mut self, limits: &written::Limits) -> checked::Limits {
        for (key, value) in [
            ("limits.request_bytes_max", limits.request_bytes_max.0),
            ("limits.in_flight_max", limits.in_flight_max),
            ("limits.attempts_max", limits.attempts_max),
            ("limits.answer_bytes_max", limits.answer_bytes_max.0),
            ("limits.held_events_max", limits.held_events_max),
            ("limits.held_bytes_max", limits.held_bytes_max.0),
            ("limits.event_bytes_max", limits.event_bytes_max.0),
        ] {
            self.at_least_one(key, value);
        }
        self.positive("limits.request_timeout", limits.request_timeout.0);
        self.buffer("limits.read_ahead_bytes_max", limits.read_ahead_bytes_max.0);
        checked::Limits {
            queue_max: limits.queue_max,
            queue_timeout: limits.queue_timeout.0,
            request_timeout: limits.request_timeout.0,
            request_bytes_max: limits.request_bytes_max.0,
            in_flight_max: limits.in_flight_max,
            attempts_max: limits.attempts_max,
            answer_bytes_max: limits.answer_bytes_max.0,
            held_events_max: limits.held_events_max,
            held_bytes_max: limits.held_bytes_max.0,
            event_bytes_max: limits.event_bytes_max.0,
            read_ahead_bytes_max: limits.read_ahead_bytes_max.0,
        }
    }

    /// A buffer of one connection: the HTTP library takes none that is smaller.
    fn buffer(&mut self, key: &str, bytes: usize) {
        if bytes < 8 * 1024 {
            self.wrong(key, bytes.to_string(), "8KiB or more");
        }
    }

    fn stream(&mut self, stream: &written::Stream) -> checked::Stream {
        self.positive("stream.heartbeat", stream.heartbeat.0);
        checked::Stream {
            hold_reasoning: stream.hold_reasoning,
            announce_after: Some(stream.announce_after.0).filter(|time| !time.is_zero()),
            heartbeat: stream.heartbeat.0,
            after_error_timeout: stream.after_error_timeout.0,
            after_terminal_timeout: stream.after_terminal_timeout.0,
        }
    }

    fn exhausted(&mut self, exhausted: &written::Exhausted) -> checked::Exhausted {
        let style = match exhausted.style.as_str() {
            "http" => ExhaustedStyle::Http,
            "event" => ExhaustedStyle::Event,
            "auto" => ExhaustedStyle::Auto,
            other => {
                let allowed = "\"http\", \"event\" or \"auto\"";
                self.wrong("exhausted.style", quoted(other), allowed);
                ExhaustedStyle::Http
            }
        };
        let event_clients = exhausted.event_clients.clone();
        if event_clients.iter().any(String::is_empty) {
            self.wrong("exhausted.event_clients", "\"\"", "what a client's name begins with");
        }
        checked::Exhausted { style, event_clients, memory: exhausted.memory.0 }
    }

    fn retry(&mut self, retry: &written::Retry) -> checked::Retry {
        if retry.budget_percent > 100 {
            let found = retry.budget_percent.to_string();
            self.wrong("retry.budget_percent", found, "0 to 100");
        }
        checked::Retry {
            delay_max: retry.delay_max.0,
            wait_max: retry.wait_max.0,
            budget_percent: retry.budget_percent,
            budget_min: retry.budget_min,
        }
    }

    fn affinity(&mut self, affinity: &written::Affinity) -> checked::Affinity {
        self.at_least_one("affinity.entries_max", affinity.entries_max);
        checked::Affinity {
            enabled: affinity.enabled,
            idle: affinity.idle.0,
            entries_max: affinity.entries_max,
        }
    }

    fn bench(&mut self, bench: &written::Bench) -> checked::Bench {
        if !matches!(bench.when_all.as_str(), "try" | "answer") {
            self.wrong("bench.when_all", quoted(&bench.when_all), "\"try\" or \"answer\"");
        }
        if bench.headroom_percent > 100 {
            self.wrong("bench.headroom_percent", bench.headroom_percent.to_string(), "0 to 100");
        }
        if bench.failures == 0 {
            self.wrong("bench.failures", "0", "1 or more");
        }
        self.at_least_one("bench.entries_max", bench.entries_max);
        checked::Bench {
            enabled: bench.enabled,
            failures: bench.failures,
            first: bench.first.0,
            max: bench.max.0.max(bench.first.0),
            auth: bench.auth.0,
            quota: bench.quota.0,
            model: bench.model.0,
            reset_max: bench.reset_max.0,
            headroom_percent: bench.headroom_percent,
            try_soonest: bench.when_all == "try",
            entries_max: bench.entries_max,
        }
    }

    fn credentials(&mut self) -> checked::Credentials {
        let written = self.credentials;
        for (key, span) in [
            ("credentials.refresh_timeout", written.refresh_timeout),
            ("credentials.command_timeout", written.command_timeout),
            ("credentials.backoff_max", written.backoff_max),
        ] {
            self.positive(key, span.0);
        }
        self.at_least_one("credentials.token_bytes_max", written.token_bytes_max.0);
        checked::Credentials {
            refresh_timeout: written.refresh_timeout.0,
            expiry_skew: written.expiry_skew.0,
            file_check_interval: written.file_check_interval.0,
            backoff_max: written.backoff_max.0,
            token_bytes_max: written.token_bytes_max.0,
        }
    }

    fn timeouts(&mut self, timeouts: &written::Timeouts) -> Timeouts {
        let all = Timeouts {
            connect: timeouts.connect.0,
            first_byte: timeouts.first_byte.0,
            first_output: timeouts.first_output.0,
            idle: timeouts.idle.0,
            answer: timeouts.answer.0,
            error_body: timeouts.error_body.0,
        };
        self.positive_timeouts("timeouts", all);
        all
    }

    fn positive_timeouts(&mut self, table: &str, timeouts: Timeouts) {
        for (key, value) in [
            ("connect", timeouts.connect),
            ("first_byte", timeouts.first_byte),
            ("first_output", timeouts.first_output),
            ("idle", timeouts.idle),
            ("answer", timeouts.answer),
            ("error_body", timeouts.error_body),
        ] {
            self.positive(&format!("{table}.{key}"), value);
        }
    }

    fn positive(&mut self, key: &str, value: Duration) {
        if value.is_zero() {
            self.wrong(key, "0s", "a duration above zero");
        }
    }

    fn at_least_one(&mut self, key: &str, value: usize) {
        if value == 0 {
            self.wrong(key, "0", "1 or more");
        }
    }

    fn rules(&mut self, failures: &written::Failures) -> Rules {
        let mut rules = Rules::default();
        for (class, action) in &failures.actions {
            let key = format!("failures.actions.{class}");
            match (self.class(&key, class), Action::from_word(action)) {
                (Some(class), Some(action)) => {
                    rules.actions.insert(class, action);
                }
                (_, None) => self.wrong(&key, quoted(action), words(Action::ALL, |a| a.as_str())),
                (None, Some(_)) => {}
            }
        }
        for (status, class) in &failures.statuses {
            let key = format!("failures.statuses.{status}");
            let number = status.parse().ok().filter(|status| (300..600).contains(status));
            if number.is_none() {
                self.wrong(&key, quoted(status), "an HTTP status from 300 to 599");
            }
            if let (Some(class), Some(number)) = (self.class(&key, class), number) {
                rules.statuses.insert(number, class);
            }
        }
        for (code, class) in &failures.codes {
            if let Some(class) = self.class(&format!("failures.codes.{code}"), class) {
                rules.codes.insert(code.to_ascii_lowercase(), class);
            }
        }
        rules
    }

    fn class(&mut self, key: &str, word: &str) -> Option<Class> {
        let class = Class::from_word(word);
        if class.is_none() {
            self.wrong(key, quoted(word), words(Class::ALL, |class| class.as_str()));
        }
        class
    }
}

/// A single word would also be taken for the name of a module: "verbose" would log nothing at all.
fn is_filter(level: &str) -> bool {
    let is_level = level.parse::<tracing::level_filters::LevelFilter>().is_ok();
    is_level || (level.contains('=') && tracing_subscriber::EnvFilter::try_new(level).is_ok())
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> String {
    all.iter().map(|value| word(*value)).collect::<Vec<_>>().join(", ")
}
