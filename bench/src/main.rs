//! Measures Sidestep beside nginx, in one run, on one machine. `docs/performance.md` says how.

mod compare;
mod exchange;
mod soak;
mod streams;
mod subject;
mod table;
mod upstream;
mod wrk;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// The core of what loads and what answers.
const LOAD_CORE: usize = 0;
/// The core of what is measured, alone.
const SUBJECT_CORE: usize = 1;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// The program to measure.
    #[arg(long, default_value = "../target/release/sidestep")]
    program: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the table of docs/performance.md.
    Compare(compare::Options),
    /// Mixed load with faults, aborts, slow readers and reloads; fails if anything is lost or grows.
    Soak(soak::Options),
    /// Runs the backend alone, for profiling by hand.
    Upstream,
}

fn main() -> anyhow::Result<()> {
    let Arguments { program, command } = Arguments::parse();
    pin(LOAD_CORE)?;
    match command {
        Command::Compare(options) => compare::run(&program, &options),
        Command::Soak(options) => soak::run(&program, &options),
        Command::Upstream => {
            println!("http://{}/json/v1", upstream::start()?);
            std::thread::park();
            Ok(())
        }
    }
}

/// Keeps this process on one core, so that the subject has the other one to itself.
fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}
