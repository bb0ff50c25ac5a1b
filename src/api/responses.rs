//! `POST /v1/responses`: reads the envelope from the bytes that it keeps, plans the chain, and
//! hands both to the backend stack.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use tower::ServiceExt as _;

use super::error::{ApiError, capped, in_event};
use super::{Api, Live, encoding};
use crate::backend::affinity::{Conversation, Stored};
use crate::backend::answer::Exhausted;
use crate::backend::attempt::{Opening, Original, Planned};
use crate::backend::headers::retry_after;
use crate::backend::route::Plan;
use crate::config::checked::{self, ExhaustedStyle};
use crate::telemetry::record::Record;
use crate::wire::blob::issuers;
use crate::wire::continuation::Continuation;
use crate::wire::lifecycle::response_created;
use crate::wire::request::{Envelope, EnvelopeError};

/// `POST /v1/responses`.
pub async fn create(
    State(api): State<Api>,
    Extension(record): Extension<Record>,
    request: Request<Body>,
) -> Response {
    match answer(&api, record.clone(), request).await {
        Ok(response) => response,
        Err(error) => {
            record.refused(error.to_string());
            error.into_response()
        }
    }
}

/// `HEAD /v1/responses`: `codex doctor` asks it, without credentials, whether anybody is there.
pub async fn head() -> StatusCode {
    StatusCode::OK
}

/// Every other method, and WebSocket handshakes.
pub async fn other(headers: HeaderMap) -> ApiError {
    if headers.contains_key(UPGRADE) {
        return ApiError::Upgrade;
    }
    ApiError::MethodNotAllowed { allow: "POST, HEAD" }
}

async fn answer(api: &Api, record: Record, request: Request<Body>) -> Result<Response, ApiError> {
    let live = &*api.live.load_full();
    let (parts, body) = request.into_parts();
    let read = encoding::read(&parts.headers, body, live.config.limits.request_bytes_max);
    let body = tokio::time::timeout(live.config.server.body_timeout, read)
        .await
        .map_err(|_| ApiError::Slow { timeout: live.config.server.body_timeout })??;
    let envelope = Envelope::read(&body)?;
    let (stored, envelope, body) = continued(live, envelope, body)?;
    record.asked(&envelope.model, envelope.stream);
    if envelope.stream {
        api.metrics.streams_in_flight.inc();
    }
    let plan = live.routes.plan(&envelope.model).ok_or_else(|| unknown_model(live, &envelope))?;
    record.routed(&plan.route.name);
    let conversation = live.affinity.conversation(&plan.route.name, &envelope, &parts.headers);
    let mut plan = overridden(live, plan, conversation, &parts.headers)?;
    pin(&mut plan, stored.as_ref())?;

    let told = record.clone();
    let deadline = record.started() + live.config.limits.request_timeout;
    let headers = parts.headers;
    let is_announced = live.config.stream.announce_after.is_some();
    let opening = if is_announced { Opening::watched() } else { Opening::default() };
    let issuers = issuers(&body);
    let wants_event = envelope.stream && wants_event(&live.config.exhausted, &headers);
    let original = Arc::new(Original {
        envelope,
        body,
        headers,
        record,
        issuers,
        conversation,
        opening,
        wants_event,
        deadline,
    });
    let limits = live.config.retry_after;
    let is_pinned = plan.is_pinned;
    let failing = original.clone();
    match live.stack.clone().oneshot(Planned { original, plan }).await {
        Ok(mut response) => {
            // Codex sleeps as long as it is told, so no backend's own number goes out unread.
            if response.headers().contains_key(RETRY_AFTER) {
                let wait = retry_after(response.headers(), SystemTime::now());
                let wait = capped(wait.unwrap_or(limits.default), limits.max);
                response.headers_mut().insert(RETRY_AFTER, wait);
            }
            Ok(response)
        }
        Err(exhausted) => {
            told.exhausted();
            if is_pinned {
                return Err(ApiError::PreviousResponse);
            }
            if failing.wants_event && !exhausted.asks_to_wait() {
                return Ok(exhausted_stream(&exhausted, &failing.envelope.model));
            }
            Err(ApiError::Exhausted { exhausted, retry_after: limits })
        }
    }
}

/// Whether a client has to be told by an event that every target failed: it would repeat the request
/// again and again whatever the status.
fn wants_event(exhausted: &checked::Exhausted, headers: &HeaderMap) -> bool {
    let is_one_of = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        exhausted.event_clients.iter().any(|prefix| value.starts_with(prefix.as_str()))
    };
    match exhausted.style {
        ExhaustedStyle::Http => false,
        ExhaustedStyle::Event => true,
        ExhaustedStyle::Auto => is_one_of("originator") || is_one_of("user-agent"),
    }
}

/// A stream that begins and fails, with a code that its client takes as final.
fn exhausted_stream(exhausted: &Exhausted, model: &str) -> Response {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let id = format!("resp_{}", uuid::Uuid::now_v7().simple());
    let created = response_created(model, now.map_or(0, |now| now.as_secs()), &id);
    let (code, message) = in_event(exhausted, true);
    let failed = Continuation::new(created.clone()).failed(code, &message);
    let mut response = Response::new(Body::from([created, failed].concat()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Where the response is stored that a request continues, and the request with the id by which it is
/// known there.
fn continued(
    live: &Live,
    envelope: Envelope,
    body: Bytes,
) -> Result<(Option<Stored>, Envelope, Bytes), EnvelopeError> {
    let told = envelope.previous_response_id.as_deref();
    let stored = told.and_then(|told| live.affinity.stored(told));
    match stored.as_ref().and_then(|stored| stored.own_id.clone()) {
        Some(own) => {
            let body = envelope.with_previous_response(&body, &own);
            Ok((stored, Envelope::read(&body)?, body))
        }
        None => Ok((stored, envelope, body)),
    }
}

/// Leaves of a chain only the backend that has what the request continues. Where that is not known, the
/// chain stays as it is: a backend that does not have it says so.
fn pin(plan: &mut Plan, stored: Option<&Stored>) -> Result<(), ApiError> {
    let Some(stored) = stored else { return Ok(()) };
    let before = plan.targets.len();
    plan.targets.retain(|target| target.backend.name == stored.backend);
    plan.is_pinned = plan.targets.len() < before;
    if plan.targets.is_empty() { Err(ApiError::PreviousResponse) } else { Ok(()) }
}

/// The chain that the client's own headers ask for; else the route's, with the target in front that
/// the conversation is used to.
fn overridden(
    live: &Live,
    mut plan: Plan,
    conversation: Conversation,
    headers: &HeaderMap,
) -> Result<Plan, ApiError> {
    let told = |name: &str| Some(headers.get(name)?.to_str().unwrap_or_default());
    if let Some(chain) = told("x-sidestep-chain") {
        plan.targets = live.routes.chain(chain, &plan, &live.backends).map_err(|found| {
            let known = live.routes.targets(&live.backends).join(", ");
            ApiError::Chain { found, known }
        })?;
    } else {
        live.affinity.order(conversation, &mut plan, &live.bench);
    }
    match told("x-sidestep-failover") {
        None | Some("on") => {}
        Some("off") => plan.targets.truncate(1),
        Some(other) => return Err(ApiError::FailoverHeader { found: other.to_owned() }),
    }
    Ok(plan)
}

fn unknown_model(live: &Live, envelope: &Envelope) -> ApiError {
    /// Enough to see the mistake; a long list would hide it.
    const SHOWN_MAX: usize = 20;
    let names = live.routes.all().iter().map(|route| &*route.name).take(SHOWN_MAX);
    ApiError::UnknownModel {
        model: envelope.model.chars().take(128).collect(),
        known: names.collect::<Vec<_>>().join(", "),
    }
}
