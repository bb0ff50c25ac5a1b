//! The faults, by name. What each looks like on the wire is in `play`.

macro_rules! faults {
    ($($variant:ident = $name:literal, $what:literal;)+) => {
        /// A way to fail, or not to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault { $(#[doc = $what] $variant,)+ }

        impl Fault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name, as in `fault-NAME`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it is.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)+ }
            }
        }
    };
}

faults! {
    Ok = "ok", "a good answer";
    Tool = "tool", "a good answer: a function call";
    Incomplete = "incomplete", "a good answer, cut short by max_output_tokens";
    Reasoning = "reasoning", "a good answer that reasons first";
    Agent = "agent", "a good answer of the kind that is asked for: a function call while there are tools and no output of one, JSON for a schema, else text";
    Command = "command", "a good answer: a call of the function with which Codex runs commands";
    Structured = "structured", "a good answer whose text is JSON";
    Slow = "slow", "a good answer: response.created at once, the rest half a second later";
    NearlyUsedUp = "nearly-used-up", "a good answer of an account that has 2 % of its quota left";
    Rotate = "rotate", "another failure each time: 401, failed, failed-quota, cut-before-output";
    Swap = "swap", "a good answer of the other kind: JSON for a stream, a stream for JSON";
    Mislabelled = "mislabelled", "a good answer with content type text/plain";
    Background = "background", "a response that is still queued";

    Encrypted = "encrypted", "a good answer with encrypted reasoning; 400-reasoning if it is sent another backend's";
    RefusesMetadata = "refuses-metadata", "a good answer; 400-parameter if it is sent metadata";

    NeedsToken = "needs-token", "a good answer to the latest access token of its own token endpoint, /oauth/token; else 401-token";
    NeedsTokenInBand = "needs-token-in-band", "the same; else failed-auth";
    NeedsKey = "needs-key", "a good answer to the key good-key; else 401";
    QuotaWithoutKey = "quota-without-key", "the same; else 429-quota";

    S400 = "400", "400, a field is wrong";
    S400Context = "400-context", "400 context_length_exceeded";
    S400GoogleKey = "400-google-key", "400 with reason API_KEY_INVALID";
    S400Model = "400-model", "400 that says in words that the model is not supported";
    S400Parameter = "400-parameter", "400 unknown_parameter, metadata";
    S400Policy = "400-policy", "400 content_filter";
    S400Reasoning = "400-reasoning", "400 invalid_encrypted_content";
    S401 = "401", "401 invalid_api_key";
    S401Token = "401-token", "401 token_expired";
    S401Quota = "401-quota", "401 insufficient_quota";
    S402 = "402", "402";
    S403 = "403", "403, a permission is missing";
    S403Html = "403-html", "403 with a firewall's HTML page";
    S404 = "404", "404 model_not_found";
    S404Html = "404-html", "404 with a web server's HTML page";
    S408 = "408", "408";
    S413 = "413", "413";
    S422 = "422", "422 in FastAPI's shape";
    S429 = "429", "429 rate_limit_exceeded with retry-after: 7";
    S429Quota = "429-quota", "429 usage_limit_reached, as the ChatGPT backend says it";
    S500 = "500", "500 server_error";
    S502Html = "502-html", "502 with a gateway's HTML page";
    S503 = "503", "503 server_is_overloaded with retry-after: 86400";
    S529 = "529", "529 overloaded_error";
    Redirect = "redirect", "307 to somewhere else";

    Failed = "failed", "200, and status failed with code server_error";
    FailedNoCode = "failed-no-code", "200, and status failed without an error";
    FailedWithOutput = "failed-with-output", "200, and status failed beside output items";
    FailedAuth = "failed-auth", "200, and status failed with code invalid_api_key";
    FailedQuota = "failed-quota", "200, and status failed with code insufficient_quota";
    FailedRateLimit = "failed-rate-limit", "200, and status failed with code rate_limit_exceeded";
    FailedOverloaded = "failed-overloaded", "200, and status failed with code server_is_overloaded";
    FailedModel = "failed-model", "200, and status failed with code model_not_found";
    FailedContext = "failed-context", "200, and status failed with code context_length_exceeded";
    FailedReasoning = "failed-reasoning", "200, and status failed with code invalid_encrypted_content";
    FailedPolicy = "failed-policy", "200, and status failed with code invalid_prompt";
    FailedImage = "failed-image", "200, and status failed with code invalid_image";
    CompletedFailed = "completed-failed", "200, response.completed with status failed inside";
    Cancelled = "cancelled", "200, and status cancelled";
    Error = "error", "200, and an error object: in a stream, an error event with a nested error";
    ErrorFlat = "error-flat", "200, and an error: in a stream, an error event with flat fields";
    ErrorPair = "error-pair", "200, response.failed with a null error, then an error event (Azure)";
    JsonFailed = "json-failed", "200 with JSON, also for a stream, and status failed";
    JsonError = "json-error", "200 with JSON, also for a stream, and an error object";
    StreamFailed = "stream-failed", "200 with a stream, also for JSON, and response.failed";
    StreamError = "stream-error", "200 with a stream, also for JSON, and an error event";
    StreamErrorPair = "stream-error-pair", "200 with a stream, also for JSON, and error-pair";
    ErrorNumber = "error-number", "200, and an error whose code is the number 429 (OpenRouter)";

    Empty = "empty", "200, completed without output";
    Html = "html", "200 with an HTML page";
    Text = "text", "200 with plain text";
    Broken = "broken", "200 with broken JSON; in a stream, an event of broken JSON";
    Truncated = "truncated", "200 whose body ends before its announced length";
    Chat = "chat", "200 with a chat completion";
    Unfinished = "unfinished", "200, still in_progress; a stream that ends after that";
    Eof = "eof", "200 without a body";
    DoneOnly = "done-only", "200, and the end mark without a terminal event";
    Oversized = "oversized", "200, and one event of two megabytes";

    Reset = "reset", "the connection is reset before an answer";
    CutBeforeOutput = "cut-before-output", "the connection breaks after the answer has begun";
    Silent = "silent", "no answer at all";
    SilentAfterHead = "silent-after-head", "a head, then nothing";
    SilentAfterCreated = "silent-after-created", "response.created, then nothing";

    CutAfterOutput = "cut-after-output", "the connection breaks after some output";
    EndAfterOutput = "end-after-output", "the stream ends cleanly after some output";
    Endless = "endless", "output without end, as fast as it is taken";
    StallAfterOutput = "stall-after-output", "nothing more after some output";
    BrokenAfterOutput = "broken-after-output", "an event of broken JSON after some output";
    DoneAfterOutput = "done-after-output", "the end mark after some output, without a terminal event";
    FailedAfterOutput = "failed-after-output", "response.failed after some output, body held open";
    CancelledAfterOutput = "cancelled-after-output", "response.cancelled after some output";
    CutInCompleted = "cut-in-completed", "some output, and a response.completed that is cut at a brace";
    CommentAfterOutput = "comment-after-output", "some output, a comment, and the end";
    CompletedFailedAfterOutput = "completed-failed-after-output", "response.completed with status failed inside, after some output";
    ErrorAfterOutput = "error-after-output", "an error event after some output, body held open";
    ErrorThenFailedAfterOutput = "error-then-failed-after-output", "an error event and its response.failed after some output";
    ReasoningThenFailed = "reasoning-then-failed", "response.failed after some reasoning";
    StallAfterCompleted = "stall-after-completed", "a good answer whose body does not end";
    EndWithoutBlankLine = "end-without-blank-line", "a good answer without the last blank line";
    TwiceTerminated = "twice-terminated", "a good answer, then a response.failed";
    NoEventLines = "no-event-lines", "a good answer with data lines only, in CRLF, in small chunks";
}

impl Fault {
    /// Whether it always is a failure: no good answer, nothing that depends on the request.
    pub fn is_failure(self) -> bool {
        let is_good = self.what().starts_with("a good answer");
        let depends = matches!(
            self,
            Self::Rotate
                | Self::Background
                | Self::NeedsTokenInBand
                | Self::QuotaWithoutKey
                | Self::Oversized
                | Self::Endless
                | Self::CommentAfterOutput
        );
        !is_good && !depends
    }

    /// The fault of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }

    /// The fault to play at the request of this number, counted from zero.
    pub fn at(self, count: usize) -> Self {
        // What is worth a retry stands twice, so that the retry meets the same failure.
        const TURNS: [Fault; 6] = [
            Fault::S401,
            Fault::Failed,
            Fault::Failed,
            Fault::FailedQuota,
            Fault::CutBeforeOutput,
            Fault::CutBeforeOutput,
        ];
        if self == Self::Rotate { TURNS[count % TURNS.len()] } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for fault in Fault::ALL {
            assert_eq!(Fault::from_name(fault.name()), Some(*fault));
        }
    }

    #[test]
    fn rotate_never_plays_itself() {
        let played: Vec<_> = (0..12).map(|count| Fault::Rotate.at(count)).collect();
        assert!(!played.contains(&Fault::Rotate));
        assert_ne!(played[0], played[1]);
        assert_eq!(played[..6], played[6..]);
    }
}
