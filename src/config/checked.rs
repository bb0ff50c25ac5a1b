//! The configuration as it is used: every reference resolved, every value in its own type.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobMatcher;
use http::HeaderMap;
use url::Url;

use super::auth::{Auth, AuthOrder};
use super::secret::Secret;
use crate::verdict::Rules;

/// A sound configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where and how to serve.
    pub server: Server,
    /// Whom to let in.
    pub access: Arc<Access>,
    /// How to log.
    pub log: Log,
    /// What is remembered of requests.
    pub journal: Journal,
    /// The collector that traces go to.
    pub traces_endpoint: Option<Url>,
    /// Bounds of one request and of all together.
    pub limits: Limits,
    /// How to treat streams.
    pub stream: Stream,
    /// When the same target is asked again.
    pub retry: Retry,
    /// What is kept out of use, and for how long.
    pub bench: Bench,
    /// Where that is kept over a restart.
    pub bench_file: Option<PathBuf>,
    /// Where conversations stay.
    pub affinity: Affinity,
    /// Whether encrypted content says who issued it.
    pub mark_reasoning: bool,
    /// What clients are told about waiting.
    pub retry_after: RetryAfter,
    /// How clients are told that every target failed.
    pub exhausted: Exhausted,
    /// How credentials are kept fresh.
    pub credentials: Credentials,
    /// The failure table's changes.
    pub rules: Rules,
    /// The backends, by name.
    pub backends: BTreeMap<String, Backend>,
    /// The routes, in order.
    pub routes: Vec<Route>,
}

/// Where and how to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// The address to bind.
    pub listen: SocketAddr,
    /// The address for those who operate it, where it is another one.
    pub admin_listen: Option<SocketAddr>,
    /// How long running answers may go on after a signal.
    pub drain_timeout: Duration,
    /// How long a connection may take for the next request's head.
    pub idle_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Duration,
    /// Bytes that wait for one client.
    pub buffer_bytes_max: usize,
    /// Open connections.
    pub connections_max: usize,
    /// How often the configuration's file is looked at; `None`: never.
    pub reload_interval: Option<Duration>,
}

/// Whom to let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Names by which it may be called, beside localhost and addresses.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may use it.
    pub allowed_origins: Vec<String>,
    /// The keys of clients; none: everybody may.
    pub clients: Vec<ClientKey>,
}

/// The key of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// Its name, for logs and metrics.
    pub name: Arc<str>,
    /// The key.
    pub key: Secret,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// JSON lines instead of text.
    pub json: bool,
    /// A filter in the syntax of `tracing_subscriber::EnvFilter`.
    pub level: String,
}

/// What is remembered of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journal {
    /// How many are kept.
    pub entries_max: usize,
    /// How many may listen to them live.
    pub listeners_max: usize,
}

/// Bounds of one request and of all together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request body.
    pub request_bytes_max: usize,
    /// Requests at one time.
    pub in_flight_max: usize,
    /// All the time of one request until its answer is there.
    pub request_timeout: Duration,
    /// Requests that wait for their turn.
    pub queue_max: usize,
    /// How long they do.
    pub queue_timeout: Duration,
    /// Attempts for one request.
    pub attempts_max: usize,
    /// Bytes of a JSON answer that are read to judge it.
    pub answer_bytes_max: usize,
    /// Events held before commit.
    pub held_events_max: usize,
    /// Bytes held before commit.
    pub held_bytes_max: usize,
    /// Bytes of one event.
    pub event_bytes_max: usize,
    /// Bytes that are read of a backend's connection and taken by nobody yet; at least 8 KiB.
    pub read_ahead_bytes_max: usize,
}

/// How to treat streams.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Whether reasoning is held back until other output comes.
    pub hold_reasoning: bool,
    /// When a stream without output is announced; `None`: never.
    pub announce_after: Option<Duration>,
    /// The time between heartbeats of an announced stream.
    pub heartbeat: Duration,
    /// Wait for `response.failed` after `error`.
    pub after_error_timeout: Duration,
    /// Wait for the end after a terminal event.
    pub after_terminal_timeout: Duration,
}

/// When the same target is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The longest wait before a retry.
    pub delay_max: Duration,
    /// The longest wait that a backend may ask for.
    pub wait_max: Duration,
    /// Retries of one backend as a share of its recent requests.
    pub budget_percent: u32,
    /// Retries of one backend a second whatever the share.
    pub budget_min: u32,
}

/// Where conversations stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Whether they stay anywhere.
    pub enabled: bool,
    /// How long one has to be idle before it may return to the head of its chain.
    pub idle: Duration,
    /// How many are remembered.
    pub entries_max: usize,
}

/// What is kept out of use, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bench {
    /// Whether anything is.
    pub enabled: bool,
    /// Failures in a row before that.
    pub failures: u32,
    /// The first time.
    pub first: Duration,
    /// The longest.
    pub max: Duration,
    /// For a rejected credential.
    pub auth: Duration,
    /// For a credential without quota.
    pub quota: Duration,
    /// For a target without the model.
    pub model: Duration,
    /// The longest reset that a backend may name.
    pub reset_max: Duration,
    /// Whether what is benched is tried when nothing else is left.
    pub try_soonest: bool,
    /// With less than this left of its quota, an account comes last; 0: never.
    pub headroom_percent: u32,
    /// How many are remembered.
    pub entries_max: usize,
}

/// What clients are told about waiting when every target failed.
#[derive(Clone, Copy, Debug)]
pub struct RetryAfter {
    /// Where no backend says how long.
    pub default: Duration,
    /// At most.
    pub max: Duration,
}

/// How clients are told that every target failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// By what.
    pub style: ExhaustedStyle,
    /// What the `originator` or `user-agent` of those begins with that `auto` tells by an event.
    pub event_clients: Vec<String>,
    /// How long what is known of a dead chain is repeated.
    pub memory: Duration,
}

/// By what a streaming client is told that every target failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExhaustedStyle {
    /// A status.
    Http,
    /// An event of a stream.
    Event,
    /// An event for clients that repeat what has a status.
    Auto,
}

/// How credentials are kept fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The whole exchange with a token endpoint.
    pub refresh_timeout: Duration,
    /// How long before its expiry a token is renewed.
    pub expiry_skew: Duration,
    /// How often a file is looked at.
    pub file_check_interval: Duration,
    /// The longest pause after a renewal that failed.
    pub backoff_max: Duration,
    /// Bytes of a file, of a command's output, of a token endpoint's answer.
    pub token_bytes_max: usize,
}

/// The time limits of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// DNS, TCP and TLS.
    pub connect: Duration,
    /// From the attempt's start to the head of a streamed answer.
    pub first_byte: Duration,
    /// From the attempt's start to the first output of a streamed answer.
    pub first_output: Duration,
    /// The longest silence within a stream.
    pub idle: Duration,
    /// From the attempt's start to the end of an answer that is not streamed.
    pub answer: Duration,
    /// The body of an error status.
    pub error_body: Duration,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its `base_url` with `/responses` appended, its query kept.
    pub url: Url,
    /// How it knows us: credentials, in order. Never empty.
    pub auth: Vec<Auth>,
    /// Which of them a request tries first.
    pub auth_order: AuthOrder,
    /// Headers of every request to it; their values are marked sensitive.
    pub headers: HeaderMap,
    /// Its time limits.
    pub timeouts: Timeouts,
    /// What kind of service it is.
    pub profile: Profile,
    /// What failures in its answers lead to.
    pub detection: Detection,
    /// Its certificates and ours.
    pub tls: Tls,
    /// Whether it is told which trace a request belongs to.
    pub trace_context: bool,
    /// Attempts at one time.
    pub concurrency_max: Option<usize>,
    /// Tokens that its models take, where nothing else is said of the model.
    pub context_window: Option<u64>,
    /// Tokens that single models take.
    pub model_context_windows: BTreeMap<String, u64>,
}

/// Whom to trust at the other end of a connection, and who we are there. All in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities beside the system's. No secret, but nothing for a log either.
    pub ca: Option<Secret>,
    /// Our private key and certificate.
    pub identity: Option<Secret>,
}

/// What kind of service a backend is: what it may see and what it can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Any that speaks the Responses API.
    Generic,
    /// OpenAI's API.
    OpenAi,
    /// The ChatGPT backend of the Codex CLI.
    Codex,
}

/// What failures in a backend's answers lead to. Where there is no answer at all, the next target is
/// asked whatever this says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detection {
    /// Failover, and whatever else the failure table says.
    #[default]
    Enforce,
    /// A line in the log and a count. The client gets the answer as it is.
    Shadow,
    /// Nothing: nobody looks.
    Off,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its model name or pattern, or `default`: also its metric label.
    pub name: String,
    /// The pattern; `None` for an exact name or no name at all.
    pub pattern: Option<GlobMatcher>,
    /// Whether it serves models that no route names.
    pub default: bool,
    /// Its targets, in order. Never empty.
    pub chain: Vec<ChainEntry>,
}

/// One target of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainEntry {
    /// The name of a backend that exists.
    pub backend: String,
    /// The model name to ask it for; `None` keeps the client's.
    pub model: Option<String>,
}
