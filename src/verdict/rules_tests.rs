//! The failure table, row by row: (carrier, evidence) → (class, action).

use super::super::evidence::{Carrier, Defect, TimeLimit, TransportFault};
use super::super::table::Sign;
use super::*;
use crate::wire::error_object::ErrorObject;
use Action::{Next, NextLarger, Refresh, Repair, Retry, Return};

fn judge_status(status: u16, body: &str) -> (Class, Action) {
    let error = ErrorObject::in_error_body(body.as_bytes());
    Rules::default().judge(&Evidence::Status { status, error: error.as_ref() })
}

fn judge_error(error: &str) -> (Class, Action) {
    let value = serde_json::from_str(error).unwrap();
    let error = ErrorObject::from_value(&value);
    let [body, event] = [Carrier::Body, Carrier::Event]
        .map(|carrier| Rules::default().judge(&Evidence::Error { carrier, error: error.as_ref() }));
    assert_eq!(body, event, "an error means the same on every carrier");
    body
}

const OPENAI_401: &str = r#"{"error":{"message":"Incorrect API key provided: sk-x.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#;
const CODEX_429: &str = r#"{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus","resets_in_seconds":9000}}"#;
const GOOGLE_400: &str = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
const OLLAMA_404: &str = r#"{"error":{"message":"model \"llama9\" not found, try pulling it first","type":"not_found_error","param":null,"code":null}}"#;
const CODEX_400_MODEL: &str =
    r#"{"detail":"The 'gpt-9' model is not supported when using Codex with a ChatGPT account."}"#;
const VLLM_400_LENGTH: &str = r#"{"error":{"message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","param":null,"code":400}}"#;
const OPENAI_400_REASONING: &str = r#"{"error":{"message":"The encrypted content gAAA could not be verified.","type":"invalid_request_error","param":null,"code":"invalid_encrypted_content"}}"#;
const XAI_400_REASONING: &str =
    r#"{"code":"invalid-argument","error":"Could not decrypt the provided encrypted_content."}"#;
const ITEM_404: &str = r#"{"error":{"message":"Item with id 'rs_1' was not available.","type":"invalid_request_error","param":"input","code":null}}"#;
const STORED_404: &str = r#"{"error":{"message":"Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.","type":"invalid_request_error","param":"input","code":null}}"#;
const ID_400: &str = r#"{"error":{"message":"Invalid 'input[2].id': 'x'. Expected an ID that begins with 'msg'.","type":"invalid_request_error","param":"input[2].id","code":"invalid_value"}}"#;
const PAIR_400: &str = r#"{"error":{"message":"Item 'rs_1' of type 'reasoning' was provided without its required following item.","type":"invalid_request_error","param":"input","code":null}}"#;
const RESPONSE_404: &str = r#"{"error":{"message":"Previous response with id 'resp_1' not found.","type":"invalid_request_error","param":"previous_response_id","code":null}}"#;

const STATUSES: &[(u16, &str, Class, Action)] = &[
    (401, OPENAI_401, Class::Auth, Refresh),
    (401, "", Class::Auth, Refresh),
    (400, OPENAI_401, Class::Auth, Refresh),
    (400, GOOGLE_400, Class::Auth, Refresh),
    (402, "", Class::Quota, Next),
    (403, "<html>blocked</html>", Class::Forbidden, Next),
    (403, r#"{"error":{"type":"authentication_error"}}"#, Class::Forbidden, Next),
    (403, r#"{"error":{"code":"insufficient_quota"}}"#, Class::Quota, Next),
    (404, OLLAMA_404, Class::Model, Next),
    (400, CODEX_400_MODEL, Class::Model, Next),
    (404, "<html>nginx</html>", Class::Malformed, Next),
    (404, r#"{"detail":"Not Found"}"#, Class::Malformed, Next),
    (404, ITEM_404, Class::InvalidRequest, Return),
    (404, RESPONSE_404, Class::InvalidRequest, Return),
    (405, r#"{"detail":"Method Not Allowed"}"#, Class::Malformed, Next),
    (408, "", Class::Timeout, Next),
    (410, "", Class::Model, Next),
    (413, "", Class::ContextLength, NextLarger),
    (400, VLLM_400_LENGTH, Class::ContextLength, NextLarger),
    (400, OPENAI_400_REASONING, Class::Reasoning, Repair),
    (400, XAI_400_REASONING, Class::Reasoning, Repair),
    (429, "", Class::RateLimit, Next),
    (429, CODEX_429, Class::Quota, Next),
    (
        429,
        r#"{"error":{"code":"insufficient_quota","type":"insufficient_quota"}}"#,
        Class::Quota,
        Next,
    ),
    (451, "", Class::Forbidden, Next),
    (400, r#"{"error":{"code":"invalid_prompt","message":"x"}}"#, Class::Policy, Return),
    (400, r#"{"error":{"code":"unknown_parameter","param":"x"}}"#, Class::InvalidRequest, Repair),
    (500, r#"{"error":{"code":"unknown_parameter","param":"x"}}"#, Class::InvalidRequest, Repair),
    (400, r#"{"detail":"Unsupported parameter: top_k"}"#, Class::InvalidRequest, Repair),
    (400, r#"{"error":{"message":"Unknown parameter: 'x'."}}"#, Class::InvalidRequest, Repair),
    (
        400,
        r#"{"error":{"code":"invalid_prompt","message":"Request blocked."}}"#,
        Class::Policy,
        Repair,
    ),
    (400, r#"{"detail":"Unsupported content type"}"#, Class::InvalidRequest, Repair),
    (400, ID_400, Class::Reasoning, Repair),
    (400, PAIR_400, Class::Reasoning, Repair),
    (404, STORED_404, Class::Reasoning, Repair),
    (400, "", Class::InvalidRequest, Return),
    (409, "", Class::InvalidRequest, Return),
    (422, r#"{"detail":[{"msg":"field required"}]}"#, Class::InvalidRequest, Return),
    (500, "", Class::Server, Retry),
    (500, r#"{"error":{"type":"invalid_request_error"}}"#, Class::Server, Retry),
    (502, "<html>", Class::Server, Retry),
    (503, "", Class::Overloaded, Retry),
    (503, r#"{"error":{"code":"server_is_overloaded"}}"#, Class::Overloaded, Retry),
    (504, "", Class::Server, Retry),
    (529, "", Class::Overloaded, Retry),
    (302, "", Class::Malformed, Next),
];

#[test]
fn statuses() {
    for (status, body, class, action) in STATUSES {
        assert_eq!(judge_status(*status, body), (*class, *action), "{status} {body}");
    }
}

const ERRORS: &[(&str, Class, Action)] = &[
    (r#"{"code":"invalid_api_key"}"#, Class::Auth, Refresh),
    (r#"{"type":"authentication_error"}"#, Class::Auth, Refresh),
    (r#"{"code":"insufficient_quota"}"#, Class::Quota, Next),
    (r#"{"code":"rate_limit_exceeded"}"#, Class::RateLimit, Next),
    (r#"{"code":429,"message":"Provider returned error"}"#, Class::RateLimit, Next),
    (r#"{"code":"502"}"#, Class::Server, Retry),
    (r#"{"code":"server_is_overloaded"}"#, Class::Overloaded, Retry),
    (r#"{"code":"slow_down"}"#, Class::Overloaded, Retry),
    (r#"{"message":"Selected model is at capacity"}"#, Class::Overloaded, Retry),
    (r#"{"code":"server_error"}"#, Class::Server, Retry),
    (r#"{"type":"api_error"}"#, Class::Server, Retry),
    (r#"{"code":"something_new"}"#, Class::Server, Retry),
    ("null", Class::Server, Retry),
    (r#"{"code":"model_not_found"}"#, Class::Model, Next),
    (r#"{"code":"context_length_exceeded"}"#, Class::ContextLength, NextLarger),
    (r#"{"code":"invalid_encrypted_content"}"#, Class::Reasoning, Repair),
    (r#"{"code":"content_filter"}"#, Class::Policy, Return),
    (r#"{"code":"image_too_large"}"#, Class::InvalidRequest, Return),
    (r#"{"type":"invalid_request_error"}"#, Class::InvalidRequest, Return),
];

#[test]
fn errors_under_a_good_status() {
    for (error, class, action) in ERRORS {
        assert_eq!(judge_error(error), (*class, *action), "{error}");
    }
}

#[test]
fn defects_faults_and_time_limits() {
    let judge = |evidence: Evidence<'_>| Rules::default().judge(&evidence);
    for defect in [
        Defect::NotAnAnswer,
        Defect::BrokenJson,
        Defect::NotAResponse,
        Defect::Unfinished,
        Defect::BrokenEvent,
        Defect::NoTerminalEvent,
    ] {
        let evidence = Evidence::Defect { carrier: Carrier::Body, defect };
        assert_eq!(judge(evidence), (Class::Malformed, Action::Next), "{defect:?}");
    }
    let defect = |defect| judge(Evidence::Defect { carrier: Carrier::Event, defect });
    assert_eq!(defect(Defect::Empty), (Class::Empty, Action::Next));
    assert_eq!(defect(Defect::Cancelled), (Class::Cancelled, Action::Next));

    use TransportFault::{Dns, Other, Refused, Reset, Tls};
    assert_eq!(judge(Evidence::Transport(Reset)), (Class::Network, Action::Retry));
    for fault in [Dns, Refused, Tls, Other] {
        assert_eq!(judge(Evidence::Transport(fault)), (Class::Network, Action::Next), "{fault:?}");
    }
    use TimeLimit::{Answer, Connect, FirstByte, FirstOutput, Idle};
    for limit in [Connect, FirstByte, FirstOutput, Idle, Answer] {
        assert_eq!(judge(Evidence::Timeout(limit)), (Class::Timeout, Action::Next), "{limit:?}");
    }
}

#[test]
fn every_class_has_a_row() {
    for class in Class::ALL {
        assert!(TABLE.iter().any(|row| row.class == *class), "{class}");
    }
}

#[test]
fn codes_and_phrases_are_lower_case_and_stand_once() {
    let mut seen = std::collections::HashSet::new();
    for row in TABLE {
        let words = match row.sign {
            Sign::Code(codes) => codes,
            Sign::Phrase { words, .. } => {
                assert!(words.iter().all(|word| *word == word.to_lowercase()), "{words:?}");
                continue;
            }
            _ => continue,
        };
        for code in words {
            assert_eq!(*code, code.to_lowercase());
            assert!(seen.insert(*code), "{code} stands twice");
        }
    }
}

#[test]
fn the_configuration_overrides_by_code_then_status_then_class() {
    let rules = Rules {
        codes: [("house_rule".to_owned(), Class::Quota)].into(),
        statuses: [(418, Class::Overloaded), (401, Class::Server)].into(),
        actions: [(Class::Policy, Action::Next), (Class::Server, Action::Next)].into(),
    };
    let judge = |status, body: &str| {
        let error = ErrorObject::in_error_body(body.as_bytes());
        rules.judge(&Evidence::Status { status, error: error.as_ref() })
    };
    assert_eq!(judge(418, ""), (Class::Overloaded, Action::Retry));
    assert_eq!(judge(418, r#"{"error":{"code":"HOUSE_RULE"}}"#), (Class::Quota, Action::Next));
    assert_eq!(judge(401, OPENAI_401), (Class::Server, Action::Next));
    assert_eq!(judge(400, r#"{"error":{"code":"invalid_prompt"}}"#), (Class::Policy, Action::Next));
    assert_eq!(judge(500, ""), (Class::Server, Action::Next));
}
