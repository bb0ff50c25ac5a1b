//! What is known of chains of which everything is on the bench: clients that repeat a request hear it
//! again, and no backend is asked.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::backend::Target;
use crate::backend::answer::Exhausted;
use crate::backend::bench::{Bench, Standing};

/// Chains that are remembered; the one that was asked for least recently goes first.
const CHAINS_MAX: usize = 256;

/// What is known of dead chains.
#[derive(Debug)]
pub(super) struct Memory {
    span: Duration,
    hasher: RandomState,
    chains: Mutex<LruCache<u64, (Instant, Exhausted)>>,
}

impl Memory {
    /// Remembers for `span`.
    pub(super) fn new(span: Duration) -> Self {
        Self { span, hasher: RandomState::new(), chains: Mutex::new(LruCache::unbounded()) }
    }

    /// What the last request heard of this chain, if that is not long ago and nothing has come back from
    /// the bench since.
    pub(super) fn recall(&self, bench: &Bench, targets: &[Target]) -> Option<Exhausted> {
        if !self.is_dead(bench, targets) {
            return None;
        }
        let mut chains = self.lock();
        let (since, exhausted) = chains.get(&self.key(targets))?;
        (since.elapsed() < self.span).then(|| exhausted.clone())
    }

    /// A request has found every target of a chain failing.
    pub(super) fn keep(&self, bench: &Bench, targets: &[Target], exhausted: &Exhausted) {
        if !exhausted.attempts.is_empty() && self.is_dead(bench, targets) {
            let mut chains = self.lock();
            chains.put(self.key(targets), (Instant::now(), exhausted.clone()));
            if chains.len() > CHAINS_MAX {
                chains.pop_lru();
            }
        }
    }

    fn is_dead(&self, bench: &Bench, targets: &[Target]) -> bool {
        let is_benched = |target: &Target| {
            let mut all = target.backend.credentials.all().iter();
            all.all(|one| matches!(bench.standing(target, one), Standing::Benched(_)))
        };
        !self.span.is_zero() && targets.iter().all(is_benched)
    }

    fn key(&self, targets: &[Target]) -> u64 {
        let names: Vec<_> = targets.iter().map(|one| (&one.backend.name, &one.model)).collect();
        self.hasher.hash_one(names)
    }

    /// A panic in another holder leaves entries that are still good to use.
    fn lock(&self) -> MutexGuard<'_, LruCache<u64, (Instant, Exhausted)>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
