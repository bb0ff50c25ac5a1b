//! `GET /v1/models`: the routes, in one body that both the OpenAI SDKs and Codex accept.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Api;
use super::error::ApiError;

/// `GET /v1/models`.
///
/// The SDKs read `data`. Codex wants `models`, entries of its own type; an empty list keeps its
/// bundled catalogue without an error (codex-cli 0.169).
pub async fn list(State(api): State<Api>) -> Json<Value> {
    let live = api.live.load();
    let data: Vec<Value> = live.routes.models().into_iter().map(model).collect();
    Json(json!({ "object": "list", "data": data, "models": [] }))
}

/// `GET /v1/models/{id}`: whatever a route serves exists.
///
/// # Errors
///
/// When no route serves it.
pub async fn get(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    match api.live.load().routes.plan(&id) {
        Some(_) => Ok(Json(model(&id))),
        None => Err(ApiError::ModelNotFound { model: id.chars().take(128).collect() }),
    }
}

fn model(id: &str) -> Value {
    // OpenAI's type demands a creation time; a route has none.
    json!({ "id": id, "object": "model", "created": 0, "owned_by": "sidestep" })
}
