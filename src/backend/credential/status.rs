//! How a credential stands, for people and for metrics: read only, never renewing, no secret.

use std::time::SystemTime;

use super::{Credential, Kind};
use crate::verdict::CredentialFault;

/// How a credential stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// The word for its kind.
    pub kind: &'static str,
    /// Where it comes from.
    pub origin: String,
    /// Its state in a word of [`states`].
    pub state: &'static str,
    /// When it expires, where that is known.
    pub expires_at: Option<SystemTime>,
    /// When it was last renewed, where that is known.
    pub last_refresh: Option<SystemTime>,
    /// What is wrong, and what to do about it.
    pub trouble: Option<String>,
}

/// There is a credential to send.
const PRESENT: &str = "present";
/// There will be one when it is asked for.
const ON_DEMAND: &str = "on_demand";
/// It has expired. For a renewable one that only means that the next request renews it.
const EXPIRED: &str = CredentialFault::Expired.as_str();

/// Its renewal was refused for good.
const REFUSED: &str = CredentialFault::Refused.as_str();

/// Every state that a credential can be in.
pub fn states() -> impl Iterator<Item = &'static str> {
    [PRESENT, ON_DEMAND].into_iter().chain(CredentialFault::ALL.iter().map(|fault| fault.as_str()))
}

impl Credential {
    /// How it stands. Looks at memory only.
    pub fn status(&self) -> Status {
        let fixed = |origin: &str, state| Status {
            kind: self.kind_word,
            origin: origin.to_owned(),
            state,
            expires_at: None,
            last_refresh: None,
            trouble: None,
        };
        let renewal = match &self.kind {
            Kind::None => return fixed("no credential", PRESENT),
            Kind::Passthrough => return fixed("the client's own", ON_DEMAND),
            Kind::Fixed { origin, .. } => return fixed(origin, PRESENT),
            Kind::Renewed(renewal) => renewal,
        };
        let (token, last_refresh, trouble) = renewal.standing();
        let expires_at = token.as_ref().and_then(|token| token.expires_at());
        let is_expired = token.as_ref().is_some_and(|token| token.is_expired(SystemTime::now()));
        let state = match (&token, &trouble) {
            // It may work until it expires, and then only a new login helps: worth an alert now.
            (_, Some(trouble)) if trouble.fault == CredentialFault::Refused => REFUSED,
            // Whatever is wrong with its renewal at the moment, it works.
            (Some(_), _) if !is_expired => PRESENT,
            (_, Some(trouble)) => trouble.fault.as_str(),
            (Some(_), None) => EXPIRED,
            (None, None) => ON_DEMAND,
        };
        Status {
            kind: self.kind_word,
            origin: renewal.origin(),
            state,
            expires_at,
            last_refresh,
            trouble: trouble.map(|trouble| trouble.text),
        }
    }
}
