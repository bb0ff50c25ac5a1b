//! The pipeline: both stacks on one screen, each layer with the reason for its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, head};
use http::Request;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceBuilder;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::error::ApiError;
use crate::api::{Api, BackendStack, admin, models, responses};
use crate::backend::Backends;
use crate::backend::affinity::Affinity;
use crate::backend::bench::Bench;
use crate::backend::route::Routes;
use crate::backend::transport::{ClientError, Transport};
use crate::config::Config;
use crate::layers::authenticate::AuthenticateLayer;
use crate::layers::concurrency::ConcurrencyLayer;
use crate::layers::failover::{FailoverLayer, Policy};
use crate::layers::first_byte::FirstByteLayer;
use crate::layers::in_flight::InFlightLayer;
use crate::layers::inspect::{InspectLayer, Settings};
use crate::layers::observe_attempt::ObserveAttemptLayer;
use crate::layers::observe_request::ObserveRequestLayer;
use crate::server::{self, Drained, ServerLimits};
use crate::telemetry::metrics::Metrics;

/// Why the application cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A backend cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The metrics cannot be set up.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The application: what the server serves.
#[derive(Debug)]
pub struct App {
    router: Router,
    limits: ServerLimits,
    is_draining: Arc<AtomicBool>,
    backends: Arc<Backends>,
}

impl App {
    /// Puts the application together.
    ///
    /// # Errors
    ///
    /// When a backend's HTTP client or the metrics cannot be built.
    pub fn new(config: Config) -> Result<Self, AppError> {
        let metrics = Metrics::new()?;
        let backends = Arc::new(Backends::new(&config, &metrics)?);
        let affinity = Arc::new(Affinity::new(config.affinity));
        let bench = Arc::new(Bench::new(config.bench, metrics.clone()));
        let api = Api {
            routes: Arc::new(Routes::new(&config, &backends)),
            backends: backends.clone(),
            stack: backend_stack(&config, &bench, &affinity, &metrics),
            affinity,
            bench,
            is_draining: Arc::new(AtomicBool::new(false)),
            config: Arc::new(config),
            metrics,
        };
        let server = api.config.server;
        let limits = ServerLimits {
            connections_max: server.connections_max,
            idle_timeout: server.idle_timeout,
            write_timeout: server.write_timeout,
            buffer_bytes_max: server.buffer_bytes_max,
            drain_timeout: server.drain_timeout,
        };
        let is_draining = api.is_draining.clone();
        Ok(Self { router: client_stack(api), limits, is_draining, backends })
    }

    /// Serves clients on a listener until `shutdown` resolves and running answers have ended.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Drained {
        let router = self.router.map_request(|request: Request<Incoming>| request.map(Body::new));
        let on_drain = || self.is_draining.store(true, Ordering::Relaxed);
        let make = |_: &TcpStream| router.clone();
        let drained = server::serve(listener, self.limits, make, shutdown, on_drain).await;
        self.backends.settle().await;
        drained
    }
}

/// What a client's request goes through.
fn client_stack(api: Api) -> Router {
    let requests = ServiceBuilder::new()
        // Outermost: gives the request its id, and sees how it ends whatever happens below.
        .layer(ObserveRequestLayer::new(api.metrics.clone()))
        .map_response(|response: Response<_>| response.map(Body::new))
        // Above whatever may panic, below what has to log and count that.
        .layer(CatchPanicLayer::custom(panicked))
        // Before the body is read: a request that is refused costs no memory.
        .layer(InFlightLayer::new(api.config.limits, || ApiError::Busy.into_response()));

    // The endpoint reads the body and its envelope, plans the chain and calls the backend stack.
    let create = axum::routing::post(responses::create).layer(requests);
    let responses = head(responses::head).merge(create).fallback(responses::other);
    Router::new()
        .route("/v1/responses", responses.clone())
        .route("/responses", responses)
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::get))
        .route("/models", get(models::list))
        .route("/metrics", get(admin::metrics))
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed { allow: "GET, HEAD" })
        .fallback(async || ApiError::NotFound)
        .with_state(api)
}

/// What each attempt goes through.
fn backend_stack(
    config: &Config,
    bench: &Arc<Bench>,
    affinity: &Arc<Affinity>,
    metrics: &Metrics,
) -> BackendStack {
    let policy = Policy { attempts_max: config.limits.attempts_max, retry: config.retry };
    let settings = Settings {
        rules: config.rules.clone(),
        limits: config.limits,
        stream: config.stream,
        bench: bench.clone(),
        affinity: affinity.clone(),
    };
    let rules = Arc::new(config.rules.clone());
    let stack = ServiceBuilder::new()
        // Outermost: calls everything below once for each attempt, and acts on its verdict.
        .layer(FailoverLayer::new(policy, bench.clone(), affinity.clone(), metrics.clone()))
        // Around the verdict, so that an attempt's time is the time until it is judged.
        .layer(ObserveAttemptLayer::new(metrics.clone()))
        // Above the clocks of the attempt, which must not run while it waits for its turn ...
        .layer(ConcurrencyLayer::new(config.limits.queue_timeout, rules.clone()))
        // ... or while its credential is renewed.
        .layer(AuthenticateLayer::new(rules))
        // Turns a response into an answer with a verdict: above this, nobody looks at a status.
        .layer(InspectLayer::new(settings))
        // Right at the transport: only the backend's own slowness counts.
        .layer(FirstByteLayer)
        .service(Transport);
    BoxCloneSyncService::new(stack)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that CatchPanicLayer asks for")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response<Body> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("unknown"), "a request panicked: this is a bug");
    ApiError::Internal.into_response()
}
