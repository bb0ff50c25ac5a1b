//! `GET /sidestep/status`: the chains with their health, and how the last hour went.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::{Api, Live};
use crate::backend::Backend;
use crate::backend::bench::{Benched, Scope};
use crate::backend::credential::status::Status as CredentialStatus;
use crate::telemetry::build::{COMMIT, VERSION};
use crate::telemetry::journal::Minute;

/// How Sidestep stands.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Its version.
    pub version: &'static str,
    /// The commit that it was built from.
    pub commit: &'static str,
    /// Whether it takes no new connections any more.
    pub draining: bool,
    /// Requests in work.
    pub requests_in_flight: i64,
    /// The last hour, all in all.
    pub hour: Hour,
    /// The routes, in order.
    pub routes: Vec<Route>,
}

/// The last hour.
#[derive(Debug, Serialize)]
pub struct Hour {
    /// Requests that were over.
    pub requests: u32,
    /// How often one of them went on to another target.
    pub failovers: u32,
    /// Those of them that needed another attempt, and were answered.
    pub rescued: u32,
    /// Those of them that failed.
    pub failed: u32,
    /// Minute by minute, the current one last: requests, rescued, failed.
    pub minutes: Vec<(u32, u32, u32)>,
}

/// One route.
#[derive(Debug, Serialize)]
pub struct Route {
    /// Its model name or pattern, or `default`.
    pub name: String,
    /// Its targets, in order.
    pub chain: Vec<Link>,
}

/// One target of a chain.
#[derive(Debug, Serialize)]
pub struct Link {
    /// The backend.
    pub backend: String,
    /// The model that it is asked for; `None`: what the client asks for.
    pub model: Option<String>,
    /// `ready`, `partly` (some credentials or models are on the bench), `full`, `due` (the next request
    /// tries it) or `benched`.
    pub state: &'static str,
    /// What of it is on the bench.
    pub bench: Vec<OnBench>,
    /// How it knows us.
    pub credentials: Vec<Credential>,
}

/// Something on the bench.
#[derive(Debug, Serialize)]
pub struct OnBench {
    /// credential, account, target, backend.
    pub scope: &'static str,
    /// The model, for an account or a target.
    pub model: Option<String>,
    /// Which of several credentials it is, for a credential or an account, counted from 0.
    pub credential: Option<usize>,
    /// What it failed with.
    pub class: &'static str,
    /// Failures in a row.
    pub failures: u32,
    /// When a request may try it, RFC 3339.
    pub until: String,
    /// How long until then.
    pub seconds_left: u64,
    /// Whether a request is trying it now.
    pub probing: bool,
}

/// A credential.
#[derive(Debug, Serialize)]
pub struct Credential {
    /// Its kind.
    pub kind: &'static str,
    /// Its state in one word.
    pub state: &'static str,
    /// When it expires, RFC 3339.
    pub expires_at: Option<String>,
    /// What is wrong with it.
    pub trouble: Option<String>,
}

/// `GET /sidestep/status`.
pub async fn status(State(api): State<Api>) -> Json<Status> {
    Json(Status::of(&api))
}

impl Status {
    /// How things stand now.
    pub fn of(api: &Api) -> Self {
        let live = api.live.load();
        let minutes = api.journal.hour_by_minutes();
        let sum = |count: fn(&Minute) -> u32| minutes.iter().map(count).sum();
        Self {
            version: VERSION,
            commit: COMMIT,
            draining: *api.is_draining.borrow(),
            requests_in_flight: api.metrics.in_flight.get(),
            hour: Hour {
                requests: sum(|minute| minute.requests),
                failovers: sum(|minute| minute.failovers),
                rescued: sum(|minute| minute.rescued),
                failed: sum(|minute| minute.failed),
                minutes: minutes.map(|one| (one.requests, one.rescued, one.failed)).to_vec(),
            },
            routes: live.routes.all().iter().map(|route| Route::of(route, &live)).collect(),
        }
    }
}

impl Route {
    fn of(route: &crate::backend::route::Route, live: &Live) -> Self {
        let mut chain = Vec::new();
        for (backend, model) in route.links() {
            // An exact route that keeps the client's model has only one to keep.
            let model = model.or(Some(&route.name).filter(|_| route.is_exact));
            chain.push(Link::of(backend, model.map(|model| &**model), live));
        }
        Self { name: route.name.to_string(), chain }
    }
}

impl Link {
    fn of(backend: &Backend, model: Option<&str>, live: &Live) -> Self {
        let benched = live.bench.listed(backend, model);
        let now = SystemTime::now();
        Self {
            backend: backend.name.to_string(),
            model: model.map(str::to_owned),
            state: state(backend, model.is_some(), &benched),
            bench: benched.iter().map(|one| OnBench::of(one, now)).collect(),
            credentials: backend.credentials.all().iter().map(|one| one.status().into()).collect(),
        }
    }
}

/// A target stands as the worst of what all of its requests need; what only some need leaves the rest.
fn state(backend: &Backend, is_one_model: bool, benched: &[Benched]) -> &'static str {
    let mut of_credentials = benched
        .iter()
        .filter(|one| matches!(one.scope, Scope::Credential | Scope::Account))
        .map(|one| one.left)
        .collect::<Vec<Duration>>();
    of_credentials.sort();
    let is_for_all = |one: &&Benched| match one.scope {
        Scope::Backend => true,
        Scope::Target => is_one_model,
        Scope::Credential | Scope::Account => false,
    };
    let mut left = benched.iter().filter(is_for_all).map(|one| one.left).max();
    if of_credentials.len() >= backend.credentials.all().len() {
        left = left.max(of_credentials.first().copied());
    }
    match left {
        Some(left) if left.is_zero() => "due",
        Some(_) => "benched",
        None if backend.is_full() => "full",
        None if benched.is_empty() => "ready",
        None => "partly",
    }
}

impl OnBench {
    fn of(benched: &Benched, now: SystemTime) -> Self {
        // To the next second, so that nobody comes too early.
        let seconds_left = benched.left.as_secs() + u64::from(benched.left.subsec_nanos() > 0);
        Self {
            scope: benched.scope.as_str(),
            model: benched.model.clone(),
            credential: benched.credential,
            class: benched.class.as_str(),
            failures: benched.failures,
            until: humantime::format_rfc3339_seconds(now + benched.left).to_string(),
            seconds_left,
            probing: benched.is_probed,
        }
    }
}

impl From<CredentialStatus> for Credential {
    fn from(status: CredentialStatus) -> Self {
        let CredentialStatus { kind, state, expires_at, trouble, .. } = status;
        let expires_at = expires_at.map(|at| humantime::format_rfc3339_seconds(at).to_string());
        Self { kind, state, expires_at, trouble }
    }
}
