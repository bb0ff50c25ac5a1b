//! The configuration as it is written: names and types, no meaning yet.
//!
//! Sections that `config/default.toml` fills are plain values; what only the user can know is
//! optional here and demanded in the check, so that one pass finds every problem.

mod auth;
mod server;
mod units;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::secret::Secret;
pub use auth::{Auth, AuthList, SecretSource};
pub use server::Server;
pub use units::{Size, Span};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// `[server]`.
    pub server: Server,
    /// `[clients.NAME]`.
    #[serde(default)]
    pub clients: BTreeMap<String, SecretSource>,
    /// `[log]`.
    pub log: Log,
    /// `[journal]`.
    pub journal: Journal,
    /// `[traces]`.
    pub traces: Traces,
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

/// `[log]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: String,
    /// A level or a filter.
    pub level: String,
}

/// `[journal]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// How many requests are kept.
    pub entries_max: usize,
    /// How many may listen at one time.
    pub listeners_max: usize,
}

/// `[traces]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// A collector's URL, or nothing.
    pub endpoint: String,
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
    /// Bytes that are read of a backend's connection and taken by nobody yet.
    pub read_ahead_bytes_max: Size,
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
    /// Its certificates and ours.
    #[serde(default)]
    pub tls: Tls,
    /// Whether it is told which trace a request belongs to.
    #[serde(default)]
    pub trace_context: bool,
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

/// `[backends.NAME.tls]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Authorities beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and those between it and its authority.
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
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
