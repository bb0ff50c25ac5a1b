//! Conversations that go on at another backend, and come back.

use serde_json::{Value, json};
use sidestep::faults::catalogue::Fault;

use crate::credentials::attempts;
use crate::kit::{Reply, Rig, client, read};

/// A client that replays its history, item by item as it got them.
struct Conversation {
    history: Vec<Value>,
    stream: bool,
}

impl Conversation {
    fn new(stream: bool) -> Self {
        Self { history: Vec::new(), stream }
    }

    async fn say(&mut self, rig: &Rig, text: &str) -> Reply {
        self.history.push(json!({ "role": "user", "content": text }));
        let body =
            json!({ "model": "m", "input": self.history, "stream": self.stream, "store": false });
        let reply = rig.send(&body.to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let items = if self.stream {
            let events = reply.events();
            let done = events.iter().filter(|event| event["type"] == "response.output_item.done");
            done.map(|event| event["item"].clone()).collect()
        } else {
            reply.json()["output"].as_array().unwrap().clone()
        };
        self.history.extend(items);
        reply
    }
}

/// The input of a backend's last request, as it was written.
fn last_input(rig: &Rig, backend: usize) -> String {
    let body = rig.backends[backend].received().pop().unwrap().body;
    let body = String::from_utf8(body.to_vec()).unwrap();
    let start = body.find("\"input\":").unwrap();
    body[start..body.find(",\"stream\"").unwrap()].to_owned()
}

const REPAIRS: &str = "sidestep_repairs_total";

#[tokio::test]
async fn a_conversation_survives_the_switch_and_the_way_back() {
    for stream in [false, true] {
        let rig =
            Rig::with(&[Fault::Encrypted, Fault::Encrypted], "affinity.enabled = false\n").await;
        let mut conversation = Conversation::new(stream);
        conversation.say(&rig, "one").await;
        let told = conversation.history[1]["encrypted_content"].as_str().unwrap().to_owned();
        assert!(told.ends_with("gAAAAAB-of-primary==") && told.starts_with("sidestep."), "{told}");

        let unchanged = conversation.say(&rig, "two").await;
        assert_eq!(unchanged.header("x-sidestep-repaired"), "");
        let first = last_input(&rig, 0);
        assert!(
            first.contains("\"gAAAAAB-of-primary==\"") && !first.contains("sidestep."),
            "{first}"
        );

        rig.backends[0].play(Fault::S401);
        let switched = conversation.say(&rig, "three").await;
        assert_eq!(switched.header("x-sidestep-backend"), "secondary");
        assert_eq!(switched.header("x-sidestep-repaired"), "reasoning, item_ids");
        let shown = last_input(&rig, 1);
        assert!(shown.contains("primary has thought.") && !shown.contains("gAAA"), "{shown}");
        assert!(!shown.contains("rs_primary") && !shown.contains("\"id\""), "{shown}");
        conversation.say(&rig, "four").await;
        assert!(last_input(&rig, 1).contains("\"gAAAAAB-of-secondary==\""));

        rig.backends[0].play(Fault::Encrypted);
        let back = conversation.say(&rig, "five").await;
        assert_eq!(back.header("x-sidestep-backend"), "primary");
        let second = last_input(&rig, 0);
        let same = first.trim_end_matches(']');
        assert!(second.starts_with(same), "the prompt cache would be cold: {second}");
        assert!(!second.contains("of-secondary") && !second.contains("rs_secondary"), "{second}");
        let counted = rig.metric(REPAIRS).await;
        assert!(
            counted.contains(&format!("{REPAIRS}{{backend=\"secondary\",kind=\"reasoning\"}} 2")),
            "{counted:?}"
        );
    }
}

#[tokio::test]
async fn marks_survive_a_restart() {
    let rig = Rig::new(&[Fault::Encrypted]).await;
    let mut conversation = Conversation::new(false);
    conversation.say(&rig, "one").await;
    let fresh = Rig::start(crate::kit::configure(&rig.toml), Vec::new()).await;
    conversation.say(&fresh, "two").await;
    assert!(last_input(&rig, 0).contains("\"gAAAAAB-of-primary==\""));
}

#[tokio::test]
async fn what_a_backend_cannot_read_is_left_out_and_it_is_asked_again() {
    let rig =
        Rig::with(&[Fault::Encrypted, Fault::Ok], "bench.enabled = true\nbench.failures = 1\n")
            .await;
    // From before Sidestep: nobody knows whose it is.
    let item =
        r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA-of-somebody"}"#;
    let message = r#"{"type":"message","role":"assistant","id":"msg_1","content":[]}"#;
    let body = format!(
        r#"{{"model":"m","input":[{item},{message},{{"role":"user","content":"hi"}}],"stream":false}}"#
    );
    let reply = rig.send(&body).await;
    assert_eq!(
        attempts(&reply),
        "\"primary:m\";class=reasoning;detected_by=status, \"primary:m\";class=ok"
    );
    assert_eq!(reply.header("x-sidestep-repaired"), "reasoning, item_ids");
    let expected = r#""input":[{"type":"message","role":"assistant","content":[]},{"role":"user","content":"hi"}]"#;
    assert_eq!(last_input(&rig, 0), expected);
    assert_eq!(rig.ask(false).await.header("x-sidestep-backend"), "primary", "it is not to blame");
}

#[tokio::test]
async fn what_no_repair_helps_goes_on_to_the_next() {
    let rig = Rig::new(&[Fault::S400Reasoning, Fault::Ok]).await;
    let body =
        r#"{"model":"m","input":[{"type":"reasoning","summary":[],"encrypted_content":"x"}]}"#;
    let reply = rig.send(body).await;
    assert_eq!((reply.header("x-sidestep-backend"), rig.counts()), ("secondary", vec![2, 1]));
    let plain = rig.ask(false).await;
    assert_eq!((plain.header("x-sidestep-backend"), rig.counts()), ("secondary", vec![3, 2]));
}

#[tokio::test]
async fn a_field_that_a_backend_refuses_is_left_out_from_then_on() {
    let rig = Rig::new(&[Fault::RefusesMetadata, Fault::Ok]).await;
    let body = r#"{"model":"m","metadata":{"a":"b"},"input":"hi"}"#;
    for count in [2, 3] {
        let reply = rig.send(body).await;
        assert_eq!(
            (reply.header("x-sidestep-backend"), reply.header("x-sidestep-repaired")),
            ("primary", "metadata")
        );
        assert_eq!(rig.counts(), [count, 0]);
    }
    assert_eq!(rig.backends[0].received().pop().unwrap().body, r#"{"model":"m","input":"hi"}"#);
    assert_eq!(rig.ask(false).await.header("x-sidestep-repaired"), "");
}

#[tokio::test]
async fn a_field_that_a_request_does_not_have_cannot_be_left_out() {
    let rig = Rig::new(&[Fault::S400Parameter, Fault::Ok]).await;
    let reply = rig.ask(false).await;
    assert_eq!((reply.status, rig.counts()), (400, vec![1, 0]));
    assert_eq!(reply.body, rig.ask_directly(0, false).await.body);
}

#[tokio::test]
async fn what_tells_of_a_workspace_is_for_openai_alone() {
    let body = r#"{"model":"m","client_metadata":{"x":1},"input":"hi"}"#;
    for (profile, sees) in [("generic", false), ("openai", true)] {
        let rig = Rig::with(&[Fault::Ok], &format!("primary.profile = \"{profile}\"\n")).await;
        let request = client().post(rig.url("/v1/responses")).body(body);
        read(request.header("x-codex-turn-metadata", "{}")).await;
        let received = rig.backends[0].received().remove(0);
        assert_eq!(received.headers.contains_key("x-codex-turn-metadata"), sees);
        assert_eq!(received.body == body, sees);
    }
}

#[tokio::test]
async fn a_client_that_wants_json_gets_it_from_a_backend_that_only_streams() {
    let rig = Rig::with(&[Fault::Ok], "primary.profile = \"codex\"\n").await;
    let reply = rig.ask(false).await;
    assert_eq!(reply.json()["status"], "completed");
    assert!(reply.output_text().contains("primary"));
    let received = rig.backends[0].received().remove(0);
    let body: Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!((&body["stream"], &body["store"]), (&true.into(), &false.into()));
    assert_eq!(body["input"], json!([{ "role": "user", "content": "hi" }]));
    assert_eq!(received.headers["accept"], "text/event-stream");
}

#[tokio::test]
async fn marks_can_be_off() {
    let rig = Rig::with(&[Fault::Encrypted], "conversation.mark_reasoning = false\n").await;
    let reply = rig.ask(false).await;
    assert_eq!(reply.body, rig.ask_directly(0, false).await.body);
}
