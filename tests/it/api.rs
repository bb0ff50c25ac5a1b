//! The endpoints and what is said to bad requests.

use async_compression::tokio::bufread::ZstdEncoder;
use serde_json::json;
use sidestep::faults::catalogue::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::kit::{Rig, client, configure, read, request};

#[tokio::test]
async fn bad_requests_name_the_field_and_reach_no_backend() {
    let rig = Rig::new(&[Fault::Ok]).await;
    for (body, param) in [
        ("", json!(null)),
        ("nonsense", json!(null)),
        ("[]", json!(null)),
        (r#"{"input":"x"}"#, json!("model")),
        (r#"{"model":7}"#, json!("model")),
        (r#"{"model":"m","stream":"yes"}"#, json!("stream")),
    ] {
        let reply = rig.send(body).await;
        assert_eq!(reply.status, 400, "{body}");
        let error = &reply.json()["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["param"], param, "{body}");
        assert!(error["message"].as_str().unwrap().len() > 10);
        assert!(reply.header("x-request-id").starts_with("req_"));
    }
    assert_eq!(rig.counts(), [0]);
    assert_eq!(
        rig.metric("sidestep_requests_total").await,
        ["sidestep_requests_total{client=\"none\",outcome=\"rejected\",route=\"none\"} 6"]
    );
}

#[tokio::test]
async fn an_unknown_model_without_a_default_route_is_named() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let toml = format!(
        "[backends.b]\nbase_url = \"{}\"\n[[routes]]\nmodel = \"gpt-5\"\nchain = [\"b\"]\n[[routes]]\nmodel = \"o*\"\nchain = [\"b:o4\"]\n",
        rig.backends[0].base_url()
    );
    let rig = Rig::start(configure(&toml), rig.backends.clone()).await;
    let reply = rig.ask(false).await;
    assert_eq!(reply.status, 400);
    assert_eq!(
        reply.json()["error"],
        json!({
            "message": "no route serves the model \"m\"; this proxy has routes for: gpt-5, o*",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        })
    );
    assert_eq!(rig.counts(), [0]);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let rig = Rig::with(&[Fault::Ok], "limits.request_bytes_max = \"1KiB\"\n").await;
    let reply = rig.send(&format!(r#"{{"model":"m","input":"{}"}}"#, "x".repeat(2000))).await;
    assert_eq!(reply.status, 413);
    assert_eq!(reply.json()["error"]["code"], "request_too_large");
    assert_eq!(rig.counts(), [0]);
}

#[tokio::test]
async fn an_encoding_that_cannot_be_read_is_named() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let request = client().post(rig.url("/v1/responses")).header("content-encoding", "compress");
    let reply = read(request.body("x")).await;
    assert_eq!(reply.status, 415);
    assert!(reply.text().contains("\\\"compress\\\""), "{}", reply.text());
    assert_eq!(rig.counts(), [0]);
}

#[tokio::test]
async fn an_encoded_body_reaches_the_backend_as_it_was() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let plain = request("m", false).to_string();
    let mut encoded = Vec::new();
    ZstdEncoder::new(plain.as_bytes()).read_to_end(&mut encoded).await.unwrap();
    let request = client().post(rig.url("/v1/responses")).header("content-encoding", "zstd");
    assert_eq!(read(request.body(encoded)).await.status, 200);
    let received = rig.backends[0].received().remove(0);
    assert_eq!(received.body, plain);
    assert_eq!(received.headers.get("content-encoding"), None);
}

#[tokio::test]
async fn models_serve_the_sdks_and_codex_in_one_body() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let toml = format!(
        "[backends.b]\nbase_url = \"{}\"\n[[routes]]\nmodel = \"gpt-5\"\nchain = [\"b\"]\n[[routes]]\nmodel = \"o*\"\nchain = [\"b:o4\", \"b:llama\"]\n",
        rig.backends[0].base_url()
    );
    let rig = Rig::start(configure(&toml), Vec::new()).await;
    let model =
        |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "sidestep"});
    assert_eq!(
        rig.get("/v1/models?client_version=0.169.0").await.json(),
        json!({"object": "list", "data": [model("gpt-5"), model("o4")], "models": []})
    );
    assert_eq!(rig.get("/v1/models/o3-mini").await.json(), model("o3-mini"));
    let unknown = rig.get("/v1/models/x/else").await;
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["code"]),
        (404, &json!("model_not_found"))
    );
}

#[tokio::test]
async fn both_paths_lead_to_the_endpoint() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let reply = read(client().post(rig.url("/responses")).body(r#"{"model":"m"}"#)).await;
    assert_eq!(reply.output_text(), "Hello from primary, and nothing went wrong.");
}

#[tokio::test]
async fn head_answers_at_once() {
    let rig = Rig::new(&[Fault::Silent]).await;
    let reply = read(client().head(rig.url("/v1/responses"))).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(rig.counts(), [0]);
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_in_the_openai_shape() {
    let rig = Rig::new(&[Fault::Ok]).await;
    for path in ["/", "/v1/props", "/api/tags", "/v1/responses/resp_1"] {
        let reply = rig.get(path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.json()["error"]["code"], "unknown_path");
    }
    let reply = rig.get("/v1/responses").await;
    assert_eq!((reply.status, reply.header("allow")), (405, "POST, HEAD"));
    let reply = read(client().post(rig.url("/v1/models"))).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (405, &json!("method_not_allowed")));
}

#[tokio::test]
async fn a_websocket_handshake_is_sent_to_http() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let mut socket = tokio::net::TcpStream::connect(rig.address).await.unwrap();
    let handshake = "GET /v1/responses HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(handshake.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // Reads until the server closes, as it says it will.
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_needs_no_credential_and_none_of_its_headers_leaks() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let request = client()
        .post(rig.url("/v1/responses"))
        .header("authorization", "Bearer the-clients-own")
        .header("cookie", "session=1")
        .header("x-api-key", "the-clients-own")
        .header("chatgpt-account-id", "the-clients-own")
        .header("x-codex-turn-metadata", "{\"workspaces\":{}}")
        .header("user-agent", "codex_exec/0.169")
        .header("thread-id", "t-1")
        .body(r#"{"model":"m"}"#);
    assert_eq!(read(request).await.status, 200);
    let received = rig.backends[0].received().remove(0).headers;
    assert_eq!(received["authorization"], "Bearer key-of-primary");
    assert_eq!(received["user-agent"], "codex_exec/0.169");
    assert_eq!(received["thread-id"], "t-1");
    assert_eq!(received["accept"], "application/json");
    let mut names: Vec<&str> = received.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept", "authorization", "content-length", "content-type", "host", "thread-id",
            "user-agent"
        ]
    );
}

#[tokio::test]
async fn what_clients_probe_first_is_answered_quickly_and_as_json() {
    let rig = Rig::new(&[Fault::Ok]).await;
    // Ollama's, llama.cpp's and others' paths: Hermes hung on proxies that misbehaved there.
    for path in ["/api/tags", "/api/v1/models", "/props", "/v1/props", "/version", "/api/show"] {
        for request in [client().get(rig.url(path)), client().post(rig.url(path)).body("{}")] {
            let reply = read(request).await;
            assert_eq!((reply.status, reply.header("content-type")), (404, "application/json"));
            assert_eq!(reply.json()["error"]["code"], "unknown_path", "{path}");
        }
    }
    assert_eq!(rig.get("/v1/models/m").await.json()["id"], "m");
    assert_eq!(rig.counts(), [0]);
}
