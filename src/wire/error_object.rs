//! The error that a backend speaks of, whichever shape it comes in.
//!
//! Shapes: OpenAI's `{"error":{message,type,code,param}}`; the flat stream event `{type:"error",
//! code,message}`; a bare string; FastAPI's `{"detail":…}`; Google's `{"error":{code,status,
//! details:[{reason}]}}`, also as a list of one.

use serde_json::{Map, Value};

use super::wait::Wait;

/// How much of a message is looked at: phrases stand at the beginning.
const MESSAGE_BYTES_MAX: usize = 2048;
/// How many machine-readable names are kept of one error.
const CODES_MAX: usize = 8;
/// The longest name that can be a code; longer ones are text.
const CODE_BYTES_MAX: usize = 64;

/// What an error says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorObject {
    /// Its machine-readable names, the most specific first: `code`, `details[].reason`, `type`,
    /// `status`.
    pub codes: Vec<String>,
    /// Its text, cut.
    pub message: String,
    /// The field of the request that it finds fault with.
    pub param: Option<String>,
    /// An HTTP status that it carries as a number.
    pub status: Option<u16>,
    /// How long to wait, where it says so.
    pub wait: Option<Wait>,
}

impl ErrorObject {
    /// Finds the error in a body that was answered with an error status.
    pub fn in_error_body(body: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let object = match &value {
            Value::Object(object) => object,
            Value::Array(list) => list.first()?.as_object()?,
            _ => return None,
        };
        if let Some(Value::String(message)) = object.get("error") {
            // xAI's code stands beside its text.
            let wait = Wait::in_fields(object).or_else(|| Wait::in_text(message));
            return Some(Self { message: cut(message), wait, ..Self::from_object(object) });
        }
        if let Some(error) = object.get("error").and_then(Self::from_value) {
            return Some(error);
        }
        if let Some(detail) = object.get("detail").and_then(Self::from_value) {
            return Some(detail);
        }
        let flat = Self::from_object(object);
        (!flat.message.is_empty() || !flat.codes.is_empty()).then_some(flat)
    }

    /// Reads the value of an `error` field. `None` when it says nothing: null, false, empty.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(message) if !message.is_empty() => {
                let wait = Wait::in_text(message);
                Some(Self { message: cut(message), wait, ..Self::default() })
            }
            Value::Object(object) if !object.is_empty() => Some(Self::from_object(object)),
            Value::Bool(true) | Value::Number(_) => Some(Self::default()),
            // A list is what validators answer: FastAPI's `detail`.
            Value::Array(list) => list.first().and_then(Self::from_value),
            _ => None,
        }
    }

    /// Reads the fields of an object that is an error itself.
    pub fn from_object(object: &Map<String, Value>) -> Self {
        let mut error = Self::default();
        if let Some(message) = ["message", "detail", "msg"].iter().find_map(|key| object.get(*key))
        {
            error.message = cut(message.as_str().unwrap_or_default());
        }
        error.add_code(object.get("code"));
        for detail in object.get("details").and_then(Value::as_array).into_iter().flatten() {
            error.add_code(detail.get("reason"));
            error.wait = error.wait.or(detail.as_object().and_then(Wait::in_fields));
        }
        error.wait = Wait::in_fields(object).or(error.wait);
        error.wait = error.wait.or_else(|| Wait::in_text(&error.message));
        for key in ["type", "status"] {
            error.add_code(object.get(key));
        }
        error.param = object.get("param").and_then(Value::as_str).map(cut);
        error
    }

    /// The field that it finds fault with: its `param`, else the last word of a text such as
    /// `Unsupported parameter: top_k`.
    pub fn field(&self) -> Option<&str> {
        let is_quote = |c: char| matches!(c, '\'' | '"' | '`' | '.' | ' ');
        let named = || Some(self.message.rsplit_once("arameter:")?.1.trim_matches(is_quote));
        self.param.as_deref().filter(|param| !param.is_empty()).or_else(named)
    }

    /// The most specific name, if there is one.
    pub fn code(&self) -> Option<&str> {
        self.codes.first().map(String::as_str)
    }

    fn add_code(&mut self, value: Option<&Value>) {
        let text = match value {
            Some(Value::String(text)) => text.as_str(),
            Some(Value::Number(number)) => {
                self.add_status(number.as_u64());
                return;
            }
            _ => return,
        };
        if let Ok(number) = text.parse() {
            self.add_status(Some(number));
        } else if !text.is_empty() && text.len() <= CODE_BYTES_MAX && self.codes.len() < CODES_MAX {
            self.codes.push(text.to_owned());
        }
    }

    fn add_status(&mut self, number: Option<u64>) {
        let status = number.and_then(|number| u16::try_from(number).ok());
        self.status = self.status.or(status.filter(|status| (400..600).contains(status)));
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> ErrorObject {
        ErrorObject::in_error_body(body.as_bytes()).unwrap()
    }

    #[test]
    fn reads_openai() {
        let error = read(
            r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
        );
        assert_eq!(error.codes, ["invalid_api_key", "invalid_request_error"]);
        assert_eq!(error.code(), Some("invalid_api_key"));
        assert_eq!(error.message, "Incorrect API key provided");
    }

    #[test]
    fn reads_google() {
        let error = read(
            r#"[{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"x","reason":"API_KEY_INVALID"}]}}]"#,
        );
        assert_eq!(error.codes, ["API_KEY_INVALID", "INVALID_ARGUMENT"]);
        assert_eq!(error.status, Some(400));
    }

    #[test]
    fn reads_detail_string_and_text() {
        assert_eq!(read(r#"{"detail":"Not Found"}"#).message, "Not Found");
        assert_eq!(read(r#"{"error":"model is required"}"#).message, "model is required");
        assert_eq!(
            read(r#"{"code":"spending-limit","error":"no"}"#).code(),
            Some("spending-limit")
        );
        assert_eq!(read(r#"{"message":"no","code":"x"}"#).codes, ["x"]);
        assert_eq!(
            read(r#"{"detail":[{"msg":"field required","type":"missing"}]}"#).codes,
            ["missing"]
        );
    }

    #[test]
    fn a_number_is_a_status_not_a_code() {
        let error = read(r#"{"error":{"code":"429","message":"slow"}}"#);
        assert_eq!((error.status, error.codes.len()), (Some(429), 0));
        assert_eq!(read(r#"{"error":{"code":7,"message":"x"}}"#).status, None);
    }

    #[test]
    fn what_says_nothing_is_no_error() {
        for body in ["", "<html>", "{}", r#"{"error":null}"#, r#"{"error":{}}"#, "[]", "3"] {
            assert_eq!(ErrorObject::in_error_body(body.as_bytes()), None, "{body}");
        }
    }
}
