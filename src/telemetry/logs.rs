//! Logs: text for people, JSON for machines, always on standard error.

use tracing_subscriber::EnvFilter;

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("the log level {0:?} cannot be read")]
    Filter(String),
    /// Something else logs already.
    #[error("logging has been started before")]
    Started,
}

/// Starts logging for the whole process.
///
/// # Errors
///
/// When the filter is wrong, or logging has been started before.
pub fn start(json: bool, level: &str) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(level).map_err(|_| LogError::Filter(level.to_owned()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        let builder = builder.with_target(false);
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        // Left alone on a terminal: the default hears NO_COLOR.
        if is_terminal { builder.try_init() } else { builder.with_ansi(false).try_init() }
    };
    started.map_err(|_| LogError::Started)
}
