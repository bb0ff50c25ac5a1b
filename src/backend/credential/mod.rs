//! What proves to a backend who we are.

use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use super::transport::ClientError;
use crate::config::checked::Auth;

/// A credential that does not change while the program runs. `Debug` shows no secret.
#[derive(Clone)]
pub struct Credential {
    header: Option<(HeaderName, HeaderValue)>,
}

impl Credential {
    /// The credential of the configuration.
    ///
    /// # Errors
    ///
    /// When the secret has characters that no header can hold.
    pub fn new(auth: &Auth) -> Result<Self, ClientError> {
        let header = match auth {
            Auth::None => None,
            Auth::Bearer(secret) => {
                Some((AUTHORIZATION, sensitive(&format!("Bearer {}", secret.expose_secret()))?))
            }
            Auth::Header { name, secret } => {
                Some((name.clone(), sensitive(secret.expose_secret())?))
            }
        };
        Ok(Self { header })
    }

    /// Adds it to the headers of an attempt.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if let Some((name, value)) = &self.header {
            headers.insert(name, value.clone());
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.header.as_ref().map(|(name, _)| name.as_str());
        f.debug_struct("Credential").field("header", &name).finish_non_exhaustive()
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| ClientError::Secret)?;
    value.set_sensitive(true);
    Ok(value)
}
