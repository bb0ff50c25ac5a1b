//! Where tokens come from: what each kind of credential has to tell the renewal.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use futures_util::future::BoxFuture;

use super::error::CredentialError;
use super::token::Token;

/// Where tokens come from.
pub(super) trait Source: fmt::Debug + Send + Sync + 'static {
    /// Where that is, in words without a secret.
    fn origin(&self) -> String;

    /// The file whose change means a new token.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// What is there without asking anybody. May block: it is called at start and off the workers.
    fn read(&self) -> Result<Reading, CredentialError> {
        Ok(Reading::default())
    }

    /// Saves what could not be saved before. May block.
    fn catch_up(&self) {}

    /// Why [`Source::renew`] can bring nothing new, if so.
    fn fixed_because(&self) -> Option<CredentialError> {
        None
    }

    /// A newer token than `held`.
    fn renew(&self, held: Option<Token>) -> BoxFuture<'_, Result<Renewed, CredentialError>>;
}

/// What is there without asking anybody.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// The token.
    pub(super) token: Option<Token>,
    /// When it was last renewed.
    pub(super) last_refresh: Option<SystemTime>,
    /// Why it must not be renewed.
    pub(super) refused: Option<CredentialError>,
}

/// A newer token.
#[derive(Debug)]
pub(super) struct Renewed {
    /// The token.
    pub(super) token: Token,
    /// How it came about.
    pub(super) outcome: Outcome,
}

/// How a renewal ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was asked for and given.
    Renewed,
    /// Somebody else had renewed it.
    Adopted,
}
