//! `sidestep demo`: a backend that keeps failing, a healthy one, and Sidestep in front of them.

use std::io::{self, Write as _};

use tokio::net::TcpListener;

use super::CommandError;
use super::readiness::Readiness;
use super::serve::serve_on;
use crate::config::{Sources, Watch};
use crate::faults::FaultBackend;
use crate::faults::catalogue::Fault;
use crate::telemetry::logs;

/// Runs the demo until a signal ends it.
///
/// # Errors
///
/// When a port cannot be bound, or the application cannot be built.
pub async fn demo(listen: &str) -> Result<(), CommandError> {
    let listener = bind(listen).await?;
    let address = listener.local_addr()?;
    let primary = FaultBackend::start("primary", Fault::Rotate, bind("127.0.0.1:0").await?)?;
    let secondary = FaultBackend::start("secondary", Fault::Ok, bind("127.0.0.1:0").await?)?;
    // The same way that a user's configuration takes, so that the demo shows what users get.
    let mut watch = Watch::new(Sources {
        file: None,
        environment: [("SIDESTEP_CONFIG".to_owned(), "/dev/null".to_owned())].into(),
        flags: vec![
            ("--listen", "server.listen", address.to_string()),
            ("demo", "backends.primary.base_url", primary.base_url()),
            ("demo", "backends.secondary.base_url", secondary.base_url()),
            // The first backend gets another chance each time, so that there is something to see.
            ("demo", "bench.enabled", "false".to_owned()),
            ("demo", "routes", r#"[{default=true,chain=["primary","secondary"]}]"#.to_owned()),
        ],
    });
    let config = watch.load()?;
    logs::start(config.log.json, &config.log.level)?;
    introduce(&format!("http://{address}"))?;
    serve_on(listener, None, config, watch, Readiness::default()).await
}

fn introduce(url: &str) -> io::Result<()> {
    let mut names: Vec<&str> = (0..6).map(|count| Fault::Rotate.at(count).name()).collect();
    names.dedup();
    write!(
        io::stdout().lock(),
        r#"Two backends run, and Sidestep in front of them. The first one fails each time, in turn:
{failures}. You see none of that but in the log below and in the answer's headers.

A plain request:
  curl -i {url}/v1/responses -H 'content-type: application/json' -d '{{"model":"demo","input":"hi"}}'

A stream:
  curl -N {url}/v1/responses -H 'content-type: application/json' -d '{{"model":"demo","input":"hi","stream":true}}'

What happened, in a browser:
  {url}/sidestep

What was caught, how and when:
  curl -s {url}/metrics | grep ^sidestep_

"#,
        failures = names.join(", "),
    )
}

async fn bind(address: &str) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| CommandError::Listen { address: address.to_owned(), source })
}
