//! The bench: what failed is kept out of use for a while, and comes back by one probe.
//!
//! A failure counts for a credential, an account (a credential at one target), a target or a backend,
//! as its class says. While one of them that a candidate needs is on the bench, the candidate is passed
//! over. When the time is over, one request at a time may try it; a success clears it, another failure
//! benches it for longer. Bounded; no lock is held across an await.

mod file;
mod list;
mod low;
mod penalty;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::credential::Credential;
use super::headers::Headroom;
use super::{Backends, Target};
use crate::config::checked;
use crate::telemetry::metrics::Metrics;
use crate::verdict::{Class, Failure, Stage};
use crate::wire::blob::Issuer;
pub use file::BenchFile;
pub use list::Benched;
use low::Low;
use penalty::Penalty;
pub use penalty::Scope;

/// What may be on the bench.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: Scope,
    /// The backend's name; for a credential, whose it is.
    backend: Arc<str>,
    /// What bears that name: another address or another secret is something else.
    identity: Issuer,
    model: Option<Arc<str>>,
    /// The credential of an account.
    account: Option<Issuer>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Failures in a row.
    failures: u32,
    /// The end of its time on the bench; `None` while it has not failed often enough.
    until: Option<Instant>,
    /// What it failed with last.
    class: Class,
    /// Whether a request is trying it.
    is_probed: bool,
}

/// What can be said of a candidate before it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be asked.
    Free,
    /// It may be asked, and has little left of its quota.
    Low,
    /// It may be asked by one request at a time.
    Due,
    /// It is on the bench until then; or somebody is trying it.
    Benched(Instant),
}

/// What is on the bench, and by what settings.
#[derive(Debug)]
pub struct Bench {
    settings: checked::Bench,
    metrics: Metrics,
    held: Arc<Held>,
}

/// What is on the bench, under whatever settings.
#[derive(Debug, Default)]
struct Held {
    entries: Mutex<HashMap<Key, Entry>>,
    /// The number of entries, so that nobody waits for the lock while all is well.
    count: AtomicUsize,
    low: Low,
}

/// The right to try what comes back from the bench; given back when it is dropped.
#[derive(Debug)]
pub struct Probe {
    bench: Arc<Bench>,
    keys: Vec<Key>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut entries = self.bench.lock();
        for key in &self.keys {
            if let Some(entry) = entries.get_mut(key) {
                entry.is_probed = false;
            }
        }
    }
}

impl Bench {
    /// An empty bench.
    pub fn new(settings: checked::Bench, metrics: Metrics) -> Self {
        Self { settings, metrics, held: Arc::default() }
    }

    /// The same bench under other settings: both know what either learns. What is not among these
    /// `backends` any more is forgotten.
    #[must_use]
    pub fn continued(&self, settings: checked::Bench, backends: &Backends) -> Self {
        let is_kept = |key: &Key| settings.enabled && is_of(key, backends);
        let mut entries = self.lock();
        entries.retain(|key, _| is_kept(key));
        self.held.count.store(entries.len(), Ordering::Release);
        self.held.low.retain(is_kept);
        Self { settings, metrics: self.metrics.clone(), held: self.held.clone() }
    }

    /// One like this on which nothing ever is.
    #[must_use]
    pub fn off(&self) -> Self {
        let settings = checked::Bench { enabled: false, ..self.settings };
        Self::new(settings, self.metrics.clone())
    }

    /// Whether benched candidates are tried when there are no others.
    pub fn tries_soonest(&self) -> bool {
        self.settings.try_soonest
    }

    /// What can be said of a target with a credential.
    pub fn standing(&self, target: &Target, credential: &Credential) -> Standing {
        if !self.settings.enabled {
            return Standing::Free;
        }
        match self.benched(target, credential) {
            Standing::Free if self.held.low.has(|| key_of(Scope::Account, target, credential)) => {
                Standing::Low
            }
            standing => standing,
        }
    }

    /// An account says how much of its quota is left: with too little, it comes last for a while.
    /// `headroom` is not asked where nobody wants to know.
    pub fn left(
        &self,
        target: &Target,
        credential: &Credential,
        headroom: impl FnOnce() -> Option<Headroom>,
    ) {
        let settings = &self.settings;
        if !settings.enabled || settings.headroom_percent == 0 || credential.is_clients_own() {
            return;
        }
        let Some(Headroom { percent, reset }) = headroom() else { return };
        let reset = reset.map(|reset| reset.min(settings.reset_max));
        let key = || key_of(Scope::Account, target, credential);
        if percent >= f64::from(settings.headroom_percent) {
            self.held.low.remove(key);
        } else if self.held.low.put(key(), reset, settings.entries_max) {
            tracing::info!(
                backend = &*target.backend.name,
                model = &*target.model,
                credential = &**credential.id(),
                percent,
                reset_seconds = reset.map(|reset| reset.as_secs()),
                "little is left of this account's quota: it comes last"
            );
        }
    }

    fn benched(&self, target: &Target, credential: &Credential) -> Standing {
        if self.held.count.load(Ordering::Acquire) == 0 {
            return Standing::Free;
        }
        let entries = self.lock();
        let now = Instant::now();
        let mut standing = Standing::Free;
        for key in keys(target, credential) {
            let Some(Entry { until: Some(until), is_probed, .. }) = entries.get(&key) else {
                continue;
            };
            if key.scope == Scope::Credential && credential.has_news() {
                // Another secret than the one that failed.
                continue;
            }
            let one = match *until {
                until if until > now => Standing::Benched(until),
                _ if *is_probed => Standing::Benched(now),
                _ => Standing::Due,
            };
            standing = match (standing, one) {
                (Standing::Benched(a), Standing::Benched(b)) => Standing::Benched(a.max(b)),
                (benched @ Standing::Benched(_), _) => benched,
                (_, one) => one,
            };
        }
        standing
    }

    /// Takes the right to try what is due; `None` if another request has it.
    pub fn probe(self: &Arc<Self>, target: &Target, credential: &Credential) -> Option<Probe> {
        let mut entries = self.lock();
        let now = Instant::now();
        let is_due = |entry: &Entry| entry.until.is_some_and(|until| until <= now);
        let mut due = keys(target, credential).to_vec();
        due.retain(|key| entries.get(key).is_some_and(is_due));
        if due.iter().any(|key| entries.get(key).is_some_and(|entry| entry.is_probed)) {
            return None;
        }
        for key in &due {
            if let Some(entry) = entries.get_mut(key) {
                entry.is_probed = true;
            }
        }
        Some(Probe { bench: self.clone(), keys: due })
    }

    /// A target has begun to answer: it may be asked again by everybody. What was counted against it
    /// stays until the answer is whole.
    pub fn answered(&self, target: &Target, credential: &Credential) {
        if self.held.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut entries = self.lock();
        for key in keys(target, credential) {
            let Some(entry) = entries.get_mut(&key) else { continue };
            entry.is_probed = false;
            if entry.until.take().is_some() {
                tracing::info!(
                    backend = &*key.backend,
                    scope = key.scope.as_str(),
                    model = key.model.as_deref().unwrap_or_default(),
                    class = entry.class.as_str(),
                    "back from the bench"
                );
            }
        }
    }

    /// An answer is whole: what was counted against its target is forgotten.
    pub fn succeeded(&self, target: &Target, credential: &Credential) {
        if self.held.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut entries = self.lock();
        for key in keys(target, credential) {
            // Since the answer began, others may have failed.
            if entries.get(&key).is_some_and(|entry| entry.until.is_none()) {
                entries.remove(&key);
            }
        }
        self.held.count.store(entries.len(), Ordering::Release);
    }

    /// A target has failed, before or after commit.
    pub fn failed(&self, target: &Target, credential: &Credential, failure: &Failure) {
        let settings = &self.settings;
        // What the client's own account may not do says nothing about the backend.
        let is_clients = credential.is_clients_own()
            && matches!(
                failure.class,
                Class::Auth | Class::Forbidden | Class::Quota | Class::RateLimit
            );
        let Some(penalty) = Penalty::of(failure.class, settings) else { return };
        // A credential that could not be obtained knows itself when to try again.
        if !settings.enabled || is_clients || failure.stage == Stage::BeforeRequest {
            return;
        }
        let key = key_of(penalty.scope, target, credential);
        let mut entries = self.lock();
        if entries.len() >= settings.entries_max && !entries.contains_key(&key) {
            make_room(&mut entries);
        }
        let entry = entries.entry(key.clone()).or_insert(Entry {
            failures: 0,
            until: None,
            class: failure.class,
            is_probed: false,
        });
        // Requests that were under way when it was benched bring no news but a longer wait.
        let is_benched = entry.until.is_some_and(|until| until > Instant::now());
        if is_benched && failure.retry_after.is_none() {
            return;
        }
        entry.failures = entry.failures.saturating_add(u32::from(!is_benched));
        entry.class = failure.class;
        if entry.failures >= penalty.after {
            let random = fastrand::f64();
            let time = penalty.time(entry.failures, failure.retry_after, settings, random);
            // What one says about the time, another cannot shorten.
            let until = Instant::now() + time;
            entry.until = Some(entry.until.map_or(until, |before| before.max(until)));
            if !is_benched {
                self.metrics.benched(&key.backend, key.scope.as_str(), failure.class.as_str());
                tell(&key, failure, time);
            }
        }
        self.held.count.store(entries.len(), Ordering::Release);
    }

    /// Shows every entry.
    fn each(&self, mut show: impl FnMut(&Key, &Entry)) {
        self.lock().iter().for_each(|(key, entry)| show(key, entry));
    }

    /// Takes entries from elsewhere, none for longer than any reset counts; how many.
    fn restore(&self, restored: impl Iterator<Item = (Key, Entry)>) -> usize {
        let Self { settings, .. } = self;
        let longest = Instant::now() + settings.reset_max;
        let restored = restored.take(if settings.enabled { settings.entries_max } else { 0 });
        let mut entries = self.lock();
        entries.extend(restored.map(|(key, entry)| {
            let until = entry.until.map(|until| until.min(longest));
            (key, Entry { until, ..entry })
        }));
        self.held.count.store(entries.len(), Ordering::Release);
        entries.len()
    }

    /// How many of a backend's are on the bench, and how many were there for their time and are due, by scope.
    pub fn on_bench(&self, backend: &str) -> [(Scope, usize, usize); 4] {
        let entries = self.lock();
        let now = Instant::now();
        Scope::ALL.map(|scope| {
            let own =
                entries.iter().filter(|(key, _)| key.scope == scope && &*key.backend == backend);
            let until: Vec<Instant> = own.filter_map(|(_, entry)| entry.until).collect();
            let due = until.iter().filter(|until| **until <= now).count();
            (scope, until.len() - due, due)
        })
    }

    /// A panic in another holder leaves entries that are still good to use.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.held.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key_of(scope: Scope, target: &Target, credential: &Credential) -> Key {
    let Target { backend, model, .. } = target;
    let (name, model) = (backend.name.clone(), Some(model.clone()));
    let (identity, own) = (backend.identity, credential.identity());
    let key = Key { scope, backend: name, identity, model: None, account: None };
    match scope {
        Scope::Credential => Key { backend: credential.owner().clone(), identity: own, ..key },
        Scope::Account => Key { model, account: Some(own), ..key },
        Scope::Target => Key { model, ..key },
        Scope::Backend => key,
    }
}

/// Whether a key is about one of these backends and what they have now.
fn is_of(key: &Key, backends: &Backends) -> bool {
    let has = |identity: Issuer| {
        let all = backends.all().flat_map(|backend| backend.credentials.all());
        all.into_iter().any(|credential| credential.identity() == identity)
    };
    let is_backend = || backends.all().any(|backend| backend.identity == key.identity);
    match key.scope {
        Scope::Credential => has(key.identity),
        Scope::Account => is_backend() && key.account.is_some_and(has),
        Scope::Target | Scope::Backend => is_backend(),
    }
}

/// Everything that a candidate needs.
fn keys(target: &Target, credential: &Credential) -> [Key; 4] {
    Scope::ALL.map(|scope| key_of(scope, target, credential))
}

/// Takes out what says least: what is not on the bench, else what comes back soonest.
fn make_room(entries: &mut HashMap<Key, Entry>) {
    let least = entries.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| key.clone());
    if let Some(key) = least {
        entries.remove(&key);
    }
}

fn tell(key: &Key, failure: &Failure, time: Duration) {
    tracing::warn!(
        backend = &*key.backend,
        scope = key.scope.as_str(),
        model = key.model.as_deref().unwrap_or_default(),
        class = failure.class.as_str(),
        seconds = time.as_secs_f64(),
        "on the bench"
    );
}
