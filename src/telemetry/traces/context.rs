//! Where a request stands in a trace: W3C Trace Context, version 00.

use http::{HeaderMap, HeaderValue};

/// The header that carries it.
pub const TRACEPARENT: &str = "traceparent";

/// The bit of `trace-flags` that says that the caller records the trace (section 3.2.2.5.1).
const SAMPLED: u8 = 1;

/// Where a request stands in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace, never 0.
    pub trace_id: u128,
    /// The caller's span, if there is one.
    pub parent: Option<u64>,
    /// The request's own span, never 0.
    pub span: u64,
    /// Whether the caller records the trace; so do we where there is no caller.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Goes on with the client's trace, or begins one.
    pub fn begin(headers: &HeaderMap) -> Self {
        let span = fastrand::u64(1..);
        let mut caller = headers.get_all(TRACEPARENT).iter();
        // More than one would be ambiguous, and is to be taken as none.
        let caller = caller.next().filter(|_| caller.next().is_none());
        match caller.and_then(|value| parse(value.to_str().ok()?)) {
            Some((trace_id, parent, is_sampled)) => {
                Self { trace_id, parent: Some(parent), span, is_sampled }
            }
            None => Self { trace_id: fastrand::u128(1..), parent: None, span, is_sampled: true },
        }
    }

    /// The span of an attempt, by its place among the request's attempts.
    pub fn attempt(&self, number: usize) -> u64 {
        match self.span.wrapping_add(number as u64).wrapping_add(1) {
            // 0 is no span.
            0 => u64::MAX / 2,
            span => span,
        }
    }

    /// What a backend is told, for which an attempt's span is the caller's.
    pub fn traceparent(&self, attempt: usize) -> Option<HeaderValue> {
        let (trace, span) = (self.trace_id, self.attempt(attempt));
        let flags = u8::from(self.is_sampled) * SAMPLED;
        HeaderValue::try_from(format!("00-{trace:032x}-{span:016x}-{flags:02x}")).ok()
    }
}

/// `version-trace_id-parent_id-flags` (section 3.2). What later versions append is left out, as section 4
/// asks of those who know only version 00.
fn parse(text: &str) -> Option<(u128, u64, bool)> {
    let text = text.trim();
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_sound =
        is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    if !is_sound || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|id| *id != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((trace, parent, flags & SAMPLED != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_specification_allows() {
        let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let ids = (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331);
        for (written, expected) in [
            (format!("00-{trace}-{parent}-01"), Some((ids.0, ids.1, true))),
            (format!("00-{trace}-{parent}-00"), Some((ids.0, ids.1, false))),
            (format!(" 00-{trace}-{parent}-03 "), Some((ids.0, ids.1, true))),
            (format!("01-{trace}-{parent}-01-more"), Some((ids.0, ids.1, true))),
            (format!("00-{trace}-{parent}-01-more"), None),
            (format!("ff-{trace}-{parent}-01"), None),
            (format!("00-{}-{parent}-01", trace.to_uppercase()), None),
            (format!("00-{}-{parent}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{trace}-{parent}"), None),
            (format!("00-{trace}-{parent}-1"), None),
            (format!("00-+{}-{parent}-01", &trace[1..]), None),
            (String::new(), None),
        ] {
            assert_eq!(parse(&written), expected, "{written}");
        }
    }

    #[test]
    fn a_trace_goes_on_with_a_span_for_each_attempt() {
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(caller));
        let context = TraceContext::begin(&headers);
        assert_eq!(context.parent, Some(0xb7ad_6b71_6920_3331));
        let sent = [0, 1].map(|attempt| context.traceparent(attempt).unwrap());
        for (sent, attempt) in sent.iter().zip(0..) {
            let (trace, span, is_sampled) = parse(sent.to_str().unwrap()).unwrap();
            assert_eq!((trace, is_sampled), (context.trace_id, true));
            assert_eq!(span, context.attempt(attempt));
        }
        let spans = [context.span, context.attempt(0), context.attempt(1)];
        assert!(spans[0] != spans[1] && spans[1] != spans[2] && spans[0] != spans[2]);
        assert_eq!(TraceContext { span: u64::MAX, ..context }.attempt(0), u64::MAX / 2);
    }

    #[test]
    fn two_callers_are_none() {
        let mut headers = HeaderMap::new();
        for last in ["01", "00"] {
            let value = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{last}");
            headers.append(TRACEPARENT, HeaderValue::try_from(value).unwrap());
        }
        assert_eq!(TraceContext::begin(&headers).parent, None);
    }
}
