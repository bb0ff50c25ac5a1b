//! What is known of one credential's token, and what can be done about it. No I/O.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::error::CredentialError;
use super::super::source::{Reading, Source};
use super::super::token::Token;
use crate::config::checked::Credentials;
use crate::config::stamp::Stamp;

/// How a run of the renewal ended; `None` while it runs.
pub(super) type Ended = Option<Result<(), CredentialError>>;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) grant: Option<Grant>,
    pub(super) last_refresh: Option<SystemTime>,
    /// What was wrong with the file when it was last read.
    pub(super) problem: Option<CredentialError>,
    /// Why nothing is renewed until the file changes.
    pub(super) refused: Option<CredentialError>,
    /// Why nothing is renewed until a moment.
    pub(super) pause: Option<(Instant, CredentialError)>,
    pub(super) failures: u32,
    /// How the file looked when it was last read.
    pub(super) stamp: Option<Stamp>,
    pub(super) next_look: Option<Instant>,
    pub(super) running: Option<watch::Receiver<Ended>>,
}

/// What can be done about a token.
pub(super) enum Standing {
    /// Send this one.
    Good(Grant),
    /// Get a newer one than this.
    Renew(Option<Token>),
    /// Nothing.
    Stuck(CredentialError),
}

/// Counts the tokens of a credential.
pub(in super::super) type Version = u64;

/// A token and its number.
#[derive(Clone, Debug)]
pub(in super::super) struct Grant {
    pub(in super::super) token: Arc<Token>,
    pub(in super::super) version: Version,
}

impl State {
    /// What can be done for somebody whose token of version `rejected` was rejected, or who has none.
    pub(super) fn standing(
        &self,
        rejected: Option<Version>,
        source: &dyn Source,
        settings: &Credentials,
    ) -> Standing {
        let now = SystemTime::now();
        let held = self.best(rejected);
        match &held {
            Some(grant) if !grant.token.is_due(now, settings.expiry_skew) => {
                return Standing::Good(grant.clone());
            }
            _ => {}
        }
        let trouble = match source.fixed_because() {
            Some(because) => Some(self.problem.clone().unwrap_or(because)),
            None => self.refused.clone().or_else(|| self.paused()),
        };
        match (trouble, held) {
            (None, _) => {
                Standing::Renew(self.grant.as_ref().map(|grant| Token::clone(&grant.token)))
            }
            // It will expire soon, and until then it is good.
            (Some(_), Some(grant)) => Standing::Good(grant),
            (Some(trouble), None) => Standing::Stuck(trouble),
        }
    }

    /// The token, if it is newer than `rejected` and has not expired.
    pub(super) fn best(&self, rejected: Option<Version>) -> Option<Grant> {
        let is_newer = |grant: &&Grant| rejected.is_none_or(|rejected| grant.version > rejected);
        let is_alive = |grant: &&Grant| !grant.token.is_expired(SystemTime::now());
        self.grant.as_ref().filter(is_newer).filter(is_alive).cloned()
    }

    /// Why nothing is renewed right now.
    pub(super) fn paused(&self) -> Option<CredentialError> {
        let (until, error) = self.pause.as_ref()?;
        (*until > Instant::now()).then(|| error.clone())
    }

    /// Takes in what a file holds; whether it holds another token than before.
    pub(super) fn take_in(&mut self, reading: Reading) -> bool {
        (self.problem, self.pause, self.failures) = (None, None, 0);
        self.refused = reading.refused;
        self.last_refresh = reading.last_refresh.or(self.last_refresh);
        match (reading.token, &self.grant) {
            (None, _) => false,
            (Some(token), Some(held)) if held.token.is(&token) => false,
            (Some(token), _) => {
                let refused = self.refused.take();
                self.replace(token);
                self.refused = refused;
                true
            }
        }
    }

    pub(super) fn replace(&mut self, token: Token) {
        let version = self.grant.as_ref().map_or(1, |grant| grant.version + 1);
        self.grant = Some(Grant { token: Arc::new(token), version });
        (self.problem, self.refused, self.pause, self.failures) = (None, None, None, 0);
    }
}
