//! `sidestep init`: a first configuration, made of what is there. Asks nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpStream;

use super::CommandError;
use crate::config::starter::{Found, LOCAL_SERVERS, LocalServer, store, usual_file};

/// Longer than a server on this machine takes.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

/// Writes a configuration to `to`, else to the usual place, and says what to do next.
///
/// # Errors
///
/// When nothing was found, or there is such a file already, or it cannot be written.
pub async fn init(
    to: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    out: &mut (impl Write + Send),
) -> Result<(), CommandError> {
    let found = Found::look(&environment, listening().await);
    if found.told().is_empty() {
        let what = "nothing was found to go by: no key in the environment (OPENAI_API_KEY, OPENROUTER_API_KEY, XAI_API_KEY, GROQ_API_KEY, AZURE_OPENAI_API_KEY with AZURE_OPENAI_ENDPOINT), no Codex login, no server on this machine; the README has some configurations to start from, and `sidestep demo` needs nothing";
        return Err(CommandError::Argument(what.to_owned()));
    }
    let file = to.or_else(|| usual_file(&environment)).ok_or_else(|| {
        CommandError::Argument("HOME is not set: say where to write with --to FILE".to_owned())
    })?;
    store(&file, &found.compose())
        .map_err(|source| CommandError::Store { file: file.clone(), source })?;
    for line in found.told() {
        writeln!(out, "found {line}")?;
    }
    writeln!(out, "\nwritten to {}. Next:", file.display())?;
    if found.codex.is_some_and(|(_, has_own)| !has_own) {
        writeln!(out, "  sidestep login codex --import   # a copy of the login for Sidestep")?;
    }
    writeln!(out, "  sidestep check                  # what it resolves to")?;
    writeln!(out, "  sidestep serve")?;
    writeln!(
        out,
        "  sidestep client codex           # how to point a client at it; also hermes, openai-python …"
    )?;
    Ok(())
}

async fn listening() -> Vec<LocalServer> {
    let mut listening = Vec::new();
    for server in LOCAL_SERVERS {
        let connect = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port));
        if matches!(tokio::time::timeout(CONNECT_TIMEOUT, connect).await, Ok(Ok(_))) {
            listening.push(server);
        }
    }
    listening
}
