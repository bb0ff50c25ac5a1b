//! The pipeline: both stacks on one screen, each layer with the reason for its place.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, head};
use http::Request;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::error::{ApiError, in_event};
use crate::api::journal::Listeners;
use crate::api::{Api, BackendStack, Live, admin, journal, models, page, responses, status};
use crate::backend::affinity::Affinity;
use crate::backend::bench::{Bench, BenchFile};
use crate::backend::transport::{ClientError, Transport};
use crate::config::Config;
use crate::config::checked::Limits;
use crate::layers::announce::{self, AnnounceLayer};
use crate::layers::authenticate::AuthenticateLayer;
use crate::layers::concurrency::ConcurrencyLayer;
use crate::layers::failover::{FailoverLayer, Policy};
use crate::layers::first_byte::FirstByteLayer;
use crate::layers::guard::{Guard, GuardLayer, Refusal};
use crate::layers::in_flight::InFlightLayer;
use crate::layers::inspect::{InspectLayer, Settings};
use crate::layers::observe_attempt::ObserveAttemptLayer;
use crate::layers::observe_request::ObserveRequestLayer;
use crate::reload::{self, Reloader};
use crate::server::{self, Drained, ServerLimits};
use crate::telemetry::journal::Journal;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{Exporter, ExporterError};

/// How often `bench.file` is written, at most.
const BENCH_FILE_INTERVAL: Duration = Duration::from_secs(1);

/// Why the application cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A backend cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The metrics cannot be set up.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] ExporterError),
}

/// What a listener serves.
type Front = Guard<Router>;

/// The application: what the server serves.
#[derive(Debug)]
pub struct App {
    clients: Front,
    /// For those who operate it, where that is another listener's.
    admin: Option<Front>,
    limits: ServerLimits,
    is_draining: watch::Sender<bool>,
    live: Arc<ArcSwap<Live>>,
    reloader: Reloader,
    bench_file: Option<Arc<Mutex<BenchFile>>>,
    exporter: Option<Exporter>,
}

impl App {
    /// Puts the application together.
    ///
    /// # Errors
    ///
    /// When a backend's HTTP client, the metrics or the export of traces cannot be built.
    pub fn new(config: Config) -> Result<Self, AppError> {
        let metrics = Metrics::new()?;
        let Config { server, limits, .. } = config;
        let journal = Journal::new(config.journal.entries_max);
        let listeners_max = config.journal.listeners_max;
        let collector = config.traces_endpoint.clone();
        let bench_file = config.bench_file.clone().map(BenchFile::new);
        let live = reload::live(config, None, &metrics)?;
        let bench_file = bench_file.map(|mut file| {
            file.restore(&live.bench, &live.backends);
            Arc::new(Mutex::new(file))
        });
        let live = Arc::new(ArcSwap::from_pointee(live));
        let exporter = collector.map(|to| Exporter::new(&to, &journal)).transpose()?;
        let reloader = Reloader::new(live.clone(), metrics.clone());
        let is_draining = watch::Sender::new(false);
        let api = Api {
            live: live.clone(),
            metrics,
            journal,
            listeners: Listeners::new(listeners_max),
            is_draining: is_draining.subscribe(),
        };
        let (clients, admin) =
            fronts(&api, limits, exporter.is_some(), server.admin_listen.is_some());
        let limits = ServerLimits {
            connections_max: server.connections_max,
            idle_timeout: server.idle_timeout,
            write_timeout: server.write_timeout,
            buffer_bytes_max: server.buffer_bytes_max,
            drain_timeout: server.drain_timeout,
        };
        Ok(Self { clients, admin, limits, is_draining, live, reloader, bench_file, exporter })
    }

    /// Asks it without a listener.
    pub async fn ask(&self, request: Request<Body>) -> Response<Body> {
        self.clients.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
    }

    /// Puts another configuration in the place of the one that is served.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Serves clients on a listener until `shutdown` resolves and running answers have ended. `admin` is for
    /// those who operate it, if the configuration has another address for them.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        admin: Option<TcpListener>,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        let of = |front: Front| {
            let front = front.map_request(|request: Request<Incoming>| request.map(Body::new));
            move |_: &TcpStream| front.clone()
        };
        let on_drain = || {
            self.is_draining.send_replace(true);
        };
        // It goes on while answers are finished, so that it can be seen how they are.
        let operators = async {
            match admin.zip(self.admin) {
                Some((listener, front)) => {
                    server::serve(listener, self.limits, of(front), std::future::pending(), || {})
                        .await
                }
                None => std::future::pending().await,
            }
        };
        let mut exporter = self.exporter.take();
        let export = async {
            match &mut exporter {
                Some(exporter) => exporter.run().await,
                None => std::future::pending().await,
            }
        };
        let (live, bench_file) = (&self.live, self.bench_file.as_ref());
        let drained = tokio::select! {
            drained = server::serve(listener, self.limits, of(self.clients), shutdown, on_drain) => drained,
            drained = operators => drained,
            never = keep_bench(live, bench_file) => match never {},
            never = export => match never {},
        };
        live.load().backends.settle().await;
        save_bench(live, bench_file).await;
        if let Some(exporter) = exporter {
            exporter.finish().await;
        }
        drained
    }
}

/// Writes the bench down when it has changed, for ever.
async fn keep_bench(live: &ArcSwap<Live>, file: Option<&Arc<Mutex<BenchFile>>>) -> Infallible {
    loop {
        tokio::time::sleep(BENCH_FILE_INTERVAL).await;
        save_bench(live, file).await;
    }
}

async fn save_bench(live: &ArcSwap<Live>, file: Option<&Arc<Mutex<BenchFile>>>) {
    let Some(file) = file.cloned() else { return };
    let bench = live.load().bench.clone();
    // A disk may take its time; nobody else has to wait for it.
    let save = move || file.lock().unwrap_or_else(PoisonError::into_inner).save(&bench);
    if let Err(error) = tokio::task::spawn_blocking(save).await {
        tracing::error!(error = &error as &dyn std::error::Error, "bench.file was not written");
    }
}

/// What a client's request goes through.
fn client_stack(api: &Api, limits: Limits, is_traced: bool) -> Router {
    let requests = ServiceBuilder::new()
        // Outermost: gives the request its id, and sees how it ends whatever happens below.
        .layer(ObserveRequestLayer::new(api.metrics.clone(), api.journal.clone(), is_traced))
        .map_response(|response: Response<_>| response.map(Body::new))
        // Above whatever may panic, below what has to log and count that.
        .layer(CatchPanicLayer::custom(panicked))
        // Before the body is read: a request that is refused costs no memory.
        .layer(InFlightLayer::new(limits, || ApiError::Busy.into_response()));

    // The endpoint reads the body and its envelope, plans the chain and calls the backend stack.
    let create = axum::routing::post(responses::create).layer(requests);
    let responses = head(responses::head).fallback(responses::other).merge(create);
    Router::new()
        .route("/v1/responses", responses.clone())
        .route("/responses", responses)
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::get))
        .route("/models", get(models::list))
        .merge(probes())
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed { allow: "GET, HEAD" })
        .fallback(async || ApiError::NotFound)
        .with_state(api.clone())
}

/// What those who operate it ask.
fn admin_stack(api: &Api) -> Router {
    Router::new()
        .route("/sidestep", get(page::page))
        .route("/sidestep/", get(page::page))
        .route("/sidestep/page.css", get(page::style))
        .route("/sidestep/page.js", get(page::script))
        .route("/sidestep/icon.svg", get(page::icon))
        .route("/sidestep/status", get(status::status))
        .route("/sidestep/requests", get(journal::list))
        .route("/sidestep/requests/live", get(journal::live))
        .route("/sidestep/requests/{id}", get(journal::get))
        .layer(map_response(async |response: Response| page::secured(response)))
        .route("/metrics", get(admin::metrics))
        .with_state(api.clone())
}

/// What load balancers and supervisors ask.
fn probes() -> Router<Api> {
    Router::new().route("/healthz", get(admin::healthz)).route("/readyz", get(admin::readyz))
}

/// What the listeners serve: for clients, and, where it is another one, for those who operate it.
fn fronts(api: &Api, limits: Limits, is_traced: bool, has_admin: bool) -> (Front, Option<Front>) {
    let live = api.live.clone();
    let refuse = |refusal, path: &str| {
        let error = match refusal {
            Refusal::NoHost => ApiError::NoHost,
            Refusal::Host(host) => ApiError::Host { host },
            Refusal::Origin(origin) => ApiError::Origin { origin },
            Refusal::Key => ApiError::Key { is_page: path.starts_with("/sidestep") },
        };
        error.into_response()
    };
    let access = move || live.load().config.access.clone();
    // Around everything, also what is not there: strangers learn nothing, and leave no trace but a count.
    let guard = GuardLayer::new(access, api.metrics.clone(), refuse);
    let clients = client_stack(api, limits, is_traced);
    let admin = admin_stack(api);
    if !has_admin {
        return (guard.layer(clients.merge(admin)), None);
    }
    let probes = probes().with_state(api.clone());
    let admin = admin.merge(probes).fallback(async || ApiError::NotFound);
    (guard.layer(clients), Some(guard.layer(admin)))
}

/// What each attempt goes through.
pub(crate) fn backend_stack(
    config: &Config,
    bench: &Arc<Bench>,
    affinity: &Arc<Affinity>,
    metrics: &Metrics,
) -> BackendStack {
    let policy = Policy {
        attempts_max: config.limits.attempts_max,
        retry: config.retry,
        memory: config.exhausted.memory,
    };
    let settings = Settings {
        rules: config.rules.clone(),
        limits: config.limits,
        stream: config.stream,
        bench: bench.clone(),
        affinity: affinity.clone(),
        mark_reasoning: config.mark_reasoning,
        metrics: metrics.clone(),
    };
    let rules = Arc::new(config.rules.clone());
    let announce = announce::Settings {
        after: config.stream.announce_after,
        heartbeat: config.stream.heartbeat,
        event_bytes_max: config.limits.event_bytes_max,
        answer_bytes_max: config.limits.answer_bytes_max,
        explain: in_event,
        affinity: affinity.clone(),
    };
    let stack = ServiceBuilder::new()
        // Outermost: tells the client that its answer is on the way, while everything below goes on.
        .layer(AnnounceLayer::new(announce))
        // Calls everything below once for each attempt, and acts on its verdict.
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
