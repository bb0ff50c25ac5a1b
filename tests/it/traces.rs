//! Trace context for backends, and, with the feature `otlp`, spans for a collector.

use sidestep::faults::catalogue::Fault;

use crate::kit::{Rig, client, read, request};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Asks with a trace context; what each backend that was asked got of it.
async fn told(rig: &Rig) -> Vec<[Option<String>; 2]> {
    let asked = client().post(rig.url("/v1/responses")).body(request("m", false).to_string());
    let asked = asked.header("content-type", "application/json");
    let asked = asked.header("traceparent", CALLER).header("tracestate", "vendor=1");
    assert_eq!(read(asked).await.status, 200);
    let received = rig.backends.iter().flat_map(|backend| backend.received());
    let value = |headers: &http::HeaderMap, name| {
        headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    received
        .map(|one| ["traceparent", "tracestate"].map(|name| value(&one.headers, name)))
        .collect()
}

#[tokio::test]
async fn a_backend_sees_the_trace_only_if_it_is_configured_to() {
    let rig = Rig::with(&[Fault::S401, Fault::Ok], "primary.trace_context = true").await;
    let own = [Some(CALLER.to_owned()), Some("vendor=1".to_owned())];
    assert_eq!(told(&rig).await, [own, [None, None]]);
}

#[cfg(not(feature = "otlp"))]
#[test]
fn a_binary_that_cannot_export_says_so_at_the_start() {
    let toml = "[traces]\nendpoint = \"http://127.0.0.1:4318/v1/traces\"\n[backends.b]\nbase_url = \"http://127.0.0.1:1/v1\"\n[[routes]]\ndefault = true\nchain = [\"b\"]\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sidestep.toml");
    std::fs::write(&file, toml).unwrap();
    use sidestep::config::{Sources, load};
    let error = load(&Sources { file: Some(file), ..Sources::default() }).unwrap_err();
    assert!(error.to_string().contains("--features otlp"), "{error}");
}

#[cfg(feature = "otlp")]
mod exported {
    use axum::Router;
    use axum::body::Bytes;
    use axum::routing::post;
    use hyper::server::conn::http1;
    use hyper_util::rt::TokioIo;
    use hyper_util::service::TowerToHyperService;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    /// A collector; what it is sent comes out of the channel.
    async fn collector() -> (String, mpsc::UnboundedReceiver<Bytes>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let (sender, receiver) = mpsc::unbounded_channel();
        let router = Router::new()
            .route("/v1/traces", post(async move |body: Bytes| sender.send(body).unwrap()));
        tokio::spawn(async move {
            let (connection, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(router);
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
        (url, receiver)
    }

    fn holds(spans: &[u8], part: &[u8]) -> bool {
        spans.windows(part.len()).any(|window| window == part)
    }

    /// The bytes of an id in hexadecimal.
    fn id(hex: &str) -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_the_collector_at_the_latest_when_the_server_ends() {
        let (url, mut sent) = collector().await;
        let keys = format!("primary.trace_context = true\n---\n[traces]\nendpoint = \"{url}\"\n");
        let mut rig = Rig::with(&[Fault::S401, Fault::Ok], &keys).await;
        let told = told(&rig).await;
        // The attempt's span is the backend's parent; what other vendors wrote goes on as it is.
        let [Some(parent), Some(state)] = &told[0] else { panic!("{told:?}") };
        assert_eq!(state, "vendor=1");
        let parts: Vec<&str> = parent.split('-').collect();
        assert_eq!([parts[0], parts[1], parts[3]], ["00", TRACE, "01"]);
        assert_eq!(told[1], [None, None]);

        rig.stop();
        rig.ended().await;
        let spans = sent.recv().await.unwrap();
        for part in [
            &id(TRACE)[..],
            &id(parts[2]),
            &id("b7ad6b7169203331"),
            b"sidestep.request_id",
            b"gen_ai.provider.name",
            b"gen_ai.usage.output_tokens",
            b"auth",
        ] {
            assert!(holds(&spans, part), "{:?} in {spans:?}", String::from_utf8_lossy(part));
        }
        for secret in crate::kit::NAMES.map(crate::kit::key_of) {
            assert!(!holds(&spans, secret.as_bytes()));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_collector_that_is_gone_hurts_nobody() {
        let keys = "---\n[traces]\nendpoint = \"http://127.0.0.1:1/v1/traces\"\n";
        let mut rig = Rig::with(&[Fault::Ok], keys).await;
        assert_eq!(rig.ask(true).await.status, 200);
        rig.stop();
        rig.ended().await;
    }
}
