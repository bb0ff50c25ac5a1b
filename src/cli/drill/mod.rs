//! `sidestep drill`: a rehearsal of the user's own chains. The built-in fault backend stands in for every
//! target, and plays every fault at every place; no request and no key leaves the process.

mod rehearsal;
mod report;

use std::io::Write;

use super::CommandError;
use crate::config::Config;
use rehearsal::rehearse;
use report::Report;

/// Plays the drill and prints what came of it.
///
/// # Errors
///
/// When a chain has a weakness that its owner could mend, a stand-in cannot be started, or the output cannot be
/// written.
pub async fn drill(config: &Config, json: bool, out: &mut impl Write) -> Result<(), CommandError> {
    let mut routes = Vec::new();
    for route in &config.routes {
        routes.push(rehearse(config, route).await?);
    }
    let report = Report::new(config, routes);
    if json {
        serde_json::to_writer_pretty(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        report.print(out)?;
    }
    match report.findings() {
        0 => Ok(()),
        count => Err(CommandError::Weak(count)),
    }
}
