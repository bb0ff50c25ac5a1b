//! Goes on with a stream whose `response.created` the client has been told already, whoever gives the
//! rest: the client keeps the id that it was told, and numbers go on rising.

use bytes::Bytes;
use serde_json::{Value, json};

use super::event::{EventDetail, EventKind};
use super::lifecycle::response_failed;
use super::sse::{EventFields, write_event};

/// A stream whose beginning has been told.
#[derive(Debug)]
pub struct Continuation {
    /// The `response.created` that was told.
    told: Bytes,
    id: String,
    /// The number of the next event that is written here.
    next_number: u64,
    /// Whether numbers have been given that whoever goes on does not know of.
    is_renumbered: bool,
    giver: Giver,
    /// The last event of another one's that went on as it was.
    last: Bytes,
    is_over: bool,
}

/// Who gives the rest.
#[derive(Debug, PartialEq, Eq)]
enum Giver {
    /// It has said nothing yet.
    Unknown,
    /// Whoever gave the beginning.
    Same,
    /// Somebody else, with an id of its own.
    Other(Option<String>),
}

impl Continuation {
    /// Goes on from a `response.created`.
    pub fn new(told: Bytes) -> Self {
        let detail = EventDetail::read(&told);
        let number = detail.as_ref().and_then(EventDetail::sequence_number);
        let id = detail.as_ref().and_then(|detail| detail.response()?.get("id")?.as_str());
        Self {
            id: id.unwrap_or_default().to_owned(),
            told,
            next_number: number.map_or(1, |number| number + 1),
            is_renumbered: false,
            giver: Giver::Unknown,
            last: Bytes::new(),
            is_over: false,
        }
    }

    /// An event that shows that somebody is there: a further `response.in_progress`, of a type and a shape that
    /// every client knows.
    pub fn heartbeat(&mut self) -> Bytes {
        let response = EventDetail::read(&self.told).and_then(EventDetail::into_response);
        let data = json!({
            "type": "response.in_progress",
            "sequence_number": self.next_number,
            "response": response,
        });
        self.next_number += 1;
        self.is_renumbered = true;
        write_event("response.in_progress", &data.to_string())
    }

    /// The event as the client may see it; `None` if it must not.
    pub fn pass(&mut self, event: Bytes) -> Option<Bytes> {
        let kind = EventKind::of(&event);
        self.is_over |=
            matches!(kind, EventKind::Completed | EventKind::Incomplete | EventKind::Failed);
        if self.giver == Giver::Unknown && kind == EventKind::Created && event == self.told {
            self.giver = Giver::Same;
            return None;
        }
        if self.giver == Giver::Same && !self.is_renumbered {
            // Whoever gave the beginning gives the rest: every byte may stay as it is.
            self.last = event.clone();
            return Some(event);
        }
        let fields = EventFields::read(&event);
        let data = fields.data.as_ref().and_then(|data| serde_json::from_slice(data).ok());
        let Some(Value::Object(mut data)) = data else {
            // A comment, a ping, the end mark: nothing of it is an id or a number.
            return Some(event);
        };
        let Some(name) = data.get("type").and_then(Value::as_str).map(str::to_owned) else {
            return Some(event);
        };
        let response = data.get_mut("response").and_then(Value::as_object_mut);
        if let Some(id) = response.and_then(|response| response.get_mut("id")) {
            let own = std::mem::replace(id, self.id.clone().into());
            if self.giver != Giver::Same {
                self.giver = Giver::Other(own.as_str().map(str::to_owned));
            }
        }
        if matches!(&*name, "response.created" | "response.queued" | "response.in_progress") {
            return None;
        }
        if let Some(number) = data.get_mut("sequence_number") {
            *number = self.next_number.into();
            self.next_number += 1;
        }
        Some(write_event(&name, &Value::Object(data).to_string()))
    }

    /// Whether the client has been told how it ended.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The id that the client was told, and the one by which the giver knows its response, where they
    /// differ.
    pub fn renamed(&self) -> Option<(&str, &str)> {
        match &self.giver {
            Giver::Other(Some(own)) if *own != self.id => Some((&self.id, own)),
            Giver::Unknown | Giver::Same | Giver::Other(_) => None,
        }
    }

    /// The event that ends the stream when nobody can give the rest.
    pub fn failed(&self, code: &str, message: &str) -> Bytes {
        let last = EventDetail::read(&self.last).and_then(|detail| detail.sequence_number());
        let number = last.map_or(self.next_number, |last| last + 1);
        response_failed(Some(&self.told), number, code, message, 0, &self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lifecycle::response_created;
    use super::*;

    fn event(data: &str) -> Bytes {
        let name =
            serde_json::from_str::<Value>(data).unwrap()["type"].as_str().unwrap().to_owned();
        write_event(&name, data)
    }

    fn created(id: &str) -> Bytes {
        event(&format!(
            r#"{{"type":"response.created","sequence_number":0,"response":{{"id":"{id}","status":"in_progress"}}}}"#
        ))
    }

    const DELTA: &str = r#"{"type":"response.output_text.delta","sequence_number":3,"delta":"\"sequence_number\":9"}"#;
    const COMPLETED: &str =
        r#"{"type":"response.completed","sequence_number":4,"response":{"id":"b","x":[1]}}"#;

    #[test]
    fn whoever_gave_the_beginning_gives_the_rest_as_it_is() {
        let mut stream = Continuation::new(created("a"));
        assert_eq!(stream.pass(created("a")), None);
        for rest in [event(r#"{"type":"response.in_progress","sequence_number":1}"#), event(DELTA)]
        {
            assert_eq!(stream.pass(rest.clone()), Some(rest));
        }
        assert_eq!(stream.renamed(), None);
    }

    #[test]
    fn after_a_heartbeat_numbers_go_on_from_there() {
        let mut stream = Continuation::new(created("a"));
        let beat = EventDetail::read(&stream.heartbeat()).unwrap();
        assert_eq!(
            (beat.sequence_number(), beat.response().unwrap()["id"].as_str()),
            (Some(1), Some("a"))
        );
        assert_eq!(stream.pass(created("a")), None);
        assert_eq!(
            stream.pass(event(r#"{"type":"response.in_progress","sequence_number":1}"#)),
            None
        );
        let delta = EventDetail::read(&stream.pass(event(DELTA)).unwrap()).unwrap();
        assert_eq!(delta.sequence_number(), Some(2));
        assert_eq!((stream.renamed(), stream.is_over()), (None, false));
        stream.pass(event(COMPLETED));
        assert!(stream.is_over());
    }

    #[test]
    fn another_one_goes_on_under_the_id_and_the_numbers_that_were_told() {
        let mut stream = Continuation::new(response_created("m", 7, "a"));
        assert_eq!(stream.pass(created("b")), None);
        let progress =
            r#"{"type":"response.in_progress","sequence_number":1,"response":{"id":"b"}}"#;
        assert_eq!(stream.pass(event(progress)), None);
        let delta = stream.pass(event(DELTA)).unwrap();
        assert_eq!(delta, event(&DELTA.replace("\"sequence_number\":3", "\"sequence_number\":1")));
        let completed = COMPLETED.replace(":4", ":2").replace("\"b\"", "\"a\"");
        assert_eq!(stream.pass(event(COMPLETED)).unwrap(), event(&completed));
        assert_eq!(stream.renamed(), Some(("a", "b")));
    }

    #[test]
    fn what_has_no_response_and_no_number_passes() {
        let mut stream = Continuation::new(response_created("m", 7, "a"));
        for foreign in [": comment\n\n", "event: ping\ndata: 7\n\n", "data: [DONE]\n\n"] {
            assert_eq!(stream.pass(foreign.into()).unwrap(), foreign);
        }
        let limits = r#"{"type":"codex.rate_limits","x":1}"#;
        assert_eq!(stream.pass(event(limits)).unwrap(), event(limits));
        assert_eq!(stream.pass(created("a")), None, "it is another one of the same id");
    }

    #[test]
    fn a_failure_has_the_next_number() {
        let mut stream = Continuation::new(response_created("m", 7, "a"));
        stream.pass(event(DELTA));
        let failed = EventDetail::read(&stream.failed("server_error", "no")).unwrap();
        assert_eq!(failed.sequence_number(), Some(2));
        assert_eq!(failed.response().unwrap()["id"], "a");
        assert_eq!(failed.response().unwrap()["model"], "m");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_may_come(events: Vec<Vec<u8>>) {
            let mut stream = Continuation::new(created("a"));
            for event in events {
                stream.pass(event.into());
            }
        }
    }
}
