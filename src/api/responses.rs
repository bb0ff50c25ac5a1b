//! `POST /v1/responses`: reads the envelope from the bytes that it keeps, plans the chain, and
//! hands both to the backend stack.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{RETRY_AFTER, UPGRADE};
use http::{HeaderMap, Request, StatusCode};
use tower::ServiceExt as _;

use super::error::{ApiError, capped};
use super::{Api, Live, encoding};
use crate::backend::affinity::Conversation;
use crate::backend::attempt::{Opening, Original, Planned};
use crate::backend::headers::retry_after;
use crate::backend::route::Plan;
use crate::telemetry::record::Record;
use crate::wire::blob::issuers;
use crate::wire::request::{Envelope, EnvelopeError};

/// `POST /v1/responses`.
pub async fn create(
    State(api): State<Api>,
    Extension(record): Extension<Record>,
    request: Request<Body>,
) -> Response {
    match answer(&api.live.load_full(), record, request).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
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

async fn answer(live: &Live, record: Record, request: Request<Body>) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let read = encoding::read(&parts.headers, body, live.config.limits.request_bytes_max);
    let body = tokio::time::timeout(live.config.server.body_timeout, read)
        .await
        .map_err(|_| ApiError::Slow { timeout: live.config.server.body_timeout })??;
    let (envelope, body) = under_own_id(live, body)?;
    record.asked(&envelope.model, envelope.stream);
    let plan = live.routes.plan(&envelope.model).ok_or_else(|| unknown_model(live, &envelope))?;
    record.routed(&plan.route.name);
    let conversation = live.affinity.conversation(&plan.route.name, &envelope, &parts.headers);
    let plan = overridden(live, plan, conversation, &parts.headers)?;

    let told = record.clone();
    let deadline = record.started() + live.config.limits.request_timeout;
    let headers = parts.headers;
    let is_announced = live.config.stream.announce_after.is_some();
    let opening = if is_announced { Opening::watched() } else { Opening::default() };
    let issuers = issuers(&body);
    let original =
        Original { envelope, body, headers, record, issuers, conversation, opening, deadline };
    let original = Arc::new(original);
    let limits = live.config.retry_after;
    match live.stack.clone().oneshot(Planned { original, plan }).await {
        Ok(mut response) => {
            // Codex sleeps as long as it is told, so no backend's own number goes out unread.
            if response.headers().contains_key(RETRY_AFTER) {
                let wait = retry_after(response.headers(), std::time::SystemTime::now());
                let wait = capped(wait.unwrap_or(limits.default), limits.max);
                response.headers_mut().insert(RETRY_AFTER, wait);
            }
            Ok(response)
        }
        Err(exhausted) => {
            told.exhausted();
            Err(ApiError::Exhausted { exhausted, retry_after: limits })
        }
    }
}

/// The request, with the id by which its backend knows the response that it continues.
fn under_own_id(live: &Live, body: Bytes) -> Result<(Envelope, Bytes), EnvelopeError> {
    let envelope = Envelope::read(&body)?;
    let told = envelope.previous_response_id.as_deref();
    match told.and_then(|told| live.affinity.own_id(told)) {
        Some(own) => {
            let body = envelope.with_previous_response(&body, &own);
            Ok((Envelope::read(&body)?, body))
        }
        None => Ok((envelope, body)),
    }
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
        plan.targets = live.routes.chain(chain, &plan.asked, &live.backends).map_err(|found| {
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
