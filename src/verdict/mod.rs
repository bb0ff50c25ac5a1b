//! What an answer means. Pure: evidence in, a class and an action out; no backend, no clock, no I/O.
//!
//! [`table`] is the one table of failure rules, [`rules`] applies it, [`evidence`] is what it is asked about, [`class`] the
//! closed vocabulary that logs, metrics, headers and configuration share.

/// An enum whose values have words: one list for both, so that none is forgotten.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it in logs, metrics, headers and configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The value that a word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub mod class;
pub mod document;
pub mod evidence;
pub mod rules;
pub mod table;

use std::time::Duration;

pub use class::{Action, Class, DetectedBy, Stage};
pub use evidence::{Carrier, CredentialFault, Defect, Evidence, TimeLimit, TransportFault};
pub use rules::Rules;

/// What may be left out of a request that was found fault with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// What another backend has issued: encrypted content and ids.
    History,
    /// The field of this name.
    Field(String),
}

impl Repair {
    /// What some evidence finds fault with.
    fn of(class: Class, evidence: &Evidence<'_>) -> Self {
        match evidence.error().and_then(|error| error.field()) {
            Some(field) if class == Class::InvalidRequest => Self::Field(field.to_owned()),
            _ => Self::History,
        }
    }
}

/// A failure: what it is, how and when it was seen, what the rules advise, when to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub class: Class,
    /// What showed it.
    pub detected_by: DetectedBy,
    /// Whether output had gone to the client.
    pub stage: Stage,
    /// What the rules advise.
    pub action: Action,
    /// The backend's own code for it, else which defect, fault or limit it was: for logs, never for
    /// labels or clients.
    pub detail: String,
    /// What may be left out, where the rules advise it.
    pub repair: Option<Repair>,
    /// How long the backend asked to wait.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// The failure that some evidence shows, as `rules` judge it.
    pub fn from_evidence(rules: &Rules, evidence: &Evidence<'_>, stage: Stage) -> Self {
        let (class, action) = rules.judge(evidence);
        Self {
            class,
            detected_by: evidence.detected_by(),
            stage,
            action,
            detail: evidence.detail().to_owned(),
            repair: (action == Action::Repair).then(|| Repair::of(class, evidence)),
            retry_after: None,
        }
    }
}
