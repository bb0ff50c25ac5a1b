//! The program as a user runs it: exit codes, what it prints, signals.

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use crate::kit::{client, read, repository, request};

fn sidestep(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidestep"));
    command.args(arguments).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    // Where no configuration file is found by chance.
    command.current_dir("/");
    command
}

async fn output(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = sidestep(arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A server that has said where it listens.
async fn started(arguments: &[&str]) -> (Child, BufReader<ChildStderr>, String) {
    let mut child =
        sidestep(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert_ne!(log.read_line(&mut line).await.unwrap(), 0, "it ended before it listened");
    }
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let url = format!("http://{address}/v1/responses");
    (child, log, url)
}

fn signal(child: &Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
}

#[tokio::test]
async fn the_demo_answers_whatever_its_primary_does() {
    let (mut child, mut log, url) = started(&["demo", "--listen", "127.0.0.1:0"]).await;
    for index in 0..8 {
        let reply =
            read(client().post(&url).body(request("demo", index % 2 == 0).to_string())).await;
        assert_eq!(reply.output_text(), "Hello from secondary, and nothing went wrong.");
    }
    signal(&child, "-TERM");
    assert!(child.wait().await.unwrap().success());
    let mut told = String::new();
    log.read_to_string(&mut told).await.unwrap();
    assert_eq!(told.matches(" WARN failover ").count(), 8, "one line for each\n{told}");
    let mut help = String::new();
    child.stdout.unwrap().read_to_string(&mut help).await.unwrap();
    assert_eq!(help.matches(&format!("curl -i {url} -H 'content-type")).count(), 1, "{help}");
    assert_eq!(help.matches(&format!("curl -N {url} -H 'content-type")).count(), 1, "{help}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (mut child, mut log, url) = started(&["demo", "--listen", "127.0.0.1:0"]).await;
    // Asks the secondary to go silent after some output: the stream would keep the drain waiting.
    let body = request("fault-stall-after-output", true).to_string();
    let mut stream = client().post(&url).body(body).send().await.unwrap();
    stream.chunk().await.unwrap().unwrap();
    signal(&child, "-INT");
    let mut line = String::new();
    while !line.contains("draining") {
        line.clear();
        assert_ne!(log.read_line(&mut line).await.unwrap(), 0);
    }
    signal(&child, "-INT");
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await;
    assert!(ended.expect("well within the drain timeout of 30 s").unwrap().success());
    // What it cut off is told all the same.
    let mut told = String::new();
    log.read_to_string(&mut told).await.unwrap();
    assert!(told.contains(" INFO request ") && told.contains("outcome=\"client_gone\""), "{told}");
}

#[tokio::test]
async fn a_bad_configuration_ends_with_64_before_a_port_is_bound() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[server]\nlisten = \"nowhere\"\nports = 1\n").unwrap();
    let path = file.to_str().unwrap();
    for command in ["serve", "check"] {
        let (code, _, told) = output(&[command, "--config", path]).await;
        assert_eq!(code, 64);
        assert_eq!(
            told,
            format!(
                "sidestep: the configuration has 4 problems:\n  {path}: server.ports: found the unknown key \"ports\"; allowed: \"listen\", \"admin_listen\", \"allow_without_key\", \"allowed_hosts\", \"allowed_origins\", \"drain_timeout\", \"idle_timeout\", \"body_timeout\", \"write_timeout\", \"buffer_bytes_max\", \"connections_max\", \"reload_interval\"\n  {path}: server.listen: found \"nowhere\"; allowed: an address and a port, such as \"127.0.0.1:8787\" or \"[::1]:8787\"\n  {path}: backends: found no backend; allowed: at least one [backends.NAME] table; `sidestep init` writes a first configuration, `sidestep demo` needs none\n  {path}: routes: found no route; allowed: at least one [[routes]] table with a chain\n"
            )
        );
    }
}

#[tokio::test]
async fn without_a_configuration_it_says_what_to_do() {
    let (code, _, told) = output(&["serve"]).await;
    assert_eq!(code, 64);
    assert!(told.contains("no configuration file: backends: found no backend"), "{told}");
}

#[tokio::test]
async fn a_port_in_use_is_said_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, told) = output(&["demo", "--listen", &address]).await;
    assert_eq!(code, 69);
    assert!(told.contains(&address) && told.contains("--listen"), "{told}");
}

#[tokio::test]
async fn the_examples_are_sound() {
    let folder = repository("config/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let output = sidestep(&["check", "--config", path.to_str().unwrap()])
            .envs([
                ("OPENAI_API_KEY", "x"),
                ("AZURE_API_KEY", "x"),
                ("OPENROUTER_API_KEY", "x"),
                ("HOME", "/nowhere"),
            ])
            .output()
            .await
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(
            told.ends_with("the configuration is sound\n"),
            "{}: {:?}",
            path.display(),
            output.stderr
        );
        count += 1;
    }
    assert!(count >= 3);
}

#[tokio::test]
async fn usage_errors_end_with_64() {
    assert_eq!(output(&["serv"]).await.0, 64);
    assert_eq!(output(&["faults", "--default", "nonsense"]).await.0, 64);
    assert_eq!(output(&["--version"]).await.0, 0);
}

#[tokio::test]
async fn the_faults_are_listed() {
    let (code, told, _) = output(&["faults", "--list"]).await;
    assert_eq!(code, 0);
    assert_eq!(told.lines().count(), sidestep::faults::catalogue::Fault::ALL.len());
    assert!(told.contains("401  ") && told.contains("invalid_api_key"), "{told}");
}

#[tokio::test]
async fn health_tells_by_its_exit_code_whether_requests_are_welcome() {
    let (child, _log, url) = started(&["demo", "--listen", "127.0.0.1:0"]).await;
    let address = url.split('/').nth(2).unwrap();
    let port = address.rsplit(':').next().unwrap();
    let everywhere = format!("0.0.0.0:{port}");
    for listen in [address, everywhere.as_str()] {
        let (code, told, _) = output(&["health", "--listen", listen]).await;
        assert_eq!((code, told.as_str()), (0, ""));
    }
    drop(child);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, _, told) = output(&["health", "--listen", &closed.to_string()]).await;
    assert_eq!(code, 69);
    assert!(told.contains("not ready") && told.contains("refused"), "{told}");
}

#[tokio::test]
async fn init_writes_what_is_there_once_and_says_what_to_do_next() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    let path = file.to_str().unwrap();
    let run = || sidestep(&["init", "--to", path]).env("XAI_API_KEY", "key-of-xai").output();
    let first = run().await.unwrap();
    let told = String::from_utf8(first.stdout).unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(told.contains("found a key: XAI_API_KEY") && told.contains("sidestep serve"), "{told}");
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(
        written.contains("env = \"XAI_API_KEY\"") && !written.contains("key-of-xai"),
        "{written}"
    );
    let check = sidestep(&["check", "--config", path]).env("XAI_API_KEY", "key-of-xai").output();
    assert!(check.await.unwrap().status.success());

    let second = run().await.unwrap();
    assert_eq!(second.status.code(), Some(74));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
}

#[tokio::test]
async fn every_client_is_told_the_address_and_has_a_page() {
    for client in [
        "codex", "hermes", "openai-python", "openai-node", "vercel-ai-sdk", "openai-agents",
        "pydantic-ai",
    ] {
        let (code, told, _) = output(&["client", client]).await;
        assert_eq!(code, 0);
        assert!(told.contains("http://127.0.0.1:8787/v1") && !told.contains("URL\""), "{told}");
        let page = repository(&format!("docs/clients/{client}.md"));
        assert!(page.is_file(), "{}", page.display());
    }
    let listen = ["client", "codex", "--listen", "0.0.0.0:9999"];
    let (code, told, _) = output(&listen).await;
    assert_eq!(code, 0);
    assert!(told.contains("http://127.0.0.1:9999/v1"), "{told}");
}

#[tokio::test]
async fn the_server_info_says_where_it_serves_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (config, info) = (folder.path().join("sidestep.toml"), folder.path().join("info.json"));
    std::fs::write(
        &config,
        "[backends.a]\nbase_url = \"http://127.0.0.1:1\"\n[[routes]]\ndefault = true\nchain = [\"a\"]\n",
    )
    .unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()];
    let arguments = [&arguments[..], &["--server-info", info.to_str().unwrap()]].concat();
    let supervisor = std::os::unix::net::UnixDatagram::bind(folder.path().join("notify")).unwrap();
    let mut child = sidestep(&arguments)
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    supervisor.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let supervisor = tokio::task::spawn_blocking(move || {
        let mut told = [0; 200];
        let length = supervisor.recv(&mut told).unwrap();
        (String::from_utf8_lossy(&told[..length]).into_owned(), supervisor)
    });
    let (told, supervisor) = supervisor.await.unwrap();
    let told_info: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&info).unwrap()).unwrap();
    let address = told_info["address"].as_str().unwrap();
    assert_eq!(told, format!("READY=1\nSTATUS=serving on {address}\n"));
    assert_eq!(told_info["pid"], child.id().unwrap());
    assert_eq!(told_info["base_url"], format!("http://{address}/v1"));
    assert_eq!(
        read(client().get(format!("http://{address}/readyz"))).await.status,
        http::StatusCode::OK
    );

    signal(&child, "-TERM");
    assert!(child.wait().await.unwrap().success());
    assert!(!info.exists());
    let mut told = [0; 200];
    let length = supervisor.recv(&mut told).unwrap();
    assert!(told[..length].starts_with(b"STOPPING=1\n"));
}

#[tokio::test]
async fn a_server_info_that_cannot_be_written_ends_it() {
    let arguments =
        ["serve", "--listen", "127.0.0.1:0", "--server-info", "/nowhere/info.json", "--config"];
    let config = repository("config/examples/local-models.toml");
    let arguments = [&arguments[..], &[config.to_str().unwrap()]].concat();
    let Output { status, stderr, .. } =
        sidestep(&arguments).env("OPENAI_API_KEY", "sk-x").output().await.unwrap();
    assert_eq!(status.code(), Some(74));
    let told = String::from_utf8(stderr).unwrap();
    assert!(told.contains("cannot write /nowhere/info.json: No such file"), "{told}");
}

#[tokio::test]
async fn completions_and_manual_pages_know_every_command() {
    let (status, script, _) = output(&["completions", "bash"]).await;
    assert_eq!(status, 0);
    let (_, help, _) = output(&["--help"]).await;
    let folder = tempfile::tempdir().unwrap();
    let (status, ..) = output(&["man", "--to", folder.path().to_str().unwrap()]).await;
    assert_eq!(status, 0);
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut count = 0;
    for name in commands.lines().filter_map(|line| line.strip_prefix("  ")) {
        let Some(name) = name.split(' ').next().filter(|name| !name.is_empty()) else { continue };
        assert!(script.contains(&format!("sidestep,{name})")), "{name}");
        let page = folder.path().join(format!("sidestep-{name}.1"));
        assert!(name == "help" || page.exists(), "{}", page.display());
        count += 1;
    }
    assert!(count > 9, "{help}");
    let (_, page, _) = output(&["man"]).await;
    assert!(page.contains("sidestep\\-serve(1)"), "{page}");
}
