//! For those who operate it: metrics, liveness, readiness.

use std::time::SystemTime;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::Api;
use super::error::ApiError;
use crate::backend::credential::status::{Status, states};

/// `GET /metrics`, in the text format of Prometheus.
pub async fn metrics(State(api): State<Api>) -> Response {
    let live = api.live.load();
    for backend in live.backends.all() {
        for (scope, benched, due) in live.bench.on_bench(&backend.name) {
            api.metrics.on_bench(&backend.name, scope.as_str(), benched, due);
        }
        let benched = live.bench.listed(backend, None);
        let soonest = benched.iter().map(|one| one.left).filter(|left| !left.is_zero()).min();
        api.metrics.next_retry(&backend.name, soonest.map(|left| SystemTime::now() + left));
        let credentials = backend.credentials.all().iter().enumerate();
        for (number, credential) in credentials.filter(|(_, credential)| !credential.is_none()) {
            let Status { state, expires_at, .. } = credential.status();
            api.metrics.credential(&backend.name, number, states(), state, expires_at);
        }
    }
    match api.metrics.render() {
        Ok(text) => ([(CONTENT_TYPE, prometheus_text_format())], text).into_response(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "metrics cannot be written");
            ApiError::Internal.into_response()
        }
    }
}

/// `GET /healthz`: the process lives.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: new requests are welcome. 503 while draining, so that a load balancer looks
/// elsewhere.
pub async fn readyz(State(api): State<Api>) -> (StatusCode, &'static str) {
    if *api.is_draining.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

const fn prometheus_text_format() -> &'static str {
    "text/plain; version=0.0.4; charset=utf-8"
}
