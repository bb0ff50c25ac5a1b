//! The backend that is asked: as cheap as it can be, so that the load's core is enough for it.
//!
//! What it answers is chosen by the first part of the path, so that nginx, which knows nothing of models,
//! can be asked for the same things:
//!
//! | path | answer |
//! |---|---|
//! | `/json` | 2 KB of JSON |
//! | `/stream/COUNT/MS` | COUNT deltas, one every MS milliseconds, each with the time at which it was written |
//! | `/cut/COUNT/MS` | the same, but the connection breaks after them |
//! | `/s401` | 401 |
//! | `/failed` | 200 with `"status": "failed"`, or a stream with `response.failed` |

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;

/// The moment from which [`now`] counts; backend and client are one process, so that both know it.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since this process began to measure.
pub fn now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What stands before the time at which a delta was written.
pub const STAMP: &str = "\"delta\":\"";

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Starts it in a thread of its own, for as long as the process lives.
pub fn start() -> anyhow::Result<SocketAddr> {
    now();
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let connection = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::spawn(connection);
            }
        });
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, mut body) = request.into_parts();
    while body.frame().await.is_some() {}
    let is_stream = head.headers.get(ACCEPT).is_some_and(|accept| accept == "text/event-stream");
    let mut parts = head.uri.path().split('/').skip(1);
    let kind = parts.next().unwrap_or_default();
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let (status, media_type, body) = match kind {
        "s401" => (401, "application/json", whole(UNAUTHORIZED)),
        "failed" if is_stream => {
            (200, "text/event-stream", whole([CREATED, FAILED_EVENT].concat()))
        }
        "failed" => (200, "application/json", whole(FAILED)),
        "stream" | "cut" => {
            let (count, gap) = (number(), Duration::from_millis(number()));
            (
                200,
                "text/event-stream",
                StreamBody::new(events(count, gap, kind == "cut")).boxed_unsync(),
            )
        }
        _ => (200, "application/json", whole(JSON.clone())),
    };
    let mut response = Response::new(body);
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(media_type));
    Ok(response)
}

fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The events of a stream: the beginning, `count` deltas, and the end unless it is cut.
fn events(
    count: u64,
    gap: Duration,
    is_cut: bool,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send {
    let mut ticks = tokio::time::interval(gap.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = futures_util::stream::iter([Bytes::from_static(CREATED.as_bytes())]);
    let deltas = futures_util::stream::unfold((0, ticks), move |(number, mut ticks)| async move {
        if number == count {
            return None;
        }
        if !gap.is_zero() {
            ticks.tick().await;
        }
        Some((delta(number), (number + 1, ticks)))
    });
    let end = futures_util::stream::once(async move {
        if !is_cut {
            return Ok(completed(count));
        }
        // What was written last is sent first.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Err(io::ErrorKind::ConnectionReset.into())
    });
    let all = begun.chain(deltas).map(Ok).chain(end);
    all.map(|event| event.map(Frame::data))
}

fn delta(number: u64) -> Bytes {
    let (sequence_number, at) = (number + 1, now());
    Bytes::from(format!(
        "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{sequence_number},\"item_id\":\"msg_68b0c1f668b0c1f668b0c1f6\",\"output_index\":0,\"content_index\":0,{STAMP}{at}\",\"logprobs\":[]}}\n\n"
    ))
}

fn completed(count: u64) -> Bytes {
    let number = count + 1;
    let response = String::from_utf8_lossy(&JSON);
    Bytes::from(format!(
        "event: response.completed\ndata: {{\"type\":\"response.completed\",\"sequence_number\":{number},\"response\":{response}}}\n\n"
    ))
}

const CREATED: &str = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_68b0c1f6\",\"object\":\"response\",\"created_at\":1790000000,\"status\":\"in_progress\",\"model\":\"bench\",\"output\":[]}}\n\n";
const UNAUTHORIZED: &str = r#"{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
const FAILED: &str = r#"{"id":"resp_68b0c1f6","object":"response","created_at":1790000000,"status":"failed","model":"bench","output":[],"error":{"code":"insufficient_quota","message":"You exceeded your current quota."}}"#;
const FAILED_EVENT: &str = "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":1,\"response\":{\"id\":\"resp_68b0c1f6\",\"object\":\"response\",\"status\":\"failed\",\"output\":[],\"error\":{\"code\":\"insufficient_quota\",\"message\":\"You exceeded your current quota.\"}}}\n\n";

/// An answer as OpenAI gives it, of 2 KB.
static JSON: LazyLock<Bytes> = LazyLock::new(|| {
    let text = "All work and no play makes Jack a dull boy. ".repeat(26);
    Bytes::from(format!(
        r#"{{"id":"resp_68b0c1f668b0c1f668b0c1f668b0c1f668b0c1f668b0c1f6","object":"response","created_at":1790000000,"status":"completed","background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"model":"bench","output":[{{"id":"msg_68b0c1f668b0c1f668b0c1f6","type":"message","status":"completed","content":[{{"type":"output_text","annotations":[],"logprobs":[],"text":"{text}"}}],"role":"assistant"}}],"parallel_tool_calls":true,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{{"effort":null,"summary":null}},"service_tier":"default","store":true,"temperature":1.0,"text":{{"format":{{"type":"text"}},"verbosity":"medium"}},"tool_choice":"auto","tools":[],"top_logprobs":0,"top_p":1.0,"truncation":"disabled","usage":{{"input_tokens":36,"input_tokens_details":{{"cached_tokens":0}},"output_tokens":287,"output_tokens_details":{{"reasoning_tokens":0}},"total_tokens":323}},"user":null,"metadata":{{}}}}"#
    ))
});
