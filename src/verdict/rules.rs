//! The failure table with what the configuration changes in it.

use std::collections::HashMap;

use super::class::{Action, Class};
use super::evidence::Evidence;
use super::table::{TABLE, default_action};

/// The failure table with what the configuration changes in it.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The class of a code, before any row. Codes in lower case.
    pub codes: HashMap<String, Class>,
    /// The class of a status, before any row.
    pub statuses: HashMap<u16, Class>,
    /// The action of a class, whatever its row says.
    pub actions: HashMap<Class, Action>,
}

impl Rules {
    /// The class of some evidence and the action that the rules advise.
    pub fn judge(&self, evidence: &Evidence<'_>) -> (Class, Action) {
        let (class, action) = match self.overridden(evidence) {
            Some(class) => (class, default_action(class)),
            None => TABLE
                .iter()
                .find(|row| row.sign.fits(evidence))
                .map_or((Class::Server, default_action(Class::Server)), |row| {
                    (row.class, row.action)
                }),
        };
        match self.actions.get(&class).copied().unwrap_or(action) {
            // Who is forbidden is known: a new token would be refused in the same way, for ever
            // (NousResearch/hermes-agent#26847).
            Action::Refresh if evidence.status() == Some(403) => (class, Action::Next),
            action => (class, action),
        }
    }

    fn overridden(&self, evidence: &Evidence<'_>) -> Option<Class> {
        let codes = evidence.error().map(|error| error.codes.as_slice()).unwrap_or_default();
        codes
            .iter()
            .find_map(|code| self.codes.get(&code.to_ascii_lowercase()))
            .or_else(|| self.statuses.get(&evidence.status()?))
            .copied()
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
