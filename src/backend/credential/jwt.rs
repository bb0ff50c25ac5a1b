//! What a JSON Web Token says of itself (RFC 7519). Nothing is verified: the backend does that, and
//! here it is only asked when to renew.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The claims that matter here.
#[derive(Debug, Default, Deserialize, PartialEq)]
pub(super) struct Claims {
    /// Seconds since 1970 at which it expires.
    exp: Option<f64>,
    /// Seconds since 1970 at which it was issued.
    iat: Option<f64>,
    /// What OpenAI adds (openai/codex, `login::token_data`).
    #[serde(rename = "https://api.openai.com/auth")]
    openai: Option<OpenAi>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct OpenAi {
    chatgpt_account_id: Option<String>,
}

impl Claims {
    /// The claims of a token; `None` when it is no such token.
    pub(super) fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
        else {
            return None;
        };
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    pub(super) fn expires_at(&self) -> Option<SystemTime> {
        since_1970(self.exp?)
    }

    pub(super) fn lifetime(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.exp? - self.iat?).ok()
    }

    pub(super) fn account_id(&self) -> Option<&str> {
        self.openai.as_ref()?.chatgpt_account_id.as_deref()
    }
}

/// A moment in seconds since 1970.
pub(super) fn since_1970(seconds: f64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn reads_expiry_lifetime_and_account() {
        let claims = Claims::read(&token(
            r#"{"exp":1790000000,"iat":1789996400,"https://api.openai.com/auth":{"chatgpt_account_id":"acc"}}"#,
        ))
        .unwrap();
        assert_eq!(claims.expires_at(), since_1970(1_790_000_000.0));
        assert_eq!(claims.lifetime(), Some(Duration::from_hours(1)));
        assert_eq!(claims.account_id(), Some("acc"));
    }

    #[test]
    fn what_is_no_token_says_nothing() {
        for text in ["", "sk-proj-1", "a.b", "a.b.c", "e30.e30.e30.e30", &token("[]")] {
            assert_eq!(Claims::read(text), None, "{text}");
        }
        assert_eq!(Claims::read(&token("{\"exp\":-1e300}")).unwrap().expires_at(), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,64}", claims in ".{0,64}") {
            let _ = Claims::read(&text);
            if let Some(claims) = Claims::read(&token(&claims)) {
                let _ = (claims.expires_at(), claims.lifetime());
            }
        }
    }
}
