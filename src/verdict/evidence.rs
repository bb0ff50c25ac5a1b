//! What can show a failure: the input of the failure table.

use crate::wire::error_object::ErrorObject;

use super::class::DetectedBy;

/// Where an error under a good status was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A JSON body.
    Body,
    /// A stream event.
    Event,
}

words! {
    /// What is wrong with an answer that speaks of no error itself.
    Defect {
        /// Neither JSON nor a stream: HTML, text, nothing.
        NotAnAnswer = "not_an_answer",
        /// JSON that is broken or ends too early.
        BrokenJson = "broken_json",
        /// JSON that is no response object.
        NotAResponse = "not_a_response",
        /// A response that is still `queued` or `in_progress`, though nobody asked for a background one.
        Unfinished = "unfinished",
        /// An event that is no JSON, or larger than the limit.
        BrokenEvent = "broken_event",
        /// A stream that ends without a terminal event.
        NoTerminalEvent = "no_terminal_event",
        /// Completed, with no output item and no text.
        Empty = "empty",
        /// `cancelled`.
        Cancelled = "cancelled",
    }
}

words! {
    /// What went wrong with a connection.
    TransportFault {
        /// The host name could not be resolved.
        Dns = "dns",
        /// Nobody listens.
        Refused = "refused",
        /// No TLS session: certificate, protocol, handshake.
        Tls = "tls",
        /// Closed or reset by the other side before the answer was whole.
        Reset = "reset",
        /// Anything else.
        Other = "other",
    }
}

words! {
    /// The time limit that passed.
    TimeLimit {
        /// `timeouts.connect`.
        Connect = "connect",
        /// `timeouts.first_byte`.
        FirstByte = "first_byte",
        /// `timeouts.first_output`.
        FirstOutput = "first_output",
        /// `timeouts.idle`.
        Idle = "idle",
        /// `timeouts.answer`.
        Answer = "answer",
        /// `limits.queue_timeout`, in front of a backend's `concurrency_max`.
        Queue = "queue",
        /// `limits.request_timeout`.
        Request = "request",
    }
}

words! {
    /// Why there is no credential to send.
    CredentialFault {
        /// There is none: no file, an empty one, nobody has logged in.
        Missing = "missing",
        /// It is there and cannot be read.
        Unreadable = "unreadable",
        /// It has expired, and only somebody else may renew it.
        Expired = "expired",
        /// The command failed, or printed no token.
        Command = "command",
        /// The command or the token endpoint did not answer in time.
        Timeout = "timeout",
        /// The token endpoint refused for good: only a new login helps.
        Refused = "refused",
        /// The token endpoint cannot do it now.
        Unavailable = "unavailable",
    }
}

/// One thing that shows a failure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evidence<'a> {
    /// An HTTP status that is not 2xx, with the error of its body.
    Status {
        /// The status.
        status: u16,
        /// The error in the body, if there is a readable one.
        error: Option<&'a ErrorObject>,
    },
    /// An error under a good status: `status: "failed"`, a top-level `error`, `response.failed`, `error`.
    Error {
        /// Where it was found.
        carrier: Carrier,
        /// The error; `None` when the backend said that it failed and not why.
        error: Option<&'a ErrorObject>,
    },
    /// A defect under a good status.
    Defect {
        /// Where it was found.
        carrier: Carrier,
        /// What it is.
        defect: Defect,
    },
    /// A fault of the connection.
    Transport(TransportFault),
    /// A time limit that passed.
    Timeout(TimeLimit),
    /// The credential could not be obtained.
    Credential(CredentialFault),
}

impl<'a> Evidence<'a> {
    /// What showed it.
    pub fn detected_by(&self) -> DetectedBy {
        match self {
            Self::Status { .. } => DetectedBy::Status,
            Self::Error { carrier: Carrier::Body, .. }
            | Self::Defect { carrier: Carrier::Body, .. } => DetectedBy::Body,
            Self::Error { carrier: Carrier::Event, .. }
            | Self::Defect { carrier: Carrier::Event, .. } => DetectedBy::Event,
            Self::Transport(_) => DetectedBy::Transport,
            Self::Timeout(_) => DetectedBy::Timeout,
            Self::Credential(_) => DetectedBy::Credential,
        }
    }

    /// The error that the backend spoke of.
    pub fn error(&self) -> Option<&'a ErrorObject> {
        match self {
            Self::Status { error, .. } | Self::Error { error, .. } => *error,
            Self::Defect { .. } | Self::Transport(_) | Self::Timeout(_) | Self::Credential(_) => {
                None
            }
        }
    }

    /// What to call it beyond its class: the backend's own code, else which defect, fault or limit.
    pub fn detail(&self) -> &'a str {
        match self {
            Self::Status { error, .. } | Self::Error { error, .. } => {
                error.and_then(ErrorObject::code).unwrap_or_default()
            }
            Self::Defect { defect, .. } => defect.as_str(),
            Self::Transport(fault) => fault.as_str(),
            Self::Timeout(limit) => limit.as_str(),
            Self::Credential(fault) => fault.as_str(),
        }
    }

    /// The status that counts: the status line's, else a number that the error carries.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Error { error, .. } => error.and_then(|error| error.status),
            Self::Defect { .. } | Self::Transport(_) | Self::Timeout(_) | Self::Credential(_) => {
                None
            }
        }
    }

    /// Whether the backend itself said that it failed.
    pub fn is_spoken(&self) -> bool {
        matches!(
            self,
            Self::Status { .. }
                | Self::Error { .. }
                | Self::Defect { defect: Defect::Cancelled, .. }
        )
    }
}
