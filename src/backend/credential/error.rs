//! Why there is no credential to send.

use std::time::Duration;

use crate::verdict::CredentialFault;

/// Why there is no credential to send. Its text says what to do and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CredentialError {
    /// What went wrong, as the failure table knows it.
    pub fault: CredentialFault,
    /// The same in words.
    pub text: String,
    /// How long a token endpoint asked to wait.
    pub retry_after: Option<Duration>,
}

impl CredentialError {
    pub(super) fn new(fault: CredentialFault, text: impl Into<String>) -> Self {
        Self { fault, text: text.into(), retry_after: None }
    }
}
