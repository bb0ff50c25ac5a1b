//! The backends, the routes to them, and one attempt at one of them.

pub mod affinity;
pub mod answer;
pub mod attempt;
pub mod bench;
pub mod credential;
pub mod fit;
pub mod headers;
pub mod profile;
pub mod refused;
pub mod route;
pub mod transport;

#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use memchr::memmem::Finder;
use tokio::sync::Semaphore;
use tower::retry::budget::TpsBudget;
use url::Url;

use crate::config::Config;
use crate::config::auth::Auth;
use crate::config::checked::{self, Detection, Retry, Timeouts};
use crate::telemetry::metrics::Metrics;
use crate::wire::blob::Issuer;
use credential::{Credential, Pool};
use profile::Profile;
use refused::Refused;
use transport::{ClientError, Connections};

/// One upstream service: where it is, how it knows us, what its limits are.
#[derive(Debug)]
pub struct Backend {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Tells it from another one of this name at another address.
    pub identity: Issuer,
    /// Where its Responses endpoint is.
    pub url: Url,
    /// How it knows us.
    pub credentials: Pool,
    /// Headers of every request to it.
    pub headers: HeaderMap,
    /// Its time limits.
    pub timeouts: Timeouts,
    /// What it may see and what it can take.
    pub profile: &'static Profile,
    /// Whether it is told which trace a request belongs to.
    pub trace_context: bool,
    /// What failures in its answers lead to.
    pub detection: Detection,
    /// What its targets have refused.
    pub refused: Arc<Refused>,
    /// Who issues what comes from it: one for each credential.
    issuers: Vec<Issuer>,
    /// Find what its profile hides from it.
    hidden: Vec<Finder<'static>>,
    /// Its connections. No other backend's requests go over them.
    pub connections: Connections,
    read_ahead_bytes_max: usize,
    /// Its places, if they are limited.
    pub slots: Option<Arc<Semaphore>>,
    /// How many retries it may still see.
    pub retry_budget: TpsBudget,
    context_window: Option<u64>,
    model_context_windows: BTreeMap<String, u64>,
}

/// Every backend of the configuration.
#[derive(Debug)]
pub struct Backends(BTreeMap<String, Arc<Backend>>);

impl Backends {
    /// The backends as configured. Credentials that are the same are shared: what one backend learns
    /// of one, the others know. What a previous configuration has just the same is taken over: tokens,
    /// connections, places, what was learned.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be built, or a secret does not fit into a header.
    pub fn new(
        config: &Config,
        previous: Option<Previous<'_>>,
        metrics: &Metrics,
    ) -> Result<Self, ClientError> {
        let mut shared = previous.map(|old| old.credentials(config)).unwrap_or_default();
        let mut backends = BTreeMap::new();
        for (name, backend) in &config.backends {
            let owner: Arc<str> = name.as_str().into();
            let mut credentials = Vec::new();
            for (number, auth) in backend.auth.iter().enumerate() {
                let known = shared.iter().find(|(other, _)| *other == auth && !is_of_one(auth));
                let credential = match known {
                    Some((_, credential)) => credential.clone(),
                    None => Arc::new(Credential::new(
                        auth, config.credentials, &owner, number, metrics,
                    )?),
                };
                shared.push((auth, credential.clone()));
                credentials.push(credential);
            }
            let same = previous.and_then(|old| old.same(name, config, &credentials));
            let made = match same {
                Some(same) => same.clone(),
                None => {
                    let pool = Pool::new(credentials, backend.auth_order);
                    let old = previous.and_then(|old| old.named(name));
                    let read_ahead = config.limits.read_ahead_bytes_max;
                    Arc::new(Backend::new(owner, backend, pool, config.retry, read_ahead, old)?)
                }
            };
            backends.insert(name.clone(), made);
        }
        Ok(Self(backends))
    }

    /// The backend of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<Backend>> {
        self.0.get(name)
    }

    /// Whether a backend is the one of that name here, and not just named alike.
    pub fn has(&self, backend: &Arc<Backend>) -> bool {
        self.get(&backend.name).is_some_and(|own| Arc::ptr_eq(own, backend))
    }

    /// Every backend, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.0.values()
    }

    /// Waits until no credential is being renewed, so that the end of the process breaks none off.
    pub async fn settle(&self) {
        for backend in self.all() {
            for credential in backend.credentials.all() {
                credential.settle().await;
            }
        }
    }
}

/// What was made of an older configuration.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Its backends.
    pub backends: &'a Backends,
}

impl<'a> Previous<'a> {
    /// The credentials that a new configuration has at the same places.
    fn credentials<'new>(&self, new: &'new Config) -> Vec<(&'new Auth, Arc<Credential>)> {
        let mut kept = Vec::new();
        if self.config.credentials != new.credentials {
            return kept;
        }
        for (name, backend) in &new.backends {
            let Some(old) = self.config.backends.get(name) else { continue };
            let Some(made) = self.backends.get(name) else { continue };
            let pairs = backend.auth.iter().zip(&old.auth).zip(made.credentials.all());
            for ((auth, old), credential) in pairs {
                // One that was made for another backend belongs to that one's place.
                if auth == old && credential.owner() == &made.name {
                    kept.push((auth, credential.clone()));
                }
            }
        }
        kept
    }

    /// The backend of a name, and what it was made of.
    fn named(&self, name: &str) -> Option<(&'a checked::Backend, &'a Backend)> {
        Some((self.config.backends.get(name)?, self.backends.get(name)?))
    }

    /// The backend of a name, if a new configuration has it just the same.
    fn same(
        &self,
        name: &str,
        new: &Config,
        credentials: &[Arc<Credential>],
    ) -> Option<&'a Arc<Backend>> {
        let is_same = self.config.backends.get(name) == new.backends.get(name)
            && self.config.retry == new.retry
            && self.config.limits.read_ahead_bytes_max == new.limits.read_ahead_bytes_max;
        let same = self.backends.get(name).filter(|_| is_same)?;
        let mut pairs = same.credentials.all().iter().zip(credentials);
        let is_kept = |(old, new): (&Arc<Credential>, &Arc<Credential>)| {
            Arc::ptr_eq(old, new) || new.is_none() || new.is_clients_own()
        };
        pairs.all(is_kept).then_some(same)
    }
}

/// Whether one backend's says nothing of another's that is the same: nothing at all, and what clients send.
fn is_of_one(auth: &Auth) -> bool {
    matches!(auth, Auth::None | Auth::Passthrough)
}

impl Backend {
    fn new(
        name: Arc<str>,
        config: &checked::Backend,
        credentials: Pool,
        retry: Retry,
        read_ahead_bytes_max: usize,
        old: Option<(&checked::Backend, &Self)>,
    ) -> Result<Self, ClientError> {
        /// How far back requests count. `TpsBudget` takes 1 to 60 s.
        const RECENT: Duration = Duration::from_secs(10);
        let share = f32::from(u16::try_from(retry.budget_percent).unwrap_or(100)) / 100.0;
        let origin = config.url.origin().ascii_serialization();
        let issuer = |one: &Arc<Credential>| Issuer::new(&format!("{origin} {}", one.id()));
        // Connections, places and what was learned stay where what they are about stays.
        let old = old.filter(|(was, _)| was.url == config.url);
        let slots = match old {
            Some((was, old)) if was.concurrency_max == config.concurrency_max => old.slots.clone(),
            _ => config.concurrency_max.map(|places| Arc::new(Semaphore::new(places))),
        };
        let connections = match old {
            Some((was, old))
                if was.timeouts.connect == config.timeouts.connect
                    && was.tls == config.tls
                    && old.read_ahead_bytes_max == read_ahead_bytes_max =>
            {
                old.connections.clone()
            }
            _ => Connections::new(config, read_ahead_bytes_max)?,
        };
        let profile = Profile::of(config.profile);
        Ok(Self {
            identity: Issuer::new(&format!("{name} {}", config.url)),
            name,
            url: config.url.clone(),
            issuers: credentials.all().iter().map(issuer).collect(),
            credentials,
            headers: config.headers.clone(),
            timeouts: config.timeouts,
            hidden: profile.hidden_names().map(Finder::new).collect(),
            profile,
            trace_context: config.trace_context,
            detection: config.detection,
            refused: old.map(|(_, old)| old.refused.clone()).unwrap_or_default(),
            slots,
            retry_budget: TpsBudget::new(RECENT, retry.budget_min, share),
            connections,
            read_ahead_bytes_max,
            context_window: config.context_window,
            model_context_windows: config.model_context_windows.clone(),
        })
    }

    /// Who issues what comes from it with a credential.
    pub fn issuer(&self, credential: &Arc<Credential>) -> Issuer {
        let mut pairs = self.credentials.all().iter().zip(&self.issuers);
        let own = pairs.find(|(one, _)| Arc::ptr_eq(one, credential)).map(|(_, issuer)| *issuer);
        own.unwrap_or_else(|| Issuer::new(&self.name))
    }

    /// Whether a body names something that its profile hides from it.
    pub fn must_not_see(&self, body: &[u8]) -> bool {
        self.hidden.iter().any(|name| name.find(body).is_some())
    }

    /// Which of its credentials one is, where there are several.
    pub fn credential_number(&self, credential: &Arc<Credential>) -> Option<usize> {
        let all = self.credentials.all();
        let number = all.iter().position(|one| Arc::ptr_eq(one, credential));
        number.filter(|_| all.len() > 1)
    }

    /// Whether all of its places are taken.
    pub fn is_full(&self) -> bool {
        self.slots.as_ref().is_some_and(|slots| slots.available_permits() == 0)
    }

    /// The tokens that a model takes here, where the configuration says it.
    pub fn context_window(&self, model: &str) -> Option<u64> {
        self.model_context_windows.get(model).copied().or(self.context_window)
    }
}

/// A backend and the model name to ask it for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The backend.
    pub backend: Arc<Backend>,
    /// The model name.
    pub model: Arc<str>,
    /// The model's name in the configuration: where a client's name is passed on, its route's.
    pub model_label: Arc<str>,
}

impl Target {
    /// The tokens that this target takes, where the configuration says it.
    pub fn context_window(&self) -> Option<u64> {
        self.backend.context_window(&self.model)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.backend.name, self.model)
    }
}
