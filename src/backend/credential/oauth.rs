//! A login with a refresh token, kept in a file of our own.
//!
//! A refresh token is good for one exchange, so whoever exchanges it has to keep the new one. The
//! lock spans read, exchange and write; inside it the file is read again, and tokens that a peer has
//! renewed are adopted instead of spending anything.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use super::error::CredentialError;
use super::source::{Outcome, Reading, Renewed, Source};
use super::token::Token;
use super::token_endpoint::{Exchange, Granted, Refusal};
use super::token_file::{Locked, TokenFile, Tokens};
use crate::config::Secret;
use crate::verdict::CredentialFault;

/// A login with a refresh token, kept in a file of our own.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) exchange: Exchange,
    pub(super) file: TokenFile,
    /// How long to wait for a peer that renews.
    pub(super) lock_timeout: Duration,
    /// Makes what is sent out of the tokens.
    pub(super) token_of: fn(&Tokens) -> Result<Option<Token>, CredentialError>,
    /// The command that logs in anew.
    pub(super) login_command: &'static str,
    pub(super) unsaved: Mutex<Option<Unsaved>>,
}

/// Tokens that the file would not take.
#[derive(Debug)]
pub(super) struct Unsaved {
    /// The spent refresh token that the file still holds: with another one it is newer than these.
    in_file: Secret,
    tokens: Tokens,
}

impl Source for Login {
    fn origin(&self) -> String {
        format!("file {}", self.file.path.display())
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.file.path)
    }

    fn read(&self) -> Result<Reading, CredentialError> {
        let tokens = self.file.read().map_err(|error| match error.fault {
            CredentialFault::Missing => self.told(error),
            _ => error,
        })?;
        self.reading(&tokens)
    }

    fn catch_up(&self) {
        let Some(unsaved) = self.unsaved().take() else { return };
        // A peer that holds the lock, or a file that has changed, leaves it for the next time.
        let saved = match (self.file.try_lock(), self.file.read()) {
            (Ok(Some(lock)), Ok(stored))
                if stored.refresh_token.as_ref() == Some(&unsaved.in_file) =>
            {
                self.file.write(&unsaved.tokens, &lock).is_ok()
            }
            _ => false,
        };
        if saved {
            tracing::info!(file = %self.file.path.display(), "renewed tokens are saved now");
        } else {
            *self.unsaved() = Some(unsaved);
        }
    }

    fn renew(&self, held: Option<Token>) -> BoxFuture<'_, Result<Renewed, CredentialError>> {
        Box::pin(async move {
            let lock = self.file.lock(self.lock_timeout).await?;
            let stored = self.stored()?;
            if let Some(token) = self.adoptable(&stored, held.as_ref())? {
                return Ok(Renewed { token, outcome: Outcome::Adopted });
            }
            if let Some(code) = &stored.refused {
                return Err(self.refused(code));
            }
            let Some(refresh_token) = stored.refresh_token.clone() else {
                let what = "its access token is over, and it holds no refresh_token";
                return Err(self.told(self.file.problem(CredentialFault::Expired, what)));
            };
            match self.exchange.refresh(&refresh_token).await {
                Ok(granted) => self.keep(stored, refresh_token, granted, &lock),
                Err(Refusal::Dead(code)) => self.bury(stored, &code, &lock, held.as_ref()),
                Err(Refusal::Client(code)) => Err(self.exchange.error(
                    CredentialFault::Refused,
                    &format!("{code}: check client_id and client_secret"),
                )),
                Err(Refusal::Transient(error)) => Err(error),
            }
        })
    }
}

impl Login {
    fn reading(&self, tokens: &Tokens) -> Result<Reading, CredentialError> {
        Ok(Reading {
            token: (self.token_of)(tokens)?,
            last_refresh: tokens.last_refresh(),
            refused: tokens.refused.as_deref().map(|code| self.refused(code)),
        })
    }

    /// What the file holds, or what it should hold.
    fn stored(&self) -> Result<Tokens, CredentialError> {
        let unsaved = self.unsaved();
        match (self.file.read(), &*unsaved) {
            (Ok(tokens), Some(unsaved))
                if tokens.refresh_token.as_ref() == Some(&unsaved.in_file) =>
            {
                Ok(unsaved.tokens.clone())
            }
            (Ok(tokens), _) => Ok(tokens),
            (Err(_), Some(unsaved)) => Ok(unsaved.tokens.clone()),
            (Err(error), None) => Err(self.told(error)),
        }
    }

    /// A token in the file that is another than the one held, and good.
    fn adoptable(
        &self,
        stored: &Tokens,
        held: Option<&Token>,
    ) -> Result<Option<Token>, CredentialError> {
        let token = (self.token_of)(stored)?.filter(|token| {
            let is_other = held.is_none_or(|held| !held.is(token));
            is_other && !token.is_expired(SystemTime::now())
        });
        Ok(token)
    }

    /// Stores what was granted. If the file does not take it, memory does.
    fn keep(
        &self,
        stored: Tokens,
        spent: Secret,
        granted: Granted,
        lock: &Locked,
    ) -> Result<Renewed, CredentialError> {
        let now = unix_now();
        let expires_in = granted.expires_in.and_then(|left| Duration::try_from_secs_f64(left).ok());
        let tokens = Tokens {
            access_token: Some(granted.access_token),
            refresh_token: granted.refresh_token.or(stored.refresh_token),
            id_token: granted.id_token.or(stored.id_token),
            account_id: stored.account_id,
            expires_at: expires_in.map(|left| now.saturating_add(left.as_secs())),
            last_refresh: Some(now),
            refused: None,
        };
        match self.file.write(&tokens, lock) {
            Ok(()) => *self.unsaved() = None,
            Err(error) => {
                tracing::error!(
                    file = %self.file.path.display(),
                    error = &error as &dyn std::error::Error,
                    "renewed tokens cannot be saved; they work until this process ends: make the file writable before that"
                );
                let mut unsaved = self.unsaved();
                let in_file = unsaved.take().map_or(spent, |before| before.in_file);
                *unsaved = Some(Unsaved { in_file, tokens: tokens.clone() });
            }
        }
        let token = (self.token_of)(&tokens)?;
        let missing = || self.file.problem(CredentialFault::Missing, "no access_token");
        Ok(Renewed { token: token.ok_or_else(missing)?, outcome: Outcome::Renewed })
    }

    /// The refresh token is dead, unless somebody who does not know our lock has changed the file.
    fn bury(
        &self,
        stored: Tokens,
        code: &str,
        lock: &Locked,
        held: Option<&Token>,
    ) -> Result<Renewed, CredentialError> {
        let again = self.stored()?;
        if again.refresh_token != stored.refresh_token {
            if let Some(token) = self.adoptable(&again, held)? {
                return Ok(Renewed { token, outcome: Outcome::Adopted });
            }
            // Its refresh token is another one: to be tried next time.
            let what = "the file has changed meanwhile";
            return Err(self.file.problem(CredentialFault::Unavailable, what));
        }
        // Written down, so that no restart sends it again.
        let tokens = Tokens { refused: Some(code.to_owned()), ..stored };
        if let Err(error) = self.file.write(&tokens, lock) {
            tracing::warn!(
                file = %self.file.path.display(),
                error = &error as &dyn std::error::Error,
                "it cannot be noted in the file that its refresh token is dead"
            );
        }
        Err(self.refused(code))
    }

    fn refused(&self, code: &str) -> CredentialError {
        self.told(self.exchange.error(CredentialFault::Refused, code))
    }

    fn told(&self, mut error: CredentialError) -> CredentialError {
        error.text = format!("{}; log in anew with `{}`", error.text, self.login_command);
        error
    }

    fn unsaved(&self) -> MutexGuard<'_, Option<Unsaved>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an OAuth login sends: its access token alone.
pub(super) fn token_of(tokens: &Tokens) -> Result<Option<Token>, CredentialError> {
    use crate::config::auth::AuthHeader;
    let Some(access_token) = &tokens.access_token else { return Ok(None) };
    let token = Token::new(&AuthHeader::Bearer, access_token.expose())?;
    Ok(Some(token.expiring(tokens.expires_at(), tokens.lifetime())))
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
