//! Encrypted connections to backends: whom to trust, who we are, and the proxy on the way.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sidestep::faults::FaultBackend;
use sidestep::faults::catalogue::Fault;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::kit::{Reply, Rig, calm, client, configure, read, request};
use crate::program::Program;

/// A fault backend behind TLS, and the files that make it known to each other.
struct Encrypted {
    backend: FaultBackend,
    port: u16,
    folder: TempDir,
}

impl Encrypted {
    /// Its name is `localhost` and `backend.test`; `asks` is whether it wants a certificate of its client.
    async fn start(asks: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let key = KeyPair::generate().unwrap();
            (CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap(), key)
        };
        let (own, own_key) = names(&["localhost", "backend.test"]);
        let (client, client_key) = names(&["sidestep.test"]);
        for (file, text) in [
            ("ca.pem", ca.pem()),
            ("client.pem", client.pem()),
            ("client.key", client_key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }

        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let config = ServerConfig::builder();
        let config = match asks {
            true => config.with_client_cert_verifier(
                WebPkiClientVerifier::builder(roots.into()).build().unwrap(),
            ),
            false => config.with_no_client_auth(),
        };
        let key = PrivateKeyDer::Pkcs8(own_key.serialize_der().into());
        let config = config.with_single_cert(vec![own.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = FaultBackend::start("encrypted", Fault::Ok, listener).unwrap();
        let behind = backend.base_url().split('/').nth(2).unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut behind = TcpStream::connect(behind).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut behind).await;
                });
            }
        });
        Self { backend, port, folder }
    }

    /// A configuration with it as the only backend.
    fn toml(&self, host: &str, tls: &[&str]) -> String {
        let file = |key: &&str| {
            let name = key.replace("cert_file", "client.pem").replace("key_file", "client.key");
            let name = name.replace("ca_file", "ca.pem");
            format!("{key} = \"{}\"", self.folder.path().join(name).display())
        };
        let tls: Vec<String> = tls.iter().map(file).collect();
        format!(
            "{}\n[backends.a]\nbase_url = \"https://{host}:{}/v1\"\nauth = {{ kind = \"bearer\", secret = \"key-of-a\" }}\ntls = {{ {} }}\n[[routes]]\ndefault = true\nchain = [\"a\"]\n",
            calm(""),
            self.port,
            tls.join(", "),
        )
    }

    async fn asked_with(&self, tls: &[&str]) -> Reply {
        let app = sidestep::app::App::new(configure(&self.toml("localhost", tls))).unwrap();
        let body = request("m", false).to_string();
        let request = http::Request::post("/v1/responses").header("host", "localhost");
        let answer = app.ask(request.body(body.into()).unwrap()).await;
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body, is_whole: true }
    }
}

#[tokio::test]
async fn an_authority_that_the_system_does_not_know_is_trusted_where_the_backend_says_so() {
    let encrypted = Encrypted::start(false).await;
    let reply = encrypted.asked_with(&[]).await;
    assert_eq!(reply.status, 502);
    assert_eq!(encrypted.backend.received().len(), 0);
    let reply = encrypted.asked_with(&["ca_file"]).await;
    assert_eq!(reply.output_text(), "Hello from encrypted, and nothing went wrong.");
}

#[tokio::test]
async fn a_backend_that_asks_for_a_certificate_gets_ours() {
    let encrypted = Encrypted::start(true).await;
    let reply = encrypted.asked_with(&["ca_file"]).await;
    assert_eq!(reply.status, 502);
    assert_eq!(encrypted.backend.received().len(), 0);
    let reply = encrypted.asked_with(&["ca_file", "cert_file", "key_file"]).await;
    assert_eq!(reply.output_text(), "Hello from encrypted, and nothing went wrong.");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_problems_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("empty.pem"), "nothing").unwrap();
    let toml = format!(
        "[backends.a]\nbase_url = \"https://a.test\"\ntls = {{ ca_file = \"{0}\", cert_file = \"/nowhere.pem\", key_file = \"{0}\" }}\n[backends.b]\nbase_url = \"https://b.test\"\ntls.cert_file = \"{0}\"\n[[routes]]\ndefault = true\nchain = [\"a\", \"b\"]\n",
        at("empty.pem").display()
    );
    let file: PathBuf = at("sidestep.toml");
    std::fs::write(&file, toml).unwrap();
    let sources = sidestep::config::Sources { file: Some(file), ..Default::default() };
    let told = sidestep::config::load(&sources).unwrap_err().to_string();
    for problem in [
        "backends.a.tls.ca_file: found",
        "backends.a.tls.cert_file: found /nowhere.pem (No such file",
        "backends.a.tls.key_file: found",
        "backends.b.tls: found one of cert_file and key_file; allowed: both or neither",
        "the configuration has 4 problems",
    ] {
        assert!(told.contains(problem), "{problem} is not in {told}");
    }
}

/// A proxy that tunnels whatever is asked of it to one port of this machine, and counts.
async fn tunnel(to: u16) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"CONNECT backend.test:"), "{}", head.escape_ascii());
            count.fetch_add(1, Ordering::Relaxed);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut behind = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut behind).await;
        }
    });
    (url, asked)
}

#[tokio::test]
async fn backends_are_reached_through_the_proxy_of_the_environment() {
    let encrypted = Encrypted::start(false).await;
    let (proxy, asked) = tunnel(encrypted.port).await;
    let config = encrypted.folder.path().join("sidestep.toml");
    std::fs::write(&config, encrypted.toml("backend.test", &["ca_file"])).unwrap();

    let program = Program::serve_with(&config, &[("HTTPS_PROXY", &proxy)]).await;
    assert_eq!(
        program.ask(true).await.output_text(),
        "Hello from encrypted, and nothing went wrong."
    );
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    program.kill().await;

    let exempt = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "backend.test")];
    let program = Program::serve_with(&config, &exempt).await;
    assert_eq!(program.ask(true).await.status, 502);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    program.kill().await;
}

#[tokio::test]
async fn a_backend_on_this_machine_is_never_asked_through_a_proxy() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&config, &rig.toml).unwrap();
    let nobody = [("HTTP_PROXY", "http://127.0.0.1:1"), ("HTTPS_PROXY", "http://127.0.0.1:1")];
    let program = Program::serve_with(config.path(), &nobody).await;
    let url = format!("http://{}/v1/responses", program.address);
    let reply = read(client().post(url).body(request("m", false).to_string())).await;
    assert_eq!(reply.status, 200);
    program.kill().await;
}
