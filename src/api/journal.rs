//! `GET /sidestep/requests`: what has happened to the last requests, one by one and live.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::Api;
use super::error::ApiError;
use crate::telemetry::entry::Entry;
use crate::telemetry::record::Record;

/// How many requests a list has, where nothing else is said.
const LIMIT: usize = 100;
/// Listeners behind proxies that close what is silent.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What of the journal is wanted.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    limit: Option<usize>,
}

/// `GET /sidestep/requests?limit=100`: the newest first; those in work have the outcome `open`.
///
/// # Errors
///
/// When the limit is no number.
pub async fn list(
    State(api): State<Api>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(wanted) = wanted.map_err(|_| ApiError::Limit)?;
    let records = api.journal.latest(wanted.limit.unwrap_or(LIMIT));
    Ok(Json(json!({ "requests": records.iter().map(Entry::of).collect::<Vec<_>>() })))
}

/// `GET /sidestep/requests/{id}`.
///
/// # Errors
///
/// When the journal does not have it, or no more.
pub async fn get(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Entry>, ApiError> {
    api.journal.get(&id).map(|record| Json(Entry::of(&record))).ok_or(ApiError::NotInJournal)
}

/// Places for those who listen live.
#[derive(Clone, Debug)]
pub struct Listeners(Arc<Semaphore>);

impl Listeners {
    /// So many.
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))))
    }
}

/// `GET /sidestep/requests/live`: each request when it is over, as a server-sent event named `request`.
/// A listener that is too slow misses some, and is told how many by an event named `missed`.
pub async fn live(State(api): State<Api>) -> Response {
    let Ok(place) = api.listeners.0.clone().try_acquire_owned() else {
        return ApiError::TooManyListeners.into_response();
    };
    let records = api.journal.listen();
    let listener = Listener { records, is_draining: api.is_draining, _place: place };
    Sse::new(events(listener)).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response()
}

struct Listener {
    records: Receiver<Record>,
    is_draining: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

fn events(listener: Listener) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(listener, |mut listener| async {
        let received = tokio::select! {
            received = listener.records.recv() => received,
            // A listener would keep the server from ending.
            _ = listener.is_draining.wait_for(|is_draining| *is_draining) => return None,
        };
        let event = match received {
            Ok(record) => {
                let event = Event::default().event("request").id(record.id());
                // What an entry holds can always be written as JSON.
                event.json_data(Entry::of(&record)).unwrap_or_default()
            }
            Err(RecvError::Lagged(count)) => {
                Event::default().event("missed").data(count.to_string())
            }
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), listener))
    })
}
