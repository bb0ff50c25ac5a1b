//! Tells those who started it that clients can connect: systemd over its socket, scripts by a file.

use std::net::SocketAddr;
use std::path::PathBuf;

use sd_notify::NotifyState;
use serde::Serialize;

use super::CommandError;
use crate::durable;
use crate::telemetry::build::VERSION_AND_COMMIT;

/// Whom to tell.
#[derive(Debug, Default)]
pub struct Readiness {
    server_info: Option<PathBuf>,
}

/// What the file says.
#[derive(Debug, Serialize)]
struct ServerInfo<'a> {
    address: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_address: Option<SocketAddr>,
    /// What clients take as their base URL.
    base_url: String,
    pid: u32,
    version: &'a str,
}

impl Readiness {
    /// systemd, if it has started this process, and the file, if there is to be one.
    pub fn new(server_info: Option<PathBuf>) -> Self {
        Self { server_info }
    }

    /// Tells that the listeners take connections.
    ///
    /// # Errors
    ///
    /// When the file cannot be written: who waits for it would wait for ever.
    pub fn tell(
        self,
        address: SocketAddr,
        admin_address: Option<SocketAddr>,
    ) -> Result<Told, CommandError> {
        if let Some(file) = &self.server_info {
            let info = ServerInfo {
                address,
                admin_address,
                base_url: format!("http://{address}/v1"),
                pid: std::process::id(),
                version: VERSION_AND_COMMIT,
            };
            let store = |source| CommandError::Store { file: file.clone(), source };
            let text = serde_json::to_vec(&info).map_err(|error| store(error.into()))?;
            durable::replace(file, &text).map_err(store)?;
        }
        let status = format!("serving on {address}");
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        Ok(Told { server_info: self.server_info })
    }
}

/// It has been told. The file goes when this is dropped, so that nobody takes a dead process for a live one.
#[derive(Debug)]
pub struct Told {
    server_info: Option<PathBuf>,
}

impl Told {
    /// Tells that no more connections are taken.
    pub fn stopping(&self) {
        notify(&[NotifyState::Stopping, NotifyState::Status("finishing running answers")]);
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(file) = &self.server_info
            && let Err(error) = std::fs::remove_file(file)
        {
            tracing::warn!(file = %file.display(), %error, "the server-info file was not removed");
        }
    }
}

/// Without systemd there is no socket, and this does nothing.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
