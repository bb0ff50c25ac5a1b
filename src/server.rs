//! Listens, serves, and ends when it is told to: connections are taken until `shutdown` resolves,
//! running answers may finish within the drain timeout.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tower::Service;

/// The pause after a failed `accept`: out of descriptors, most likely, which takes time to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of a server.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Open connections.
    pub connections_max: usize,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Duration,
    /// Bytes that wait for one client; at least 8 KiB.
    pub buffer_bytes_max: usize,
    /// Time for the next request's head, on a new connection and on an idle one.
    pub idle_timeout: Duration,
    /// Time for running answers after the shutdown.
    pub drain_timeout: Duration,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every running answer had come to its end.
    Completely,
    /// Some were cut off by the drain timeout.
    CutOff,
}

/// Serves one service a connection, made by `make`, until `shutdown` resolves; `on_drain` is called
/// then. The listener and the shutdown are parameters so that tests can bring their own.
pub async fn serve<S, E>(
    listener: TcpListener,
    limits: ServerLimits,
    mut make: impl FnMut(&TcpStream) -> S,
    shutdown: impl Future<Output = ()>,
    on_drain: impl FnOnce(),
) -> Drained
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = E> + Clone + Send + 'static,
    S::Future: Send,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(limits.connections_max.min(Semaphore::MAX_PERMITS)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.idle_timeout);
    http.max_buf_size(limits.buffer_bytes_max);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = &mut shutdown => break,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot accept a connection"
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(make(&stream));
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.write_timeout));
        let stream = TokioIo::new(Box::pin(stream));
        let connection = graceful.watch(http.serve_connection(stream, service));
        tokio::spawn(async move {
            // A client that breaks its connection off is no error of ours.
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    on_drain();
    match tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await {
        Ok(()) => Drained::Completely,
        Err(_) => Drained::CutOff,
    }
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Events are small, and waiting for more of them delays each by up to 40 ms.
    // A peer that is gone already shows itself at the first read.
    let _ = stream.set_nodelay(true);
    Ok((stream, permit))
}
