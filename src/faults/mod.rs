//! The built-in fault backend: a Responses server that fails on request.
//!
//! `sidestep demo`, `sidestep faults` and every end-to-end test use this one. A fault is chosen by
//! the header `x-sidestep-fault: NAME`, else by a model named `fault-NAME`; without either the
//! answer is good. [`catalogue`] lists the faults, [`play`] turns one into an answer, [`script`] is
//! a body that plays it.

pub mod catalogue;
pub mod play;
pub mod script;

pub mod tokens;

mod answers;
mod statuses;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::Service;

use crate::server::{self, ServerLimits};
use catalogue::Fault;
use play::Play;
use tokens::Tokens;

/// How many requests are remembered.
const RECEIVED_MAX: usize = 1000;
/// The largest request body.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A request as the fault backend received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// The fault that it was answered with.
    pub fault: Fault,
}

/// A running fault backend. It ends when the process does.
#[derive(Clone, Debug)]
pub struct FaultBackend {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    /// What it does when no request says otherwise.
    default: Mutex<Fault>,
    received: Mutex<VecDeque<Received>>,
    count: AtomicUsize,
    /// How many answers were broken off by the other side.
    abandoned: watch::Sender<usize>,
    tokens: Tokens,
}

impl FaultBackend {
    /// Starts a fault backend that calls itself `name`, answers with `default` where a request
    /// chooses nothing, and serves until the process ends.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn start(name: &str, default: Fault, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            default: Mutex::new(default),
            received: Mutex::default(),
            count: AtomicUsize::new(0),
            abandoned: watch::channel(0).0,
            tokens: Tokens::default(),
        });
        let backend = Self { address, shared: shared.clone() };
        let limits = ServerLimits {
            connections_max: 4096,
            idle_timeout: Duration::from_secs(30),
            drain_timeout: Duration::ZERO,
            write_timeout: Duration::from_hours(1),
            buffer_bytes_max: 1024 * 1024,
        };
        let make = move |stream: &TcpStream| Connection {
            shared: shared.clone(),
            socket: SockRef::from(stream).try_clone().ok().map(Arc::new),
        };
        tokio::spawn(server::serve(listener, limits, make, std::future::pending(), || {}));
        Ok(backend)
    }

    /// Answers with another fault from now on, where a request chooses nothing.
    pub fn play(&self, default: Fault) {
        *self.shared.default.lock().unwrap_or_else(PoisonError::into_inner) = default;
    }

    /// The URL to configure as `base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The URL of its token endpoint.
    pub fn token_url(&self) -> String {
        format!("http://{}/oauth/token", self.address)
    }

    /// The tokens of its token endpoint.
    pub fn tokens(&self) -> &Tokens {
        &self.shared.tokens
    }

    /// The requests so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().iter().cloned().collect()
    }

    /// Waits until `count` answers have been broken off by the other side.
    pub async fn abandoned(&self, count: usize) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.shared.abandoned.subscribe().wait_for(|abandoned| *abandoned >= count).await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault_for(&self, headers: &HeaderMap, body: &Value, count: usize) -> Result<Fault, String> {
        let header = headers.get("x-sidestep-fault").and_then(|value| value.to_str().ok());
        let model = body.get("model").and_then(Value::as_str).unwrap_or_default();
        let chosen = match header.or_else(|| model.strip_prefix("fault-")) {
            Some(name) => Fault::from_name(name).ok_or_else(|| name.to_owned())?,
            None => *self.default.lock().unwrap_or_else(PoisonError::into_inner),
        };
        let is_own = || {
            let text = body.to_string();
            let mut values = text.split("\"encrypted_content\":\"").skip(1);
            values.all(|value| value.starts_with(&format!("{}\"", answers::secret_of(&self.name))))
        };
        let or = |is_good: bool, bad| if is_good { Fault::Ok } else { bad };
        let has_key = || {
            let has = |name: &str, value: &str| headers.get(name).is_some_and(|sent| sent == value);
            has("authorization", "Bearer good-key") || has("api-key", "good-key")
        };
        Ok(match chosen.at(count) {
            Fault::Agent => asked_for(body),
            Fault::Encrypted if !is_own() => Fault::S400Reasoning,
            Fault::RefusesMetadata => or(body.get("metadata").is_none(), Fault::S400Parameter),
            Fault::NeedsToken => or(self.tokens.accepts(headers), Fault::S401Token),
            Fault::NeedsTokenInBand => or(self.tokens.accepts(headers), Fault::FailedAuth),
            Fault::NeedsKey => or(has_key(), Fault::S401),
            Fault::QuotaWithoutKey => or(has_key(), Fault::S429Quota),
            fault => fault,
        })
    }
}

/// The kind of answer that a request asks for.
fn asked_for(body: &Value) -> Fault {
    let is_output = |item: &Value| item["type"] == "function_call_output";
    let has_output = body["input"].as_array().is_some_and(|items| items.iter().any(is_output));
    let has_tools = body["tools"]
        .as_array()
        .is_some_and(|tools| tools.iter().any(|tool| tool["name"] == "get_weather"));
    // Codex offers its tools with every request; its user asks for one in words.
    let wants_command = || body["input"].to_string().contains("call a tool");
    match () {
        () if wants_command() && !has_output => Fault::Command,
        () if has_tools && !has_output => Fault::Tool,
        () if body["text"]["format"]["type"] == "json_schema" => Fault::Structured,
        () => Fault::Ok,
    }
}

/// One connection: a way to reset it goes with its requests.
#[derive(Clone, Debug)]
struct Connection {
    shared: Arc<Shared>,
    socket: Option<Arc<Socket>>,
}

/// Ends a connection without an answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the fault backend ends this connection")]
pub struct HangUp;

impl Service<Request<Incoming>> for Connection {
    type Response = Response<Body>;
    type Error = HangUp;
    type Future = BoxFuture<'static, Result<Response<Body>, HangUp>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HangUp>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

impl Connection {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, HangUp> {
        let path = request.uri().path();
        let is_token_request = path == "/oauth/token";
        let is_known = is_token_request || path.ends_with("/responses");
        if request.method() != Method::POST || !is_known {
            return Ok(play::plain(StatusCode::NOT_FOUND, "{\"detail\":\"Not Found\"}"));
        }
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, REQUEST_BYTES_MAX).collect().await else {
            return Err(HangUp);
        };
        let body = body.to_bytes();
        if is_token_request {
            return self.grant(&parts.headers, body).await;
        }
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let count = self.shared.count.fetch_add(1, Ordering::Relaxed);
        let fault = match self.shared.fault_for(&parts.headers, &json, count) {
            Ok(fault) => fault,
            Err(name) => {
                let text = format!("{{\"error\":{{\"message\":\"no fault is called {name:?}\"}}}}");
                return Ok(play::plain(StatusCode::UNPROCESSABLE_ENTITY, text));
            }
        };
        self.remember(Received { headers: parts.headers, body, fault });

        let wants_stream = json.get("stream").and_then(Value::as_bool).unwrap_or(false);
        let model = json.get("model").and_then(Value::as_str).unwrap_or("unknown");
        match play::play(fault, wants_stream, &self.shared.name, model) {
            Play::Answer(response, script) => {
                let abandoned = self.shared.abandoned.clone();
                Ok(response.map(|()| Body::new(script.on_abandoned(abandoned))))
            }
            Play::Silence => {
                let Ok(never) = silence().await;
                match never {}
            }
            Play::Reset => {
                // With no time to linger, closing sends a reset.
                if let Some(socket) = &self.socket {
                    let _ = socket.set_linger(Some(Duration::ZERO));
                }
                Err(HangUp)
            }
        }
    }

    async fn grant(self, headers: &HeaderMap, body: Bytes) -> Result<Response<Body>, HangUp> {
        let Some((status, body)) = self.shared.tokens.answer(headers, body).await else {
            let Ok(never) = silence().await;
            match never {}
        };
        let mut answer = play::plain(status, body);
        if status == StatusCode::TOO_MANY_REQUESTS {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status.is_redirection() {
            answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/oauth/token"));
        }
        Ok(answer)
    }

    fn remember(&self, received: Received) {
        let mut log = self.shared.lock();
        if log.len() == RECEIVED_MAX {
            log.pop_front();
        }
        log.push_back(received);
    }
}

async fn silence() -> Result<Infallible, Infallible> {
    std::future::pending().await
}
