//! What is on the bench, for people and for metrics.

use std::time::Duration;

use tokio::time::Instant;

use super::{Bench, Key, Scope};
use crate::backend::Backend;
use crate::verdict::Class;

/// Something that is on the bench, or may come back at any moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Benched {
    /// What it is.
    pub scope: Scope,
    /// The model, for a target or an account.
    pub model: Option<String>,
    /// Which of the backend's credentials it is or belongs to, from 0, where there are several.
    pub credential: Option<usize>,
    /// What it failed with last.
    pub class: Class,
    /// Failures in a row.
    pub failures: u32,
    /// How long until a request may try it; zero: the next one will.
    pub left: Duration,
    /// Whether a request is trying it now.
    pub is_probed: bool,
}

impl Bench {
    /// What of a backend is on the bench; with a model, only what concerns a request for it.
    pub fn listed(&self, backend: &Backend, model: Option<&str>) -> Vec<Benched> {
        let is_own = |key: &Key| match key.scope {
            Scope::Credential => {
                backend.credentials.all().iter().any(|one| one.identity() == key.identity)
            }
            Scope::Account | Scope::Target | Scope::Backend => key.identity == backend.identity,
        };
        let concerns = |key: &Key| match (model, key.model.as_deref()) {
            (Some(asked), Some(benched)) => asked == benched,
            _ => true,
        };
        let number = |key: &Key| {
            let own = match key.scope {
                Scope::Credential => Some(key.identity),
                Scope::Account | Scope::Target | Scope::Backend => key.account,
            };
            let all = backend.credentials.all();
            all.iter().position(|one| Some(one.identity()) == own).filter(|_| all.len() > 1)
        };
        let now = Instant::now();
        let mut listed = Vec::new();
        self.each(|key, entry| {
            let Some(until) = entry.until.filter(|_| is_own(key) && concerns(key)) else { return };
            listed.push(Benched {
                scope: key.scope,
                model: key.model.as_deref().map(str::to_owned),
                credential: number(key),
                class: entry.class,
                failures: entry.failures,
                left: until.saturating_duration_since(now),
                is_probed: entry.is_probed,
            });
        });
        listed.sort_by_key(|one| (one.scope, one.left));
        listed
    }
}
