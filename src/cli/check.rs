//! `sidestep check`: the configuration as it resolves, secrets left out.

use std::io::Write;

use super::CommandError;
use crate::config::Config;
use crate::config::checked::{Auth, Backend};

/// Prints a configuration that has been found sound.
///
/// # Errors
///
/// When the output cannot be written.
pub fn print(config: &Config, out: &mut impl Write) -> Result<(), CommandError> {
    writeln!(out, "listen  {}", config.server.listen)?;
    writeln!(out, "\nbackends")?;
    let width = config.backends.keys().map(String::len).max().unwrap_or(0);
    for (name, backend) in &config.backends {
        writeln!(out, "  {name:width$}  {}  {}", shown_url(backend), shown_auth(&backend.auth))?;
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
fn shown_url(backend: &Backend) -> String {
    let mut url = backend.url.clone();
    let has_query = url.query().is_some();
    url.set_query(None);
    if has_query { format!("{url}?***") } else { url.to_string() }
}

fn shown_auth(auth: &Auth) -> String {
    match auth {
        Auth::None => "no credential".to_owned(),
        Auth::Bearer(_) => "bearer ***".to_owned(),
        Auth::Header { name, .. } => format!("{name}: ***"),
    }
}
