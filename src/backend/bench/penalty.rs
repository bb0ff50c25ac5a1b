//! What a failure costs: one row a class.

use std::time::Duration;

use crate::config::checked::Bench;
use crate::verdict::Class;

/// What is kept out of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// A credential, wherever it is used.
    Credential,
    /// A credential at one target.
    Account,
    /// A target, whatever the credential.
    Target,
    /// A backend with all of its targets.
    Backend,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Credential, Self::Account, Self::Target, Self::Backend];

    /// The word for it in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Account => "account",
            Self::Target => "target",
            Self::Backend => "backend",
        }
    }
}

/// What a failure costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Penalty {
    pub(super) scope: Scope,
    /// Failures in a row before anything is benched.
    pub(super) after: u32,
    /// The time on the bench, where the backend names none.
    pub(super) first: Duration,
    /// Whether the time doubles with each further failure.
    pub(super) doubles: bool,
}

impl Penalty {
    /// The penalty for a class; `None` for what says nothing about the backend's health.
    pub(super) fn of(class: Class, settings: &Bench) -> Option<Self> {
        let fixed = |scope, first| Some(Self { scope, after: 1, first, doubles: false });
        let growing =
            |scope, after| Some(Self { scope, after, first: settings.first, doubles: true });
        match class {
            Class::Auth => fixed(Scope::Credential, settings.auth),
            Class::Quota => fixed(Scope::Credential, settings.quota),
            Class::RateLimit => growing(Scope::Account, 1),
            Class::Model => fixed(Scope::Target, settings.model),
            Class::Network => growing(Scope::Backend, settings.failures),
            Class::Forbidden
            | Class::Overloaded
            | Class::Server
            | Class::Timeout
            | Class::Malformed
            | Class::Empty => growing(Scope::Target, settings.failures),
            Class::Cancelled
            | Class::ContextLength
            | Class::Reasoning
            | Class::Policy
            | Class::InvalidRequest => None,
        }
    }

    /// The time on the bench after `failures` in a row, `wait` if the backend named one. `random` is
    /// between 0 and 1: replicas that failed together do not come back together.
    pub(super) fn time(
        &self,
        failures: u32,
        wait: Option<Duration>,
        settings: &Bench,
        random: f64,
    ) -> Duration {
        if let Some(wait) = wait {
            // A little later than named, never sooner.
            return wait.min(settings.reset_max).mul_f64(1.0 + 0.05 * random);
        }
        let doublings = if self.doubles { failures.saturating_sub(self.after) } else { 0 };
        let grown = self.first.saturating_mul(2u32.saturating_pow(doublings));
        let longest = if self.doubles { settings.max } else { self.first };
        grown.min(longest).mul_f64(0.8 + 0.4 * random)
    }
}
