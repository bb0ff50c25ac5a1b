//! The journal and the status page: what has happened to each request, and how the chains stand.

use serde_json::Value;
use sidestep::faults::catalogue::Fault;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::kit::{Rig, client, configure, read};

async fn entries(rig: &Rig) -> Vec<Value> {
    rig.get("/sidestep/requests").await.json()["requests"].as_array().unwrap().clone()
}

#[tokio::test]
async fn every_attempt_is_told_with_how_and_when() {
    let rig = Rig::new(&[Fault::S401, Fault::FailedQuota, Fault::Ok]).await;
    for stream in [false, true] {
        let id = rig.ask(stream).await.header("x-request-id").to_owned();
        let entry = rig.get(&format!("/sidestep/requests/{id}")).await.json();
        assert_eq!(entry["id"], id);
        assert_eq!(entry["outcome"], "answered");
        assert_eq!(entry["stream"], stream);
        assert_eq!(entry["backend"], "tertiary");
        assert_eq!(entry["tokens"]["output"], 9, "{entry}");
        let told: Vec<[&str; 4]> = entry["attempts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                ["backend", "class", "detected_by", "stage"]
                    .map(|key| one[key].as_str().unwrap_or("-"))
            })
            .collect();
        let carrier = if stream { "event" } else { "body" };
        assert_eq!(
            told,
            [
                ["primary", "auth", "status", "before_commit"],
                ["secondary", "quota", carrier, "before_commit"],
                ["tertiary", "ok", "-", "-"],
            ]
        );
        assert_eq!(entry["attempts"][0]["detail"], "invalid_api_key");
        for time in ["duration_ms", "first_output_ms", "failover_ms", "overhead_ms"] {
            assert!(entry[time].is_number(), "{time}: {entry}");
        }
        let story = entry["story"].as_str().unwrap();
        assert!(story.starts_with("primary:m rejected the credential that Sidestep has for it (invalid_api_key, by status, "), "{story}");
        assert!(
            story.contains(&format!(
                ") → secondary:m has no allowance left (insufficient_quota, by {carrier}, "
            )),
            "{story}"
        );
        assert!(story.contains(") → tertiary:m answered (after "), "{story}");
    }
}

#[tokio::test]
async fn what_broke_after_the_first_output_is_told() {
    let rig = Rig::new(&[Fault::CutAfterOutput]).await;
    rig.ask(true).await;
    let entry = &entries(&rig).await[0];
    assert_eq!(entry["outcome"], "failed");
    assert_eq!(entry["attempts"][0]["stage"], "after_commit");
    let story = entry["story"].as_str().unwrap();
    assert!(story.starts_with("primary:m broke off: it "), "{story}");
}

#[tokio::test]
async fn what_no_backend_heard_of_is_told_with_the_reason() {
    let rig = Rig::new(&[Fault::Ok]).await;
    rig.send("{\"input\":\"secret words\"}").await;
    let entry = &entries(&rig).await[0];
    assert_eq!(entry["outcome"], "rejected");
    assert_eq!(entry["status"], 400);
    assert!(entry["error"].as_str().unwrap().contains("model"), "{entry}");
    assert!(!entry.to_string().contains("secret words"));
}

#[tokio::test]
async fn a_request_in_work_is_open() {
    let rig = Rig::new(&[Fault::StallAfterOutput]).await;
    let url = rig.url("/v1/responses");
    let body = crate::kit::request("m", true).to_string();
    let mut answer = client().post(url).body(body).send().await.unwrap();
    answer.chunk().await.unwrap();
    let entry = &entries(&rig).await[0];
    assert_eq!(entry["outcome"], "open");
    assert!(entry["story"].as_str().unwrap().starts_with("primary:m answers (after "), "{entry}");
    let streams = rig.get("/metrics").await.text();
    assert!(streams.contains("\nsidestep_streams_in_flight 1\n"), "{streams}");
}

#[tokio::test]
async fn the_journal_is_as_long_as_it_may_be() {
    let rig = Rig::with(&[Fault::Ok], "journal.entries_max = 2\n").await;
    let first = rig.ask(false).await.header("x-request-id").to_owned();
    rig.ask(false).await;
    let last = rig.ask(false).await.header("x-request-id").to_owned();
    let ids: Vec<Value> = entries(&rig).await.iter().map(|entry| entry["id"].clone()).collect();
    assert_eq!((ids.len(), &ids[0]), (2, &Value::from(last)));
    assert_eq!(
        rig.get("/sidestep/requests?limit=1").await.json()["requests"].as_array().unwrap().len(),
        1
    );
    let wrong = rig.get("/sidestep/requests?limit=some").await;
    assert_eq!((wrong.status, &wrong.json()["error"]["param"]), (400, &Value::from("limit")));
    let gone = rig.get(&format!("/sidestep/requests/{first}")).await;
    assert_eq!(
        (gone.status, &gone.json()["error"]["code"]),
        (404, &Value::from("unknown_request"))
    );
}

#[tokio::test]
async fn listeners_hear_of_each_request_and_are_limited() {
    let mut rig = Rig::with(&[Fault::Ok], "journal.listeners_max = 1\n").await;
    let mut live = client().get(rig.url("/sidestep/requests/live")).send().await.unwrap();
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    assert_eq!(rig.get("/sidestep/requests/live").await.status, 503);
    let id = rig.ask(true).await.header("x-request-id").to_owned();
    let event = String::from_utf8(live.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(
        event.contains("event: request\n") && event.contains(&format!("id: {id}\n")),
        "{event}"
    );
    // It does not keep the server from ending.
    rig.stop();
    assert_eq!(live.chunk().await.unwrap(), None);
    rig.ended().await;
}

#[tokio::test]
async fn tokens_and_time_are_counted() {
    let rig = Rig::new(&[Fault::S401, Fault::Ok]).await;
    rig.ask(false).await;
    rig.ask(true).await;
    let tokens = rig.metric("sidestep_tokens_total").await;
    let label = "sidestep_tokens_total{backend=\"secondary\",kind=\"output\",model=\"default\"} 18";
    assert!(tokens.iter().any(|line| line == label), "{tokens:?}");
    assert_eq!(
        rig.metric("sidestep_failover_duration_seconds_count").await,
        ["sidestep_failover_duration_seconds_count{route=\"default\"} 2"]
    );
    let text = rig.get("/metrics").await.text();
    for name in [
        "sidestep_runtime_workers ", "sidestep_runtime_tasks ",
        "sidestep_runtime_busy_seconds_total ",
    ] {
        assert!(text.contains(&format!("\n{name}")), "{name}");
    }
}

#[tokio::test]
async fn the_status_tells_what_is_benched_and_until_when() {
    let more = "bench.enabled = true\nbench.quota = \"1h\"\n";
    let rig = Rig::with(&[Fault::S402, Fault::Ok], more).await;
    rig.ask(false).await;
    let status = rig.get("/sidestep/status").await.json();
    let chain = &status["routes"][0]["chain"];
    assert_eq!((&chain[0]["state"], &chain[1]["state"]), (&"benched".into(), &"ready".into()));
    let bench = &chain[0]["bench"][0];
    assert_eq!((&bench["scope"], &bench["class"]), (&"credential".into(), &"quota".into()));
    assert!(bench["seconds_left"].as_u64().unwrap() > 2000, "{bench}");
    let hour = &status["hour"];
    for (what, count) in [("requests", 1), ("failovers", 1), ("rescued", 1), ("failed", 0)] {
        assert_eq!(hour[what], count, "{what}");
    }
    let next = rig.metric("sidestep_bench_next_retry_timestamp_seconds").await;
    assert!(next[0].contains("{backend=\"primary\"} 1"), "{next:?}");
}

#[tokio::test]
async fn what_has_been_benched_for_its_time_is_due_and_has_no_next_retry() {
    let more = "bench.enabled = true\nbench.failures = 1\nbench.first = \"1ms\"\n";
    let rig = Rig::with(&[Fault::S403, Fault::Ok], more).await;
    rig.ask(false).await;
    let due = || async { rig.metric("sidestep_bench_due").await };
    let target = "sidestep_bench_due{backend=\"primary\",scope=\"target\"} 1".to_owned();
    while !due().await.contains(&target) {}
    assert_eq!(
        rig.metric("sidestep_bench_next_retry_timestamp_seconds").await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn an_attempt_says_which_of_several_credentials_it_used() {
    let auth = "auth = [{ kind = \"bearer\", secret = \"first-key\" }, { kind = \"bearer\", secret = \"good-key\" }]\n";
    let mut rig = Rig::with(&[Fault::NeedsKey], "bench.enabled = true\n").await;
    rig.reload("auth = ", &format!("{auth}# "));
    rig.ask(false).await;
    let entry = &entries(&rig).await[0];
    let told: Vec<&Value> =
        entry["attempts"].as_array().unwrap().iter().map(|one| &one["credential"]).collect();
    assert_eq!(told, [&Value::from(0), &Value::from(1)], "{entry}");
    let story = entry["story"].as_str().unwrap();
    assert!(story.contains("primary:m with credential 1 answered"), "{story}");
    let status = rig.get("/sidestep/status").await.json();
    assert_eq!(status["routes"][0]["chain"][0]["bench"][0]["credential"], 0, "{status}");
    assert_eq!(status["hour"]["failovers"], 0);
}

#[tokio::test]
async fn the_page_is_whole_and_closed_to_what_is_foreign() {
    let rig = Rig::with(&[Fault::S402, Fault::Ok], "bench.enabled = true\n").await;
    let body = serde_json::json!({ "model": "<script>alert(1)</script>", "input": "hi" });
    rig.send(&body.to_string()).await;
    let page = rig.get("/sidestep").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("cache-control"), "no-store");
    let text = page.text();
    assert!(text.contains("on the bench") && text.contains("answered after a failure"), "{text}");
    assert!(!text.contains("<script>alert") && !text.contains(" style="), "{text}");
    assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
    for (path, kind) in [
        ("/sidestep/page.css", "text/css"),
        ("/sidestep/page.js", "text/javascript"),
        ("/sidestep/icon.svg", "image/svg+xml"),
    ] {
        assert!(rig.get(path).await.header("content-type").starts_with(kind));
    }
}

#[tokio::test]
async fn operators_may_have_an_address_of_their_own() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = sidestep::faults::FaultBackend::start("a", Fault::Ok, backend).unwrap();
    let config = configure(&format!(
        "server.admin_listen = \"127.0.0.1:0\"\n[backends.a]\nbase_url = \"{}\"\n[[routes]]\ndefault = true\nchain = [\"a\"]\n",
        backend.base_url()
    ));
    let app = sidestep::app::App::new(config).unwrap();
    let (clients, operators) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let url = |listener: &TcpListener, path: &str| {
        format!("http://{}{path}", listener.local_addr().unwrap())
    };
    let here = ["/metrics", "/sidestep", "/sidestep/requests"];
    let there = ["/v1/models"];
    let both = ["/healthz", "/readyz"];
    let mut asked = Vec::new();
    for (paths, on_clients, on_operators) in
        [(&here[..], 404, 200), (&there, 200, 404), (&both, 200, 200)]
    {
        for path in paths {
            asked.push((url(&clients, path), on_clients));
            asked.push((url(&operators, path), on_operators));
        }
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(app.serve(clients, Some(operators), async {
        let _ = stopped.await;
    }));
    for (url, status) in asked {
        assert_eq!(read(client().get(&url)).await.status, status, "{url}");
    }
    drop(stop);
    serving.await.unwrap();
}
