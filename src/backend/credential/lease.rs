//! The use that one request makes of one credential.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;

use super::Credential;
use super::error::CredentialError;
use super::renewal::Version;

/// Renewals of one credential for one request.
const RENEWALS_MAX: u8 = 2;

/// The use that one request makes of one credential: which of its tokens was sent, and how often it
/// was renewed for this request. Its clones share it.
#[derive(Clone, Debug)]
pub struct Lease {
    credential: Arc<Credential>,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    version: Option<Version>,
    renewals: u8,
}

impl Lease {
    /// The use of a credential by a request that begins it.
    pub fn new(credential: &Arc<Credential>) -> Self {
        Self { credential: credential.clone(), used: Arc::default() }
    }

    /// Whose use it is.
    pub fn credential(&self) -> &Arc<Credential> {
        &self.credential
    }

    /// Adds the credential to the headers of an attempt, if it is there and good. `client` are the
    /// headers of the client's request.
    pub fn apply_ready(&self, client: &HeaderMap, headers: &mut HeaderMap) -> bool {
        let Some(renewal) = self.credential.apply_fixed(client, headers) else { return true };
        let Some(grant) = renewal.ready() else { return false };
        grant.token.apply(headers);
        self.used().version = Some(grant.version);
        true
    }

    /// Obtains the credential and adds it to the headers of an attempt.
    ///
    /// # Errors
    ///
    /// When it cannot be obtained.
    pub async fn apply(
        &self,
        client: &HeaderMap,
        headers: &mut HeaderMap,
    ) -> Result<(), CredentialError> {
        let Some(renewal) = self.credential.apply_fixed(client, headers) else { return Ok(()) };
        let before = renewal.version();
        let grant = renewal.obtain(None).await?;
        grant.token.apply(headers);
        let mut used = self.used();
        used.renewals += u8::from(before.is_some_and(|before| grant.version > before));
        used.version = Some(grant.version);
        Ok(())
    }

    /// After a rejection: whether there is a newer token now. Renews it if need be, within bounds.
    pub async fn renew(&self) -> bool {
        let Some(renewal) = self.credential.renewal() else { return false };
        let rejected = {
            let mut used = self.used();
            if used.renewals >= RENEWALS_MAX || !renewal.may_change() {
                return false;
            }
            used.renewals += 1;
            used.version
        };
        // Without a token nothing was rejected: it could not be obtained, which has been tried.
        match rejected {
            Some(_) => renewal.obtain(rejected).await.is_ok(),
            None => false,
        }
    }

    /// After the rejection of a token that was renewed for this request.
    pub fn pause(&self) {
        if let Some(renewal) = self.credential.renewal() {
            renewal.pause();
        }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
