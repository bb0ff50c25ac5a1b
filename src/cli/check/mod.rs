//! `sidestep check`: the configuration as it resolves, and how its credentials stand, secrets left
//! out. Nothing is sent, nothing is renewed, unless `live` asks every target.

pub mod live;

use std::io::Write;
use std::time::{Duration, SystemTime};

use super::CommandError;
use crate::app::AppError;
use crate::backend::Backends;
use crate::backend::credential::status::Status;
use crate::config::Config;
use crate::telemetry::metrics::Metrics;
use url::Url;

/// Prints a configuration that has been found sound.
///
/// # Errors
///
/// When the output cannot be written, or a backend cannot be set up.
pub fn print(config: &Config, out: &mut impl Write) -> Result<(), CommandError> {
    let metrics = Metrics::new().map_err(AppError::from)?;
    let backends = Backends::new(config, None, &metrics).map_err(AppError::from)?;
    writeln!(out, "listen  {}", config.server.listen)?;
    writeln!(out, "\nbackends")?;
    let width = config.backends.keys().map(String::len).max().unwrap_or(0);
    for backend in backends.all() {
        writeln!(out, "  {:width$}  {}", backend.name, shown_url(&backend.url))?;
        for credential in backend.credentials.all() {
            let status = credential.status();
            writeln!(out, "  {:width$}  {}", "", shown(&status, SystemTime::now()))?;
            if let Some(trouble) = &status.trouble {
                writeln!(out, "  {:width$}    {trouble}", "")?;
            }
        }
    }
    writeln!(out, "\nroutes")?;
    let width = config.routes.iter().map(|route| route.name.len()).max().unwrap_or(0);
    for route in &config.routes {
        let chain: Vec<String> = route
            .chain
            .iter()
            .map(|entry| match &entry.model {
                Some(model) => format!("{}:{model}", entry.backend),
                None => entry.backend.clone(),
            })
            .collect();
        let default = if route.default && route.name != "default" { "  (default)" } else { "" };
        writeln!(out, "  {:width$}  {}{default}", route.name, chain.join(" -> "))?;
    }
    writeln!(out, "\nthe configuration is sound")?;
    Ok(())
}

/// A query may hold a key: only that there is one is shown.
fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    if url.query().is_some() { format!("{shown}?***") } else { shown.to_string() }
}

/// Such as `codex, file /x/codex.json: present, expires in 52m (2026-…Z), renewed 8m ago`.
fn shown(status: &Status, now: SystemTime) -> String {
    let Status { kind, origin, state, expires_at, last_refresh, .. } = status;
    let mut text = match *kind {
        "none" => return origin.clone(),
        "passthrough" => return format!("{kind}, {origin}"),
        _ => format!("{kind}, {origin}: {}", state.replace('_', " ")),
    };
    if let Some(at) = expires_at {
        let date = humantime::format_rfc3339_seconds(*at);
        text += &match at.duration_since(now) {
            Ok(left) => format!(", expires in {} ({date})", in_minutes(left)),
            Err(past) => format!(", expired {} ago ({date})", in_minutes(past.duration())),
        };
    }
    if let Some(past) = last_refresh.and_then(|at| now.duration_since(at).ok()) {
        text += &format!(", renewed {} ago", in_minutes(past));
    }
    text
}

/// To the minute, or to the second within one.
fn in_minutes(span: Duration) -> humantime::FormattedDuration {
    let seconds = span.as_secs();
    let seconds = if seconds < 60 { seconds } else { seconds / 60 * 60 };
    humantime::format_duration(Duration::from_secs(seconds))
}
