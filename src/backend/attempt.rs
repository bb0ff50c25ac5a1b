//! One request bound to one target: built from the immutable original, so that the URL, the
//! credential, the model and the headers always change together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use memchr::memmem;
use tokio::time::Instant;

use super::affinity::Conversation;
use super::credential::Lease;
use super::fit::{Fitted, body_for};
use super::route::Plan;
use super::{Target, headers};
use crate::telemetry::record::{Record, Repaired};
use crate::verdict::TimeLimit;
use crate::wire::blob::Issuer;
use crate::wire::request::Envelope;

/// What the client sent, kept once and never changed.
#[derive(Debug)]
pub struct Original {
    /// What was read from the body.
    pub envelope: Envelope,
    /// The body as it came.
    pub body: Bytes,
    /// The headers as they came.
    pub headers: HeaderMap,
    /// What happens to this request is written down here.
    pub record: Record,
    /// Who has issued encrypted content in it.
    pub issuers: Vec<Issuer>,
    /// The conversation that it belongs to.
    pub conversation: Conversation,
    /// What a stream has shown before its output.
    pub opening: Opening,
    /// Whether its client has to be told by an event, and not by a status, that every target failed.
    pub wants_event: bool,
    /// When its answer has to be there, or the first output of a stream.
    pub deadline: Instant,
}

impl Original {
    /// Whether its history may hold what another backend has issued: encrypted content, ids of items.
    pub fn may_hold_foreign(&self) -> bool {
        let has = |name: &[u8]| memmem::find(&self.body, name).is_some();
        has(b"\"encrypted_content\"") || has(b"\"id\"")
    }
}

/// What the attempt that is under way has shown of a stream while its output is awaited, for those who
/// tell the client of it. Its clones share it.
#[derive(Clone, Debug, Default)]
pub struct Opening(Option<Arc<Mutex<Option<Begun>>>>);

/// The beginning of a stream.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The headers for the client.
    pub headers: HeaderMap,
    /// The backend's `response.created`.
    pub created: Bytes,
}

impl Opening {
    /// One that is looked at; the default one is not, and keeps nothing.
    pub fn watched() -> Self {
        Self(Some(Arc::default()))
    }

    /// A stream has begun.
    pub fn begins(&self, begun: impl FnOnce() -> Begun) {
        if let Some(slot) = &self.0 {
            *lock(slot) = Some(begun());
        }
    }

    /// Another attempt begins: what the one before has shown counts no more.
    pub fn begins_anew(&self) {
        if let Some(slot) = &self.0 {
            *lock(slot) = None;
        }
    }

    /// What has been shown.
    pub fn begun(&self) -> Option<Begun> {
        lock(self.0.as_ref()?).clone()
    }
}

/// A panic in another holder leaves a beginning that is still good to use.
fn lock(slot: &Mutex<Option<Begun>>) -> MutexGuard<'_, Option<Begun>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request with the targets that may serve it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What the client sent.
    pub original: Arc<Original>,
    /// Where it may go.
    pub plan: Plan,
}

/// One request bound to one target and one credential.
#[derive(Debug)]
pub struct Attempt {
    /// What the client sent.
    pub original: Arc<Original>,
    /// Where this attempt goes.
    pub target: Target,
    /// The credential to use there.
    pub lease: Lease,
    /// When it began; its time limits count from here.
    pub started: Instant,
    /// Whether no other target is left, so that leaving this one for slowness would help nobody.
    pub is_last: bool,
    /// Who issues what comes of it.
    pub issuer: Issuer,
    /// The headers to send. The credential is added by the authenticate layer.
    pub headers: HeaderMap,
    /// The body to send.
    pub body: Bytes,
    /// What was taken out of it.
    pub repaired: Vec<Repaired>,
}

impl Attempt {
    /// Binds a request to a target and a credential; `is_stripped` leaves out of its history whatever
    /// another backend may have issued.
    pub fn bind(
        original: &Arc<Original>,
        target: &Target,
        lease: &Lease,
        is_last: bool,
        is_stripped: bool,
    ) -> Self {
        let issuer = target.backend.issuer(lease.credential());
        let headers = headers::for_backend(original, &target.backend, issuer);
        let Fitted { body, repaired } = body_for(original, target, issuer, is_stripped);
        Self {
            original: original.clone(),
            target: target.clone(),
            lease: lease.clone(),
            started: Instant::now(),
            is_last,
            issuer,
            headers,
            body,
            repaired,
        }
    }

    /// When a limit of this attempt passes: `span` after its start, or with the whole request.
    pub fn ends(&self, limit: TimeLimit, span: Duration) -> (Instant, TimeLimit) {
        let own = self.started + span;
        let deadline = self.original.deadline;
        if deadline < own { (deadline, TimeLimit::Request) } else { (own, limit) }
    }

    /// Whether the client asks for a stream.
    pub fn is_stream(&self) -> bool {
        self.original.envelope.stream
    }
}
