//! What clients meet: the endpoints, and the one place where statuses are picked.

pub mod admin;
pub mod error;
pub mod journal;
pub mod models;
pub mod page;
pub mod responses;
pub mod status;

mod encoding;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::body::Body;
use http::Response;
use tokio::sync::watch;
use tower::util::BoxCloneSyncService;

use crate::backend::Backends;
use crate::backend::affinity::Affinity;
use crate::backend::answer::Exhausted;
use crate::backend::attempt::Planned;
use crate::backend::bench::Bench;
use crate::backend::route::Routes;
use crate::config::Config;
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::Metrics;
use journal::Listeners;

/// The stack that turns a planned request into an answer: failover and everything below it.
pub type BackendStack = BoxCloneSyncService<Planned, Response<Body>, Exhausted>;

/// What the endpoints share.
#[derive(Clone, Debug)]
pub struct Api {
    /// What the configuration says now.
    pub live: Arc<ArcSwap<Live>>,
    /// What is counted.
    pub metrics: Metrics,
    /// What has happened to the last requests.
    pub journal: Journal,
    /// Places for those who listen to them live.
    pub listeners: Listeners,
    /// Whether the server takes no new connections any more.
    pub is_draining: watch::Receiver<bool>,
}

/// All that a configuration says. A request takes one, and keeps it to its end.
#[derive(Debug)]
pub struct Live {
    /// The configuration.
    pub config: Config,
    /// Which targets may serve which model.
    pub routes: Routes,
    /// The backends, for what they tell of themselves.
    pub backends: Backends,
    /// Where conversations are.
    pub affinity: Arc<Affinity>,
    /// What is on the bench.
    pub bench: Arc<Bench>,
    /// Sends requests to them.
    pub stack: BackendStack,
}
