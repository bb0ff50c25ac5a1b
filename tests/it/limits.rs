//! Every limit has an effect, and the shutdown waits as long as it says.

use sidestep::faults::catalogue::Fault;
use sidestep::server::Drained;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::kit::{Rig, client, request};

/// A client in the middle of a stream that does not end.
pub(crate) async fn in_a_stream(rig: &Rig) -> reqwest::Response {
    let body = request("m", true).to_string();
    let mut response = client().post(rig.url("/v1/responses")).body(body).send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    response
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_while_streams_run() {
    let rig =
        Rig::with(&[Fault::StallAfterOutput], "limits.in_flight_max = 1\nlimits.queue_max = 0\n")
            .await;
    let running = in_a_stream(&rig).await;
    let refused = rig.ask(false).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["error"]["code"], "proxy_is_busy");
    assert!(rig.get("/metrics").await.text().contains("\nsidestep_requests_in_flight 1\n"));

    drop(running);
    rig.backends[0].abandoned(1).await;
    while rig.send(r#"{"model":"fault-ok"}"#).await.status == 503 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_large_json_answer_is_relayed_whole() {
    let rig = Rig::with(&[Fault::Ok], "limits.answer_bytes_max = \"100B\"\n").await;
    let reply = rig.ask(false).await;
    assert_eq!(reply.body, rig.ask_directly(0, false).await.body);
}

#[tokio::test]
async fn a_large_stream_for_json_is_a_failure() {
    let rig = Rig::with(&[Fault::Swap, Fault::Ok], "limits.answer_bytes_max = \"1200B\"\n").await;
    let reply = rig.ask(false).await;
    assert_eq!(reply.header("x-sidestep-backend"), "secondary");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused() {
    let rig = Rig::with(&[Fault::Ok], "server.body_timeout = \"50ms\"\n").await;
    let mut slow = TcpStream::connect(rig.address).await.unwrap();
    let head = b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{";
    slow.write_all(head).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"), "{answer}");
    assert_eq!(rig.counts(), [0]);
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let rig = Rig::with(&[Fault::Ok], "server.idle_timeout = \"50ms\"\n").await;
    let mut silent = TcpStream::connect(rig.address).await.unwrap();
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_lets_a_stream_finish() {
    let quick = "stream.after_terminal_timeout = \"100ms\"\n";
    let mut rig = Rig::with(&[Fault::StallAfterCompleted], quick).await;
    let mut response = in_a_stream(&rig).await;
    rig.stop();
    let mut text = String::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(text.contains("response.completed"));
    assert_eq!(rig.ended().await, Drained::Completely);
}

#[tokio::test]
async fn a_shutdown_ends_after_the_drain_timeout() {
    let quick = "server.drain_timeout = \"50ms\"\n";
    let mut rig = Rig::with(&[Fault::StallAfterOutput], quick).await;
    let _running = in_a_stream(&rig).await;
    rig.stop();
    assert_eq!(rig.ended().await, Drained::CutOff);
}

#[tokio::test]
async fn a_shutdown_takes_no_new_connection() {
    let mut rig = Rig::new(&[Fault::StallAfterOutput]).await;
    let _running = in_a_stream(&rig).await;
    rig.stop();
    // The listener is closed as soon as the server sees it; until then a connection may be taken.
    while TcpStream::connect(rig.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_bounded_number_of_requests_waits_for_its_turn() {
    let keys = "limits.in_flight_max = 1\nlimits.queue_max = 1\n";
    let rig = Rig::with(&[Fault::StallAfterOutput], keys).await;
    let running = in_a_stream(&rig).await;
    let ok = || client().post(rig.url("/v1/responses")).body(r#"{"model":"fault-ok"}"#).send();
    let (one, other) = (tokio::spawn(ok()), tokio::spawn(ok()));
    // One of the two waits; the other one hears at once that there is no place for it.
    let (refused, waiting) = futures_util::future::select(one, other).await.into_inner();
    assert_eq!(refused.unwrap().unwrap().status().as_u16(), 503);
    drop(running);
    assert_eq!(waiting.await.unwrap().unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let keys = "limits.in_flight_max = 1\nlimits.queue_timeout = \"50ms\"\n";
    let rig = Rig::with(&[Fault::StallAfterOutput], keys).await;
    let _running = in_a_stream(&rig).await;
    assert_eq!(rig.ask(false).await.status, 503);
}

#[tokio::test]
async fn what_is_too_much_for_a_backend_goes_on_to_the_next() {
    let rig = limited(&[Fault::StallAfterOutput, Fault::Ok], "").await;
    let running = in_a_stream(&rig).await;
    for stream in [false, true] {
        let reply = rig.ask(stream).await;
        assert_eq!(reply.header("x-sidestep-attempts"), "\"secondary:m\";class=ok");
    }
    // Its place is free when the body ends, not before.
    drop(running);
    rig.backends[0].abandoned(1).await;
    rig.backends[0].play(Fault::Ok);
    while rig.ask(false).await.header("x-sidestep-backend") != "primary" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn where_no_other_backend_is_left_a_request_waits_for_a_place() {
    let rig = limited(&[Fault::StallAfterOutput], "").await;
    let running = in_a_stream(&rig).await;
    let body = request("fault-ok", false).to_string();
    let waiting = client().post(rig.url("/v1/responses")).body(body).send();
    let waiting = tokio::spawn(waiting);
    // It is there, and has not reached the backend.
    while !rig.get("/metrics").await.text().contains("\nsidestep_requests_in_flight 2\n") {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.counts(), [1]);
    drop(running);
    assert_eq!(waiting.await.unwrap().unwrap().status().as_u16(), 200);

    let rig = limited(&[Fault::StallAfterOutput], "limits.queue_timeout = \"50ms\"\n").await;
    let _running = in_a_stream(&rig).await;
    let reply = rig.ask(false).await;
    assert_eq!((reply.status, rig.counts()), (504, vec![1]));
}

/// A chain whose primary has one place.
async fn limited(faults: &[Fault], keys: &str) -> Rig {
    Rig::with(faults, &format!("primary.concurrency_max = 1\n{keys}")).await
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_gone_after_a_while() {
    let rig = Rig::with(&[Fault::Endless], "server.write_timeout = \"200ms\"\n").await;
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    let body = request("m", true).to_string();
    let head = format!(
        "POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    // The backend stops sending when nobody takes anything, and is let go after that.
    rig.backends[0].abandoned(1).await;
    let rest = client.read_to_end(&mut Vec::new()).await;
    assert!(rest.is_ok_and(|bytes| bytes > 0) || client.write_all(b"x").await.is_err());
}
