//! The test kit: a proxy with fault backends behind it, and what a client gets from it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Once;

use http::HeaderMap;
use serde_json::{Value, json};
use sidestep::app::App;
use sidestep::config::{Config, Sources, load};
use sidestep::faults::FaultBackend;
use sidestep::faults::catalogue::Fault;
use sidestep::reload::Reloader;
use sidestep::server::Drained;
use sidestep::wire::sse::{EventFields, EventSplitter};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;

/// The names of the backends of a chain, in order.
pub(crate) const NAMES: [&str; 3] = ["primary", "secondary", "tertiary"];

/// A proxy with fault backends behind it.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) backends: Vec<FaultBackend>,
    pub(crate) reloader: Reloader,
    /// What it is configured by.
    pub(crate) toml: String,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Drained>,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: bytes::Bytes,
    /// Whether the body came to its end.
    pub(crate) is_whole: bool,
}

/// The secret of a backend.
pub(crate) fn key_of(name: &str) -> String {
    format!("key-of-{name}")
}

/// A configuration from the text of a file, in an empty environment.
pub(crate) fn configure(toml: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    std::fs::write(&file, toml).unwrap();
    load(&Sources { file: Some(file), ..Sources::default() })
        .unwrap_or_else(|error| panic!("{error}"))
}

/// What only secrets of these tests contain: keys, tokens, accounts.
const MARKS: [&str; 7] = [
    "key-of-", "good-key", "secret-of-", "refresh-token-", "eyJhbGciOiJub25lIn0", "account-of-",
    "-tok-",
];

/// Ends the whole run if a text that anybody may see holds a secret. Everything that Sidestep says
/// to a client, to whoever scrapes it and to its log goes through here, in every test.
pub(crate) fn must_hold_no_secret(text: &str) {
    if let Some(mark) = MARKS.iter().find(|mark| text.contains(**mark)) {
        // A panic might stay in a task that nobody waits for.
        let _ = writeln!(std::io::stderr(), "A SECRET IS TOLD ({mark}): {text}");
        std::process::abort();
    }
}

/// Takes every line that is logged in this process, however talkative.
#[derive(Clone, Copy)]
struct Watch;

impl std::io::Write for Watch {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        must_hold_no_secret(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn watch_the_log() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let watched = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
        watched.with_writer(|| Watch).with_ansi(false).init();
    });
}

/// Nothing is waited for and nothing benched, where `more` does not say otherwise.
pub(crate) fn calm(more: &str) -> String {
    let mut toml = String::new();
    for (key, value) in [
        ("retry.delay_max", "\"0ms\""),
        ("retry.wait_max", "\"0ms\""),
        ("bench.enabled", "false"),
        ("exhausted.memory", "\"0s\""),
    ] {
        if !more.contains(key) {
            writeln!(toml, "{key} = {value}").unwrap();
        }
    }
    toml
}

impl Rig {
    /// A chain of backends that play these faults where a request chooses none.
    pub(crate) async fn new(faults: &[Fault]) -> Self {
        Self::with(faults, "").await
    }

    /// The same, with more configuration: keys (`primary.KEY` for the primary's table), then `---`, then
    /// tables. Retries do not wait, silence is short for the primary.
    pub(crate) async fn with(faults: &[Fault], more: &str) -> Self {
        let mut backends = Vec::new();
        let mut toml = calm(more);
        let (keys, more_tables) = more.split_once("---").unwrap_or((more, ""));
        let mut tables = String::new();
        for (name, fault) in NAMES.iter().zip(faults) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let backend = FaultBackend::start(name, *fault, listener).unwrap();
            let auth = match *name {
                "primary" => "kind = \"bearer\"",
                _ => "kind = \"header\", name = \"api-key\"",
            };
            write!(
                tables,
                "[backends.{name}]\nbase_url = \"{}\"\nauth = {{ {auth}, secret = \"{}\" }}\n",
                backend.base_url(),
                key_of(name),
            )
            .unwrap();
            for line in keys.lines().filter(|_| *name == "primary") {
                if let Some(own) = line.strip_prefix("primary.") {
                    tables.push_str(own);
                    tables.push('\n');
                }
            }
            if *name == "primary" && faults.len() > 1 {
                tables.push_str(
                    "timeouts = { first_byte = \"500ms\", first_output = \"600ms\", idle = \"400ms\", answer = \"600ms\" }\n",
                );
            }
            backends.push(backend);
        }
        let chain: Vec<&str> = NAMES.iter().copied().take(faults.len()).collect();
        // Keys without a table come first in TOML.
        for line in keys.lines().filter(|line| !line.starts_with("primary.")) {
            toml.push_str(line);
            toml.push('\n');
        }
        toml.push_str(&tables);
        toml.push_str(more_tables);
        write!(toml, "\n[[routes]]\ndefault = true\nchain = {chain:?}\n").unwrap();
        let mut rig = Self::start(configure(&toml), backends).await;
        rig.toml = toml;
        rig
    }

    /// A proxy with a configuration of its own.
    pub(crate) async fn start(config: Config, backends: Vec<FaultBackend>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        watch_the_log();
        let app = App::new(config).unwrap();
        let reloader = app.reloader();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            // A rig that is dropped stops, too.
            let _ = stopped.await;
        };
        let serving = tokio::spawn(app.serve(listener, None, shutdown));
        Self { address, backends, reloader, toml: String::new(), stop: Some(stop), serving }
    }

    /// Loads the configuration again, with this in the place of that.
    pub(crate) fn reload(&mut self, from: &str, to: &str) {
        assert!(self.toml.contains(from), "{}", self.toml);
        self.toml = self.toml.replacen(from, to, 1);
        self.reloader.reload(Ok(configure(&self.toml)));
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends a request for the model `m`.
    pub(crate) async fn ask(&self, stream: bool) -> Reply {
        self.send(&request("m", stream).to_string()).await
    }

    /// Sends a body.
    pub(crate) async fn send(&self, body: &str) -> Reply {
        let request = client().post(self.url("/v1/responses"));
        read(request.header("authorization", "Bearer key-of-the-client").body(body.to_owned()))
            .await
    }

    /// What a backend answers when it is asked directly: the bytes to compare with.
    pub(crate) async fn ask_directly(&self, backend: usize, stream: bool) -> Reply {
        let url = format!("{}/responses", self.backends[backend].base_url());
        read(client().post(url).body(request("m", stream).to_string())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        read(client().get(self.url(path))).await
    }

    /// The number of requests that each backend has received.
    pub(crate) fn counts(&self) -> Vec<usize> {
        self.backends.iter().map(|backend| backend.received().len()).collect()
    }

    /// The lines of `/metrics` for one family.
    pub(crate) async fn metric(&self, family: &str) -> Vec<String> {
        let text = self.get("/metrics").await.text();
        let lines = text.lines().filter(|line| line.starts_with(&format!("{family}{{")));
        lines.map(str::to_owned).collect()
    }

    /// Stops taking connections.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the server has ended.
    pub(crate) async fn ended(self) -> Drained {
        self.serving.await.unwrap()
    }
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The events of a stream, each with its data; comments and `[DONE]` left out.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut splitter = EventSplitter::new(usize::MAX);
        splitter.push(self.body.clone());
        let mut events = Vec::new();
        while let Some(event) = splitter.next_event().unwrap() {
            let data = EventFields::read(&event).data.unwrap_or_default().into_owned();
            events.extend(serde_json::from_slice::<Value>(&data).ok());
        }
        events
    }

    /// The types of a stream's events.
    pub(crate) fn types(&self) -> Vec<String> {
        self.events().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    /// The text of the answer, streamed or not.
    pub(crate) fn output_text(&self) -> String {
        if self.header("content-type").starts_with("text/event-stream") {
            let deltas = self.events();
            let deltas =
                deltas.iter().filter(|event| event["type"] == "response.output_text.delta");
            return deltas.map(|event| event["delta"].as_str().unwrap()).collect();
        }
        self.json()["output"][0]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
    }
}

/// A small request.
pub(crate) fn request(model: &str, stream: bool) -> Value {
    json!({ "model": model, "input": "hi", "stream": stream })
}

pub(crate) fn client() -> reqwest::Client {
    // No proxy may have done so before. The second and later calls find it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

/// Sends a request and reads its answer as far as it goes.
pub(crate) async fn read(request: reqwest::RequestBuilder) -> Reply {
    let mut response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    let is_whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    must_hold_no_secret(&format!("{status} {headers:?} {}", String::from_utf8_lossy(&body)));
    Reply { status, headers, body: body.into(), is_whole }
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
