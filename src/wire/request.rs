//! The request's envelope: the few fields that decide where a request goes, read without a JSON tree.

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::de::IgnoredAny;

use super::skim::{Shape, skim};

/// The longest name of a model: it travels in headers and stands in logs.
const MODEL_BYTES_MAX: usize = 256;

/// What Sidestep reads from a request; the bytes themselves stay as the client sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The model that the client asks for. Never empty.
    pub model: String,
    /// Whether the client asks for server-sent events.
    pub stream: bool,
    /// Whether the client asks for a background response, whose answer is `queued` and not finished.
    pub background: bool,
    /// Whether the backend stores the response, so that a later request can continue it.
    pub store: bool,
    /// What the client calls the conversation, so that its prompts are cached together.
    pub prompt_cache_key: Option<String>,
    /// The response that the request continues.
    pub previous_response_id: Option<String>,
    /// Where the value of `model` stands in the body, quotes included.
    model_span: Range<usize>,
    /// The same for `previous_response_id`.
    previous_response_span: Option<Range<usize>>,
}

/// Why a request's body cannot be read as a Responses request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The body is not JSON.
    #[error("the request body is not valid JSON: {detail}")]
    NotJson {
        /// What the parser found, and where.
        detail: String,
    },
    /// The body is JSON, but not an object.
    #[error("the request body must be a JSON object")]
    NotAnObject,
    /// A required field is absent, null or empty.
    #[error("the field `{field}` is required: {expected}")]
    Missing {
        /// The field's name.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// A field has the wrong type or size.
    #[error("the field `{field}` must be {expected}")]
    WrongType {
        /// The field's name.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
}

impl EnvelopeError {
    /// The field that is at fault, where it is a single one.
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotJson { .. } | Self::NotAnObject => None,
            Self::Missing { field, .. } | Self::WrongType { field, .. } => Some(field),
        }
    }
}

/// Where the values of the fields stand that Sidestep acts on.
#[derive(Debug, Default)]
struct Fields {
    model: Option<Range<usize>>,
    stream: Option<Range<usize>>,
    background: Option<Range<usize>>,
    store: Option<Range<usize>>,
    prompt_cache_key: Option<Range<usize>>,
    previous_response_id: Option<Range<usize>>,
}

impl Fields {
    fn read(text: &str) -> Result<Self, EnvelopeError> {
        let mut fields = Self::default();
        let mut fault = None;
        let shape = skim(text, |name, value| {
            let Some(name) = name.read() else {
                fault = Some("a name with an escape that stands for no character".to_owned());
                return;
            };
            // Two readers could pick different ones.
            if fields.named(&name).is_some_and(|field| field.replace(value).is_some()) {
                fault = Some(format!("duplicate field `{name}`"));
            }
        });
        match (shape, fault) {
            (Ok(Shape::Object), None) => Ok(fields),
            (Ok(Shape::Object), Some(detail)) => Err(EnvelopeError::NotJson { detail }),
            (Ok(Shape::Array | Shape::Scalar), _) => Err(EnvelopeError::NotAnObject),
            (Err(error), _) => {
                // It says where, too.
                let detail = serde_json::from_str::<IgnoredAny>(text).err();
                let detail = detail.map_or_else(|| error.to_string(), |detail| detail.to_string());
                Err(EnvelopeError::NotJson { detail })
            }
        }
    }

    fn named(&mut self, name: &str) -> Option<&mut Option<Range<usize>>> {
        Some(match name {
            "model" => &mut self.model,
            "stream" => &mut self.stream,
            "background" => &mut self.background,
            "store" => &mut self.store,
            "prompt_cache_key" => &mut self.prompt_cache_key,
            "previous_response_id" => &mut self.previous_response_id,
            _ => return None,
        })
    }
}

impl Envelope {
    /// Reads the envelope of a request body.
    ///
    /// # Errors
    ///
    /// When the body is not a JSON object, or a field that Sidestep acts on is missing, duplicated
    /// or of the wrong type.
    pub fn read(body: &[u8]) -> Result<Self, EnvelopeError> {
        let text = std::str::from_utf8(body)
            .map_err(|error| EnvelopeError::NotJson { detail: error.to_string() })?;
        if text.trim_start().is_empty() {
            return Err(EnvelopeError::NotJson { detail: "it is empty".to_owned() });
        }
        let fields = Fields::read(text)?;
        let raw = |span: &Option<Range<usize>>| {
            let raw = span.clone().map(|span| &text[span]);
            raw.filter(|raw| *raw != "null")
        };

        let model = raw(&fields.model).ok_or(MISSING_MODEL)?;
        let model: String = serde_json::from_str(model).map_err(|_| EnvelopeError::WrongType {
            field: "model",
            expected: "a string, the name of a model",
        })?;
        if model.is_empty() {
            return Err(MISSING_MODEL);
        }
        if model.len() > MODEL_BYTES_MAX {
            return Err(EnvelopeError::WrongType { field: "model", expected: "256 bytes at most" });
        }
        Ok(Self {
            model,
            stream: flag("stream", raw(&fields.stream))?,
            // It does unless it is told not to; whatever else stands there is for the backend to judge.
            store: raw(&fields.store).is_none_or(|store| store != "false"),
            background: flag("background", raw(&fields.background))?,
            prompt_cache_key: string(raw(&fields.prompt_cache_key)),
            previous_response_id: string(raw(&fields.previous_response_id)),
            model_span: fields.model.unwrap_or_default(),
            previous_response_span: fields.previous_response_id,
        })
    }

    /// The body with another model name, every other byte as it was. The same `Bytes` when the name
    /// is the same.
    ///
    /// `body` is the one that this envelope was read from.
    pub fn with_model(&self, body: &Bytes, model: &str) -> Bytes {
        if model == self.model {
            return body.clone();
        }
        with_string(body, &self.model_span, model)
    }

    /// Whether the body has a field. `body` is the one that this envelope was read from.
    pub fn has_field(&self, body: &[u8], name: &str) -> bool {
        let mut has_it = false;
        let skimmed = std::str::from_utf8(body).ok().map(|text| {
            skim(text, |member, _| has_it |= member.read().is_some_and(|member| member == name))
        });
        matches!(skimmed, Some(Ok(_))) && has_it
    }

    /// The body with another `previous_response_id`, every other byte as it was. The same `Bytes` when
    /// there is none.
    ///
    /// `body` is the one that this envelope was read from.
    pub fn with_previous_response(&self, body: &Bytes, id: &str) -> Bytes {
        match &self.previous_response_span {
            Some(span) => with_string(body, span, id),
            None => body.clone(),
        }
    }
}

/// The body with a string in the place of what stands at `span`.
fn with_string(body: &Bytes, span: &Range<usize>, text: &str) -> Bytes {
    let text = serde_json::Value::from(text).to_string();
    let mut changed = BytesMut::with_capacity(body.len() + text.len());
    changed.put_slice(&body[..span.start]);
    changed.put_slice(text.as_bytes());
    changed.put_slice(&body[span.end..]);
    changed.freeze()
}

const MISSING_MODEL: EnvelopeError =
    EnvelopeError::Missing { field: "model", expected: "the name of a model" };

/// A string that is not empty; whatever else stands there is for the backend to judge.
fn string(raw: Option<&str>) -> Option<String> {
    serde_json::from_str(raw?).ok().filter(|text: &String| !text.is_empty())
}

fn flag(field: &'static str, raw: Option<&str>) -> Result<bool, EnvelopeError> {
    match raw {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(EnvelopeError::WrongType { field, expected: "true or false" }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any JSON value, as text with white space and escapes wherever they may stand.
    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|value| value.to_string()),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| format!("{n:e}")),
            ".{0,12}".prop_map(|text| serde_json::Value::from(text).to_string()),
            Just(r#""\u006dodel \ud83d\ude00 \"model\":""#.to_owned()),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[{}]", values.join(" ,\n")));
            let key = prop_oneof![Just("model".to_owned()), "[a-z]{1,6}"];
            let object = prop::collection::vec((key, inner), 0..4).prop_map(|fields| {
                let fields = fields.iter().map(|(key, value)| format!("\"{key}\" :\t{value}"));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            });
            prop_oneof![list, object]
        })
    }

    proptest! {
        #[test]
        fn another_model_leaves_every_other_byte_alone(
            before in prop::collection::vec(("x[a-z]{0,5}", json()), 0..4),
            after in prop::collection::vec(("y[a-z]{0,5}", json()), 0..4),
            asked in ".{1,20}",
            name in ".{1,20}",
        ) {
            let fields = |fields: &[(String, String)]| -> Vec<String> {
                fields.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect()
            };
            let model = |name: &str| format!("\"model\" : {}", serde_json::Value::from(name));
            let body = |name: &str| {
                let all = [fields(&before), vec![model(name)], fields(&after)].concat();
                Bytes::from(format!(" {{ {} }}\n", all.join(" , ")))
            };
            let sent = body(&asked);
            let envelope = Envelope::read(&sent).unwrap();
            prop_assert_eq!(&envelope.model, &asked);
            prop_assert_eq!(envelope.with_model(&sent, &name), body(&name));
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(body: Vec<u8>) {
            if let Ok(envelope) = Envelope::read(&body) {
                envelope.with_model(&Bytes::from(body), "other");
            }
        }
    }

    #[test]
    fn reads_the_fields_wherever_they_stand() {
        let envelope =
            Envelope::read(br#" {"input":{"model":"no"},"stream":true,"model":"gpt-5"} "#).unwrap();
        assert_eq!(envelope.model, "gpt-5");
        assert!(envelope.stream);
        assert!(!envelope.background);
    }

    #[test]
    fn null_flags_are_false() {
        let envelope = Envelope::read(br#"{"model":"m","stream":null,"background":null}"#).unwrap();
        assert!(!envelope.stream && !envelope.background);
    }

    #[test]
    fn names_the_field_at_fault() {
        let field = |body: &str| Envelope::read(body.as_bytes()).unwrap_err().field();
        assert_eq!(field(r#"{"input":"x"}"#), Some("model"));
        assert_eq!(field(r#"{"model":null}"#), Some("model"));
        assert_eq!(field(r#"{"model":""}"#), Some("model"));
        assert_eq!(field(r#"{"model":7}"#), Some("model"));
        assert_eq!(field(r#"{"model":"m","stream":"yes"}"#), Some("stream"));
    }

    #[test]
    fn refuses_what_is_not_an_object() {
        assert_eq!(Envelope::read(br#"["gpt-5",true,false]"#), Err(EnvelopeError::NotAnObject));
        assert!(matches!(Envelope::read(b""), Err(EnvelopeError::NotJson { .. })));
        assert!(matches!(Envelope::read(b"hello"), Err(EnvelopeError::NotJson { .. })));
        assert!(matches!(Envelope::read(b"{\"model\":\"m\""), Err(EnvelopeError::NotJson { .. })));
        assert!(matches!(
            Envelope::read(b"{\"model\":\"\xff\"}"),
            Err(EnvelopeError::NotJson { .. })
        ));
    }

    #[test]
    fn refuses_a_model_given_twice() {
        // Two readers could pick different ones; the second might be written with an escape.
        for body in
            [r#"{"model":"a","m\u006fdel":"b"}"#, r#"{"model":"m","stream":null,"stream":true}"#]
        {
            let read = Envelope::read(body.as_bytes());
            assert!(matches!(read, Err(EnvelopeError::NotJson { .. })), "{body}");
        }
    }

    #[test]
    fn refuses_names_that_nobody_can_read() {
        let body = br#"{"model":"m","\ud800":1}"#;
        assert!(matches!(Envelope::read(body), Err(EnvelopeError::NotJson { .. })));
    }

    #[test]
    fn replaces_an_escaped_name() {
        let body = Bytes::from_static(br#"{ "model" : "a\"b" , "x":1.0e5 }"#);
        let envelope = Envelope::read(&body).unwrap();
        assert_eq!(envelope.model, "a\"b");
        assert_eq!(
            envelope.with_model(&body, "c\"d"),
            Bytes::from_static(br#"{ "model" : "c\"d" , "x":1.0e5 }"#)
        );
    }

    #[test]
    fn refuses_an_endless_name() {
        let body = format!("{{\"model\":\"{}\"}}", "x".repeat(257));
        assert_eq!(Envelope::read(body.as_bytes()).unwrap_err().field(), Some("model"));
    }

    #[test]
    fn the_same_name_is_the_same_bytes() {
        let body = Bytes::from_static(br#"{"model":"m\u006f"}"#);
        let same = Envelope::read(&body).unwrap().with_model(&body, "mo");
        assert_eq!(same.as_ptr(), body.as_ptr());
    }
}
