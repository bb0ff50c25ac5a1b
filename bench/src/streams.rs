//! Many streams at one time, each event's lag measured from when the backend wrote it.

use std::time::Duration;

use anyhow::ensure;
use bytes::{Buf as _, BytesMut};
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::exchange::histogram;
use crate::subject::{Ask, Subject};
use crate::upstream::{STAMP, now};

/// What a stream brought.
pub struct Received {
    /// From when each delta was written to when it was read, in nanoseconds.
    pub lags: Histogram<u64>,
    /// The name of its last event.
    pub last: String,
}

/// Sends a request and hands out the answer's body.
pub async fn open(subject: &Subject, ask: Ask<'_>) -> anyhow::Result<Incoming> {
    let stream = TcpStream::connect(subject.address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the body, or when that is dropped.
    tokio::spawn(connection);
    let accept = if ask.is_stream { "text/event-stream" } else { "application/json" };
    let request = Request::post(subject.path(ask.what))
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .header("accept", accept)
        .body(Full::new(Bytes::from(ask.body())))?;
    let response = sender.send_request(request).await?;
    ensure!(response.status() == 200, "{}", response.status());
    Ok(response.into_body())
}

/// Reads a stream to its end, or until so many events have come.
pub async fn read(
    mut body: Incoming,
    events_max: usize,
    pause: Duration,
) -> anyhow::Result<Received> {
    let mut received = Received { lags: histogram(), last: String::new() };
    let mut rest = BytesMut::new();
    let mut count = 0;
    while count < events_max
        && let Some(frame) = body.frame().await
    {
        let Ok(chunk) = frame?.into_data() else { continue };
        let at = now();
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") {
            let event = std::str::from_utf8(&rest[..end])?;
            // Where a JSON answer has been made into events, a delta holds text.
            let stamp = event.split_once(STAMP).and_then(|(_, rest)| rest.split_once('"'));
            if let Some(stamp) = stamp.and_then(|(stamp, _)| stamp.parse::<u64>().ok()) {
                received.lags.record(at.saturating_sub(stamp))?;
            }
            let name = event.lines().find_map(|line| line.strip_prefix("event: "));
            received.last = name.unwrap_or_default().to_owned();
            rest.advance(end + 2);
            count += 1;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(received)
}

/// `count` streams at one time: the lags of all. `meanwhile` is called when they have all begun.
pub fn many(
    subject: &Subject,
    ask: Ask<'_>,
    count: usize,
    meanwhile: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Histogram<u64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let body = open(subject, ask).await?;
            tasks.spawn(read(body, usize::MAX, Duration::ZERO));
        }
        meanwhile()?;
        let mut lags = histogram();
        while let Some(received) = tasks.join_next().await {
            let received = received??;
            ensure!(received.last == "response.completed", "a stream ended with {}", received.last);
            lags.add(received.lags)?;
        }
        Ok(lags)
    })
}
