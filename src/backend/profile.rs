//! What a backend may see and what it can take, as data: one entry a kind of service.

use http::HeaderName;

use super::headers::names;
use crate::config::checked;

/// What a backend may see and what it can take.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    /// Whose service it is, as `gen_ai.provider.name` of OpenTelemetry's conventions, where that is known.
    pub provider: Option<&'static str>,
    /// Headers of a client that it may see, beside those that every backend may see.
    pub headers: &'static [HeaderName],
    /// The fields of a request that it takes; `None`: any.
    pub fields: Option<&'static [&'static str]>,
    /// Fields that it must not see.
    pub hidden: &'static [&'static str],
    /// Fields of items that it must not see.
    pub hidden_in_items: &'static [&'static str],
    /// Fields that it takes with one value only, as JSON.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Fields that it cannot do without, with what they are where the client leaves them out.
    pub required: &'static [(&'static str, &'static str)],
    /// Fields that it takes up to a length in bytes; a longer text becomes a shorter name for it.
    pub short: &'static [(&'static str, usize)],
    /// The longest id of an item, in bytes.
    pub id_bytes_max: Option<usize>,
    /// Whether `input` has to be a list.
    pub needs_list: bool,
    /// Whether it answers with a stream whatever is asked.
    pub only_streams: bool,
}

/// Headers in which Codex tells of its user's workspace: repository, branch, installation
/// (openai/codex#31588). For OpenAI alone.
static OF_CODEX: [HeaderName; 9] = names![
    "version", "x-codex-beta-features", "x-codex-installation-id", "x-codex-parent-thread-id",
    "x-codex-routing-hint", "x-codex-turn-metadata", "x-codex-window-id",
    "x-openai-internal-codex-responses-lite", "x-openai-subagent",
];

/// Everybody who speaks the Responses API and is not OpenAI.
const GENERIC: Profile = Profile {
    provider: None,
    headers: &[],
    fields: None,
    hidden: &["client_metadata"],
    hidden_in_items: &["internal_chat_message_metadata_passthrough"],
    fixed: &[],
    required: &[],
    short: &[],
    id_bytes_max: None,
    needs_list: false,
    only_streams: false,
};

/// OpenAI's API.
const OPENAI: Profile = Profile {
    provider: Some("openai"),
    headers: &OF_CODEX,
    hidden: &[],
    hidden_in_items: &[],
    ..GENERIC
};

/// The ChatGPT backend of the Codex CLI. What it refuses is known from many projects' issues
/// (EvanZhouDev/openai-oauth, RayBytes/ChatMock#103, Wei-Shaw/sub2api#589 and others), which ended with
/// lists of what it takes.
const CODEX: Profile = Profile {
    fields: Some(&[
        "model", "instructions", "input", "tools", "tool_choice", "parallel_tool_calls",
        "reasoning", "store", "stream", "include", "prompt_cache_key", "text", "service_tier",
        "client_metadata",
    ]),
    fixed: &[("store", "false"), ("stream", "true")],
    required: &[
        ("instructions", "\"You are a helpful assistant.\""),
        ("include", "[\"reasoning.encrypted_content\"]"),
    ],
    short: &[("prompt_cache_key", 64)],
    id_bytes_max: Some(64),
    needs_list: true,
    only_streams: true,
    ..OPENAI
};

impl Profile {
    /// The names of all fields that it must not see, wherever they stand.
    pub fn hidden_names(&self) -> impl Iterator<Item = &'static str> {
        self.hidden.iter().chain(self.hidden_in_items).copied()
    }

    /// The profile of a kind of service.
    pub const fn of(kind: checked::Profile) -> &'static Self {
        match kind {
            checked::Profile::Generic => &GENERIC,
            checked::Profile::OpenAi => &OPENAI,
            checked::Profile::Codex => &CODEX,
        }
    }
}
