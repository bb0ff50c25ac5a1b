//! The failure table in words: the README holds it, and a test holds the README to it.

use std::fmt::Write as _;

use super::class::{Action, Class};
use super::evidence::{CredentialFault, Defect, TimeLimit, TransportFault};
use super::table::{Row, Sign, TABLE};

/// The failure table as Markdown: a line for each class and action, in the order of the classes.
pub fn markdown() -> String {
    let mut text = "| class | action | seen as |\n|---|---|---|\n".to_owned();
    for class in Class::ALL {
        for action in Action::ALL {
            let rows = TABLE.iter().filter(|row| row.class == *class && row.action == *action);
            let signs: Vec<String> = rows.map(|Row { sign, .. }| in_words(sign)).collect();
            if !signs.is_empty() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "| `{class}` | {action} | {} |", signs.join("; "));
            }
        }
    }
    text
}

fn in_words(sign: &Sign) -> String {
    match *sign {
        Sign::Code(codes) => {
            let codes: Vec<String> = codes.iter().map(|code| format!("`{code}`")).collect();
            format!("code {}", codes.join(", "))
        }
        Sign::Phrase { statuses, words } => {
            let statuses: Vec<String> = statuses.iter().map(u16::to_string).collect();
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            format!("{} saying {}", statuses.join("/"), words.join(" and "))
        }
        Sign::Text { status, text } => format!("{status} saying only \"{text}\""),
        Sign::StatusWithoutError(status) => format!("{status} without an error in its body"),
        Sign::Status(first, last) if first == last => first.to_string(),
        Sign::Status(first, last) => format!("any other status from {first} to {last}"),
        Sign::Defect(defects) => list(defects, defect),
        Sign::Transport(faults) => list(faults, fault),
        Sign::Timeout(limits) => list(limits, limit),
        Sign::Credential(faults) => {
            format!("a credential that cannot be obtained ({})", list(faults, credential))
        }
        Sign::AnyError => "any other error, or `failed` with none".to_owned(),
    }
}

fn list<T: Copy>(all: &[T], word: fn(T) -> &'static str) -> String {
    all.iter().map(|one| word(*one)).collect::<Vec<_>>().join(", ")
}

fn defect(defect: Defect) -> &'static str {
    match defect {
        Defect::NotAnAnswer => "200 with HTML or text",
        Defect::BrokenJson => "broken or truncated JSON",
        Defect::NotAResponse => "JSON that is no response",
        Defect::Unfinished => "`in_progress` or `queued` at the end",
        Defect::BrokenEvent => "a broken or oversized event",
        Defect::NoTerminalEvent => "a stream that ends without a terminal event",
        Defect::Empty => "completed with no output item and no text",
        Defect::Cancelled => "status `cancelled` that nobody asked for",
    }
}

fn fault(fault: TransportFault) -> &'static str {
    match fault {
        TransportFault::Dns => "name not resolved",
        TransportFault::Refused => "connection refused",
        TransportFault::Tls => "no TLS session",
        TransportFault::Reset => "connection reset or closed",
        TransportFault::Other => "any other connection failure",
    }
}

fn credential(fault: CredentialFault) -> &'static str {
    match fault {
        CredentialFault::Missing => "there is none",
        CredentialFault::Unreadable => "it cannot be read",
        CredentialFault::Expired => "expired and not ours to renew",
        CredentialFault::Command => "the command failed",
        CredentialFault::Timeout => "no answer in time",
        CredentialFault::Refused => "the renewal was refused",
        CredentialFault::Unavailable => "no renewal for now",
    }
}

fn limit(limit: TimeLimit) -> &'static str {
    match limit {
        TimeLimit::Connect => "connect",
        TimeLimit::FirstByte => "first byte",
        TimeLimit::FirstOutput => "first output",
        TimeLimit::Idle => "idle between events",
        TimeLimit::Answer => "whole answer",
        TimeLimit::Queue => "in the queue for `concurrency_max`",
        TimeLimit::Request => "whole request",
    }
}
