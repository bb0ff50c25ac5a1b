//! `sidestep faults`: the built-in fault backend by itself.

use std::io::{self, Write};

use tokio::net::TcpListener;

use super::CommandError;
use crate::faults::FaultBackend;
use crate::faults::catalogue::Fault;

/// Prints the faults.
///
/// # Errors
///
/// When the output cannot be written.
pub fn list(out: &mut impl Write) -> Result<(), CommandError> {
    let width = Fault::ALL.iter().map(|fault| fault.name().len()).max().unwrap_or(0);
    for fault in Fault::ALL {
        writeln!(out, "{:width$}  {}", fault.name(), fault.what())?;
    }
    Ok(())
}

/// Runs the fault backend until a signal ends it.
///
/// # Errors
///
/// When the fault is unknown or the port cannot be bound.
pub async fn serve(arguments: &super::Faults) -> Result<(), CommandError> {
    let Some(default) = Fault::from_name(&arguments.default) else {
        let name = &arguments.default;
        return Err(CommandError::Argument(format!(
            "no fault is called {name:?}; see `sidestep faults --list`"
        )));
    };
    let address = arguments.listen.clone();
    let listener = TcpListener::bind(&address)
        .await
        .map_err(|source| CommandError::Listen { address, source })?;
    let backend = FaultBackend::start(&arguments.name, default, listener)?;
    writeln!(
        io::stdout().lock(),
        "base_url = \"{}\"\nchoose a fault by the model \"fault-NAME\" or the header x-sidestep-fault: NAME",
        backend.base_url()
    )?;
    tokio::signal::ctrl_c().await?;
    Ok(())
}
