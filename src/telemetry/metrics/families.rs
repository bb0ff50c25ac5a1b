//! Every metric family of ours: name, kind, labels, help, in one table. The process's own (`process_*`)
//! come from the library.

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// The word for it in the text format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its whole name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

macro_rules! families {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        $(
            pub(super) const $id: Family = Family {
                name: concat!("sidestep_", $name),
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )+

        /// Every family.
        pub const ALL: &[Family] = &[$($id),+];
    };
}

families! {
    REQUESTS = Counter "requests_total" ["route", "outcome", "client"]
        "Requests that are over, by route, outcome (answered; failed; refused by a backend, in its own words; rejected before any backend; client_gone) and the client whose key came with it.";
    ATTEMPTS = Counter "attempts_total" ["backend", "class", "detected_by", "stage"]
        "Attempts at a backend, by class (ok: relayed; abandoned: its client left before a verdict; else one of the failure table), by what showed a failure (status, body, event, transport, timeout, credential) and when (before_request, before_commit, after_commit).";
    FAILOVERS = Counter "failovers_total" ["from", "to", "class", "detected_by", "stage"]
        "Requests that went on from one backend to another, by the failure that caused it.";
    FAILOVER_DURATION = Histogram "failover_duration_seconds" ["route"]
        "Time that failed attempts, waits and retries added to requests that were answered all the same.";
    EXHAUSTED = Counter "exhausted_total" ["route"]
        "Requests for which every target failed.";
    RETRIES = Counter "retries_total" ["backend", "class"]
        "Further attempts at the same target, also with a renewed or another credential, by the class that caused them.";
    REPAIRS = Counter "repairs_total" ["backend", "kind"]
        "Attempts whose request had something taken out, by what: reasoning (encrypted, of another backend), item_ids (of another backend), field (that the target has refused).";
    SHADOW_FAILURES = Counter "shadow_failures_total" ["backend", "class", "detected_by", "stage"]
        "Failures in answers of backends with detection = \"shadow\", which went to the client as they were.";
    REQUEST_DURATION = Histogram "request_duration_seconds" ["route"]
        "Time from a request's head to its answer's last byte.";
    TIME_TO_FIRST_OUTPUT = Histogram "time_to_first_output_seconds" ["backend"]
        "Time from a request's head to the first output of the backend that answered; for an answer that is not streamed, to its end; for one that is relayed unjudged (detection shadow or off), to its head.";
    OVERHEAD = Histogram "overhead_seconds" []
        "Time from a request's last byte to its answer's head, less the time spent waiting for backends.";
    TOKENS = Counter "tokens_total" ["backend", "model", "kind"]
        "Tokens as the backends count them, by kind (input, of these cached_input; output, of these reasoning). The model is a name of the configuration: where a route passes on the client's, the route's.";
    IN_FLIGHT = Gauge "requests_in_flight" []
        "Requests in work, streams included.";
    STREAMS_IN_FLIGHT = Gauge "streams_in_flight" []
        "Requests in work whose client asked for a stream.";
    BENCHED = Counter "benched_total" ["backend", "scope", "class"]
        "Times that something of a backend went on the bench, by what (credential; account: a credential at one target; target; backend) and class.";
    ON_BENCH = Gauge "on_bench" ["backend", "scope"]
        "How many credentials, accounts, targets of a backend are on the bench; 1 for the backend itself.";
    BENCH_DUE = Gauge "bench_due" ["backend", "scope"]
        "How many have been on the bench for their time, and are not on it any more: one request at a time tries them, until one is answered.";
    NEXT_RETRY = Gauge "bench_next_retry_timestamp_seconds" ["backend"]
        "When the first thing of a backend comes back from the bench, in seconds since 1970; absent while nothing is on it, or all of it is due.";
    CREDENTIAL_STATE = Gauge "credential_state" ["backend", "credential", "state"]
        "1 for the state that a credential is in, 0 for every other (present, on_demand, missing, unreadable, expired, command, timeout, refused: log in anew, unavailable); the credentials of a backend are numbered from 0.";
    CREDENTIAL_EXPIRY = Gauge "credential_expiry_timestamp_seconds" ["backend", "credential"]
        "When a credential's current token expires, in seconds since 1970, where that is known.";
    CREDENTIAL_REFRESHES = Counter "credential_refreshes_total" ["backend", "outcome"]
        "Renewals of a credential, by outcome (renewed; adopted from another process or a changed file; refused for good: log in anew; unavailable for now).";
    CONFIG_RELOADS = Counter "config_reloads_total" ["outcome"]
        "Times that the configuration was loaded again, by outcome (loaded; refused: the old one stays).";
    CONFIG_RELOADED = Gauge "config_last_reload_successful" []
        "Whether the configuration that was found last is the one that is served.";
    GUARD_REFUSALS = Counter "guard_refusals_total" ["reason"]
        "Requests that were turned away at the door, by reason (host: a Host that is not allowed; origin: a web page of another origin; key: no client key, or a wrong one).";
    RUNTIME_WORKERS = Gauge "runtime_workers" []
        "Threads that do the work.";
    RUNTIME_TASKS = Gauge "runtime_tasks" []
        "Tasks that are alive: connections, streams, timers.";
    RUNTIME_QUEUED_TASKS = Gauge "runtime_queued_tasks" []
        "Tasks that wait for a thread in the shared queue.";
    RUNTIME_BUSY = Counter "runtime_busy_seconds_total" []
        "Time that the threads were busy, all together.";
    BUILD_INFO = Gauge "build_info" ["version", "commit"]
        "Always 1; what is running is in the labels.";
}
