//! The commands.

pub mod check;
pub mod client;
pub mod demo;
pub mod drill;
pub mod faults;
pub mod health;
pub mod init;
pub mod login;
pub mod manual;
pub mod readiness;
pub mod serve;
mod table;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::app::AppError;
use crate::backend::credential::CredentialError;
use crate::config::{Config, ConfigError, Sources, Watch};
use crate::telemetry::build::VERSION_AND_COMMIT;
use crate::telemetry::logs::{self, LogError};
use readiness::Readiness;

/// A local proxy that fronts several LLM backends behind one OpenAI-compatible Responses endpoint,
/// and goes on to the next backend, inside the same request, when one fails.
#[derive(Debug, Parser)]
#[command(name = "sidestep", version = VERSION_AND_COMMIT, about, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve clients.
    Serve {
        /// Where the configuration comes from.
        #[command(flatten)]
        from: Configured,
        /// Write address and process id to this file, as JSON, as soon as clients can connect; removed at the end.
        #[arg(long, value_name = "FILE")]
        server_info: Option<PathBuf>,
    },
    /// Check the configuration and print what it resolves to, credentials and chains; nothing is
    /// started, sent or renewed, except with --live.
    Check(Check),
    /// Write a first configuration, made of what is there: keys in the environment, a Codex login, servers
    /// on this machine. Asks nothing, and overwrites nothing.
    Init {
        /// The file to write [default: ~/.config/sidestep/sidestep.toml].
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Print what to write where, so that a client finds Sidestep.
    Client {
        /// The client.
        client: client::Client,
        /// Where the configuration comes from.
        #[command(flatten)]
        from: Configured,
    },
    /// Ask the running process whether it takes requests: exit code 0 if it does. For health checks.
    Health(Configured),
    /// Give a backend a login of its own.
    #[command(subcommand)]
    Login(Login),
    /// Rehearse failures with your own chains: stand-ins play every fault at every target, and a table says who
    /// answered; exit code 1 if a chain has a weakness that you could mend. Nothing is sent anywhere.
    Drill {
        /// Where the configuration comes from.
        #[command(flatten)]
        from: Configured,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Watch it work without a key or a network: a backend that keeps failing, a healthy one, and
    /// Sidestep in front of them.
    Demo(Demo),
    /// Run the built-in fault backend by itself, to try your own client and configuration on.
    Faults(Faults),
    /// Print what a shell needs to complete commands and options.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands into a folder.
    Man {
        /// The folder, which has to exist.
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub struct Configured {
    /// The configuration file [default: $SIDESTEP_CONFIG, ./sidestep.toml, ~/.config/sidestep/sidestep.toml].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The address to listen on [default: 127.0.0.1:8787].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub from: Configured,
    /// Ask every target one small question with every credential (a few tokens each), and print what it said, in
    /// what time, and what is left of its quota; exit code 1 if one fails.
    #[arg(long)]
    pub live: bool,
    /// A model to ask for where a route names none, such as a pattern's. May be given several times.
    #[arg(long, value_name = "NAME", requires = "live")]
    pub model: Vec<String>,
    /// How long an answer may take.
    #[arg(long, value_name = "TIME", requires = "live", default_value = "60s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Print JSON.
    #[arg(long, requires = "live")]
    pub json: bool,
}

/// Which login.
#[derive(Debug, Subcommand)]
pub enum Login {
    /// A ChatGPT login of the Codex CLI, for kind = "codex".
    Codex(CodexLogin),
    /// A refresh token from standard input, for kind = "oauth".
    Oauth(OauthLogin),
}

/// Arguments of `login codex`.
#[derive(Debug, Args)]
pub struct CodexLogin {
    /// Copy the login that the Codex CLI has.
    #[arg(long, required = true)]
    pub import: bool,
    /// The Codex CLI's folder [default: $CODEX_HOME, ~/.codex].
    #[arg(long, value_name = "FOLDER")]
    pub codex_home: Option<PathBuf>,
    /// The file to write, the backend's `file` [default: ~/.local/state/sidestep/codex.json].
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// Arguments of `login oauth`.
#[derive(Debug, Args)]
pub struct OauthLogin {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub from: Configured,
    /// The backend whose token file is written.
    #[arg(long, value_name = "NAME")]
    pub backend: String,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8787")]
    pub listen: String,
}

/// Arguments of `faults`.
#[derive(Debug, Args)]
pub struct Faults {
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8788")]
    pub listen: String,
    /// The fault to answer with where a request chooses none.
    #[arg(long, value_name = "NAME", default_value = "ok")]
    pub default: String,
    /// What it calls itself in its answers.
    #[arg(long, value_name = "NAME", default_value = "faults")]
    pub name: String,
    /// Print the faults and end.
    #[arg(long)]
    pub list: bool,
}

/// Why a command ended.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration is not sound.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An argument means nothing.
    #[error("{0}")]
    Argument(String),
    /// Logging cannot start.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The application cannot be put together.
    #[error(transparent)]
    App(#[from] AppError),
    /// The port cannot be bound.
    #[error(
        "cannot listen on {address}: {source}; another program may use the port: choose one with --listen"
    )]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process does not take requests.
    #[error("not ready: {0}")]
    Unhealthy(String),
    /// A drill has found weaknesses.
    #[error("weaknesses that the configuration could mend, see above: {0}")]
    Weak(usize),
    /// Targets have failed that were asked.
    #[error("answers that are failures, see above: {0}")]
    Failing(usize),
    /// No target could be asked.
    #[error("no target was asked anything, see above")]
    NothingAsked,
    /// A login cannot be read.
    #[error(transparent)]
    Login(#[from] CredentialError),
    /// A login or a configuration cannot be stored.
    #[error("cannot write {}: {source}", file.display())]
    Store {
        /// Where to.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else of the system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl CommandError {
    /// The exit code, after `sysexits.h`.
    fn exit_code(&self) -> ExitCode {
        const FOUND: u8 = 1;
        const USAGE: u8 = 64;
        const UNAVAILABLE: u8 = 69;
        const SOFTWARE: u8 = 70;
        const IO: u8 = 74;
        ExitCode::from(match self {
            Self::Weak(_) | Self::Failing(_) | Self::NothingAsked => FOUND,
            Self::Config(_) | Self::Argument(_) => USAGE,
            Self::Listen { .. } | Self::Login(_) | Self::Unhealthy(_) => UNAVAILABLE,
            Self::Log(_) | Self::App(_) => SOFTWARE,
            Self::Io(_) | Self::Store { .. } => IO,
        })
    }
}

/// Runs the command of a command line, with the environment as it was when the process began.
pub fn run(environment: BTreeMap<String, String>) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let done = dispatch(arguments.command, environment);
    logs::finish();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever reads the output and has seen enough of it need not hear of that.
            let is_unread =
                matches!(&error, CommandError::Io(io) if io.kind() == io::ErrorKind::BrokenPipe);
            if !is_unread {
                let _ = writeln!(io::stderr(), "sidestep: {}", error.to_string().trim_end());
            }
            error.exit_code()
        }
    }
}

fn dispatch(command: Command, environment: BTreeMap<String, String>) -> Result<(), CommandError> {
    match command {
        Command::Serve { from, server_info } => {
            let watch = Watch::new(sources(from, environment));
            runtime()?.block_on(serve::serve(watch, Readiness::new(server_info)))
        }
        Command::Check(Check { from, live: true, model, timeout, json }) => {
            let config = load(from, environment)?;
            let mut out = io::stdout().lock();
            runtime()?.block_on(check::live::check(config, &model, timeout, json, &mut out))
        }
        Command::Check(Check { from, .. }) => {
            check::print(&load(from, environment)?, &mut io::stdout().lock())
        }
        Command::Init { to } => runtime()?.block_on(init::init(to, environment, &mut io::stdout())),
        Command::Client { client, from } => {
            client::print(client, &sources(from, environment), &mut io::stdout().lock())
        }
        Command::Health(from) => runtime()?.block_on(health::health(&sources(from, environment))),
        Command::Login(login) => runtime()?.block_on(login::login(login, environment)),
        Command::Drill { from, json } => {
            let config = load(from, environment)?;
            runtime()?.block_on(drill::drill(&config, json, &mut io::stdout().lock()))
        }
        Command::Demo(demo) => runtime()?.block_on(demo::demo(&demo.listen)),
        Command::Faults(Faults { list: true, .. }) => faults::list(&mut io::stdout().lock()),
        Command::Faults(faults) => runtime()?.block_on(faults::serve(&faults)),
        Command::Completions { shell } => manual::completions(shell, &mut io::stdout().lock()),
        Command::Man { to } => manual::pages(to.as_deref(), &mut io::stdout().lock()),
    }
}

fn load(from: Configured, environment: BTreeMap<String, String>) -> Result<Config, ConfigError> {
    crate::config::load(&sources(from, environment))
}

fn sources(from: Configured, environment: BTreeMap<String, String>) -> Sources {
    let listen = from.listen.map(|listen| ("--listen", "server.listen", listen));
    Sources { file: from.config, environment, flags: listen.into_iter().collect() }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
