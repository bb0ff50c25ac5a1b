//! What Sidestep tells of itself: metrics, probes, and no secret anywhere.

use std::process::Stdio;

use sidestep::faults::FaultBackend;
use sidestep::faults::catalogue::Fault;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::kit::{Rig, client, read, request};

#[tokio::test]
async fn metrics_say_what_was_caught_how_and_when() {
    let rig = Rig::new(&[Fault::S401, Fault::FailedQuota, Fault::Ok]).await;
    rig.ask(false).await;
    assert_eq!(
        rig.metric("sidestep_attempts_total").await,
        [
            "sidestep_attempts_total{backend=\"primary\",class=\"auth\",detected_by=\"status\",stage=\"before_commit\"} 1",
            "sidestep_attempts_total{backend=\"secondary\",class=\"quota\",detected_by=\"body\",stage=\"before_commit\"} 1",
            "sidestep_attempts_total{backend=\"tertiary\",class=\"ok\",detected_by=\"none\",stage=\"none\"} 1",
        ]
    );
    assert_eq!(
        rig.metric("sidestep_failovers_total").await,
        [
            "sidestep_failovers_total{class=\"auth\",detected_by=\"status\",from=\"primary\",stage=\"before_commit\",to=\"secondary\"} 1",
            "sidestep_failovers_total{class=\"quota\",detected_by=\"body\",from=\"secondary\",stage=\"before_commit\",to=\"tertiary\"} 1",
        ]
    );
    assert_eq!(
        rig.metric("sidestep_requests_total").await,
        ["sidestep_requests_total{client=\"none\",outcome=\"answered\",route=\"default\"} 1"]
    );
    assert_eq!(
        rig.metric("sidestep_time_to_first_output_seconds_count").await,
        ["sidestep_time_to_first_output_seconds_count{backend=\"tertiary\"} 1"]
    );
    let text = rig.get("/metrics").await.text();
    for line in [
        "sidestep_overhead_seconds_count 1", "sidestep_requests_in_flight 0",
        "sidestep_config_last_reload_successful 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
}

#[tokio::test]
async fn an_attempt_whose_client_left_is_counted() {
    let rig = Rig::new(&[Fault::Silent]).await;
    let asked = client().post(rig.url("/v1/responses")).body(request("m", false).to_string());
    let asked = tokio::spawn(asked.send());
    while rig.counts() == [0] {
        tokio::task::yield_now().await;
    }
    asked.abort();
    let expected = "sidestep_attempts_total{backend=\"primary\",class=\"abandoned\",detected_by=\"none\",stage=\"none\"} 1";
    while !rig.metric("sidestep_attempts_total").await.contains(&expected.to_owned()) {}
}

#[tokio::test]
async fn retries_and_refusals_are_counted() {
    let rig = Rig::new(&[Fault::S500, Fault::S400]).await;
    rig.ask(true).await;
    assert_eq!(
        rig.metric("sidestep_retries_total").await,
        ["sidestep_retries_total{backend=\"primary\",class=\"server\"} 1"]
    );
    assert_eq!(
        rig.metric("sidestep_requests_total").await,
        ["sidestep_requests_total{client=\"none\",outcome=\"refused\",route=\"default\"} 1"]
    );
}

#[tokio::test]
async fn no_label_comes_from_a_client() {
    let rig = Rig::new(&[Fault::Ok]).await;
    for model in ["a", "b", "\u{1F600} \"quoted\""] {
        assert_eq!(rig.send(&request(model, false).to_string()).await.status, 200);
    }
    assert_eq!(
        rig.metric("sidestep_requests_total").await,
        ["sidestep_requests_total{client=\"none\",outcome=\"answered\",route=\"default\"} 3"]
    );
}

#[tokio::test]
async fn a_model_name_of_any_characters_fits_into_the_headers() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let reply = rig.send(&request("\u{e9} \"x\\y\"", false).to_string()).await;
    assert_eq!(reply.header("x-sidestep-attempts"), "\"primary:? \\\"x\\\\y\\\"\";class=ok");
}

#[tokio::test]
async fn probes_answer() {
    let mut rig = Rig::new(&[Fault::Ok]).await;
    assert_eq!(rig.get("/healthz").await.text(), "ok\n");
    assert_eq!(rig.get("/readyz").await.text(), "ready\n");

    // A connection that is open already still hears that no more work is welcome.
    let mut open = tokio::net::TcpStream::connect(rig.address).await.unwrap();
    use tokio::io::AsyncWriteExt as _;
    open.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    // Served on its own connection, so the server has taken the one above before it stops.
    rig.get("/healthz").await;
    rig.stop();
    while tokio::net::TcpStream::connect(rig.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    open.write_all(b"\r\n").await.unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

/// Runs the real program at its most talkative through success, failure and bad input, and looks
/// for every secret in everything that it has said.
#[tokio::test]
async fn no_secret_is_ever_told() {
    const SECRETS: [&str; 4] = [
        "secret-of-the-bearer", "secret-of-the-header", "secret-of-the-extra",
        "secret-of-the-query",
    ];
    let mut urls = Vec::new();
    let mut backends = Vec::new();
    for (name, fault) in [("a", Fault::Rotate), ("b", Fault::Rotate)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = FaultBackend::start(name, fault, listener).unwrap();
        urls.push(backend.base_url());
        backends.push(backend);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    std::fs::write(
        &file,
        format!(
            "log.level = \"trace\"\n[backends.a]\nbase_url = \"{}?key={}\"\nauth = {{ kind = \"bearer\", secret = \"{}\" }}\n[backends.b]\nbase_url = \"{}\"\nauth = {{ kind = \"header\", name = \"api-key\", secret = \"{}\" }}\nheaders = {{ x-extra = \"{}\" }}\n[backends.dead]\nbase_url = \"http://127.0.0.1:1/v1?key={}\"\n[[routes]]\ndefault = true\nchain = [\"dead\", \"a\", \"b\"]\n",
            urls[0], SECRETS[3], SECRETS[0], urls[1], SECRETS[1], SECRETS[2], SECRETS[3],
        ),
    )
    .unwrap();

    let check = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .await
        .unwrap();
    assert!(check.status.success());
    let mut told = String::from_utf8(check.stdout).unwrap();
    assert!(told.contains("bearer, the configuration: present"), "{told}");
    assert!(told.contains("header, the configuration: present"), "{told}");

    let mut server = Command::new(env!("CARGO_BIN_EXE_sidestep"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening") {
        told.push_str(&std::mem::take(&mut line));
        assert_ne!(log.read_line(&mut line).await.unwrap(), 0, "{told}");
    }
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
    let log = tokio::spawn(async move {
        let mut rest = String::new();
        log.read_to_string(&mut rest).await.unwrap();
        rest
    });
    for index in 0..8 {
        let body = request("m", index % 2 == 0).to_string();
        let reply = read(client().post(format!("http://{address}/v1/responses")).body(body)).await;
        told.push_str(&format!("{:?}{}", reply.headers, reply.text()));
    }
    told.push_str(&read(client().get(format!("http://{address}/metrics"))).await.text());
    server.kill().await.unwrap();
    let log = log.await.unwrap();
    assert!(log.contains("failover"), "{log}");
    told.push_str(&log);

    for secret in SECRETS {
        assert!(!told.contains(secret), "{secret} is told");
    }
    let received = backends[0].received().remove(0);
    assert_eq!(received.headers["authorization"], format!("Bearer {}", SECRETS[0]));
}
