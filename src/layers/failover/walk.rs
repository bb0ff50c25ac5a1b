//! Where a request stands in its chain, and where it goes from there: by verdicts alone.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tower::retry::budget::Budget as _;

use crate::backend::Target;
use crate::backend::bench::{Bench, Probe, Standing};
use crate::backend::credential::{Credential, Lease};
use crate::config::checked::Retry;
use crate::verdict::{Action, Class, Failure};

/// The bounds within which failures are acted upon.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Attempts for one request.
    pub attempts_max: usize,
    /// When the same target is asked again.
    pub retry: Retry,
    /// How long what is known of a dead chain is repeated.
    pub memory: Duration,
}

impl Policy {
    /// Full jitter: clients that failed together do not come back together.
    pub(super) fn retry_delay(&self) -> Duration {
        self.retry.delay_max.mul_f64(fastrand::f64())
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the same target with the renewed credential.
    Renewed,
    /// Ask the same target with what was left out of the request.
    Repaired,
    /// Ask the same target once more.
    Retry,
    /// Ask the same target with its next credential.
    NextCredential,
    /// Ask another target.
    Next,
    /// Wait, and ask a target again that said when.
    Wait(Instant),
    /// Give the client this answer.
    Return,
    /// No target is left.
    GiveUp,
}

/// Where a request stands in its chain.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    policy: Policy,
    bench: &'a Arc<Bench>,
    targets: &'a [Target],
    deadline: Instant,
    /// One for each target.
    places: Vec<Place>,
    index: usize,
    lease: Lease,
    /// Held while what came back from the bench is tried.
    probe: Option<Probe>,
    /// What was used before, so that the bounds of one credential hold across targets.
    leases: Vec<Lease>,
    /// Credentials that were rejected, or could not be obtained.
    rejected: Vec<Arc<Credential>>,
    waits: Vec<Wait>,
    attempts: usize,
    was_retried: bool,
    was_renewed: bool,
}

/// What has become of one target.
#[derive(Clone, Debug, Default)]
struct Place {
    /// Whether it has had its turn, whatever the credential.
    is_closed: bool,
    /// Which of its credentials came first.
    start: Option<usize>,
    /// The credentials that it has failed with.
    tried: Vec<Arc<Credential>>,
}

/// A target that said when to ask it again.
#[derive(Debug)]
struct Wait {
    until: Instant,
    index: usize,
    lease: Lease,
}

/// A target and a credential that may be asked.
#[derive(Debug)]
struct Candidate {
    index: usize,
    credential: Arc<Credential>,
    probe: Option<Probe>,
}

impl<'a> Walk<'a> {
    /// At the beginning of a chain; `None` if everything in it is on the bench and to be left there.
    pub(super) fn begin(
        policy: Policy,
        bench: &'a Arc<Bench>,
        targets: &'a [Target],
        deadline: Instant,
    ) -> Option<Self> {
        let mut places = vec![Place::default(); targets.len()];
        let first = select(bench, targets, &mut places, &[], |_| true)?;
        let lease = Lease::new(&first.credential);
        targets[first.index].backend.retry_budget.deposit();
        Some(Self {
            policy,
            bench,
            targets,
            deadline,
            places,
            index: first.index,
            lease,
            probe: first.probe,
            leases: Vec::new(),
            rejected: Vec::new(),
            waits: Vec::new(),
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
        let is_open = |(index, target): (usize, &Target)| {
            let is_free = |one: &Arc<Credential>| {
                !has(&self.rejected, one)
                    && !matches!(self.bench.standing(target, one), Standing::Benched(_))
            };
            index != self.index
                && !self.places[index].is_closed
                && target.backend.credentials.all().iter().any(is_free)
        };
        self.attempts + 1 >= self.policy.attempts_max
            || !self.targets.iter().enumerate().any(is_open)
    }

    /// Whether the target gets another chance if the credential can be renewed.
    pub(super) fn may_renew(&self) -> bool {
        !self.was_renewed && self.attempts + 1 < self.policy.attempts_max
    }

    /// Whether the credential was renewed for the current target.
    pub(super) fn was_renewed(&self) -> bool {
        self.was_renewed
    }

    /// Goes on from a failure of the current target; `is_mended` if its credential is a newer one now, or
    /// the request has been repaired.
    pub(super) fn step(&mut self, failure: &Failure, is_mended: bool) -> Step {
        self.attempts += 1;
        let may_go_on = Instant::now() < self.deadline && self.attempts < self.policy.attempts_max;
        match failure.action {
            Action::Return => Step::Return,
            Action::NextLarger if may_go_on => self.next_larger(),
            Action::NextLarger => Step::Return,
            _ if !may_go_on => Step::GiveUp,
            Action::Repair if is_mended => Step::Repaired,
            // Nothing is left to leave out; another target may read what this one cannot.
            Action::Repair if failure.class != Class::Reasoning => Step::Return,
            Action::Refresh if is_mended => {
                self.was_renewed = true;
                Step::Renewed
            }
            Action::Retry if self.may_retry(failure.class) => {
                self.was_retried = true;
                Step::Retry
            }
            Action::Refresh | Action::Repair | Action::Retry | Action::Next => {
                self.onwards(failure)
            }
        }
    }

    /// Who was silent once is silent again, and an outage is not to be made worse.
    fn may_retry(&self, class: Class) -> bool {
        !self.was_retried
            && class != Class::Timeout
            && self.target().backend.retry_budget.withdraw()
    }

    fn onwards(&mut self, failure: &Failure) -> Step {
        let credential = self.lease.credential().clone();
        if failure.class == Class::Auth && !credential.is_none() {
            self.rejected.push(credential.clone());
        }
        let place = &mut self.places[self.index];
        place.tried.push(credential);
        // Another account might not have met these.
        place.is_closed = !matches!(failure.class, Class::Auth | Class::Quota | Class::RateLimit);
        if matches!(failure.class, Class::RateLimit | Class::Overloaded)
            && let Some(wait) = failure.retry_after
            && wait <= self.policy.retry.wait_max
        {
            let until = Instant::now() + wait;
            self.waits.push(Wait { until, index: self.index, lease: self.lease.clone() });
        }
        self.go(|_| true).unwrap_or_else(|| self.wait())
    }

    /// Nothing is free: a short wait is better than no answer.
    fn wait(&mut self) -> Step {
        let soonest = self.waits.iter().enumerate().min_by_key(|(_, wait)| wait.until);
        let Some(at) = soonest.filter(|(_, wait)| wait.until < self.deadline).map(|(at, _)| at)
        else {
            return Step::GiveUp;
        };
        let Wait { until, index, lease } = self.waits.swap_remove(at);
        (self.index, self.probe) = (index, None);
        self.use_lease(lease);
        Step::Wait(until)
    }

    fn next_larger(&mut self) -> Step {
        let size = self.target().context_window();
        self.places[self.index].is_closed = true;
        let is_larger = |target: &Target| size.is_some() && target.context_window() > size;
        self.go(is_larger).unwrap_or(Step::Return)
    }

    /// Goes to what may be asked next, if there is anything.
    fn go(&mut self, is_eligible: impl Fn(&Target) -> bool) -> Option<Step> {
        // The right to try the one before goes back first.
        self.probe = None;
        let next = select(self.bench, self.targets, &mut self.places, &self.rejected, is_eligible)?;
        let step = if next.index == self.index { Step::NextCredential } else { Step::Next };
        (self.index, self.probe) = (next.index, next.probe);
        self.target().backend.retry_budget.deposit();
        let used = self.leases.iter().chain([&self.lease]);
        let known =
            used.into_iter().find(|lease| Arc::ptr_eq(lease.credential(), &next.credential));
        let lease = known.cloned().unwrap_or_else(|| Lease::new(&next.credential));
        self.use_lease(lease);
        Some(step)
    }

    fn use_lease(&mut self, lease: Lease) {
        self.leases.push(std::mem::replace(&mut self.lease, lease));
        (self.was_retried, self.was_renewed) = (false, false);
    }
}

/// The first target, with the first of its credentials, that is not on the bench, not full and not
/// nearly used up. Else one that is nearly used up, else one that is full; else what comes back from the bench soonest, if that is wanted.
fn select(
    bench: &Arc<Bench>,
    targets: &[Target],
    places: &mut [Place],
    rejected: &[Arc<Credential>],
    is_eligible: impl Fn(&Target) -> bool,
) -> Option<Candidate> {
    let mut low: Option<(usize, &Arc<Credential>)> = None;
    let mut full: Option<(usize, &Arc<Credential>)> = None;
    let mut soonest: Option<(Instant, usize, &Arc<Credential>)> = None;
    for (index, (target, place)) in targets.iter().zip(places).enumerate() {
        if place.is_closed || !is_eligible(target) {
            continue;
        }
        let pool = &target.backend.credentials;
        let start = *place.start.get_or_insert_with(|| pool.start());
        for credential in pool.from(start) {
            if has(rejected, credential) || has(&place.tried, credential) {
                continue;
            }
            let candidate = |probe| Candidate { index, credential: credential.clone(), probe };
            let standing = bench.standing(target, credential);
            if target.backend.is_full() && !matches!(standing, Standing::Benched(_)) {
                full = full.or(Some((index, credential)));
                continue;
            }
            let until = match standing {
                Standing::Free => return Some(candidate(None)),
                Standing::Low => {
                    low = low.or(Some((index, credential)));
                    continue;
                }
                Standing::Due => match bench.probe(target, credential) {
                    Some(probe) => return Some(candidate(Some(probe))),
                    None => Instant::now(),
                },
                Standing::Benched(until) => until,
            };
            if soonest.is_none_or(|(before, ..)| until < before) {
                soonest = Some((until, index, credential));
            }
        }
    }
    // A turn in the queue of what is well, before what is not.
    let benched = soonest.filter(|_| bench.tries_soonest());
    let well = low.or(full);
    let (index, credential) = well.or(benched.map(|(_, index, credential)| (index, credential)))?;
    Some(Candidate { index, credential: credential.clone(), probe: None })
}

fn has(list: &[Arc<Credential>], credential: &Arc<Credential>) -> bool {
    list.iter().any(|one| Arc::ptr_eq(one, credential))
}
