//! The real program in a process of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::kit::{Reply, client, must_hold_no_secret, read, request};

/// A running `sidestep serve`, as talkative as it can be. It is killed when this is dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) address: String,
    log: JoinHandle<String>,
}

/// The program with these arguments, in an empty environment.
pub(crate) fn sidestep(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    // Where no configuration file is found by chance.
    command.current_dir("/");
    command
}

impl Program {
    /// Serves with a configuration file, on a port of its own.
    pub(crate) async fn serve(config: &Path) -> Self {
        Self::serve_with(config, &[]).await
    }

    /// The same, in an environment.
    pub(crate) async fn serve_with(config: &Path, environment: &[(&str, &str)]) -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()];
        let mut child = sidestep(&arguments)
            .env("SIDESTEP_LOG__LEVEL", "trace")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut told = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).await.unwrap(), 0, "it ended too early: {told}");
            told.push_str(&line);
            if line.contains("listening") {
                let address = line.split("address=").nth(1).unwrap();
                break address.split_whitespace().next().unwrap().to_owned();
            }
        };
        let log = tokio::spawn(async move {
            log.read_to_string(&mut told).await.unwrap();
            must_hold_no_secret(&told);
            told
        });
        Self { child, address, log }
    }

    /// Sends a request for the model `m`.
    pub(crate) async fn ask(&self, stream: bool) -> Reply {
        let url = format!("http://{}/v1/responses", self.address);
        read(client().post(url).body(request("m", stream).to_string())).await
    }

    /// Waits until it has loaded its configuration again with this outcome, this often.
    pub(crate) async fn reloaded(&self, outcome: &str, count: usize) {
        let line = format!("sidestep_config_reloads_total{{outcome=\"{outcome}\"}} {count}\n");
        let url = format!("http://{}/metrics", self.address);
        let told = async { while !read(client().get(&url)).await.text().contains(&line) {} };
        tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
    }

    /// Kills it; what it has logged.
    pub(crate) async fn kill(mut self) -> String {
        self.child.kill().await.unwrap();
        self.log.await.unwrap()
    }
}
