//! The failure table: the first row whose sign fits gives the class and the action.
//!
//! A new rule is one row here and one line in `rules_tests.rs`. Sources of the codes and phrases:
//! OpenAI's error guide and `openapi.json`, the ChatGPT Codex backend as the Codex CLI reads it,
//! Azure, Anthropic, Google, vLLM, llama.cpp and Ollama as their public issues quote them.

use super::class::{Action, Class};
use super::evidence::{CredentialFault, Defect, Evidence, TimeLimit, TransportFault};

/// What a row looks for. Codes count on every carrier; statuses also when an error under a good
/// status carries one as a number.
#[derive(Clone, Copy, Debug)]
pub enum Sign {
    /// One of the error's machine-readable names.
    Code(&'static [&'static str]),
    /// Words that all stand in the error's text, where no code says it. With a status, it must be
    /// one of `statuses`.
    Phrase {
        /// Statuses under which the words count; without any status they always do.
        statuses: &'static [u16],
        /// Lower-case words.
        words: &'static [&'static str],
    },
    /// A status with an error whose whole text is this: what a web framework answers for a path that
    /// it does not have.
    Text {
        /// The status.
        status: u16,
        /// The text, in lower case.
        text: &'static str,
    },
    /// A status without a readable error in the body: a page of something that is not the API.
    StatusWithoutError(u16),
    /// A status from the first to the second, both included.
    Status(u16, u16),
    /// A defect under a good status.
    Defect(&'static [Defect]),
    /// A fault of the connection.
    Transport(&'static [TransportFault]),
    /// A time limit that passed.
    Timeout(&'static [TimeLimit]),
    /// A credential that could not be obtained.
    Credential(&'static [CredentialFault]),
    /// An error that says nothing that a row knows.
    AnyError,
}

/// One row of the failure table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What to look for.
    pub sign: Sign,
    /// What it means.
    pub class: Class,
    /// What to do about it.
    pub action: Action,
}

const fn row(class: Class, sign: Sign) -> Row {
    Row { sign, class, action: default_action(class) }
}

/// What to do about a class where neither a row nor the configuration says otherwise.
pub const fn default_action(class: Class) -> Action {
    match class {
        Class::Auth => Action::Refresh,
        Class::Overloaded | Class::Server => Action::Retry,
        Class::ContextLength => Action::NextLarger,
        Class::Policy | Class::InvalidRequest => Action::Return,
        Class::Reasoning => Action::Repair,
        Class::Forbidden
        | Class::Quota
        | Class::RateLimit
        | Class::Network
        | Class::Timeout
        | Class::Malformed
        | Class::Empty
        | Class::Cancelled
        | Class::Model => Action::Next,
    }
}

/// Statuses under which a phrase may say what a generic 4xx means.
const VAGUE: &[u16] = &[400, 404, 422];

/// The failure table. Order matters: specific codes, phrases, specific statuses, generic types,
/// ranges of statuses, the rest.
pub const TABLE: &[Row] = &[
    // The ChatGPT backend masks what it finds in encrypted content that it cannot read.
    Row {
        sign: Sign::Text { status: 400, text: "request blocked." },
        class: Class::Policy,
        action: Action::Repair,
    },
    Row {
        sign: Sign::Text { status: 400, text: "unsupported content type" },
        class: Class::InvalidRequest,
        action: Action::Repair,
    },
    // An id that another backend has given; its code says no more than that a value is wrong.
    row(
        Class::Reasoning,
        Sign::Phrase { statuses: &[400], words: &["expected an id that begins with"] },
    ),
    // Codes that mean one thing, whatever the status says.
    row(
        Class::Auth,
        Sign::Code(&[
            "invalid_api_key", "token_expired", "token_invalidated", "token_revoked",
            "invalid_token", "api_key_invalid", "api_key_expired", "expired_api_key",
            "account_deactivated", "unauthenticated",
        ]),
    ),
    row(
        Class::Forbidden,
        Sign::Code(&["unsupported_country_region_territory", "data_residency_mismatch"]),
    ),
    row(
        Class::Quota,
        Sign::Code(&[
            "insufficient_quota", "usage_limit_reached", "usage_not_included",
            "billing_not_active", "billing_hard_limit_reached", "payment_required",
            "insufficient_credits", "credit_balance_exhausted", "balance_depleted",
            "no_usable_credits", "organization_spend_limit_exceeded",
            "organization_usage_limit_exceeded", "project_spend_limit_exceeded",
            "personal-team-blocked:spending-limit",
        ]),
    ),
    row(
        Class::Model,
        Sign::Code(&[
            "model_not_found", "model_not_available", "invalid_model", "deploymentnotfound",
            "model_not_supported", "model_not_supported_on_free_tier", "unsupported_model",
        ]),
    ),
    row(
        Class::ContextLength,
        Sign::Code(&[
            "context_length_exceeded", "exceed_context_size_error", "max_tokens_exceeded",
            "string_above_max_length", "request_too_large",
        ]),
    ),
    row(Class::Reasoning, Sign::Code(&["invalid_encrypted_content", "thinking_signature_invalid"])),
    row(
        Class::Policy,
        Sign::Code(&[
            "content_filter", "content_policy_violation", "responsibleaipolicyviolation",
            "invalid_prompt", "cyber_policy", "bio_policy", "misalignment_policy_violation",
            "image_content_policy_violation", "moderation_blocked",
        ]),
    ),
    row(
        Class::RateLimit,
        Sign::Code(&[
            "rate_limit_exceeded", "too_many_requests", "resource_exhausted", "throttled",
            "rate_limited",
        ]),
    ),
    row(
        Class::Overloaded,
        Sign::Code(&[
            "server_is_overloaded", "slow_down", "overloaded_error", "overloaded",
            "engine_overloaded", "upstream_unavailable", "prefill_memory_exceeded",
        ]),
    ),
    Row {
        sign: Sign::Code(&["unknown_parameter", "unsupported_parameter"]),
        class: Class::InvalidRequest,
        action: Action::Repair,
    },
    row(
        Class::InvalidRequest,
        Sign::Code(&[
            "unsupported_value", "invalid_value", "missing_required_parameter", "invalid_type",
            "invalid_request_body", "previous_response_not_found", "invalid_image",
            "invalid_image_format", "invalid_base64_image", "invalid_image_url", "image_too_large",
            "image_too_small", "image_parse_error", "invalid_image_mode", "image_file_too_large",
            "unsupported_image_media_type", "empty_image_file", "failed_to_download_image",
            "image_file_not_found",
        ]),
    ),
    // Phrases, for backends that give no code. Keep this list short.
    row(Class::Auth, Sign::Phrase { statuses: &[400], words: &["api key not valid"] }),
    row(Class::Model, Sign::Phrase { statuses: VAGUE, words: &["model", "does not exist"] }),
    row(Class::Model, Sign::Phrase { statuses: VAGUE, words: &["model", "not found"] }),
    row(
        Class::Model,
        Sign::Phrase { statuses: VAGUE, words: &["model is not supported when using codex"] },
    ),
    row(Class::Model, Sign::Phrase { statuses: VAGUE, words: &["not a valid model"] }),
    row(
        Class::ContextLength,
        Sign::Phrase { statuses: &[400, 422, 500, 503], words: &["maximum context length"] },
    ),
    row(
        Class::ContextLength,
        Sign::Phrase { statuses: &[400, 422], words: &["exceeds the context window"] },
    ),
    row(
        Class::ContextLength,
        Sign::Phrase { statuses: &[400, 422], words: &["prompt is too long"] },
    ),
    row(
        Class::Reasoning,
        Sign::Phrase { statuses: &[400], words: &["encrypted content", "could not be verified"] },
    ),
    row(
        Class::Reasoning,
        Sign::Phrase {
            statuses: &[400],
            words: &["encrypted_content", "was not issued to this caller"],
        },
    ),
    row(
        Class::Reasoning,
        Sign::Phrase {
            statuses: &[400],
            words: &["could not decrypt the provided encrypted_content"],
        },
    ),
    row(
        Class::Reasoning,
        Sign::Phrase {
            statuses: &[400],
            words: &["encrypted content", "could not be decrypted or parsed"],
        },
    ),
    row(
        Class::Reasoning,
        Sign::Phrase { statuses: &[400], words: &["conflicting authenticated continuation"] },
    ),
    // Items that another backend has given.
    row(
        Class::Reasoning,
        Sign::Phrase { statuses: &[400, 404], words: &["reasoning", "without its required"] },
    ),
    row(
        Class::Reasoning,
        Sign::Phrase { statuses: &[400, 404], words: &["item with id", "not found"] },
    ),
    row(
        Class::Reasoning,
        Sign::Phrase { statuses: &[400, 404], words: &["reasoning item", "not found"] },
    ),
    Row {
        sign: Sign::Phrase { statuses: &[400, 422], words: &["unsupported parameter"] },
        class: Class::InvalidRequest,
        action: Action::Repair,
    },
    Row {
        sign: Sign::Phrase { statuses: &[400, 422], words: &["unknown parameter"] },
        class: Class::InvalidRequest,
        action: Action::Repair,
    },
    row(
        Class::Overloaded,
        Sign::Phrase { statuses: &[429, 500, 502, 503, 529], words: &["at capacity"] },
    ),
    row(Class::Malformed, Sign::Text { status: 404, text: "not found" }),
    // Statuses that mean one thing.
    row(Class::Auth, Sign::Status(401, 401)),
    row(Class::Quota, Sign::Status(402, 402)),
    row(Class::Forbidden, Sign::Status(403, 403)),
    row(Class::Malformed, Sign::StatusWithoutError(404)),
    row(Class::Malformed, Sign::Status(405, 405)),
    row(Class::Timeout, Sign::Status(408, 408)),
    row(Class::Model, Sign::Status(410, 410)),
    row(Class::ContextLength, Sign::Status(413, 413)),
    row(Class::RateLimit, Sign::Status(429, 429)),
    row(Class::Forbidden, Sign::Status(451, 451)),
    row(Class::Overloaded, Sign::Status(503, 503)),
    row(Class::Overloaded, Sign::Status(529, 529)),
    row(Class::Server, Sign::Status(500, 599)),
    // Types that backends put on many things: below the status, above its vague rest.
    row(Class::Auth, Sign::Code(&["authentication_error"])),
    row(Class::Forbidden, Sign::Code(&["permission_error", "permission_denied"])),
    row(Class::Quota, Sign::Code(&["billing_error"])),
    row(Class::RateLimit, Sign::Code(&["rate_limit_error"])),
    row(
        Class::Timeout,
        Sign::Code(&["timeout_error", "deadline_exceeded", "vector_store_timeout"]),
    ),
    row(Class::Overloaded, Sign::Code(&["unavailable"])),
    row(Class::InvalidRequest, Sign::Status(400, 499)),
    row(
        Class::InvalidRequest,
        Sign::Code(&["invalid_request_error", "invalid_request", "invalid_argument"]),
    ),
    row(Class::Malformed, Sign::Status(100, 399)),
    // Answers under a good status that are none.
    row(
        Class::Malformed,
        Sign::Defect(&[
            Defect::NotAnAnswer,
            Defect::BrokenJson,
            Defect::NotAResponse,
            Defect::Unfinished,
            Defect::BrokenEvent,
            Defect::NoTerminalEvent,
        ]),
    ),
    row(Class::Empty, Sign::Defect(&[Defect::Empty])),
    row(Class::Cancelled, Sign::Defect(&[Defect::Cancelled])),
    // What a renewal could mend has been tried by then.
    Row { sign: Sign::Credential(CredentialFault::ALL), class: Class::Auth, action: Action::Next },
    // The connection and the clock.
    Row {
        sign: Sign::Transport(&[TransportFault::Reset]),
        class: Class::Network,
        action: Action::Retry,
    },
    row(
        Class::Network,
        Sign::Transport(&[
            TransportFault::Dns,
            TransportFault::Refused,
            TransportFault::Tls,
            TransportFault::Other,
        ]),
    ),
    row(
        Class::Timeout,
        Sign::Timeout(&[
            TimeLimit::Connect,
            TimeLimit::FirstByte,
            TimeLimit::FirstOutput,
            TimeLimit::Idle,
            TimeLimit::Answer,
            TimeLimit::Queue,
            TimeLimit::Request,
        ]),
    ),
    // `server_error`, `api_error`, a code that no row knows, no code at all.
    row(Class::Server, Sign::AnyError),
];

impl Sign {
    /// Whether the evidence shows it.
    pub fn fits(&self, evidence: &Evidence<'_>) -> bool {
        let error = evidence.error();
        match *self {
            Self::Code(codes) => error.is_some_and(|error| {
                let is_known =
                    |code: &String| codes.iter().any(|own| own.eq_ignore_ascii_case(code));
                error.codes.iter().any(is_known)
            }),
            Self::Phrase { statuses, words } => {
                evidence.status().is_none_or(|status| statuses.contains(&status))
                    && error.is_some_and(|error| {
                        let text = error.message.to_lowercase();
                        words.iter().all(|word| text.contains(word))
                    })
            }
            Self::Text { status, text } => {
                evidence.status() == Some(status)
                    && error.is_some_and(|error| error.message.eq_ignore_ascii_case(text))
            }
            Self::StatusWithoutError(status) => {
                evidence.status() == Some(status) && error.is_none()
            }
            Self::Status(first, last) => {
                evidence.status().is_some_and(|status| (first..=last).contains(&status))
            }
            Self::Defect(defects) => {
                matches!(evidence, Evidence::Defect { defect, .. } if defects.contains(defect))
            }
            Self::Transport(faults) => {
                matches!(evidence, Evidence::Transport(fault) if faults.contains(fault))
            }
            Self::Timeout(limits) => {
                matches!(evidence, Evidence::Timeout(limit) if limits.contains(limit))
            }
            Self::Credential(faults) => {
                matches!(evidence, Evidence::Credential(fault) if faults.contains(fault))
            }
            Self::AnyError => true,
        }
    }
}
