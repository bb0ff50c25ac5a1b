//! What comes of an attempt, and of a whole chain.

use std::time::Duration;

use axum::body::Body;
use http::Response;

use super::Target;
use crate::verdict::{Class, Failure};

/// An answer with its verdict. The policy of failover exists only for this, never for a response.
#[derive(Debug)]
pub enum Answer {
    /// Good: the client gets it. Output may already wait in its body.
    Relay(Response<Body>),
    /// Not judged: the client gets it as it is, and nothing follows from it.
    Unjudged(Response<Body>),
    /// A failure, with the backend's own words where it has some that could stand as they are.
    Failed(Failure, Option<Response<Body>>),
}

/// Every target that could be tried has failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("every target failed")]
pub struct Exhausted {
    /// Each failed attempt, in order. Empty when everything was on the bench and left there.
    pub attempts: Vec<(Target, Failure)>,
}

impl Exhausted {
    /// Whether a backend was only busy with too many requests, so that waiting would help.
    pub fn asks_to_wait(&self) -> bool {
        self.attempts.iter().any(|(_, failure)| failure.class == Class::RateLimit)
    }

    /// The shortest wait that a backend asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.attempts.iter().filter_map(|(_, failure)| failure.retry_after).min()
    }
}
