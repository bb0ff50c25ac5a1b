//! Who may come in: names, origins, keys, addresses; and what a hostile client can do to the server.

use std::fmt::Write as _;

use sidestep::config::{Sources, load};
use sidestep::faults::catalogue::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{Reply, Rig, client, read, request};

/// Two clients with keys.
const CLIENTS: &str = "---\n[clients]\nagent = { secret = \"good-key-of-the-agent\" }\nci = { secret = \"good-key-of-the-pipeline\" }\n";

/// Asks with these headers.
async fn ask(rig: &Rig, path: &str, headers: &[(&str, &str)]) -> Reply {
    let url = rig.url(path);
    let mut asked = if path.ends_with("/responses") {
        client().post(url).body(request("m", false).to_string())
    } else {
        client().get(url)
    };
    for (name, value) in headers {
        asked = asked.header(*name, *value);
    }
    read(asked).await
}

/// What the server answers to these bytes, until it closes.
async fn raw(rig: &Rig, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an answer, too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const PATHS: [&str; 7] = [
    "/v1/responses", "/v1/models", "/metrics", "/sidestep", "/sidestep/requests", "/healthz",
    "/readyz",
];

/// Where nothing is, or nothing of this method.
const NOWHERE: [&str; 4] = ["/", "/nope", "/sidestep/nope", "/v1/models/responses"];

#[tokio::test]
async fn a_name_that_leads_here_is_no_way_in() {
    let rig = Rig::new(&[Fault::Ok]).await;
    for path in PATHS.iter().chain(&NOWHERE) {
        let reply = ask(&rig, path, &[("host", "evil.example:8787")]).await;
        assert_eq!(reply.status, 403, "{path}");
        assert_eq!(reply.json()["error"]["code"], "host_not_allowed");
    }
    assert_eq!(rig.counts(), [0]);
    let refusals = rig.metric("sidestep_guard_refusals_total").await;
    assert_eq!(refusals, ["sidestep_guard_refusals_total{reason=\"host\"} 11"]);
}

#[tokio::test]
async fn addresses_localhost_and_named_hosts_are_ours() {
    let rig = Rig::with(&[Fault::Ok], "server.allowed_hosts = [\"side.internal\"]\n").await;
    for host in [
        "localhost", "LOCALHOST:1", "app.localhost", "127.0.0.1:8787", "[::1]:8787", "10.1.2.3",
        "side.internal:80", "Side.Internal.",
    ] {
        assert_eq!(ask(&rig, "/readyz", &[("host", host)]).await.status, 200, "{host}");
    }
    for host in ["side.internal.evil.example", "127.0.0.1.evil.example", "localhost.evil", "[::1"] {
        assert_eq!(ask(&rig, "/readyz", &[("host", host)]).await.status, 403, "{host}");
    }
}

#[tokio::test]
async fn a_request_says_once_whom_it_is_for() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let close = "connection: close\r\n\r\n";
    for (head, status) in [
        ("GET /readyz HTTP/1.1\r\n", "400"),
        ("GET /readyz HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n", "400"),
        ("GET http://evil.example/readyz HTTP/1.1\r\nhost: localhost\r\n", "403"),
        ("GET /readyz HTTP/1.0\r\n", "200"),
    ] {
        let answer = raw(&rig, format!("{head}{close}").as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}{answer}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_everywhere() {
    let rig = Rig::with(&[Fault::Ok], "server.allowed_origins = [\"app://mine\"]\n").await;
    for origin in ["https://evil.example", "null", "http://localhost:1", "app://yours"] {
        for path in PATHS.iter().chain(&NOWHERE) {
            let reply = ask(&rig, path, &[("origin", origin)]).await;
            assert_eq!(reply.status, 403, "{origin} {path}");
            assert_eq!(reply.header("access-control-allow-origin"), "");
        }
    }
    assert_eq!(rig.counts(), [0]);
    let own = format!("http://{}", rig.address);
    for origin in [own.as_str(), "app://mine"] {
        assert_eq!(ask(&rig, "/v1/responses", &[("origin", origin)]).await.status, 200, "{origin}");
    }
}

#[tokio::test]
async fn who_is_turned_away_takes_no_place_in_the_journal() {
    let rig = Rig::with(&[Fault::Ok], "journal.entries_max = 2\n").await;
    let id = rig.ask(false).await.header("x-request-id").to_owned();
    for _ in 0..3 {
        let reply = ask(&rig, "/v1/responses", &[("origin", "https://evil.example")]).await;
        assert_eq!(reply.status, 403);
    }
    assert_eq!(rig.get(&format!("/sidestep/requests/{id}")).await.status, 200);
    assert_eq!(rig.get("/sidestep/status").await.json()["hour"]["requests"], 1);
}

#[tokio::test]
async fn without_a_key_only_probes_are_answered() {
    let rig = Rig::with(&[Fault::Ok], CLIENTS).await;
    for path in PATHS.into_iter().chain(NOWHERE) {
        let is_probe = path.ends_with('z');
        for header in [
            ("accept", "*/*"),
            ("authorization", "Bearer good-key-of-the-agenT"),
            ("authorization", "Bearer "),
            ("authorization", "Bearer good-key"),
            ("x-api-key", "another-key-altogether"),
        ] {
            let reply = ask(&rig, path, &[header]).await;
            assert_eq!(reply.status, if is_probe { 200 } else { 401 }, "{path} {header:?}");
            let asks = if path.starts_with("/sidestep") { "Basic" } else { "Bearer" };
            assert!(is_probe || reply.header("www-authenticate").starts_with(asks));
        }
    }
    assert_eq!(rig.counts(), [0]);
}

#[tokio::test]
async fn a_key_opens_the_door_and_stays_there() {
    let rig = Rig::with(&[Fault::Ok], CLIENTS).await;
    let basic = "Basic bWU6Z29vZC1rZXktb2YtdGhlLWFnZW50";
    for (header, value) in [
        ("authorization", "Bearer good-key-of-the-agent"),
        ("authorization", "bearer  good-key-of-the-agent "),
        ("authorization", basic),
        ("x-api-key", "good-key-of-the-agent"),
        ("x-sidestep-key", "good-key-of-the-agent"),
    ] {
        for path in PATHS {
            assert_eq!(ask(&rig, path, &[(header, value)]).await.status, 200, "{header} {path}");
        }
    }
    for received in rig.backends[0].received() {
        assert!(!format!("{:?}", received.headers).contains("of-the-agent"));
    }
}

#[tokio::test]
async fn a_client_is_known_by_the_name_of_its_key() {
    let rig = Rig::with(&[Fault::Ok], CLIENTS).await;
    let key = ("authorization", "Bearer good-key-of-the-pipeline");
    let id = ask(&rig, "/v1/responses", &[key]).await.header("x-request-id").to_owned();
    let metrics = ask(&rig, "/metrics", &[key]).await.text();
    let line = "sidestep_requests_total{client=\"ci\",outcome=\"answered\",route=\"default\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    let entry = ask(&rig, &format!("/sidestep/requests/{id}"), &[key]).await.json();
    assert_eq!(entry["client"], "ci");
}

#[tokio::test]
async fn keys_change_with_the_configuration() {
    let mut rig = Rig::with(&[Fault::Ok], CLIENTS).await;
    let old = ("x-sidestep-key", "good-key-of-the-agent");
    rig.reload("good-key-of-the-agent", "good-key-of-tomorrow");
    assert_eq!(ask(&rig, "/v1/models", &[old]).await.status, 401);
    let new = ("x-sidestep-key", "good-key-of-tomorrow");
    assert_eq!(ask(&rig, "/v1/models", &[new]).await.status, 200);
}

fn problems(toml: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    let sound = "[backends.a]\nbase_url = \"http://127.0.0.1:1/v1\"\n[[routes]]\ndefault = true\nchain = [\"a\"]\n";
    std::fs::write(&file, format!("{toml}\n{sound}")).unwrap();
    match load(&Sources { file: Some(file), ..Sources::default() }) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_open_address_needs_keys_or_a_word_for_it() {
    for key in ["listen", "admin_listen"] {
        let open = format!("server.{key} = \"0.0.0.0:8787\"");
        let told = problems(&open);
        assert!(told.contains(&format!("server.{key}: found 0.0.0.0:8787, where")), "{told}");
        assert!(told.contains("server.allow_without_key = true"), "{told}");
        assert_eq!(problems(&format!("{open}\nserver.allow_without_key = true")), "");
        assert_eq!(
            problems(&format!("{open}\n[clients]\na = {{ secret = \"{}\" }}", "k".repeat(16))),
            ""
        );
    }
}

#[test]
fn keys_are_long_and_different_and_not_told() {
    let told = problems("[clients]\na = { secret = \"hunter2\" }");
    assert!(
        told.contains("clients.a: found a short key; allowed: 16 characters or more"),
        "{told}"
    );
    assert!(!told.contains("hunter2"));
    let same = "{ secret = \"hunter2-hunter2-hunter2\" }";
    let told = problems(&format!("[clients]\na = {same}\nb = {same}"));
    assert!(told.contains("the key of another client"), "{told}");
    let told = problems("[clients]\na = { secret = 12345678901234567890 }");
    assert!(!told.contains("12345"), "{told}");
}

#[tokio::test]
async fn smuggled_requests_are_no_requests() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let hidden = "POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    for head in [
        "content-length: 5\r\ncontent-length: 6", "content-length: +5", "content-length: 5, 6",
        "transfer-encoding: chunked, identity", "transfer-encoding: xchunked",
        "content-length : 5",
    ] {
        let text = format!(
            "POST /v1/responses HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n0\r\n\r\n{hidden}"
        );
        let answer = raw(&rig, text.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), usize::from(!answer.is_empty()), "{head}");
    }
    assert_eq!(rig.counts(), [0]);
}

#[tokio::test]
async fn both_lengths_count_as_chunked_and_end_the_connection() {
    // RFC 9112, section 6.3: the transfer coding overrides, and what follows is nobody's request.
    let rig = Rig::new(&[Fault::Ok]).await;
    let text = "GET /readyz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 60\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = raw(&rig, text.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(!answer.contains("sidestep_"), "{answer}");
}

#[tokio::test]
async fn a_head_has_a_size() {
    let rig = Rig::with(&[Fault::Ok], "server.buffer_bytes_max = \"8KiB\"\n").await;
    let mut one = "GET /readyz HTTP/1.1\r\nhost: localhost\r\n".to_owned();
    write!(one, "x-long: {}\r\n\r\n", "x".repeat(64 * 1024)).unwrap();
    let mut many = "GET /readyz HTTP/1.1\r\nhost: localhost\r\n".to_owned();
    (0..500).for_each(|number| write!(many, "x-{number}: y\r\n").unwrap());
    many.push_str("\r\n");
    for head in [one, many] {
        let answer = raw(&rig, head.as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    assert_eq!(rig.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn who_dawdles_is_let_go() {
    let more = "server.idle_timeout = \"50ms\"\nserver.body_timeout = \"50ms\"\n";
    let rig = Rig::with(&[Fault::Ok], more).await;
    let head = raw(&rig, b"POST /v1/responses HTTP/1.1\r\nhost: loc").await;
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    let body = "POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{";
    let answer = raw(&rig, body.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("request_body_timeout"), "{answer}");
}
