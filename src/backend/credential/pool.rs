//! The credentials of one backend, and which of them a request tries first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Credential;
use crate::config::auth::AuthOrder;

/// The credentials of one backend.
#[derive(Debug)]
pub struct Pool {
    /// In the order of the configuration. Never empty.
    all: Vec<Arc<Credential>>,
    order: AuthOrder,
    turns: AtomicUsize,
}

impl Pool {
    /// A pool of these credentials.
    pub fn new(all: Vec<Arc<Credential>>, order: AuthOrder) -> Self {
        Self { all, order, turns: AtomicUsize::new(0) }
    }

    /// The credentials in the order of the configuration.
    pub fn all(&self) -> &[Arc<Credential>] {
        &self.all
    }

    /// Where a visit to the backend begins.
    pub fn start(&self) -> usize {
        match self.order {
            AuthOrder::InOrder => 0,
            AuthOrder::RoundRobin => self.turns.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Every credential once, counted from `start`.
    pub fn from(&self, start: usize) -> impl Iterator<Item = &Arc<Credential>> {
        let count = self.all.len();
        (0..count).map(move |step| &self.all[start.wrapping_add(step) % count])
    }
}
