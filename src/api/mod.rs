//! What clients meet: the endpoints, and the one place where statuses are picked.

pub mod admin;
pub mod error;
pub mod models;
pub mod responses;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::body::Body;
use http::Response;
use tower::util::BoxCloneSyncService;

use crate::backend::Backends;
use crate::backend::affinity::Affinity;
use crate::backend::answer::Exhausted;
use crate::backend::attempt::Planned;
use crate::backend::bench::Bench;
use crate::backend::route::Routes;
use crate::config::Config;
use crate::telemetry::metrics::Metrics;

/// The stack that turns a planned request into an answer: failover and everything below it.
pub type BackendStack = BoxCloneSyncService<Planned, Response<Body>, Exhausted>;

/// What the endpoints share.
#[derive(Clone, Debug)]
pub struct Api {
    /// The configuration.
    pub config: Arc<Config>,
    /// Which targets may serve which model.
    pub routes: Arc<Routes>,
    /// The backends, for what they tell of themselves.
    pub backends: Arc<Backends>,
    /// Where conversations are.
    pub affinity: Arc<Affinity>,
    /// What is on the bench.
    pub bench: Arc<Bench>,
    /// Sends requests to them.
    pub stack: BackendStack,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether the server takes no new connections any more.
    pub is_draining: Arc<AtomicBool>,
}
