//! Keeps a conversation with the target that served it last, so that prompt caches and encrypted
//! reasoning keep working.
//!
//! A conversation is known by its `prompt_cache_key`, else by the session that the client names in a
//! header. A request that continues a stored response can be answered only where that is stored. The
//! tables are bounded and hold no text of clients: keys are hashed.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use lru::LruCache;
use tokio::time::Instant;

use super::Target;
use super::bench::{Bench, Standing};
use super::route::Plan;
use crate::config::checked;
use crate::wire::request::Envelope;

/// Headers in which clients name a session (codex-cli 0.169; Hermes).
const SESSION_HEADERS: [&str; 3] = ["thread-id", "session-id", "session_id"];

/// A conversation, as the table knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    key: Option<u64>,
}

/// Where conversations are.
#[derive(Clone, Debug)]
pub struct Affinity {
    settings: checked::Affinity,
    hasher: RandomState,
    seats: Arc<Mutex<LruCache<u64, Seat>>>,
    stored: Arc<Mutex<LruCache<u64, Stored>>>,
}

/// Where a response is stored that a request may continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The backend that gave it.
    pub backend: Arc<str>,
    /// The id by which that backend knows it, where the client knows it by another one.
    pub own_id: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Seat {
    backend: Arc<str>,
    model: Arc<str>,
    used: Instant,
}

impl Seat {
    fn is(&self, target: &Target) -> bool {
        self.backend == target.backend.name && self.model == target.model
    }
}

impl Affinity {
    /// An empty table.
    pub fn new(settings: checked::Affinity) -> Self {
        // A bounded one would take all of its memory at once.
        Self {
            settings,
            hasher: RandomState::new(),
            seats: Arc::new(Mutex::new(LruCache::unbounded())),
            stored: Arc::new(Mutex::new(LruCache::unbounded())),
        }
    }

    /// The same table under other settings. Both know what either learns, so that a conversation whose
    /// last answer is still on its way goes on where that came from.
    #[must_use]
    pub fn continued(&self, settings: checked::Affinity) -> Self {
        Self { settings, ..self.clone() }
    }

    /// The conversation that a request belongs to.
    pub fn conversation(
        &self,
        route: &str,
        envelope: &Envelope,
        headers: &HeaderMap,
    ) -> Conversation {
        let session = || SESSION_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok());
        let name = envelope.prompt_cache_key.as_deref().or_else(session);
        // One session may ask for several models, each with a chain of its own.
        let key = name.filter(|_| self.settings.enabled).map(|name| self.hash(&[route, name]));
        Conversation { key }
    }

    /// Puts the target that served a conversation last in front, unless the conversation has been idle
    /// for so long that it may return to the head of the chain, and the head is well.
    pub fn order(&self, conversation: Conversation, plan: &mut Plan, bench: &Bench) {
        let Some(key) = conversation.key else { return };
        let mut seats = lock(&self.seats);
        let Some(seat) = seats.get(&key) else { return };
        let at = plan.targets.iter().position(|target| seat.is(target));
        let Some(at) = at.filter(|at| *at > 0) else { return };
        let is_idle = seat.used.elapsed() > self.settings.idle;
        let head = &plan.targets[0];
        let is_well = |head: &Target| {
            let all = head.backend.credentials.all().iter();
            all.map(|one| bench.standing(head, one)).any(|one| one == Standing::Free)
        };
        if is_idle && is_well(head) {
            seats.pop(&key);
        } else {
            plan.targets[..=at].rotate_right(1);
        }
    }

    /// A target serves a conversation.
    pub fn served(&self, conversation: Conversation, target: &Target) {
        if let Some(key) = conversation.key {
            self.seat(key, target);
        }
    }

    /// A target has failed a conversation: it is released at once.
    pub fn left(&self, conversation: Conversation, target: &Target) {
        let Some(key) = conversation.key else { return };
        let mut seats = lock(&self.seats);
        if seats.peek(&key).is_some_and(|seat| seat.is(target)) {
            seats.pop(&key);
        }
    }

    /// A backend has stored a response under an id.
    pub fn stores(&self, id: &str, backend: &Arc<str>) {
        self.store(id, Stored { backend: backend.clone(), own_id: None });
    }

    /// A client knows a stored response by another id than its backend.
    pub fn renamed(&self, told: &str, own: &str) {
        if let Some(stored) = self.stored(own) {
            self.store(told, Stored { own_id: Some(own.into()), ..stored });
        }
    }

    /// Where a response is stored, as far as that is known.
    pub fn stored(&self, id: &str) -> Option<Stored> {
        lock(&self.stored).get(&self.hash(&[id])).cloned()
    }

    fn store(&self, id: &str, stored: Stored) {
        let mut all = lock(&self.stored);
        all.put(self.hash(&[id]), stored);
        while all.len() > self.settings.entries_max {
            all.pop_lru();
        }
    }

    fn seat(&self, key: u64, target: &Target) {
        let (backend, model) = (target.backend.name.clone(), target.model.clone());
        let mut seats = lock(&self.seats);
        seats.put(key, Seat { backend, model, used: Instant::now() });
        while seats.len() > self.settings.entries_max {
            seats.pop_lru();
        }
    }

    fn hash(&self, parts: &[&str]) -> u64 {
        self.hasher.hash_one(parts)
    }
}

/// A panic in another holder leaves entries that are still good to use.
fn lock<T>(table: &Mutex<LruCache<u64, T>>) -> MutexGuard<'_, LruCache<u64, T>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;
    use crate::backend::testing::{config, plan};
    use crate::telemetry::metrics::Metrics;

    struct Setup {
        affinity: Affinity,
        bench: Bench,
        plan: Plan,
    }

    impl Setup {
        fn new() -> Self {
            let config = config();
            let bench = Bench::new(config.bench, Metrics::new().unwrap());
            Self { affinity: Affinity::new(config.affinity), bench, plan: plan() }
        }

        fn conversation(&self, body: &str, headers: &[(&'static str, &str)]) -> Conversation {
            let envelope = Envelope::read(body.as_bytes()).unwrap();
            let headers = headers
                .iter()
                .map(|(name, value)| {
                    (
                        http::HeaderName::from_static(name),
                        http::HeaderValue::try_from(*value).unwrap(),
                    )
                })
                .collect();
            self.affinity.conversation("route", &envelope, &headers)
        }

        fn order(&self, conversation: Conversation) -> String {
            let mut plan = self.plan.clone();
            self.affinity.order(conversation, &mut plan, &self.bench);
            plan.targets.iter().map(|target| target.backend.name.to_string()).collect()
        }
    }

    #[test]
    fn a_conversation_is_known_by_what_stays_the_same() {
        let setup = Setup::new();
        let by_key = setup.conversation(r#"{"model":"m","prompt_cache_key":"k"}"#, &[]);
        let both = &[("thread-id", "t")];
        assert_eq!(setup.conversation(r#"{"model":"m","prompt_cache_key":"k"}"#, both), by_key);
        let by_header = setup.conversation(r#"{"model":"m"}"#, both);
        assert_ne!(by_header, by_key);
        assert_eq!(setup.conversation(r#"{"model":"m"}"#, &[]).key, None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_where_it_was_served_until_it_has_been_idle() {
        let setup = Setup::new();
        let one = setup.conversation(r#"{"model":"m","prompt_cache_key":"1"}"#, &[]);
        let other = setup.conversation(r#"{"model":"m","prompt_cache_key":"2"}"#, &[]);
        setup.affinity.served(one, &setup.plan.targets[2]);
        assert_eq!((setup.order(one).as_str(), setup.order(other).as_str()), ("cab", "abc"));
        advance(Duration::from_secs(599)).await;
        assert_eq!(setup.order(one), "cab");
        advance(Duration::from_secs(2)).await;
        assert_eq!(setup.order(one), "abc", "its prompt cache is cold");
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_return_to_a_head_that_is_on_the_bench() {
        let setup = Setup::new();
        let one = setup.conversation(r#"{"model":"m","prompt_cache_key":"1"}"#, &[]);
        setup.affinity.served(one, &setup.plan.targets[1]);
        advance(Duration::from_secs(3600)).await;
        let head = &setup.plan.targets[0];
        let failure = crate::verdict::Failure {
            class: crate::verdict::Class::Auth,
            detected_by: crate::verdict::DetectedBy::Status,
            stage: crate::verdict::Stage::BeforeCommit,
            action: crate::verdict::Action::Next,
            detail: String::new(),
            repair: None,
            retry_after: None,
        };
        setup.bench.failed(head, &head.backend.credentials.all()[0], &failure);
        assert_eq!(setup.order(one), "bac");
    }

    #[test]
    fn a_failure_releases_it_at_once() {
        let setup = Setup::new();
        let one = setup.conversation(r#"{"model":"m","prompt_cache_key":"1"}"#, &[]);
        setup.affinity.served(one, &setup.plan.targets[2]);
        setup.affinity.left(one, &setup.plan.targets[1]);
        assert_eq!(setup.order(one), "cab", "another one's failure is no reason");
        setup.affinity.left(one, &setup.plan.targets[2]);
        assert_eq!(setup.order(one), "abc");
    }

    #[test]
    fn it_is_known_where_a_response_is_stored() {
        let affinity = Setup::new().affinity;
        affinity.stores("resp_1", &"b".into());
        affinity.renamed("resp_told", "resp_1");
        affinity.renamed("resp_x", "resp_unknown");
        let stored = Stored { backend: "b".into(), own_id: None };
        assert_eq!(affinity.stored("resp_1"), Some(stored.clone()));
        let renamed = Stored { own_id: Some("resp_1".into()), ..stored };
        assert_eq!(affinity.stored("resp_told"), Some(renamed));
        assert_eq!(affinity.stored("resp_x"), None);
    }

    #[test]
    fn the_tables_are_bounded() {
        let setup = Setup::new();
        let small = checked::Affinity { entries_max: 10, ..config().affinity };
        let affinity = Affinity::new(small);
        for number in 0..100 {
            affinity.stores(&format!("resp_{number}"), &"b".into());
            affinity.served(Conversation { key: Some(number) }, &setup.plan.targets[1]);
        }
        assert_eq!((lock(&affinity.seats).len(), lock(&affinity.stored).len()), (10, 10));
    }
}
