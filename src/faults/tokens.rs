//! The fault backend's token endpoint: rotates refresh tokens that are good for one use, and fails
//! on request.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

/// How many requests are remembered.
const REQUESTS_MAX: usize = 1000;

/// A way to refuse a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// 401 `refresh_token_reused`, nested.
    Reused,
    /// 401 `refresh_token_expired`, nested.
    Expired,
    /// 401 `refresh_token_invalidated`, nested.
    Invalidated,
    /// 400 `invalid_grant`, flat.
    InvalidGrant,
    /// 401 `invalid_client`, flat.
    InvalidClient,
    /// 403 without a code.
    Forbidden,
    /// 429 with `retry-after: 1`.
    TooMany,
    /// 500 without a body.
    Broken,
    /// 200 with HTML.
    Html,
    /// 200 without an access token.
    Empty,
    /// 200 with a megabyte of JSON.
    Huge,
    /// 307 to somewhere else.
    Redirect,
    /// No answer; the refresh token stays good.
    Silent,
}

impl Default for State {
    fn default() -> Self {
        Self {
            serial: 0,
            access_token: None,
            lifetime: Duration::from_hours(1),
            uses: 0,
            uses_max: None,
            delay: Duration::ZERO,
            next: VecDeque::new(),
            always: None,
            requests: VecDeque::new(),
            count: 0,
            reused: 0,
        }
    }
}

impl TokenFault {
    fn answer(self) -> Option<(u16, String)> {
        let nested = |code: &str| {
            (401, json!({ "error": { "message": "Log in again.", "code": code } }).to_string())
        };
        Some(match self {
            Self::Reused => nested("refresh_token_reused"),
            Self::Expired => nested("refresh_token_expired"),
            Self::Invalidated => nested("refresh_token_invalidated"),
            Self::InvalidGrant => (400, r#"{"error":"invalid_grant"}"#.to_owned()),
            Self::InvalidClient => (401, r#"{"error":"invalid_client"}"#.to_owned()),
            Self::Forbidden => (403, "{}".to_owned()),
            Self::TooMany => (429, r#"{"error":"slow_down"}"#.to_owned()),
            Self::Broken => (500, String::new()),
            Self::Html => (200, "<html>maintenance</html>".to_owned()),
            Self::Empty => (200, "{}".to_owned()),
            Self::Huge => (200, format!("{{\"x\":\"{}\"}}", "x".repeat(1 << 20))),
            Self::Redirect => (307, String::new()),
            Self::Silent => return None,
        })
    }
}

/// A request to the token endpoint.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// Its content type.
    pub media_type: String,
    /// Its body.
    pub body: Bytes,
}

/// The tokens of one login, the latest of which are good.
#[derive(Debug, Default)]
pub struct Tokens {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    serial: u64,
    access_token: Option<String>,
    lifetime: Duration,
    uses: usize,
    uses_max: Option<usize>,
    delay: Duration,
    next: VecDeque<TokenFault>,
    always: Option<TokenFault>,
    requests: VecDeque<TokenRequest>,
    count: usize,
    reused: usize,
}

impl Tokens {
    /// Logs in anew: an access token that lives for `lifetime`, and a refresh token. Those before are
    /// no good any more.
    pub fn login(&self, lifetime: Duration) -> (String, String) {
        let mut state = self.lock();
        state.lifetime = lifetime;
        state.rotate()
    }

    /// Access tokens live for this long from the next one on.
    pub fn live_for(&self, lifetime: Duration) {
        self.lock().lifetime = lifetime;
    }

    /// The access token is not taken any more, whatever it says of itself.
    pub fn revoke(&self) {
        self.lock().access_token = None;
    }

    /// An access token is taken this often.
    pub fn limit_uses(&self, uses_max: usize) {
        self.lock().uses_max = Some(uses_max);
    }

    /// The endpoint takes its time after a refresh token is spent.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// The next requests are refused in these ways.
    pub fn fail(&self, faults: impl IntoIterator<Item = TokenFault>) {
        self.lock().next.extend(faults);
    }

    /// Every request is refused in this way from now on.
    pub fn fail_always(&self, fault: Option<TokenFault>) {
        self.lock().always = fault;
    }

    /// The requests so far, oldest first; the last thousand of them.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.lock().requests.iter().cloned().collect()
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// How many of them brought a refresh token that was spent.
    pub fn reused(&self) -> usize {
        self.lock().reused
    }

    /// The refresh token that is good.
    pub fn refresh_token(&self) -> String {
        self.lock().refresh_token()
    }

    /// Whether a request brings the access token that is good.
    pub(super) fn accepts(&self, headers: &HeaderMap) -> bool {
        let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| value.strip_prefix("Bearer "));
        let mut state = self.lock();
        if sent.is_none() || sent != state.access_token.as_deref() {
            return false;
        }
        state.uses += 1;
        state.uses_max.is_none_or(|uses_max| state.uses <= uses_max)
    }

    /// The answer to a request; `None` for none at all.
    pub(super) async fn answer(
        &self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Option<(StatusCode, String)> {
        let (delay, answer) = self.judge(headers, body);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let (status, body) = answer?;
        Some((StatusCode::from_u16(status).unwrap_or_default(), body))
    }

    fn judge(&self, headers: &HeaderMap, body: Bytes) -> (Duration, Option<(u16, String)>) {
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.unwrap_or_default().to_owned();
        let sent = refresh_token_in(&media_type, &body);
        let mut state = self.lock();
        state.count += 1;
        if state.requests.len() == REQUESTS_MAX {
            state.requests.pop_front();
        }
        state.requests.push_back(TokenRequest { media_type, body });
        if let Some(fault) = state.next.pop_front().or(state.always) {
            return (state.delay, fault.answer());
        }
        if sent.as_deref() != Some(&state.refresh_token()) {
            state.reused += 1;
            return (state.delay, TokenFault::Reused.answer());
        }
        let (access_token, refresh_token) = state.rotate();
        let expires_in = state.lifetime.as_secs();
        let granted = json!({
            "access_token": access_token,
            "refresh_token": refresh_token,
            "expires_in": expires_in,
            "token_type": "Bearer",
        });
        (state.delay, Some((200, granted.to_string())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rotate(&mut self) -> (String, String) {
        self.serial += 1;
        self.uses = 0;
        let access_token = self.signed();
        self.access_token = Some(access_token.clone());
        (access_token, self.refresh_token())
    }

    fn refresh_token(&self) -> String {
        format!("refresh-token-{}", self.serial)
    }

    /// A token that says when it expires, as OpenAI's do. Nobody checks its signature.
    fn signed(&self) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let claims = json!({
            "iat": now.as_secs(),
            "exp": (now + self.lifetime).as_secs_f64(),
            "jti": self.serial,
            "https://api.openai.com/auth": { "chatgpt_account_id": "account-of-the-login" },
        });
        let encoded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.signature", encoded(&json!({ "alg": "none" })), encoded(&claims))
    }
}

/// The refresh token of a request in either of the forms that it may come in.
fn refresh_token_in(media_type: &str, body: &[u8]) -> Option<String> {
    if media_type == "application/json" {
        let body: Value = serde_json::from_slice(body).ok()?;
        return body["refresh_token"].as_str().map(str::to_owned);
    }
    let mut pairs = url::form_urlencoded::parse(body);
    pairs.find(|(name, _)| name == "refresh_token").map(|(_, value)| value.into_owned())
}
