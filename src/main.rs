//! The program: arguments and environment in, one command, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Names and values that are no UTF-8 cannot be meant for us.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    sidestep::cli::run(environment)
}
