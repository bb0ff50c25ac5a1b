//! A request as the journal shows it: every attempt, and the story in one line.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::record::{AttemptState, AttemptStory, Record, Repaired, Story};
use crate::verdict::{Failure, Stage};

/// One request. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its id, as in `x-request-id` and the log.
    pub id: String,
    /// When it began, RFC 3339.
    pub began_at: String,
    /// The client whose key came with it.
    pub client: Option<String>,
    /// The route that served it.
    pub route: Option<String>,
    /// The model that was asked for.
    pub model: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// `open` while it is in work, else how it ended.
    pub outcome: &'static str,
    /// The status that the client was given.
    pub status: Option<u16>,
    /// The backend whose answer the client got.
    pub backend: Option<String>,
    /// What happened, in one line.
    pub story: String,
    /// What the client was told where no backend answered.
    pub error: Option<String>,
    /// Each attempt, in order.
    pub attempts: Vec<Attempt>,
    /// From its head to its answer's last byte.
    pub duration_ms: Option<f64>,
    /// From its head to the first output.
    pub first_output_ms: Option<f64>,
    /// What failed attempts, waits and retries took of that.
    pub failover_ms: Option<f64>,
    /// What Sidestep itself took.
    pub overhead_ms: Option<f64>,
    /// Token counts of the answer.
    pub tokens: Option<Tokens>,
}

/// One attempt. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// The backend.
    pub backend: String,
    /// The model that it was asked for.
    pub model: String,
    /// Which of the backend's credentials it used, counted from 0, where there are several.
    pub credential: Option<usize>,
    /// `open`, `ok`, or the class of its failure.
    pub class: &'static str,
    /// What showed the failure.
    pub detected_by: Option<&'static str>,
    /// When.
    pub stage: Option<&'static str>,
    /// The backend's own code for it, or which limit or defect it was.
    pub detail: Option<String>,
    /// How long the backend asked to wait.
    pub retry_after_ms: Option<f64>,
    /// What was taken out of the request for it.
    pub repaired: Vec<String>,
    /// When it began, from the request's beginning.
    pub began_ms: f64,
    /// How long the verdict took.
    pub verdict_ms: Option<f64>,
}

/// Token counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tokens {
    /// Of the request.
    pub input: u64,
    /// Of these, from a cache.
    pub cached_input: u64,
    /// Of the answer.
    pub output: u64,
    /// Of these, reasoning.
    pub reasoning: u64,
}

impl Entry {
    /// A request as it stands now.
    pub fn of(record: &Record) -> Self {
        record.read(|story| Self::from_story(record, story))
    }

    fn from_story(record: &Record, story: &Story) -> Self {
        let answered = story.answered.map(|at| at.duration_since(record.started()));
        let served = story.served_by();
        Self {
            id: record.id().to_owned(),
            began_at: rfc3339(record.began_at()),
            client: story.client.as_deref().map(str::to_owned),
            route: story.route.as_deref().map(str::to_owned),
            model: story.model.clone(),
            stream: story.is_stream,
            outcome: story.end.map_or("open", |end| end.outcome.as_str()),
            status: story.end.and_then(|end| end.status).map(|status| status.as_u16()),
            backend: served.map(|attempt| attempt.backend.to_string()),
            story: told(record, story),
            error: story.error.clone(),
            attempts: story.attempts.iter().map(Attempt::of).collect(),
            duration_ms: story.end.map(|end| milliseconds(end.duration)),
            first_output_ms: answered.filter(|_| served.is_some()).map(milliseconds),
            failover_ms: story.failover_time().map(milliseconds),
            overhead_ms: answered.map(|_| milliseconds(story.overhead())),
            tokens: story.usage.map(|usage| Tokens {
                input: usage.input_tokens,
                cached_input: usage.cached_tokens,
                output: usage.output_tokens,
                reasoning: usage.reasoning_tokens,
            }),
        }
    }
}

impl Attempt {
    fn of(attempt: &AttemptStory) -> Self {
        let failure = match &attempt.state {
            AttemptState::Failed(failure) => Some(failure),
            AttemptState::Open | AttemptState::Relayed => None,
        };
        Self {
            backend: attempt.backend.to_string(),
            model: attempt.model.to_string(),
            credential: attempt.credential,
            class: attempt.state.word(),
            detected_by: failure.map(|failure| failure.detected_by.as_str()),
            stage: failure.map(|failure| failure.stage.as_str()),
            detail: failure.map(|failure| failure.detail.clone()).filter(|text| !text.is_empty()),
            retry_after_ms: failure.and_then(|failure| failure.retry_after).map(milliseconds),
            repaired: attempt.repaired.iter().map(Repaired::as_str).map(str::to_owned).collect(),
            began_ms: milliseconds(attempt.began),
            verdict_ms: attempt.judged.map(milliseconds),
        }
    }
}

impl AttemptState {
    /// Whether there is no verdict yet.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// `open`, `ok`, or the class of the failure.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Relayed => "ok",
            Self::Failed(failure) => failure.class.as_str(),
        }
    }
}

/// The story of a request in one line, such as `openai:gpt-5 rejected the credential that Sidestep has for
/// it (invalid_api_key, by status, 12 ms) → azure:gpt-5-eu answered (after 352 ms, 4.1 s in all)`.
fn told(record: &Record, story: &Story) -> String {
    let mut text = String::new();
    for (index, attempt) in story.attempts.iter().enumerate() {
        if index > 0 {
            text.push_str(" \u{2192} ");
        }
        tell(&mut text, attempt);
        if index + 1 == story.attempts.len() {
            tell_end(&mut text, record, story, attempt);
        }
    }
    if let Some(error) = &story.error {
        if !text.is_empty() {
            text.push_str(" \u{2192} ");
        }
        text.push_str(error);
    }
    if text.is_empty() {
        text.push_str(if story.end.is_some() {
            "ended before anything was asked"
        } else {
            "begins"
        });
    }
    text
}

fn tell(text: &mut String, attempt: &AttemptStory) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{}:{} ", attempt.backend, attempt.model);
    if let Some(number) = attempt.credential {
        let _ = write!(text, "with credential {number} ");
    }
    if let AttemptState::Failed(failure) = &attempt.state {
        let Failure { class, detected_by, stage, detail, .. } = failure;
        let after = if *stage == Stage::AfterCommit { "broke off: it " } else { "" };
        let detail = if detail.is_empty() { String::new() } else { format!("{detail}, ") };
        let _ = write!(text, "{after}{} ({detail}by {detected_by}", class.in_words());
        if let Some(judged) = attempt.judged {
            let _ = write!(text, ", {}", short(judged));
        }
        text.push(')');
    }
    if !attempt.repaired.is_empty() {
        let names: Vec<&str> = attempt.repaired.iter().map(Repaired::as_str).collect();
        let _ = write!(text, " [without {}]", names.join(", "));
    }
}

/// What became of the answer of the last attempt.
fn tell_end(text: &mut String, record: &Record, story: &Story, last: &AttemptStory) {
    let answered = story.answered.map(|at| at.duration_since(record.started()));
    let after = answered.map(|after| format!("after {}", short(after))).unwrap_or_default();
    let _ = match (&last.state, story.end) {
        (AttemptState::Open, Some(_)) => write!(text, "was asked when the client left"),
        (AttemptState::Open, None) => write!(text, "is being asked"),
        (AttemptState::Relayed, None) => write!(text, "answers ({after})"),
        (AttemptState::Relayed, Some(end)) => {
            let word = match end.outcome {
                super::metrics::Outcome::ClientGone => "answered until the client left",
                _ => "answered",
            };
            write!(text, "{word} ({after}, {} in all)", short(end.duration))
        }
        (AttemptState::Failed(_), _) => Ok(()),
    };
}

/// Such as `12 ms`, `4.1 s`, `3 min 20 s`.
pub fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 0.0095 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1e3)
    } else if seconds < 99.95 {
        format!("{seconds:.1} s")
    } else {
        let seconds = time.as_secs();
        match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
            (hours, minutes, _) if hours < 48 => format!("{hours} h {minutes} min"),
            (hours, ..) => format!("{} d {} h", hours / 24, hours % 24),
        }
    }
}

/// Milliseconds to the microsecond.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (time, text) in [
            (Duration::from_micros(420), "0.4 ms"),
            (Duration::from_millis(12), "12 ms"),
            (Duration::from_millis(4_130), "4.1 s"),
            (Duration::from_secs(200), "3 min 20 s"),
            (Duration::from_secs(3_720), "1 h 2 min"),
            (Duration::from_secs(259_200), "3 d 0 h"),
        ] {
            assert_eq!(short(time), text);
        }
    }
}
