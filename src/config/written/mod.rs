//! The configuration as it is written: names and types, no meaning yet.
//!
//! Sections that `config/default.toml` fills are plain values; what only the user can know is
//! optional here and demanded in the check, so that one pass finds every problem.

mod auth;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use super::secret::Secret;
pub use auth::{Auth, AuthList, SecretSource};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// `[server]`.
    pub server: Server,
    /// `[log]`.
    pub log: Log,
    /// `[limits]`.
    pub limits: Limits,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[stream]`.
    pub stream: Stream,
    /// `[retry]`.
    pub retry: Retry,
    /// `[bench]`.
    pub bench: Bench,
    /// `[affinity]`.
    pub affinity: Affinity,
    /// `[exhausted]`.
    pub exhausted: Exhausted,
    /// `[conversation]`.
    pub conversation: Conversation,
    /// `[retry_after]`.
    pub retry_after: RetryAfter,
    /// `[credentials]`.
    pub credentials: Credentials,
    /// `[failures]`.
    pub failures: Failures,
    /// `[backends.NAME]`.
    #[serde(default)]
    pub backends: BTreeMap<String, Backend>,
    /// `[[routes]]`.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// `[server]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address and port.
    pub listen: String,
    /// How long running answers may go on after a signal.
    pub drain_timeout: Span,
    /// How long a connection may take for the next request's head.
    pub idle_timeout: Span,
    /// How long a request's body may take.
    pub body_timeout: Span,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Span,
    /// Bytes that wait for one client.
    pub buffer_bytes_max: Size,
    /// Open connections.
    pub connections_max: usize,
    /// How often the configuration's file is looked at.
    pub reload_interval: Span,
}

/// `[log]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: String,
    /// A level or a filter.
    pub level: String,
}

/// `[limits]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request body.
    pub request_bytes_max: Size,
    /// Requests at one time.
    pub in_flight_max: usize,
    /// Requests that wait for their turn.
    pub queue_max: usize,
    /// How long they do.
    pub queue_timeout: Span,
    /// All the time of one request until its answer is there.
    pub request_timeout: Span,
    /// Attempts for one request.
    pub attempts_max: usize,
    /// Bytes of a JSON answer that are read to judge it.
    pub answer_bytes_max: Size,
    /// Events held before commit.
    pub held_events_max: usize,
    /// Bytes held before commit.
    pub held_bytes_max: Size,
    /// Bytes of one event.
    pub event_bytes_max: Size,
}

/// `[timeouts]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// DNS, TCP and TLS.
    pub connect: Span,
    /// Head of a streamed answer.
    pub first_byte: Span,
    /// First output of a streamed answer.
    pub first_output: Span,
    /// Silence within a stream.
    pub idle: Span,
    /// A whole answer that is not streamed.
    pub answer: Span,
    /// The body of an error status.
    pub error_body: Span,
}

/// `[backends.NAME.timeouts]`: any of [`Timeouts`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeoutOverrides {
    /// See [`Timeouts::connect`].
    pub connect: Option<Span>,
    /// See [`Timeouts::first_byte`].
    pub first_byte: Option<Span>,
    /// See [`Timeouts::first_output`].
    pub first_output: Option<Span>,
    /// See [`Timeouts::idle`].
    pub idle: Option<Span>,
    /// See [`Timeouts::answer`].
    pub answer: Option<Span>,
    /// See [`Timeouts::error_body`].
    pub error_body: Option<Span>,
}

/// `[stream]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Whether reasoning is held back.
    pub hold_reasoning: bool,
    /// When a stream without output is announced.
    pub announce_after: Span,
    /// The time between heartbeats of an announced stream.
    pub heartbeat: Span,
    /// Wait for `response.failed` after `error`.
    pub after_error_timeout: Span,
    /// Wait for the end after a terminal event.
    pub after_terminal_timeout: Span,
}

/// `[retry]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The longest wait before a retry.
    pub delay_max: Span,
    /// The longest wait that a backend may ask for.
    pub wait_max: Span,
    /// Retries as a share of recent requests.
    pub budget_percent: u32,
    /// Retries a second whatever the share.
    pub budget_min: u32,
}

/// `[exhausted]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exhausted {
    /// `http`, `event` or `auto`.
    pub style: String,
    /// Beginnings of `originator` and `user-agent`.
    pub event_clients: Vec<String>,
    /// How long what is known of a dead chain is repeated.
    pub memory: Span,
}

/// `[conversation]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversation {
    /// Whether encrypted content says who issued it.
    pub mark_reasoning: bool,
}

/// `[affinity]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affinity {
    /// Whether conversations stay where they are.
    pub enabled: bool,
    /// How long one has to be idle before it may return.
    pub idle: Span,
    /// How many are remembered.
    pub entries_max: usize,
}

/// `[bench]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bench {
    /// Whether anything is benched.
    pub enabled: bool,
    /// Failures in a row before the bench.
    pub failures: u32,
    /// The first time on it.
    pub first: Span,
    /// The longest.
    pub max: Span,
    /// For a rejected credential.
    pub auth: Span,
    /// For a credential without quota.
    pub quota: Span,
    /// For a target without the model.
    pub model: Span,
    /// The longest reset that counts.
    pub reset_max: Span,
    /// `try` or `answer`.
    pub when_all: String,
    /// With less than this left of its quota, an account comes last.
    pub headroom_percent: u32,
    /// Where what is on the bench is kept over a restart; empty: nowhere.
    pub file: PathBuf,
    /// How many are remembered.
    pub entries_max: usize,
}

/// `[retry_after]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryAfter {
    /// Where no backend says how long.
    pub default: Span,
    /// At most.
    pub max: Span,
}

/// `[credentials]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The whole exchange with a token endpoint.
    pub refresh_timeout: Span,
    /// The run of a command.
    pub command_timeout: Span,
    /// How long before its expiry a token is renewed.
    pub expiry_skew: Span,
    /// How often a file is looked at.
    pub file_check_interval: Span,
    /// The longest pause after a renewal that failed.
    pub backoff_max: Span,
    /// Bytes of a file, of a command's output, of a token endpoint's answer.
    pub token_bytes_max: Size,
    /// Hosts that may get a credential without TLS.
    pub plain_http_hosts: Vec<String>,
}

/// `[failures]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failures {
    /// Class to action.
    #[serde(default)]
    pub actions: BTreeMap<String, String>,
    /// Status to class.
    #[serde(default)]
    pub statuses: BTreeMap<String, String>,
    /// Code to class.
    #[serde(default)]
    pub codes: BTreeMap<String, String>,
}

/// `[backends.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Where its API begins.
    pub base_url: Option<String>,
    /// How it knows us.
    #[serde(default)]
    pub auth: AuthList,
    /// `in_order` or `round_robin`.
    pub auth_order: Option<String>,
    /// Headers of every request to it. They may hold secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Its own time limits.
    #[serde(default)]
    pub timeouts: TimeoutOverrides,
    /// Attempts at one time.
    pub concurrency_max: Option<usize>,
    /// `generic`, `openai` or `codex`.
    pub profile: Option<String>,
    /// `enforce`, `shadow` or `off`.
    pub detection: Option<String>,
    /// Tokens that its models take.
    pub context_window: Option<u64>,
    /// What differs for single models.
    #[serde(default)]
    pub models: BTreeMap<String, Model>,
}

/// `[backends.NAME.models.MODEL]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Tokens that it takes.
    pub context_window: Option<u64>,
}

/// `[[routes]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A model's name or a pattern.
    pub model: Option<String>,
    /// The targets, in order.
    #[serde(default)]
    pub chain: Vec<String>,
    /// Whether it serves models that no route names.
    #[serde(default)]
    pub default: bool,
}

/// Added to the present, longer times would leave what clocks can tell.
const SPAN_MAX: Duration = Duration::from_hours(366 * 24);

/// A duration, written as people write one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            expected: "a duration such as \"250ms\", \"10s\" or \"1h 30m\", a year at most",
            read: |text| {
                let span = humantime::parse_duration(text).ok()?;
                (span <= SPAN_MAX).then_some(Self(span))
            },
        })
    }
}

/// A number of bytes, written as people write one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            expected: "a size such as \"64KiB\" or \"32MiB\"",
            read: |text| {
                let size: ByteSize = text.parse().ok()?;
                usize::try_from(size.as_u64()).ok().map(Self)
            },
        })
    }
}

/// A string that means something else.
struct Text<T> {
    expected: &'static str,
    read: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}
