//! The closed vocabulary of failures.

words! {
    /// What went wrong.
    Class {
        /// The credential was rejected, or could not be obtained.
        Auth = "auth",
        /// The credential is fine, and not allowed to do this: permission, region, firewall.
        Forbidden = "forbidden",
        /// No money or no allowance left.
        Quota = "quota",
        /// Too many requests for now.
        RateLimit = "rate_limit",
        /// The backend has no capacity for now.
        Overloaded = "overloaded",
        /// The backend broke.
        Server = "server",
        /// The connection could not be made, or broke.
        Network = "network",
        /// A time limit passed.
        Timeout = "timeout",
        /// The answer cannot be read, or ends too early.
        Malformed = "malformed",
        /// A finished answer with nothing in it.
        Empty = "empty",
        /// Cancelled, and nobody asked for it.
        Cancelled = "cancelled",
        /// This backend does not have this model.
        Model = "model",
        /// The request is too large for this model.
        ContextLength = "context_length",
        /// Encrypted reasoning that this backend cannot read.
        Reasoning = "reasoning",
        /// A content rule refused the request.
        Policy = "policy",
        /// The request is wrong wherever it goes.
        InvalidRequest = "invalid_request",
    }
}

impl Class {
    /// The failure in plain words, to stand after a target's name in a message to a client.
    ///
    /// Clients match on the text of errors (Hermes does, `insufficient_quota` and "context length"
    /// among others), so these words avoid every phrase that means something to one.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Auth => "rejected the credential that Sidestep has for it",
            Self::Forbidden => "refused access",
            Self::Quota => "has no allowance left",
            Self::RateLimit => "takes no more requests at the moment",
            Self::Overloaded => "has no free capacity",
            Self::Server => "failed internally",
            Self::Network => "could not be reached",
            Self::Timeout => "did not answer in time",
            Self::Malformed => "sent an answer that cannot be read",
            Self::Empty => "sent an empty answer",
            Self::Cancelled => "cancelled the request",
            Self::Model => "does not offer the model",
            Self::ContextLength => "cannot take a request of this size",
            Self::Reasoning => "cannot read the conversation's reasoning",
            Self::Policy => "declined the request",
            Self::InvalidRequest => "found the request invalid",
        }
    }
}

words! {
    /// What to do about a failure.
    Action {
        /// Renew the credential and ask the same target once more, then try the target's next
        /// credential, then the next target that does not share it.
        Refresh = "refresh",
        /// Leave out of the request what the answer finds fault with, and ask the same target once more.
        Repair = "repair",
        /// Ask the same target once more after a short random wait, then go on.
        Retry = "retry",
        /// Go on to the next target.
        Next = "next",
        /// Go on to the next target with a larger `context_window`; without one, return.
        NextLarger = "next_larger",
        /// Give the client this answer as it is.
        Return = "return",
    }
}

words! {
    /// What showed a failure.
    DetectedBy {
        /// The HTTP status line.
        Status = "status",
        /// The body under a good status.
        Body = "body",
        /// An event of the stream, or the lack of one.
        Event = "event",
        /// The connection.
        Transport = "transport",
        /// The clock.
        Timeout = "timeout",
        /// The credential itself: it could not be obtained.
        Credential = "credential",
    }
}

words! {
    /// When a failure was seen.
    Stage {
        /// Nothing has been sent to the backend.
        BeforeRequest = "before_request",
        /// No output has gone to the client: another target can still answer.
        BeforeCommit = "before_commit",
        /// Output has gone to the client: the answer cannot be replaced any more.
        AfterCommit = "after_commit",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_their_values() {
        for class in Class::ALL {
            assert_eq!(Class::from_word(class.as_str()), Some(*class));
        }
        assert_eq!(Class::from_word("Auth"), None);
    }

    #[test]
    fn the_words_for_clients_trigger_no_client() {
        // Patterns that Hermes acts on when it reads an error's text.
        let patterns = [
            "quota", "usage limit", "rate limit", "context length", "max_tokens", "input token",
            "authentication", "forbidden", "unauthorized", "does not exist", "overloaded",
            "timed out", "invalid_request_error", "try again", "billing", "token limit",
        ];
        for class in Class::ALL {
            for pattern in patterns {
                assert!(!class.in_words().contains(pattern), "{class}: {pattern}");
            }
        }
    }
}
