//! A secret in a file that others may change at any time: a mounted Kubernetes secret, for one.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;

use super::error::CredentialError;
use super::source::{Reading, Renewed, Source};
use super::token::Token;
use crate::config::Secret;
use crate::config::auth::AuthHeader;
use crate::verdict::CredentialFault;

/// A secret in a file that others may change at any time.
#[derive(Debug)]
pub(super) struct SecretFile {
    pub(super) header: AuthHeader,
    pub(super) file: PathBuf,
    pub(super) bytes_max: usize,
}

impl Source for SecretFile {
    fn origin(&self) -> String {
        format!("file {}", self.file.display())
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.file)
    }

    fn read(&self) -> Result<Reading, CredentialError> {
        let text = read_secret(&self.file, self.bytes_max)?;
        let token = Token::new(&self.header, text.expose()).map_err(|error| {
            CredentialError::new(error.fault, format!("{}: {error}", self.origin()))
        })?;
        Ok(Reading { token: Some(token), ..Reading::default() })
    }

    fn fixed_because(&self) -> Option<CredentialError> {
        Some(self.unchanged())
    }

    fn renew(&self, _: Option<Token>) -> BoxFuture<'_, Result<Renewed, CredentialError>> {
        Box::pin(async { Err(self.unchanged()) })
    }
}

impl SecretFile {
    fn unchanged(&self) -> CredentialError {
        CredentialError::new(CredentialFault::Expired, format!("{} has not changed", self.origin()))
    }
}

/// The text of a file of `bytes_max` bytes at most.
pub(super) fn read_secret(path: &Path, bytes_max: usize) -> Result<Secret, CredentialError> {
    let problem =
        |fault, what: &str| CredentialError::new(fault, format!("file {}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => problem(CredentialFault::Missing, "there is none"),
        _ => problem(CredentialFault::Unreadable, &error.to_string()),
    })?;
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    file.take(limit)
        .read_to_string(&mut text)
        .map_err(|error| problem(CredentialFault::Unreadable, &error.to_string()))?;
    // Into a secret first, so that it is zeroised whatever comes of it.
    let text = Secret::from(text);
    if text.expose().len() > bytes_max {
        let what = format!("larger than {bytes_max} bytes (credentials.token_bytes_max)");
        return Err(problem(CredentialFault::Unreadable, &what));
    }
    Ok(text)
}
