//! Reads as much of an answer as a verdict needs, and hands it on with that verdict.
//!
//! Streaming and not are one path: only here does the content type matter, and only to know how
//! far to read. `json` reads a whole body; `hold` reads a stream until its first output;
//! `collect` reads a stream for a client that asked for JSON; `relay` passes on what comes
//! after the verdict; `shadow` judges and changes nothing.

mod collect;
mod hold;
mod json;
mod reader;
mod relay;
mod shadow;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode};
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::backend::affinity::{Affinity, Conversation};
use crate::backend::answer::Answer;
use crate::backend::attempt::{Attempt, Begun, Opening};
use crate::backend::bench::Bench;
use crate::backend::credential::Credential;
use crate::backend::transport::TransportError;
use crate::backend::{Target, headers};
use crate::config::checked::{Detection, Limits, Stream, Timeouts};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::Record;
use crate::verdict::{Action, Carrier, Class, Defect, Evidence, Failure, Rules, Stage, TimeLimit};
use crate::wire::blob::{Issuer, marked};
use crate::wire::error_object::ErrorObject;
use reader::{BodyReader, ReadError, Start};

/// What an inspection goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The failure rules.
    pub rules: Rules,
    /// How much may be read and held.
    pub limits: Limits,
    /// How to treat streams.
    pub stream: Stream,
    /// Whether encrypted content says who issued it.
    pub mark_reasoning: bool,
    /// Hears of what fails after it was relayed.
    pub bench: Arc<Bench>,
    /// Hears which response was given by whom.
    pub affinity: Arc<Affinity>,
    /// Counts what is only watched.
    pub metrics: Metrics,
}

/// Makes [`Inspect`].
#[derive(Clone, Debug)]
pub struct InspectLayer {
    settings: Arc<Settings>,
    /// The same for backends that are only watched: nothing benches them.
    watching: Arc<Settings>,
}

impl InspectLayer {
    /// Inspects by `settings`.
    pub fn new(settings: Settings) -> Self {
        let watching = Settings { bench: Arc::new(settings.bench.off()), ..settings.clone() };
        Self { settings: Arc::new(settings), watching: Arc::new(watching) }
    }
}

impl<S> Layer<S> for InspectLayer {
    type Service = Inspect<S>;

    fn layer(&self, inner: S) -> Inspect<S> {
        Inspect { inner, layer: self.clone() }
    }
}

/// Turns a response into an [`Answer`].
#[derive(Clone, Debug)]
pub struct Inspect<S> {
    inner: S,
    layer: InspectLayer,
}

impl<S> Service<Attempt> for Inspect<S>
where
    S: Service<Attempt, Response = Response<Body>, Error = TransportError>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // An inner service that cannot get ready says so again when it is called.
        let _ = std::task::ready!(self.inner.poll_ready(cx));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        let detection = attempt.target.backend.detection;
        let InspectLayer { settings, watching } = &self.layer;
        let bench = settings.bench.clone();
        let settings = if detection == Detection::Enforce { settings } else { watching };
        let inspection = Inspection {
            settings: settings.clone(),
            record: attempt.original.record.clone(),
            target: attempt.target.clone(),
            credential: attempt.lease.credential().clone(),
            issuer: attempt.issuer,
            conversation: attempt.original.conversation,
            is_stored: attempt.original.envelope.store,
            opening: attempt.original.opening.clone(),
            wants_stream: attempt.is_stream(),
            is_background: attempt.original.envelope.background,
            verdict_by: verdict_by(&attempt),
            timeouts: attempt.target.backend.timeouts,
        };
        attempt.original.opening.begins_anew();
        let answer = self.inner.call(attempt);
        Box::pin(async move {
            let answer = answer.await;
            if let Ok(response) = &answer {
                inspection.left(response.headers());
                if detection != Detection::Enforce {
                    inspection.arrived(&bench, response.status());
                }
            }
            Ok(match answer {
                Ok(response) => match detection {
                    Detection::Enforce => inspection.inspect(response).await,
                    Detection::Shadow => Answer::Unjudged(inspection.shadow(response)),
                    Detection::Off => Answer::Unjudged(inspection.unjudged(response)),
                },
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "no answer");
                    inspection.failed(&error.evidence(), None)
                }
            })
        })
    }
}

/// One answer under inspection.
#[derive(Clone, Debug)]
struct Inspection {
    settings: Arc<Settings>,
    record: Record,
    target: Target,
    credential: Arc<Credential>,
    issuer: Issuer,
    conversation: Conversation,
    is_stored: bool,
    opening: Opening,
    wants_stream: bool,
    is_background: bool,
    /// The moment at which the verdict has to be there, and the limit that it comes from.
    verdict_by: (Instant, TimeLimit),
    timeouts: Timeouts,
}

impl Inspection {
    async fn inspect(self, response: Response<Body>) -> Answer {
        let (parts, body) = response.into_parts();
        let mut reader = BodyReader::new(body);
        if !parts.status.is_success() {
            return self.error_status(parts, reader).await;
        }
        let is_stream = match content_type(&parts) {
            "text/event-stream" => true,
            "application/json" => false,
            // Relays mislabel both: what it is shows in its first bytes.
            _ => match self.in_time(reader.start()).await {
                Ok(start) => start == Start::EventStream,
                Err(evidence) => return self.failed(&evidence, None),
            },
        };
        match (is_stream, self.wants_stream) {
            (true, true) => self.hold(parts, reader).await,
            (true, false) => self.collect(parts, reader).await,
            (false, _) => self.json(parts, reader).await,
        }
    }

    /// An answer with an error status: its body may say more.
    async fn error_status(self, parts: Parts, mut reader: BodyReader) -> Answer {
        let body_max = self.settings.limits.answer_bytes_max;
        // A body that breaks or dawdles does not change what the status says.
        let read = tokio::time::timeout(self.timeouts.error_body, reader.whole(body_max)).await;
        let error = match &read {
            Ok(Ok(Some(body))) => ErrorObject::in_error_body(body),
            Ok(Ok(None) | Err(_)) | Err(_) => None,
        };
        let status = parts.status.as_u16();
        let evidence = Evidence::Status { status, error: error.as_ref() };
        let body = match read {
            Ok(Ok(Some(body))) => Body::from(body),
            Ok(Ok(None)) => reader.into_body(),
            Ok(Err(_)) | Err(_) => Body::empty(),
        };
        self.spoken_failure(&parts, &evidence, Some(self.own_words(&parts, body)))
    }

    /// A failure that the backend speaks of, with how long it asks to wait.
    fn spoken_failure(
        &self,
        parts: &Parts,
        evidence: &Evidence<'_>,
        own_words: Option<Response<Body>>,
    ) -> Answer {
        match self.failed(evidence, own_words) {
            Answer::Failed(failure, own_words) => {
                let wait = headers::wait(&parts.headers, evidence.error(), SystemTime::now());
                Answer::Failed(Failure { retry_after: wait, ..failure }, own_words)
            }
            other @ (Answer::Relay(_) | Answer::Unjudged(_)) => other,
        }
    }

    /// A failure, with the backend's own words where they may stand as the client's answer.
    fn failed(&self, evidence: &Evidence<'_>, own_words: Option<Response<Body>>) -> Answer {
        let mut failure =
            Failure::from_evidence(&self.settings.rules, evidence, Stage::BeforeCommit);
        if self.credential.is_clients_own() && failure.class == Class::Auth {
            // Only the client can mend it, so only the client has to hear of it.
            failure.action = Action::Return;
        }
        // A complaint about Sidestep's credential would send the client after its own: on a 401,
        // Codex spends the refresh token of its user's login.
        let is_about_us = match failure.class {
            Class::Auth | Class::Forbidden => true,
            Class::Policy | Class::InvalidRequest => evidence.status() == Some(401),
            _ => matches!(evidence.status(), Some(401 | 403)),
        };
        let is_about_us = is_about_us && !self.credential.is_clients_own();
        let own_words = own_words.filter(|_| evidence.is_spoken() && !is_about_us);
        Answer::Failed(failure, own_words)
    }

    /// Takes note of who stores a response.
    fn gave(&self, id: impl FnOnce() -> Option<String>) {
        if self.is_stored
            && let Some(id) = id()
        {
            self.settings.affinity.stores(&id, &self.target.backend.name);
        }
    }

    /// A backend's answer as it was, less the headers that are not for clients.
    fn own_words(&self, parts: &Parts, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = parts.status;
        let is_own = self.credential.is_clients_own();
        *response.headers_mut() = headers::for_client(&parts.headers, self.issuer, is_own);
        response
    }

    /// A good answer: the backend's headers, its body as JSON or as a stream.
    fn good(
        &self,
        parts: &Parts,
        media_type: &'static str,
        body: impl Into<Body>,
    ) -> Response<Body> {
        let mut response = self.own_words(parts, body.into());
        response.headers_mut().remove(http::header::RETRY_AFTER);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    }

    /// An event or a body that says who issued the encrypted content in it.
    fn marked(&self, json: Bytes) -> Bytes {
        if self.settings.mark_reasoning { marked(&json, self.issuer) } else { json }
    }

    /// An answer is there that nobody judges, or only on the side: all that can be held against its backend
    /// was that it could not be reached.
    fn arrived(&self, bench: &Bench, status: StatusCode) {
        bench.answered(&self.target, &self.credential);
        bench.succeeded(&self.target, &self.credential);
        if status.is_success() {
            self.settings.affinity.served(self.conversation, &self.target);
        }
    }

    /// What an answer says of its account's quota.
    fn left(&self, answer: &http::HeaderMap) {
        let headroom = || headers::headroom(answer, SystemTime::now());
        self.settings.bench.left(&self.target, &self.credential, headroom);
    }

    /// A stream has begun, and shows nothing yet.
    fn begins(&self, parts: &Parts, created: &Bytes) {
        self.opening.begins(|| {
            let good = self.good(parts, EVENT_STREAM, Body::empty());
            Begun { headers: good.into_parts().0.headers, created: created.clone() }
        });
    }

    /// Reads within the time that the verdict has and within the silence that is allowed.
    async fn in_time<T>(
        &self,
        read: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, Evidence<'static>> {
        let (deadline, limit) = self.verdict_by;
        let idle = Instant::now() + self.timeouts.idle;
        let (at, limit) = if idle < deadline && self.wants_stream {
            (idle, TimeLimit::Idle)
        } else {
            (deadline, limit)
        };
        match tokio::time::timeout_at(at, read).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(error.evidence()),
            Err(_) => Err(Evidence::Timeout(limit)),
        }
    }
}

fn verdict_by(attempt: &Attempt) -> (Instant, TimeLimit) {
    let timeouts = attempt.target.backend.timeouts;
    match (attempt.is_stream(), attempt.is_last) {
        (false, _) => attempt.ends(TimeLimit::Answer, timeouts.answer),
        (true, false) => attempt.ends(TimeLimit::FirstOutput, timeouts.first_output),
        (true, true) => (attempt.original.deadline, TimeLimit::Request),
    }
}

/// The media type, in lower case where it matters, without parameters.
fn content_type(parts: &Parts) -> &'static str {
    let value = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    ["text/event-stream", "application/json"]
        .into_iter()
        .find(|known| media_type.eq_ignore_ascii_case(known))
        .unwrap_or_default()
}

/// `text/event-stream`.
const EVENT_STREAM: &str = "text/event-stream";
/// `application/json`.
const JSON: &str = "application/json";

fn event_defect(defect: Defect) -> Evidence<'static> {
    Evidence::Defect { carrier: Carrier::Event, defect }
}

fn body_defect(defect: Defect) -> Evidence<'static> {
    Evidence::Defect { carrier: Carrier::Body, defect }
}

/// Seconds since 1970, for fields named `created_at`.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A `response.failed` for a stream that its backend did not end with one: in its own words where
/// it spoke of an error.
fn failed_event(
    created: Option<&Bytes>,
    sequence_number: u64,
    error: Option<&ErrorObject>,
) -> Bytes {
    let code = error.and_then(ErrorObject::code).unwrap_or("server_error");
    let message = error.map(|error| error.message.as_str()).filter(|message| !message.is_empty());
    let message = message.unwrap_or("the backend did not complete its answer");
    let id = format!("resp_{}", uuid::Uuid::now_v7().simple());
    crate::wire::lifecycle::response_failed(
        created,
        sequence_number,
        code,
        message,
        unix_now(),
        &id,
    )
}

#[cfg(test)]
mod tests;
