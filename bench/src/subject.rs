//! What is measured: a proxy in a process of its own, on a core of its own.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::SUBJECT_CORE;

/// What a request is about; its first part of a path for the backend and nginx, its model for Sidestep.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Such as `json` or `stream/100/10`.
    pub what: &'a str,
    /// Whether a stream is asked for.
    pub is_stream: bool,
    /// The bytes of its body, about.
    pub bytes: usize,
}

impl Ask<'_> {
    /// The whole request, as it goes over the wire.
    pub fn request(&self, subject: &Subject) -> String {
        let (path, body) = (subject.path(self.what), self.body());
        let accept = if self.is_stream { "text/event-stream" } else { "application/json" };
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: {accept}\r\nuser-agent: bench\r\nauthorization: Bearer of-the-client\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }

    /// Its body: a conversation of so many bytes.
    pub fn body(&self) -> String {
        let Self { what, is_stream, bytes } = self;
        let turn = "{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"What does \\\"foo.rs\\\" do?\\nRead it and tell me, in a few words, how its parts fit together, what it exports and who calls it, please. Then say what you would change about it, and why that would be better for those who have to read it.\"}]}";
        let turns = vec![turn; (bytes / turn.len()).max(1)].join(",");
        format!(
            "{{\"model\":\"{what}\",\"stream\":{is_stream},\"store\":false,\"input\":[{turns}]}}"
        )
    }
}

/// One running proxy, or the backend itself.
pub struct Subject {
    /// Where it listens.
    pub address: SocketAddr,
    /// From its start to its first answer.
    pub ready_after: Duration,
    is_sidestep: bool,
    process: Option<Process>,
}

struct Process {
    child: Child,
    _home: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Subject {
    /// The backend, without anything before it.
    pub fn direct(address: SocketAddr) -> Self {
        Self { address, ready_after: Duration::ZERO, is_sidestep: false, process: None }
    }

    /// nginx with one worker and connections that are kept open on both sides.
    pub fn nginx(upstream: SocketAddr) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let address = free()?;
        let folder = home.path().display();
        let config = format!(
            include_str!("nginx.conf"),
            folder = folder,
            address = address,
            upstream = upstream
        );
        let file = home.path().join("nginx.conf");
        fs::write(&file, config)?;
        let mut command = pinned("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(home.path());
        Self::start("nginx", command, address, home, false)
    }

    /// Sidestep with its defaults, and a log line a request at level info, into a file; `more` is added to
    /// its configuration.
    pub fn sidestep(
        program: &Path,
        upstream: SocketAddr,
        whats: &[&str],
        more: &str,
    ) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let address = free()?;
        let mut config = format!("server.listen = \"{address}\"\n{more}\n");
        for (number, what) in whats.iter().enumerate() {
            config += &format!(
                "[backends.b{number}]\nbase_url = \"http://{upstream}/{what}/v1\"\n[[routes]]\nmodel = \"{what}\"\nchain = [\"b{number}\"]\n"
            );
        }
        for (number, what) in whats.iter().enumerate().skip(1) {
            config +=
                &format!("[[routes]]\nmodel = \"{what}+\"\nchain = [\"b{number}\", \"b0\"]\n");
        }
        let file = home.path().join("sidestep.toml");
        fs::write(&file, config)?;
        let mut command = pinned(program.to_str().context("the program's path")?);
        command.arg("serve").arg("--config").arg(&file);
        Self::start("Sidestep", command, address, home, true)
    }

    fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        home: TempDir,
        is_sidestep: bool,
    ) -> anyhow::Result<Self> {
        let log = File::create(home.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let mut process = Process { child, _home: home };
        while TcpStream::connect(address).is_err() {
            if began.elapsed() > Duration::from_secs(10) || process.child.try_wait()?.is_some() {
                let told = fs::read_to_string(process._home.path().join("log"))?;
                anyhow::bail!("{name} does not listen: {told}");
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        let ready_after = began.elapsed();
        Ok(Self { address, ready_after, is_sidestep, process: Some(process) })
    }

    /// The path to ask for something.
    pub fn path(&self, what: &str) -> String {
        if self.is_sidestep { "/v1/responses".to_owned() } else { format!("/{what}/v1/responses") }
    }

    /// The processor time that it has used.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()?))? {
            // A thread may end meanwhile.
            let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            nanoseconds += line.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Its memory that is in use, in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).context("VmRSS")?;
        Ok(kilobytes.parse::<u64>()? * 1024)
    }

    /// Its open descriptors.
    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid()?))?.count())
    }

    /// Makes it load its configuration again.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?)?;
        let pid = rustix::process::Pid::from_raw(pid).context("no process")?;
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::HUP)?)
    }

    fn pid(&self) -> anyhow::Result<u32> {
        // `taskset` becomes what it starts.
        Ok(self.process.as_ref().context("the backend is no process of its own")?.child.id())
    }
}

fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &SUBJECT_CORE.to_string(), program]);
    command
}

fn free() -> anyhow::Result<SocketAddr> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    ensure!(address.port() > 0);
    Ok(address)
}
