//! Accounts that say of themselves that they are nearly used up: they come last, before they fail.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Key;

/// How long that counts, where an account does not say when it is full again.
const UNTIL_RESET: Duration = Duration::from_mins(1);

/// The accounts that are nearly used up, each until it is full again.
#[derive(Debug, Default)]
pub(super) struct Low {
    until: Mutex<HashMap<Key, Instant>>,
    /// The number of them, so that nobody waits for the lock while there are none.
    count: AtomicUsize,
}

impl Low {
    /// Whether an account is nearly used up.
    pub(super) fn has(&self, key: impl FnOnce() -> Key) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.lock().get(&key()).is_some_and(|until| *until > Instant::now())
    }

    /// An account says that it is nearly used up until `reset`; whether that is news.
    pub(super) fn put(&self, key: Key, reset: Option<Duration>, entries_max: usize) -> bool {
        let now = Instant::now();
        let mut entries = self.lock();
        if entries.len() >= entries_max {
            entries.retain(|_, until| *until > now);
        }
        if entries.len() >= entries_max && !entries.contains_key(&key) {
            return false;
        }
        let before = entries.insert(key, now + reset.unwrap_or(UNTIL_RESET));
        self.count.store(entries.len(), Ordering::Release);
        before.is_none_or(|until| until <= now)
    }

    /// An account says that it has enough.
    pub(super) fn remove(&self, key: impl FnOnce() -> Key) {
        if self.count.load(Ordering::Acquire) > 0 {
            let mut entries = self.lock();
            entries.remove(&key());
            self.count.store(entries.len(), Ordering::Release);
        }
    }

    /// Forgets all but those.
    pub(super) fn retain(&self, is_kept: impl Fn(&Key) -> bool) {
        let mut entries = self.lock();
        entries.retain(|key, _| is_kept(key));
        self.count.store(entries.len(), Ordering::Release);
    }

    /// A panic in another holder leaves entries that are still good to use.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
