//! Faults that the status line tells, as data: what real backends answer.

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue};

use super::catalogue::Fault;
use super::play::{HTML, Play, whole};

const JSON: &str = "application/json";

/// The fault, its status, its content type, its body.
type StatusFault = (Fault, u16, &'static str, &'static str);

const STATUSES: &[StatusFault] = &[
    (
        Fault::S400,
        400,
        JSON,
        r#"{"error":{"message":"Invalid value for 'input'.","type":"invalid_request_error","param":"input","code":"invalid_value"}}"#,
    ),
    (
        Fault::S400Context,
        400,
        JSON,
        r#"{"error":{"message":"Your input exceeds the context window of this model.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}"#,
    ),
    (
        Fault::S400GoogleKey,
        400,
        JSON,
        r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
    ),
    (
        Fault::S400Model,
        400,
        JSON,
        r#"{"detail":"The 'gpt-9' model is not supported when using Codex with a ChatGPT account."}"#,
    ),
    (
        Fault::S400Policy,
        400,
        JSON,
        r#"{"error":{"message":"The response was filtered.","type":"invalid_request_error","param":"prompt","code":"content_filter"}}"#,
    ),
    (
        Fault::S400Parameter,
        400,
        JSON,
        r#"{"error":{"message":"Unknown parameter: 'metadata'.","type":"invalid_request_error","param":"metadata","code":"unknown_parameter"}}"#,
    ),
    (
        Fault::S400Reasoning,
        400,
        JSON,
        r#"{"error":{"message":"The encrypted content gAAA could not be verified.","type":"invalid_request_error","param":null,"code":"invalid_encrypted_content"}}"#,
    ),
    (
        Fault::S401,
        401,
        JSON,
        r#"{"error":{"message":"Incorrect API key provided: sk-***.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
    ),
    (
        Fault::S401Token,
        401,
        JSON,
        r#"{"error":{"message":"Provided authentication token is expired. Please try signing in again.","type":null,"param":null,"code":"token_expired"}}"#,
    ),
    (
        Fault::S401Quota,
        401,
        JSON,
        r#"{"error":{"message":"You exceeded your current quota.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
    ),
    (
        Fault::S402,
        402,
        JSON,
        r#"{"error":{"message":"Payment required.","type":"billing_error","code":402}}"#,
    ),
    (
        Fault::S403,
        403,
        JSON,
        r#"{"error":{"message":"Country, region, or territory not supported","type":"request_forbidden","param":null,"code":"unsupported_country_region_territory"}}"#,
    ),
    (Fault::S403Html, 403, "text/html", HTML),
    (
        Fault::S404,
        404,
        JSON,
        r#"{"error":{"message":"The model `gpt-9` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
    ),
    (Fault::S404Html, 404, "text/html", HTML),
    (
        Fault::S408,
        408,
        JSON,
        r#"{"error":{"message":"Request timed out.","type":"timeout_error","param":null,"code":null}}"#,
    ),
    (Fault::S413, 413, "text/html", HTML),
    (
        Fault::S422,
        422,
        JSON,
        r#"{"detail":[{"loc":["body","input"],"msg":"field required","type":"value_error.missing"}]}"#,
    ),
    (
        Fault::S429,
        429,
        JSON,
        r#"{"error":{"message":"Rate limit reached for requests.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
    ),
    (
        Fault::S429Quota,
        429,
        JSON,
        r#"{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus","resets_at":1790009000,"resets_in_seconds":9000}}"#,
    ),
    (
        Fault::S500,
        500,
        JSON,
        r#"{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}"#,
    ),
    (Fault::S502Html, 502, "text/html", HTML),
    (
        Fault::S503,
        503,
        JSON,
        r#"{"error":{"message":"Our servers are currently overloaded.","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}"#,
    ),
    (
        Fault::S529,
        529,
        JSON,
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
    ),
    (Fault::Redirect, 307, "text/plain", ""),
];

const HEADERS: &[(Fault, HeaderName, &str)] = &[
    (Fault::S429, RETRY_AFTER, "7"),
    (Fault::S503, RETRY_AFTER, "86400"),
    (Fault::Redirect, LOCATION, "http://127.0.0.1:1/elsewhere"),
];

/// The answer of a fault that the status line tells.
pub(super) fn play(fault: Fault) -> Option<Play> {
    let (_, status, media_type, body) = STATUSES.iter().find(|(named, ..)| *named == fault)?;
    let played = whole(*status, media_type, *body);
    let Play::Answer(mut head, script) = played else { return Some(played) };
    for (_, name, value) in HEADERS.iter().filter(|(named, ..)| *named == fault) {
        head.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(Play::Answer(head, script))
}
