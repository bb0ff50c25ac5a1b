//! Where a request stands in its chain, and where it goes from there: by verdicts alone.

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Target;
use crate::backend::credential::{Credential, Lease};
use crate::verdict::{Action, Class, Failure};

/// The bounds within which failures are acted upon.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Attempts for one request.
    pub attempts_max: usize,
    /// The longest wait before a retry on the same target.
    pub retry_delay_max: Duration,
}

impl Policy {
    /// Full jitter: clients that failed together do not come back together.
    pub(super) fn retry_delay(&self) -> Duration {
        self.retry_delay_max.mul_f64(fastrand::f64())
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the same target with the renewed credential.
    Renewed,
    /// Ask the same target once more.
    Retry,
    /// Ask the same target with its next credential.
    NextCredential,
    /// Ask another target.
    Next,
    /// Give the client this answer.
    Return,
    /// No target is left.
    GiveUp,
}

/// Where a request stands in its chain.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    policy: Policy,
    targets: &'a [Target],
    index: usize,
    lease: Lease,
    /// What was used before, so that the bounds of one credential hold across targets.
    leases: Vec<Lease>,
    /// Credentials that the current target has failed with.
    tried: Vec<Arc<Credential>>,
    /// Credentials that were rejected, or could not be obtained.
    rejected: Vec<Arc<Credential>>,
    attempts: usize,
    was_retried: bool,
    was_renewed: bool,
}

impl<'a> Walk<'a> {
    /// At the beginning of a chain; `None` if there is none.
    pub(super) fn begin(policy: Policy, targets: &'a [Target]) -> Option<Self> {
        let pool = &targets.first()?.backend.credentials;
        let lease = Lease::new(pool.pick(pool.start(), |_| true)?);
        Some(Self {
            policy,
            targets,
            index: 0,
            lease,
            leases: Vec::new(),
            tried: Vec::new(),
            rejected: Vec::new(),
            attempts: 0,
            was_retried: false,
            was_renewed: false,
        })
    }

    pub(super) fn target(&self) -> &'a Target {
        &self.targets[self.index]
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether a failure of the current target would be the request's.
    pub(super) fn is_last(&self) -> bool {
        let is_open =
            |target: &Target| target.backend.credentials.pick(0, |one| self.is_free(one)).is_some();
        self.attempts + 1 >= self.policy.attempts_max
            || !self.targets[self.index + 1..].iter().any(is_open)
    }

    /// Whether the target gets another chance if the credential can be renewed.
    pub(super) fn may_renew(&self) -> bool {
        !self.was_renewed && self.attempts + 1 < self.policy.attempts_max
    }

    /// Whether the credential was renewed for the current target.
    pub(super) fn was_renewed(&self) -> bool {
        self.was_renewed
    }

    /// Goes on from a failure of the current target; `is_renewed` if its credential is a newer one now.
    /// `is_over` if the request's time is.
    pub(super) fn step(&mut self, failure: &Failure, is_renewed: bool, is_over: bool) -> Step {
        self.attempts += 1;
        let may_go_on = !is_over && self.attempts < self.policy.attempts_max;
        match failure.action {
            Action::Return => Step::Return,
            Action::NextLarger if may_go_on => self.next_larger(),
            Action::NextLarger => Step::Return,
            _ if !may_go_on => Step::GiveUp,
            Action::Refresh if is_renewed => {
                self.was_renewed = true;
                Step::Renewed
            }
            // Who was silent once is silent again.
            Action::Retry if !self.was_retried && failure.class != Class::Timeout => {
                self.was_retried = true;
                Step::Retry
            }
            Action::Refresh | Action::Retry | Action::Next => self.onwards(failure.class),
        }
    }

    fn onwards(&mut self, class: Class) -> Step {
        let credential = self.lease.credential().clone();
        if class == Class::Auth && !credential.is_none() {
            self.rejected.push(credential.clone());
        }
        self.tried.push(credential);
        // What another account would not have met.
        if matches!(class, Class::Auth | Class::Quota | Class::RateLimit) {
            let pool = &self.target().backend.credentials;
            let at = pool.all().iter().position(|one| Arc::ptr_eq(one, self.lease.credential()));
            let start = at.unwrap_or_default() + 1;
            let is_free = |one: &_| self.is_free(one) && !has(&self.tried, one);
            if let Some(credential) = pool.pick(start, is_free).cloned() {
                self.take(&credential);
                return Step::NextCredential;
            }
        }
        if (self.index + 1..self.targets.len()).any(|next| self.go(next)) {
            Step::Next
        } else {
            Step::GiveUp
        }
    }

    fn next_larger(&mut self) -> Step {
        let size = |target: &Target| target.context_window();
        let too_small = size(self.target());
        let is_larger =
            |next: &usize| too_small.is_some() && size(&self.targets[*next]) > too_small;
        let larger: Vec<usize> = (self.index + 1..self.targets.len()).filter(is_larger).collect();
        if larger.into_iter().any(|next| self.go(next)) { Step::Next } else { Step::Return }
    }

    /// Goes to another target, if it has a credential that was not rejected.
    fn go(&mut self, index: usize) -> bool {
        let pool = &self.targets[index].backend.credentials;
        let Some(credential) = pool.pick(pool.start(), |one| self.is_free(one)).cloned() else {
            return false;
        };
        self.index = index;
        self.tried.clear();
        self.take(&credential);
        true
    }

    fn is_free(&self, credential: &Arc<Credential>) -> bool {
        !has(&self.rejected, credential)
    }

    fn take(&mut self, credential: &Arc<Credential>) {
        let known =
            self.leases.iter().find(|lease| Arc::ptr_eq(lease.credential(), credential)).cloned();
        let next = if Arc::ptr_eq(self.lease.credential(), credential) {
            self.lease.clone()
        } else {
            known.unwrap_or_else(|| Lease::new(credential))
        };
        self.leases.push(std::mem::replace(&mut self.lease, next));
        (self.was_retried, self.was_renewed) = (false, false);
    }
}

fn has(list: &[Arc<Credential>], credential: &Arc<Credential>) -> bool {
    list.iter().any(|one| Arc::ptr_eq(one, credential))
}
