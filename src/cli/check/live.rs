//! `sidestep check --live`: one cheap question to every target with every credential, judged by the failure
//! table like any answer. Nothing fails over: each answer stands for itself.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Response};
use serde::Serialize;
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt as _};

use super::{CommandError, in_minutes};
use crate::app::AppError;
use crate::backend::affinity::{Affinity, Conversation};
use crate::backend::answer::Answer;
use crate::backend::attempt::{Attempt, Opening, Original};
use crate::backend::bench::Bench;
use crate::backend::credential::{Credential, Lease};
use crate::backend::headers::headroom;
use crate::backend::route::Routes;
use crate::backend::transport::Transport;
use crate::backend::{Backends, Target};
use crate::cli::table;
use crate::config::Config;
use crate::config::checked::Detection;
use crate::layers::authenticate::AuthenticateLayer;
use crate::layers::first_byte::FirstByteLayer;
use crate::layers::inspect::{InspectLayer, Settings};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::Record;
use crate::wire::request::Envelope;

/// Questions at one time.
const CONCURRENCY_MAX: usize = 8;

/// What a target made of the question.
#[derive(Debug, Serialize)]
struct Finding {
    backend: String,
    /// Counted from 0, as in the configuration.
    credential: usize,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// `ok`, a class of the failure table, or `skipped`.
    outcome: &'static str,
    /// The backend's code for a failure, or why nothing was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_left_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_reset_seconds: Option<u64>,
}

impl Finding {
    fn new(target: &Target, credential: usize, kind: &'static str) -> Self {
        Self {
            backend: target.backend.name.to_string(),
            credential,
            kind,
            model: Some(target.model.to_string()).filter(|model| !model.is_empty()),
            outcome: "skipped",
            detail: None,
            milliseconds: None,
            expires_in_seconds: None,
            quota_left_percent: None,
            quota_reset_seconds: None,
        }
    }
}

/// Asks every target that the routes name, and those that serve `models`; prints what each said.
///
/// # Errors
///
/// When a backend cannot be set up, the output cannot be written, a target has failed, or none could be asked.
pub async fn check(
    mut config: Config,
    models: &[String],
    timeout: Duration,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    for backend in config.backends.values_mut() {
        backend.detection = Detection::Enforce;
    }
    let metrics = Metrics::new().map_err(AppError::from)?;
    let backends = Backends::new(&config, None, &metrics).map_err(AppError::from)?;
    let routes = Routes::new(&config, &backends);
    let asker = Asker::new(&config, &metrics, timeout);
    let pairs = targets(&routes, models).into_iter().flat_map(|target| {
        let credentials = target.backend.credentials.all().to_vec();
        let numbered = credentials.into_iter().enumerate();
        numbered.map(move |(number, credential)| (target.clone(), number, credential))
    });
    let findings: Vec<Finding> = stream::iter(pairs)
        .map(|(target, number, credential)| asker.ask(target, number, credential))
        .buffered(CONCURRENCY_MAX)
        .collect()
        .await;
    backends.settle().await;
    if json {
        serde_json::to_writer_pretty(&mut *out, &findings).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&findings, out)?;
    }
    let asked = || findings.iter().filter(|one| one.outcome != "skipped");
    match asked().filter(|one| one.outcome != "ok").count() {
        0 if asked().next().is_none() => Err(CommandError::NothingAsked),
        0 => Ok(()),
        count => Err(CommandError::Failing(count)),
    }
}

/// Each target once, in the order of the routes. One without a model is none that could be asked.
fn targets(routes: &Routes, models: &[String]) -> Vec<Target> {
    let exact = routes.all().iter().filter(|route| route.is_exact).map(|route| &*route.name);
    let named = exact.chain(models.iter().map(String::as_str)).filter_map(|name| routes.plan(name));
    let mut targets: Vec<Target> = named.flat_map(|plan| plan.targets).collect();
    for (backend, model) in routes.all().iter().flat_map(|route| route.links()) {
        let is_asked = targets.iter().any(|target| Arc::ptr_eq(&target.backend, backend));
        if model.is_some() || !is_asked {
            let model = model.cloned().unwrap_or_default();
            targets.push(Target { backend: backend.clone(), model_label: model.clone(), model });
        }
    }
    let mut seen = BTreeSet::new();
    targets.retain(|target| seen.insert(target.to_string()));
    targets
}

/// What every question needs.
struct Asker {
    authenticate: AuthenticateLayer,
    inspect: InspectLayer,
    timeout: Duration,
}

impl Asker {
    fn new(config: &Config, metrics: &Metrics, timeout: Duration) -> Self {
        let settings = Settings {
            rules: config.rules.clone(),
            limits: config.limits,
            stream: config.stream,
            mark_reasoning: false,
            bench: Arc::new(Bench::new(config.bench, metrics.clone()).off()),
            affinity: Arc::new(Affinity::new(config.affinity)),
            metrics: metrics.clone(),
        };
        Self {
            authenticate: AuthenticateLayer::new(Arc::new(config.rules.clone())),
            inspect: InspectLayer::new(settings),
            timeout,
        }
    }

    async fn ask(&self, target: Target, number: usize, credential: Arc<Credential>) -> Finding {
        let mut finding = Finding::new(&target, number, credential.status().kind);
        if credential.is_clients_own() {
            finding.detail = Some("the client's own credential".to_owned());
            return finding;
        }
        let Some(model) = &finding.model else {
            finding.detail = Some("no route names a model for it: --model NAME".to_owned());
            return finding;
        };
        let Some(original) = question(model, self.timeout) else {
            finding.detail = Some("the model's name fits into no question".to_owned());
            return finding;
        };
        let told = Arc::new(Mutex::new(HeaderMap::new()));
        let attempt =
            Attempt::bind(&Arc::new(original), &target, &Lease::new(&credential), true, false);
        let started = Instant::now();
        let answer = self.stack(told.clone(), attempt).await;
        finding.milliseconds = u64::try_from(started.elapsed().as_millis()).ok();
        match answer {
            Answer::Failed(failure, _) => {
                finding.outcome = failure.class.as_str();
                finding.detail = Some(failure.detail);
            }
            Answer::Relay(_) | Answer::Unjudged(_) => finding.outcome = "ok",
        }
        let now = SystemTime::now();
        let expiry = credential.status().expires_at.and_then(|at| at.duration_since(now).ok());
        finding.expires_in_seconds = expiry.map(|left| left.as_secs());
        let headers = told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quota) = headroom(&headers, now) {
            finding.quota_left_percent = Some(quota.percent);
            finding.quota_reset_seconds = quota.reset.map(|left| left.as_secs());
        }
        finding
    }

    /// What an attempt goes through when a client asks, less what other attempts have to do with it.
    async fn stack(&self, told: Arc<Mutex<HeaderMap>>, attempt: Attempt) -> Answer {
        let stack = ServiceBuilder::new()
            .layer(self.authenticate.clone())
            .layer(self.inspect.clone())
            .layer(FirstByteLayer)
            .map_response(move |response: Response<Body>| {
                // As it comes: quotas are not for clients, and end above.
                response
                    .headers()
                    .clone_into(&mut told.lock().unwrap_or_else(PoisonError::into_inner));
                response
            })
            .service(Transport);
        stack.oneshot(attempt).await.unwrap_or_else(|never| match never {})
    }
}

/// The question. Not streamed, so that the whole answer is judged; with as few tokens as the API allows.
fn question(model: &str, timeout: Duration) -> Option<Original> {
    let body = serde_json::json!({
        "model": model,
        "input": [{ "role": "user", "content": "Say hi." }],
        "max_output_tokens": 16,
        "store": false,
    });
    let body = Bytes::from(body.to_string());
    Some(Original {
        envelope: Envelope::read(&body).ok()?,
        body,
        headers: HeaderMap::new(),
        record: Record::new("check".to_owned()),
        issuers: Vec::new(),
        conversation: Conversation::default(),
        opening: Opening::default(),
        wants_event: false,
        deadline: Instant::now() + timeout,
    })
}

fn print(findings: &[Finding], out: &mut impl Write) -> std::io::Result<()> {
    let seconds = |seconds: Option<u64>| match seconds {
        Some(seconds) => in_minutes(Duration::from_secs(seconds)).to_string(),
        None => String::new(),
    };
    let header = ["backend", "model", "credential", "answer", "time", "expires in", "quota left"];
    let row = |one: &Finding| {
        let quota = one.quota_left_percent.map(|percent| match one.quota_reset_seconds {
            Some(_) => format!("{percent:.0} %, anew in {}", seconds(one.quota_reset_seconds)),
            None => format!("{percent:.0} %"),
        });
        let detail = one.detail.as_deref().filter(|detail| !detail.is_empty());
        vec![
            one.backend.clone(),
            one.model.clone().unwrap_or_default(),
            format!("{} {}", one.credential, one.kind),
            detail.map_or_else(
                || one.outcome.to_owned(),
                |detail| format!("{}: {detail}", one.outcome),
            ),
            one.milliseconds.map(|time| format!("{time} ms")).unwrap_or_default(),
            seconds(one.expires_in_seconds),
            quota.unwrap_or_default(),
        ]
    };
    let header = header.map(str::to_owned).to_vec();
    writeln!(out, "{}", table::plain(header, findings.iter().map(row).collect()))
}
