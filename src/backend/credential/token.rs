//! A token that can be sent, and how long it is good for.

use std::time::{Duration, SystemTime};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::error::CredentialError;
use super::jwt::Claims;
use crate::config::Secret;
use crate::config::auth::AuthHeader;
use crate::verdict::CredentialFault;

/// A token that can be sent. `Debug` shows no secret: its header values are marked sensitive.
#[derive(Clone, Debug)]
pub(super) struct Token {
    secret: Secret,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Adds what the backend demands beside the token.
    complete: Option<fn(&mut HeaderMap)>,
    expires_at: Option<SystemTime>,
    lifetime: Option<Duration>,
}

impl Token {
    /// A token that goes into `header`. If it is a JSON Web Token, it says itself when it expires.
    pub(super) fn new(header: &AuthHeader, secret: &str) -> Result<Self, CredentialError> {
        let secret = secret.trim();
        if secret.is_empty() {
            return Err(CredentialError::new(CredentialFault::Missing, "the secret is empty"));
        }
        let value = match header {
            AuthHeader::Bearer => (AUTHORIZATION, sensitive(&format!("Bearer {secret}"))?),
            AuthHeader::Named(name) => (name.clone(), sensitive(secret)?),
        };
        let claims = Claims::read(secret).unwrap_or_default();
        Ok(Self {
            secret: Secret::from(secret),
            headers: vec![value],
            complete: None,
            expires_at: claims.expires_at(),
            lifetime: claims.lifetime(),
        })
    }

    /// Adds a header that belongs to it.
    pub(super) fn with_header(
        mut self,
        name: HeaderName,
        value: &str,
    ) -> Result<Self, CredentialError> {
        self.headers.push((name, sensitive(value)?));
        Ok(self)
    }

    /// Adds what its backend demands beside it.
    pub(super) fn completed_by(mut self, complete: fn(&mut HeaderMap)) -> Self {
        self.complete = Some(complete);
        self
    }

    /// Says when it expires, where that is known from elsewhere.
    pub(super) fn expiring(mut self, at: Option<SystemTime>, lifetime: Option<Duration>) -> Self {
        self.expires_at = at.or(self.expires_at);
        self.lifetime = lifetime.or(self.lifetime);
        self
    }

    /// Forgets when it expires.
    pub(super) fn without_expiry(mut self) -> Self {
        self.expires_at = None;
        self
    }

    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }

    /// Whether it is time to renew it. A token that lives shortly is not renewed all the time.
    pub(super) fn is_due(&self, now: SystemTime, skew: Duration) -> bool {
        let skew = self.lifetime.map_or(skew, |lifetime| skew.min(lifetime / 4));
        self.expires_at.is_some_and(|at| now + skew >= at)
    }

    /// Whether it is the same secret.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.secret == other.secret
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Adds it to the headers of an attempt.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        if let Some(complete) = self.complete {
            complete(headers);
        }
    }
}

/// A header value that no log shows and no header compression keeps.
pub(super) fn sensitive(text: &str) -> Result<HeaderValue, CredentialError> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        let text = "the secret has characters that no header can hold";
        CredentialError::new(CredentialFault::Unreadable, text)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(seconds_left: u64, lifetime: Option<u64>) -> (Token, SystemTime) {
        let now = SystemTime::now();
        let token = Token::new(&AuthHeader::Bearer, "secret-1").unwrap().expiring(
            Some(now + Duration::from_secs(seconds_left)),
            lifetime.map(Duration::from_secs),
        );
        (token, now)
    }

    #[test]
    fn is_due_before_it_expires() {
        const SKEW: Duration = Duration::from_secs(120);
        for (left, lifetime, is_due) in [
            (3600, Some(3600), false),
            (121, None, false),
            (120, None, true),
            (16, Some(60), false),
            (15, Some(60), true),
        ] {
            let (token, now) = token(left, lifetime);
            assert_eq!(token.is_due(now, SKEW), is_due, "{left} of {lifetime:?}");
            assert!(!token.is_expired(now));
        }
        let (token, now) = token(0, None);
        assert!(token.is_expired(now));
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = Token::new(&AuthHeader::Bearer, "secret-1").unwrap();
        let token = token.with_header(HeaderName::from_static("x"), "secret-2").unwrap();
        assert!(!format!("{token:?}").contains("secret-"));
    }
}
