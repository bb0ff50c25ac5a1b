//! Conversations stay where they are, and clients may choose.

use serde_json::{Value, json};
use sidestep::faults::catalogue::Fault;

use crate::kit::{Reply, Rig, client, read};

async fn ask(rig: &Rig, headers: &[(&str, &str)], fields: Value) -> Reply {
    let mut body = json!({ "model": "m", "input": "hi" });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let mut request = client().post(rig.url("/v1/responses")).body(body.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    read(request).await
}

fn backend(reply: &Reply) -> &str {
    reply.header("x-sidestep-backend")
}

#[tokio::test]
async fn a_conversation_stays_with_the_backend_that_served_it() {
    for (headers, fields) in [
        (vec![], json!({ "prompt_cache_key": "one" })),
        (vec![("thread-id", "one")], json!({ "stream": true })),
        (vec![("session-id", "one")], json!({})),
    ] {
        let rig = Rig::new(&[Fault::S401, Fault::Ok]).await;
        assert_eq!(backend(&ask(&rig, &headers, fields.clone()).await), "secondary");
        rig.backends[0].play(Fault::Ok);
        assert_eq!(backend(&ask(&rig, &headers, fields.clone()).await), "secondary");
        assert_eq!(backend(&ask(&rig, &[], json!({})).await), "primary", "others do not");

        rig.backends[1].play(Fault::S401);
        let released = ask(&rig, &headers, fields.clone()).await;
        assert_eq!(backend(&released), "primary", "a failure releases it");
        rig.backends[1].play(Fault::Ok);
        assert_eq!(backend(&ask(&rig, &headers, fields.clone()).await), "primary");
    }
}

#[tokio::test]
async fn what_continues_a_stored_response_goes_where_it_is_stored() {
    for stream in [false, true] {
        let rig = Rig::new(&[Fault::S401, Fault::Ok]).await;
        let first = ask(&rig, &[("thread-id", "one")], json!({ "stream": stream })).await;
        let id = if stream {
            first.events()[0]["response"]["id"].clone()
        } else {
            first.json()["id"].clone()
        };
        assert!(id.is_string(), "{}", first.text());
        rig.backends[0].play(Fault::Ok);
        let next = ask(&rig, &[], json!({ "previous_response_id": id })).await;
        assert_eq!(backend(&next), "secondary");
        // The fault backends' responses all have the same id.
        assert_eq!(backend(&ask(&rig, &[], json!({ "store": false })).await), "primary");

        rig.backends[1].play(Fault::S500);
        let fields = json!({ "previous_response_id": id, "stream": stream });
        let lost = ask(&rig, &[], fields).await;
        assert_eq!(lost.status, 400, "never a fresh start that nobody asked for");
        assert_eq!(lost.json()["error"]["code"], "previous_response_not_found");
        assert_eq!(lost.json()["error"]["param"], "previous_response_id");
        assert_eq!(rig.counts()[0], 2, "the other one does not have it");
    }
}

#[tokio::test]
async fn what_is_not_stored_is_not_remembered() {
    let rig = Rig::new(&[Fault::S401, Fault::Ok]).await;
    let id = ask(&rig, &[], json!({ "store": false })).await.json()["id"].clone();
    rig.backends[0].play(Fault::Ok);
    let next = ask(&rig, &[], json!({ "previous_response_id": id })).await;
    assert_eq!(backend(&next), "primary");
}

#[tokio::test]
async fn a_lone_backend_that_fails_speaks_for_itself() {
    let rig = Rig::new(&[Fault::Ok]).await;
    let id = ask(&rig, &[], json!({})).await.json()["id"].clone();
    rig.backends[0].play(Fault::S500);
    let failed = ask(&rig, &[], json!({ "previous_response_id": id })).await;
    assert_eq!((failed.status, failed.body), (500, rig.ask_directly(0, false).await.body));
}

#[tokio::test]
async fn affinity_can_be_off() {
    let rig = Rig::with(&[Fault::S401, Fault::Ok], "affinity.enabled = false\n").await;
    let headers = [("thread-id", "one")];
    ask(&rig, &headers, json!({})).await;
    rig.backends[0].play(Fault::Ok);
    assert_eq!(backend(&ask(&rig, &headers, json!({})).await), "primary");
}

#[tokio::test]
async fn a_client_may_choose_its_chain() {
    let rig = Rig::new(&[Fault::Ok, Fault::S401, Fault::Ok]).await;
    let reply =
        ask(&rig, &[("x-sidestep-chain", "secondary, tertiary,secondary")], json!({})).await;
    assert_eq!(
        reply.header("x-sidestep-attempts"),
        "\"secondary:m\";class=auth;detected_by=status, \"tertiary:m\";class=ok"
    );
    let received = rig.backends[2].received().remove(0).headers;
    assert!(received.get("x-sidestep-chain").is_none());

    for chain in ["nobody", "primary:other", "", "primary,,secondary"] {
        let reply = ask(&rig, &[("x-sidestep-chain", chain)], json!({})).await;
        assert_eq!(reply.status, 400, "{chain}");
        let error = &reply.json()["error"];
        assert_eq!(error["param"], "x-sidestep-chain");
        let message = error["message"].as_str().unwrap();
        assert!(message.ends_with("this proxy knows: primary, secondary, tertiary"), "{message}");
    }
}

#[tokio::test]
async fn a_client_may_do_without_failover() {
    let rig = Rig::new(&[Fault::S429, Fault::Ok]).await;
    let reply = ask(&rig, &[("x-sidestep-failover", "off")], json!({})).await;
    assert_eq!(reply.status, 429);
    assert_eq!(rig.counts(), [1, 0]);
    assert_eq!(ask(&rig, &[("x-sidestep-failover", "on")], json!({})).await.status, 200);
    let reply = ask(&rig, &[("x-sidestep-failover", "maybe")], json!({})).await;
    assert_eq!(
        (reply.status, &reply.json()["error"]["param"]),
        (400, &json!("x-sidestep-failover"))
    );
}
