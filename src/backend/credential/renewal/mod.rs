//! Keeps one credential's token fresh: one renewal at a time, shared by all who wait for it.
//!
//! A renewal runs in a task of its own, so that no client that leaves can break it off between the
//! exchange and the write. Every token has a version: who was rejected with an older one than the
//! current takes the current one, and nothing is renewed for it.

mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use super::error::CredentialError;
use super::source::{Outcome, Renewed, Source};
use super::token::Token;
use crate::config::checked::Credentials;
use crate::config::stamp::Stamp;
use crate::telemetry::metrics::{Metrics, Refresh};
use crate::verdict::CredentialFault;
use state::{Ended, Standing, State};
pub(super) use state::{Grant, Version};

/// The first pause after a renewal that failed; each further one is twice as long.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// A renewal may be joined that was begun for another reason: more than this often means that the
/// file changes all the time.
const TURNS_MAX: usize = 3;

/// Keeps one credential's token fresh.
#[derive(Debug)]
pub(super) struct Renewal {
    source: Box<dyn Source>,
    settings: Credentials,
    /// Whose credential it is, for logs and metrics.
    backend: Arc<str>,
    metrics: Metrics,
    state: Mutex<State>,
}

impl Renewal {
    /// Reads what is there already; nothing is asked of anybody.
    pub(super) fn new(
        source: Box<dyn Source>,
        settings: Credentials,
        backend: Arc<str>,
        metrics: Metrics,
    ) -> Self {
        let mut state = State { stamp: source.file().and_then(Stamp::of), ..State::default() };
        match source.read() {
            Ok(reading) => {
                state.take_in(reading);
            }
            Err(error) => {
                tracing::warn!(backend = &*backend, error = error.text, "no credential yet");
                state.problem = Some(error);
            }
        }
        state.next_look = Some(Instant::now() + settings.file_check_interval);
        Self { source, settings, backend, metrics, state: Mutex::new(state) }
    }

    /// The token, where it is known to be good without a look at anything.
    pub(super) fn ready(&self) -> Option<Grant> {
        let state = self.lock();
        match state.standing(None, &*self.source, &self.settings) {
            Standing::Good(grant) if !self.is_look_due(&state) => Some(grant),
            _ => None,
        }
    }

    /// The token; a newer one than `rejected`, if one was rejected. Waits for a renewal if there has to
    /// be one.
    pub(super) async fn obtain(
        self: &Arc<Self>,
        rejected: Option<Version>,
    ) -> Result<Grant, CredentialError> {
        for _ in 0..TURNS_MAX {
            let mut run = {
                let mut state = self.lock();
                let standing = state.standing(rejected, &*self.source, &self.settings);
                match (standing, &state.running) {
                    (Standing::Good(grant), Some(_)) => return Ok(grant),
                    (Standing::Good(grant), None) if !self.is_look_due(&state) => return Ok(grant),
                    (_, Some(running)) => running.clone(),
                    (_, None) => self.start(&mut state, rejected),
                }
            };
            let ended = match run.wait_for(Option::is_some).await {
                Ok(ended) => ended.clone(),
                Err(_) => None,
            };
            let state = self.lock();
            match (state.best(rejected), ended) {
                (Some(grant), _) => return Ok(grant),
                (None, Some(Err(error))) => return Err(error),
                // A look at the file, begun for somebody who was content with what it found.
                (None, Some(Ok(())) | None) => {}
            }
        }
        let text = format!("{}: no renewal came to an end", self.source.origin());
        Err(CredentialError::new(CredentialFault::Unavailable, text))
    }

    /// A new token was rejected, too: another one would hardly fare better right now.
    pub(super) fn pause(&self) {
        let until = Instant::now() + self.settings.backoff_max;
        let text = format!("{}: a renewed token was rejected, too", self.source.origin());
        let error = CredentialError::new(CredentialFault::Unavailable, text);
        self.lock().pause = Some((until, error));
    }

    /// Whether the file has changed since it was read last.
    pub(super) fn has_news(&self) -> bool {
        let stamp = self.source.file().and_then(Stamp::of);
        stamp.is_some() && stamp != self.lock().stamp
    }

    /// Whether a newer token than the current can come from anywhere.
    pub(super) fn may_change(&self) -> bool {
        self.source.file().is_some() || self.source.fixed_because().is_none()
    }

    /// Waits until no renewal is running, so that the end of the process breaks none off.
    pub(super) async fn settle(&self) {
        let running = self.lock().running.clone();
        if let Some(mut running) = running {
            // It has ended, or its task is gone: both are an end.
            let _ = running.wait_for(Option::is_some).await;
        }
        self.source.catch_up();
    }

    pub(super) fn origin(&self) -> String {
        self.source.origin()
    }

    /// The token, when it was last renewed, and what is wrong, as it stands.
    pub(super) fn standing(
        &self,
    ) -> (Option<Arc<Token>>, Option<SystemTime>, Option<CredentialError>) {
        let state = self.lock();
        let trouble = state.refused.clone().or_else(|| state.paused());
        let trouble = trouble.or_else(|| state.problem.clone());
        (state.grant.as_ref().map(|grant| grant.token.clone()), state.last_refresh, trouble)
    }

    /// The number of the current token.
    pub(super) fn version(&self) -> Option<Version> {
        self.lock().grant.as_ref().map(|grant| grant.version)
    }

    fn is_look_due(&self, state: &State) -> bool {
        self.source.file().is_some() && state.next_look.is_none_or(|at| Instant::now() >= at)
    }

    fn start(
        self: &Arc<Self>,
        state: &mut State,
        rejected: Option<Version>,
    ) -> watch::Receiver<Ended> {
        let (sender, receiver) = watch::channel(None);
        state.running = Some(receiver.clone());
        let this = self.clone();
        tokio::spawn(async move {
            let ended = this.run(rejected).await;
            this.lock().running = None;
            // Nobody may be waiting any more.
            let _ = sender.send(Some(ended));
        });
        receiver
    }

    async fn run(self: &Arc<Self>, rejected: Option<Version>) -> Result<(), CredentialError> {
        self.look().await;
        let standing = self.lock().standing(rejected, &*self.source, &self.settings);
        let held = match standing {
            Standing::Good(_) => return Ok(()),
            Standing::Stuck(error) => return Err(error),
            Standing::Renew(held) => held,
        };
        let renewed = self.source.renew(held).await;
        self.settled(renewed)
    }

    /// Looks whether the file has changed, and reads it if it has.
    async fn look(self: &Arc<Self>) {
        let this = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            this.source.catch_up();
            let stamp = this.source.file().and_then(Stamp::of);
            let is_same = stamp == this.lock().stamp;
            // A file that is not there may still have something to say about it.
            (stamp, if is_same { None } else { Some(this.source.read()) })
        });
        let Ok((stamp, reading)) = looked.await else { return };
        let mut state = self.lock();
        state.next_look = Some(Instant::now() + self.settings.file_check_interval);
        state.stamp = stamp;
        let is_news = match reading {
            None => false,
            Some(Ok(reading)) => state.take_in(reading),
            Some(Err(error)) => {
                tracing::warn!(
                    backend = &*self.backend,
                    error = error.text,
                    "a credential cannot be read; what was read before is used on"
                );
                state.problem = Some(error);
                false
            }
        };
        drop(state);
        if is_news {
            self.tell(Refresh::Adopted, None);
        }
    }

    /// Takes note of how a renewal ended.
    fn settled(&self, renewed: Result<Renewed, CredentialError>) -> Result<(), CredentialError> {
        let mut state = self.lock();
        let (outcome, result) = match renewed {
            Ok(Renewed { token, outcome }) => {
                state.replace(self.believed(token));
                state.last_refresh = Some(SystemTime::now());
                // Our own write is no news.
                state.stamp = self.source.file().and_then(Stamp::of);
                let outcome = match outcome {
                    Outcome::Renewed => Refresh::Renewed,
                    Outcome::Adopted => Refresh::Adopted,
                };
                (outcome, Ok(()))
            }
            Err(error) if error.fault == CredentialFault::Refused => {
                state.stamp = self.source.file().and_then(Stamp::of);
                state.refused = Some(error.clone());
                (Refresh::Refused, Err(error))
            }
            Err(error) => {
                let doubled = BACKOFF_MIN.saturating_mul(2u32.saturating_pow(state.failures));
                let longest = self.settings.backoff_max;
                let pause = match error.retry_after {
                    Some(wait) => wait.clamp(BACKOFF_MIN.min(longest), longest),
                    None => doubled.min(longest).mul_f64(0.5 + 0.5 * fastrand::f64()),
                };
                state.failures = state.failures.saturating_add(1);
                state.pause = Some((Instant::now() + pause, error.clone()));
                (Refresh::Unavailable, Err(error))
            }
        };
        drop(state);
        self.tell(outcome, result.as_ref().err());
        result
    }

    /// A token that claims to be over when it has just been given: a clock is wrong, and whether it is
    /// good will show when it is sent.
    fn believed(&self, token: Token) -> Token {
        if !token.is_due(SystemTime::now(), self.settings.expiry_skew) {
            return token;
        }
        let (backend, origin) = (&*self.backend, self.source.origin());
        tracing::warn!(
            backend,
            origin,
            "a new token claims to have expired; are the clocks right?"
        );
        token.without_expiry()
    }

    fn tell(&self, outcome: Refresh, error: Option<&CredentialError>) {
        self.metrics.credential_refresh(&self.backend, outcome);
        let (backend, origin, outcome) = (&*self.backend, self.source.origin(), outcome.as_str());
        match error {
            None => tracing::info!(backend, origin, outcome, "a credential is fresh"),
            Some(error) => {
                tracing::warn!(
                    backend,
                    origin,
                    outcome,
                    fault = error.fault.as_str(),
                    error = error.text,
                    "a credential cannot be renewed"
                );
            }
        }
    }

    /// A panic in another holder leaves a state that is still good to use.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
