//! `sidestep serve`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::CommandError;
use super::readiness::Readiness;
use crate::app::App;
use crate::config::checked::Server;
use crate::config::{Config, Watch};
use crate::reload::Reloader;
use crate::server::Drained;
use crate::telemetry::build::VERSION_AND_COMMIT;
use crate::telemetry::logs;

/// Serves clients until a signal ends it.
///
/// # Errors
///
/// When the configuration is not sound, logging cannot start, the application cannot be built, the port cannot be bound, or the
/// server-info file cannot be written.
pub async fn serve(mut watch: Watch, readiness: Readiness) -> Result<(), CommandError> {
    let config = watch.load()?;
    logs::start(config.log.json, &config.log.level)?;
    let listener = bind(config.server.listen).await?;
    let admin = match config.server.admin_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    serve_on(listener, admin, config, watch, readiness).await
}

async fn bind(address: SocketAddr) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| CommandError::Listen { address: address.to_string(), source })
}

/// Serves clients on a listener, and on another one those who operate it, until a signal ends it.
///
/// # Errors
///
/// When the application cannot be built, signals cannot be received, or the server-info file cannot be written.
pub(super) async fn serve_on(
    listener: TcpListener,
    admin: Option<TcpListener>,
    config: Config,
    watch: Watch,
    readiness: Readiness,
) -> Result<(), CommandError> {
    let Server { drain_timeout, reload_interval, .. } = config.server;
    let app = App::new(config)?;
    let reloads = reloads(watch, reload_interval, app.reloader())?;
    let mut second = signals()?;
    let address = listener.local_addr()?;
    let admin_address = admin.as_ref().map(TcpListener::local_addr).transpose()?;
    tracing::info!(%address, version = VERSION_AND_COMMIT, "listening");
    let told = readiness.tell(address, admin_address)?;

    let (told, mut first_signal) = (&told, second.clone());
    let first = async move {
        // The sender lives in a task of its own, for ever.
        let _ = first_signal.wait_for(|count| *count >= 1).await;
        told.stopping();
        tracing::info!(
            ?drain_timeout,
            "draining: no new connections, running answers may finish; a second signal ends at once"
        );
    };
    tokio::select! {
        drained = app.serve(listener, admin, first) => match drained {
            Drained::Completely => tracing::info!("ended: every running answer was finished"),
            Drained::CutOff => tracing::warn!("ended: the drain timeout cut off running answers"),
        },
        never = reloads => match never {},
        _ = second.wait_for(|count| *count >= 2) => tracing::warn!("ended at once by a second signal"),
    }
    Ok(())
}

/// Loads the configuration again on SIGHUP, and when its file has changed.
fn reloads(
    mut watch: Watch,
    mut interval: Option<Duration>,
    reloader: Reloader,
) -> std::io::Result<impl Future<Output = Infallible>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            let look = async {
                match interval {
                    Some(interval) => tokio::time::sleep(interval).await,
                    None => std::future::pending().await,
                }
            };
            let is_asked = tokio::select! {
                Some(()) = hangup.recv() => true,
                () = look => false,
            };
            // Files may be on a disk that takes its time.
            let (mut its_watch, its_reloader) = (watch, reloader.clone());
            let looked = tokio::task::spawn_blocking(move || {
                let is_due = is_asked || its_watch.has_changed();
                let interval = is_due.then(|| its_reloader.reload(its_watch.load())).flatten();
                (its_watch, interval)
            });
            match looked.await {
                Ok((its_watch, server)) => {
                    watch = its_watch;
                    interval = server.map_or(interval, |server| server.reload_interval);
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "no more reloads");
                    return std::future::pending().await;
                }
            }
        }
    })
}

/// Counts SIGTERM and SIGINT.
fn signals() -> std::io::Result<watch::Receiver<usize>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (count, receiver) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            count.send_modify(|count| *count += 1);
        }
    });
    Ok(receiver)
}
