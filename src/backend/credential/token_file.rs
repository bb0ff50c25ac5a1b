//! Our own file with the tokens of a login: read, written as a whole, locked against other processes.
//!
//! What a crash can cost: a refresh token is good for one exchange. If the process is killed after
//! the token endpoint has answered and before the new tokens are in the file, they are lost, and the
//! file still holds the spent one: the next exchange is refused and a new login is needed. The
//! window is a write and a sync long. At every other moment the file holds one whole set of tokens.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::CredentialError;
use super::file::read_secret;
use super::jwt::since_1970;
use crate::config::Secret;
use crate::durable::{self, FILE_MODE};
use crate::verdict::CredentialFault;

/// The pause between two looks at a lock that another process holds.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The tokens of a login.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Tokens {
    /// What backends take. Absent until the first exchange.
    pub access_token: Option<Secret>,
    /// What the token endpoint takes, once.
    pub refresh_token: Option<Secret>,
    /// Who has logged in.
    pub id_token: Option<Secret>,
    /// The account to work for.
    pub account_id: Option<Secret>,
    /// Seconds since 1970 at which the access token expires, where it does not say so itself.
    pub expires_at: Option<u64>,
    /// Seconds since 1970 at which the tokens were obtained.
    pub last_refresh: Option<u64>,
    /// Why the refresh token must not be sent again: the token endpoint's code.
    pub refused: Option<String>,
}

/// [`Tokens`] on their way into the file.
#[derive(Serialize)]
struct Exposed<'a> {
    access_token: Option<&'a str>,
    refresh_token: Option<&'a str>,
    id_token: Option<&'a str>,
    account_id: Option<&'a str>,
    expires_at: Option<u64>,
    last_refresh: Option<u64>,
    refused: Option<&'a str>,
}

impl Tokens {
    /// A login of which only the refresh token is known.
    pub fn of_refresh_token(refresh_token: Secret) -> Self {
        Self {
            access_token: None,
            refresh_token: Some(refresh_token),
            id_token: None,
            account_id: None,
            expires_at: None,
            last_refresh: None,
            refused: None,
        }
    }

    pub(super) fn last_refresh(&self) -> Option<SystemTime> {
        since_1970(Duration::from_secs(self.last_refresh?).as_secs_f64())
    }

    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        since_1970(Duration::from_secs(self.expires_at?).as_secs_f64())
    }

    /// How long the access token lives in all.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        Some(Duration::from_secs(self.expires_at?.checked_sub(self.last_refresh?)?))
    }

    fn exposed(&self) -> Exposed<'_> {
        Exposed {
            access_token: self.access_token.as_ref().map(Secret::expose),
            refresh_token: self.refresh_token.as_ref().map(Secret::expose),
            id_token: self.id_token.as_ref().map(Secret::expose),
            account_id: self.account_id.as_ref().map(Secret::expose),
            expires_at: self.expires_at,
            last_refresh: self.last_refresh,
            refused: self.refused.as_deref(),
        }
    }
}

/// Our own file with the tokens of a login.
#[derive(Clone, Debug)]
pub struct TokenFile {
    /// Where it is.
    pub path: PathBuf,
    /// It is not read further than this.
    pub bytes_max: usize,
}

/// Keeps other processes out until it is dropped.
#[derive(Debug)]
pub struct Locked(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

impl TokenFile {
    /// The tokens in it.
    ///
    /// # Errors
    ///
    /// When there is no such file, or it holds something else.
    pub fn read(&self) -> Result<Tokens, CredentialError> {
        let text = read_secret(&self.path, self.bytes_max)?;
        // Serde's own words would quote what stands there.
        let tokens: Tokens = serde_json::from_str(text.expose())
            .map_err(|_| self.problem(CredentialFault::Unreadable, "no JSON object with tokens"))?;
        if tokens.access_token.is_none() && tokens.refresh_token.is_none() {
            let what = "neither access_token nor refresh_token; is it another program's file?";
            return Err(self.problem(CredentialFault::Unreadable, what));
        }
        Ok(tokens)
    }

    /// Puts tokens into it: all or nothing, durably, for its owner alone. Holds the lock meanwhile.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written to or the disk is full; the file is as it was then.
    pub fn write(&self, tokens: &Tokens, _: &Locked) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec_pretty(&tokens.exposed())?);
        durable::replace(&self.path, &text)
    }

    /// Makes the folder, if there is none.
    ///
    /// # Errors
    ///
    /// When that is not allowed.
    pub fn create_folder(&self) -> io::Result<()> {
        durable::create_folder(&self.path)
    }

    /// Waits until no other process holds the lock, `timeout` at most.
    ///
    /// # Errors
    ///
    /// When the time is over, or the folder cannot be written to.
    pub async fn lock(&self, timeout: Duration) -> Result<Locked, CredentialError> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.try_lock()? {
                Some(locked) => return Ok(locked),
                None if Instant::now() < deadline => tokio::time::sleep(LOCK_PAUSE).await,
                None => {
                    let what = format!("another process has held its lock for {timeout:?}");
                    return Err(self.problem(CredentialFault::Unavailable, &what));
                }
            }
        }
    }

    /// The lock; `None` while another process holds it.
    ///
    /// # Errors
    ///
    /// When the folder cannot be written to.
    pub fn try_lock(&self) -> Result<Option<Locked>, CredentialError> {
        let path = durable::beside(&self.path, "lock");
        let problem = |error: io::Error| {
            let what = format!("it cannot be locked by {}: {error}", path.display());
            self.problem(CredentialFault::Unavailable, &what)
        };
        // Never removed: a lock on a file that is gone would keep nobody out.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(&path).map_err(problem)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Locked(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(problem(error)),
        }
    }

    pub(super) fn problem(&self, fault: CredentialFault, what: &str) -> CredentialError {
        CredentialError::new(fault, format!("file {}: {what}", self.path.display()))
    }
}
