//! `sidestep health`: asks the running process whether it takes requests, for a container's health check.
//! No shell and no other program is needed for it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::CommandError;
use super::client::address;
use crate::config::Sources;

/// Longer than a busy process takes, shorter than a health check.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks `GET /readyz` at the address that the sources say.
///
/// # Errors
///
/// When nobody answers, or the answer is not that it is ready.
pub async fn health(sources: &Sources) -> Result<(), CommandError> {
    let address = address(sources);
    match tokio::time::timeout(TIMEOUT, status(address)).await {
        Ok(Ok(200)) => Ok(()),
        Ok(Ok(status)) => Err(CommandError::Unhealthy(format!("{address} answers {status}"))),
        Ok(Err(error)) => Err(CommandError::Unhealthy(format!("{address}: {error}"))),
        Err(_) => Err(CommandError::Unhealthy(format!("{address} is silent"))),
    }
}

async fn status(address: SocketAddr) -> std::io::Result<u16> {
    /// `HTTP/1.1 200`
    const LINE_BYTES: usize = 12;
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut line = [0; LINE_BYTES];
    stream.read_exact(&mut line).await?;
    let status =
        line.strip_prefix(b"HTTP/1.1 ").and_then(|status| std::str::from_utf8(status).ok());
    status
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| std::io::Error::other("the answer is no HTTP"))
}
