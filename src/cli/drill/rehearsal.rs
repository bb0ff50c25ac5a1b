//! Plays the faults: one route at a time, with a stand-in for each of its targets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::HOST;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use url::Url;

use super::super::CommandError;
use crate::app::App;
use crate::config::Config;
use crate::config::auth::{Auth, AuthHeader};
use crate::config::checked::{Access, ChainEntry, Route, Timeouts};
use crate::faults::FaultBackend;
use crate::faults::catalogue::Fault;

/// Limits are cut to this, so that silence takes no longer than it has to.
const SILENCE_MAX: Duration = Duration::from_millis(200);
/// The same for a whole request.
const REQUEST_MAX: Duration = Duration::from_secs(2);
/// How a client chooses the targets for a request.
const CHAIN: HeaderName = HeaderName::from_static("x-sidestep-chain");
/// A file that cannot be there.
const NO_FILE: &str = "/dev/null/no-credential";

/// What came of all faults at one route.
#[derive(Debug)]
pub(super) struct Rehearsed {
    /// The route.
    pub(super) route: String,
    /// Its targets, as they are written.
    pub(super) chain: Vec<String>,
    /// Each scene.
    pub(super) scenes: Vec<Scene>,
}

/// One fault at one place.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scene {
    /// The fault.
    pub(super) fault: &'static str,
    /// The target that plays it; those before it cannot be reached.
    pub(super) at: String,
    /// Its place in the chain, from 0.
    pub(super) position: usize,
    /// Whether a stream was asked for.
    pub(super) stream: bool,
    /// The class that the failure was given; `None` if it was none.
    pub(super) class: Option<String>,
    /// What showed it.
    pub(super) detected_by: Option<String>,
    /// When.
    pub(super) stage: Option<String>,
    /// Who answered.
    pub(super) answered_by: Option<String>,
    /// How it ended, as in the journal.
    pub(super) outcome: String,
    /// The status that the client saw.
    pub(super) status: u64,
    /// How long it took until the answer's head, limits cut short.
    pub(super) milliseconds: f64,
}

/// What a target is made to do.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// It answers, or fails to, as the fault backend can.
    Fault(Fault),
    /// Nobody listens where it should be.
    Refused,
    /// There is no credential for it.
    NoCredential,
}

impl Trouble {
    fn all() -> impl Iterator<Item = Self> {
        let faults = Fault::ALL.iter().copied().filter(|fault| fault.is_failure());
        faults.map(Self::Fault).chain([Self::Refused, Self::NoCredential])
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Fault(fault) => fault.name(),
            Self::Refused => "refused",
            Self::NoCredential => "no-credential",
        }
    }

    /// Which of the backends of a place stands in.
    fn backend(self, place: usize) -> String {
        match self {
            Self::Fault(_) => format!("target-{place}"),
            Self::Refused => format!("refused-{place}"),
            Self::NoCredential => format!("locked-{place}"),
        }
    }
}

/// A route with a stand-in for each target.
struct Stage {
    app: App,
    stand_ins: Vec<FaultBackend>,
    chain: Vec<String>,
    /// The chain in the words of `x-sidestep-chain`.
    names: Vec<String>,
    /// Where nobody listens; kept, so that nobody else does.
    _deaf: Socket,
    /// Which targets have a credential that may be missing.
    has_credential: Vec<bool>,
}

/// Plays every fault at every place of a route, streaming and not.
pub(super) async fn rehearse(config: &Config, route: &Route) -> Result<Rehearsed, CommandError> {
    let stage = Stage::set(config, route).await?;
    let mut scenes = Vec::new();
    for trouble in Trouble::all() {
        for position in 0..stage.chain.len() {
            if matches!(trouble, Trouble::NoCredential) && !stage.has_credential[position] {
                continue;
            }
            for stream in [false, true] {
                scenes.push(stage.play(trouble, position, stream).await);
            }
        }
    }
    Ok(Rehearsed { route: route.name.clone(), chain: stage.chain, scenes })
}

impl Stage {
    async fn set(config: &Config, route: &Route) -> Result<Self, CommandError> {
        let mut config = quickened(config);
        config.traces_endpoint = None;
        let real = std::mem::take(&mut config.backends);
        let mut route = route.clone();
        (route.default, route.pattern, route.name) = (true, None, "default".to_owned());
        let (mut stand_ins, mut chain) = (Vec::new(), Vec::new());
        let (mut names, mut has_credential) = (Vec::new(), Vec::new());
        let mut credentials: Vec<Auth> = Vec::new();
        let mut backends = BTreeMap::new();
        let (deaf, nowhere) = deaf()?;
        for (number, entry) in route.chain.iter_mut().enumerate() {
            let name = shown(entry);
            let Some(mut backend) = real.get(&entry.backend).cloned() else { continue };
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let stand_in = FaultBackend::start(&name, Fault::Ok, listener)?;
            backend.url = url(&format!("{}/responses", stand_in.base_url()))?;
            backend.headers.clear();
            backend.timeouts = cut(backend.timeouts);
            let mut locked = backend.clone();
            for auth in &mut backend.auth {
                *auth = stood_in(auth, &mut credentials);
            }
            let mut refused = backend.clone();
            refused.url = url(&format!("http://{nowhere}/"))?;
            has_credential.push(backend.auth.iter().all(is_ours));
            for auth in locked.auth.iter_mut().filter(|auth| is_ours(auth)) {
                *auth = Auth::File { header: AuthHeader::Bearer, file: PathBuf::from(NO_FILE) };
            }
            // A target of its own, so that each place has its own fault.
            entry.backend = Trouble::Fault(Fault::Ok).backend(number);
            names.push(shown(entry));
            backends.insert(entry.backend.clone(), backend);
            backends.insert(Trouble::Refused.backend(number), refused);
            backends.insert(Trouble::NoCredential.backend(number), locked);
            stand_ins.push(stand_in);
            chain.push(name);
        }
        config.backends = backends;
        config.routes = vec![route];
        Ok(Self { app: App::new(config)?, stand_ins, chain, names, _deaf: deaf, has_credential })
    }

    /// Has one target be in trouble, while those before it cannot be reached and those after it are well.
    async fn play(&self, trouble: Trouble, position: usize, stream: bool) -> Scene {
        for (place, stand_in) in self.stand_ins.iter().enumerate() {
            stand_in.play(match trouble {
                Trouble::Fault(fault) if place == position => fault,
                _ => Fault::Ok,
            });
        }
        let mut chain = self.names.clone();
        for (place, name) in chain.iter_mut().enumerate().take(position + 1) {
            match trouble {
                _ if place < position => *name = Trouble::Refused.backend(place),
                Trouble::Fault(_) => {}
                Trouble::Refused | Trouble::NoCredential => *name = trouble.backend(place),
            }
        }
        let body = json!({ "model": "drill", "input": "hi", "stream": stream });
        let body = Body::from(body.to_string());
        let answer = self.ask(Method::POST, "/v1/responses", &chain.join(","), body).await;
        let id = answer.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        let path = format!("/sidestep/requests/{}", id.unwrap_or_default());
        let status = answer.status();
        // Its end is part of what the client sees.
        let _ = answer.into_body().collect().await;
        let told =
            self.ask(Method::GET, &path, "", Body::empty()).await.into_body().collect().await;
        let told = told.map(|body| body.to_bytes()).unwrap_or_default();
        let entry: Value = serde_json::from_slice(&told).unwrap_or_default();
        self.scene(trouble, position, stream, u64::from(status.as_u16()), &entry)
    }

    fn scene(
        &self,
        trouble: Trouble,
        position: usize,
        stream: bool,
        status: u64,
        entry: &Value,
    ) -> Scene {
        let own = trouble.backend(position);
        let attempts = entry["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let failed = attempts.iter().find(|one| one["backend"] == own && one["class"] != "ok");
        let word = |key: &str| Some(failed?.get(key)?.as_str()?.to_owned());
        let is_answered = entry["outcome"] == "answered";
        let place = entry["backend"].as_str().and_then(|name| name.strip_prefix("target-"));
        let place = place.and_then(|place| place.parse::<usize>().ok()).filter(|_| is_answered);
        Scene {
            fault: trouble.name(),
            at: self.chain[position].clone(),
            position,
            stream,
            class: word("class"),
            detected_by: word("detected_by"),
            stage: word("stage"),
            answered_by: place.and_then(|place| self.chain.get(place).cloned()),
            outcome: entry["outcome"].as_str().unwrap_or("unknown").to_owned(),
            status,
            milliseconds: entry["first_output_ms"]
                .as_f64()
                .or_else(|| entry["duration_ms"].as_f64())
                .unwrap_or_default(),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        chain: &str,
        body: Body,
    ) -> http::Response<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap_or_default();
        request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
        if let Ok(chain) = HeaderValue::try_from(chain)
            && !chain.is_empty()
        {
            request.headers_mut().insert(CHAIN, chain);
        }
        self.app.ask(request).await
    }
}

/// The same configuration without memory and waits, so that each scene begins anew and ends soon.
fn quickened(config: &Config) -> Config {
    let mut config = config.clone();
    config.access = Arc::new(Access::default());
    config.server.admin_listen = None;
    config.bench.enabled = false;
    config.bench_file = None;
    config.affinity.enabled = false;
    config.exhausted.memory = Duration::ZERO;
    config.journal.entries_max = 4;
    (config.retry.delay_max, config.retry.wait_max) = (Duration::ZERO, Duration::ZERO);
    config.stream.announce_after = None;
    config.stream.after_error_timeout = config.stream.after_error_timeout.min(SILENCE_MAX);
    config.limits.request_timeout = config.limits.request_timeout.min(REQUEST_MAX);
    config
}

fn cut(timeouts: Timeouts) -> Timeouts {
    Timeouts {
        connect: timeouts.connect,
        first_byte: timeouts.first_byte.min(SILENCE_MAX),
        first_output: timeouts.first_output.min(SILENCE_MAX),
        idle: timeouts.idle.min(SILENCE_MAX),
        answer: timeouts.answer.min(SILENCE_MAX),
        error_body: timeouts.error_body.min(SILENCE_MAX),
    }
}

/// Whether it is something of ours that may be missing.
fn is_ours(auth: &Auth) -> bool {
    !matches!(auth, Auth::None | Auth::Passthrough)
}

/// A port that is taken, and refuses connections.
fn deaf() -> std::io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let address = socket.local_addr()?.as_socket();
    Ok((socket, address.ok_or(std::io::ErrorKind::AddrNotAvailable)?))
}

fn url(text: &str) -> Result<Url, std::io::Error> {
    Url::parse(text).map_err(std::io::Error::other)
}

/// A credential that says nothing: the same for what is the same, so that sharing shows.
fn stood_in(auth: &Auth, known: &mut Vec<Auth>) -> Auth {
    if !is_ours(auth) {
        return auth.clone();
    }
    let number = known.iter().position(|one| one == auth).unwrap_or(known.len());
    if number == known.len() {
        known.push(auth.clone());
    }
    Auth::Fixed {
        header: AuthHeader::Bearer,
        secret: format!("stands-in-for-{number}").into(),
        origin: "the drill".to_owned(),
    }
}

fn shown(entry: &ChainEntry) -> String {
    match &entry.model {
        Some(model) => format!("{}:{model}", entry.backend),
        None => entry.backend.clone(),
    }
}
