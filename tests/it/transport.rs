//! Connections that fail, told apart by type and not by text.

use std::net::SocketAddr;

use sidestep::faults::FaultBackend;
use sidestep::faults::catalogue::Fault;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::kit::{Rig, configure, request};

/// A chain of a backend at `base_url` and a healthy one.
async fn chain(base_url: &str, timeouts: &str) -> Rig {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let healthy = FaultBackend::start("secondary", Fault::Ok, listener).unwrap();
    let toml = format!(
        "[backends.primary]\nbase_url = \"{base_url}\"\n{timeouts}\n[backends.secondary]\nbase_url = \"{}\"\n[[routes]]\ndefault = true\nchain = [\"primary\", \"secondary\"]\n",
        healthy.base_url()
    );
    Rig::start(configure(&toml), vec![healthy]).await
}

async fn goes_on(base_url: &str, timeouts: &str, seen: &str) {
    for stream in [false, true] {
        let rig = chain(base_url, timeouts).await;
        let reply = rig.send(&request("m", stream).to_string()).await;
        assert_eq!(reply.output_text(), "Hello from secondary, and nothing went wrong.");
        assert_eq!(
            reply.header("x-sidestep-attempts"),
            format!("\"primary:m\";{seen}, \"secondary:m\";class=ok")
        );
    }
}

#[tokio::test]
async fn refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    goes_on(&format!("http://{address}"), "", "class=network;detected_by=transport").await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve() {
    // A label of more than 63 characters is refused by the resolver itself: no network is asked.
    let host = "x".repeat(64);
    goes_on(&format!("http://{host}.invalid"), "", "class=network;detected_by=transport").await;
}

#[tokio::test]
async fn no_tls_on_the_other_side() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = FaultBackend::start("plain", Fault::Ok, listener).unwrap();
    let url = format!("https://{}", plain.address);
    goes_on(&url, "", "class=network;detected_by=transport").await;
    assert_eq!(plain.received().len(), 0);
}

#[tokio::test]
async fn a_connection_that_is_not_accepted_in_time() {
    let (address, _held) = full_listener();
    let timeouts = "timeouts = { connect = \"100ms\" }";
    goes_on(&format!("http://{address}"), timeouts, "class=timeout;detected_by=timeout").await;
}

#[tokio::test]
async fn a_pooled_connection_that_has_died_is_replaced_without_a_word() {
    const ANSWER: &str =
        r#"{"id":"resp_1","object":"response","status":"completed","output":[{"type":"message"}]}"#;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Serves one request a connection, promises to keep it open, and closes it.
    let (closed, mut was_closed) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 16 * 1024];
            assert_ne!(stream.read(&mut request).await.unwrap(), 0);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                ANSWER.len()
            );
            stream.write_all((head + ANSWER).as_bytes()).await.unwrap();
            drop(stream);
            closed.send(()).await.unwrap();
        }
    });
    let rig = chain(&format!("http://{address}"), "").await;
    for _ in 0..3 {
        let reply = rig.send(&request("m", false).to_string()).await;
        assert_eq!((reply.status, reply.header("x-sidestep-backend")), (200, "primary"));
        was_closed.recv().await.unwrap();
    }
}

/// A listener whose queue is full, so that further connections wait for ever.
fn full_listener() -> (SocketAddr, Vec<Socket>) {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = vec![listener];
    for _ in 0..4 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        // In progress is what it says; the queue is filled by that.
        let _ = socket.connect(&address);
        held.push(socket);
    }
    (address.as_socket().unwrap(), held)
}
