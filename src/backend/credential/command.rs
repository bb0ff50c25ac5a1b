//! A program that prints a token, such as a cloud's command-line tool or a secret manager's.

use std::io;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command as Process;

use super::error::CredentialError;
use super::jwt::since_1970;
use super::source::{Outcome, Renewed, Source};
use super::token::Token;
use crate::config::Secret;
use crate::config::auth::AuthHeader;
use crate::verdict::CredentialFault;

/// As much of its complaints as a log needs.
const STDERR_BYTES_MAX: usize = 4 * 1024;

/// A program that prints a token.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) header: AuthHeader,
    /// The program and its arguments.
    pub(super) command: Vec<String>,
    pub(super) timeout: Duration,
    /// How long its output is good for, where it does not say so itself.
    pub(super) refresh_interval: Option<Duration>,
    pub(super) bytes_max: usize,
}

/// What a program may print instead of the bare token.
#[derive(Deserialize)]
struct Printed {
    #[serde(alias = "access_token")]
    token: Secret,
    expires_at: Option<Moment>,
    expires_in: Option<f64>,
}

/// Seconds since 1970, or a date as in RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Seconds(f64),
    Date(String),
}

impl Source for Command {
    fn origin(&self) -> String {
        // Arguments may hold secrets.
        format!("command {}", self.command.first().map_or("", String::as_str))
    }

    fn renew(&self, _: Option<Token>) -> BoxFuture<'_, Result<Renewed, CredentialError>> {
        Box::pin(async {
            let run = tokio::time::timeout(self.timeout, self.run());
            let (stdout, stderr, is_success) = match run.await {
                Ok(Ok(output)) => output,
                Ok(Err(error)) => {
                    return Err(self.problem(CredentialFault::Command, &error.to_string()));
                }
                Err(_) => {
                    let what = format!("no end within {:?} (timeout)", self.timeout);
                    return Err(self.problem(CredentialFault::Timeout, &what));
                }
            };
            let printed = self.printed(&stdout, SystemTime::now());
            self.log(&stderr, &stdout, printed.as_ref().ok());
            if !is_success {
                return Err(self
                    .problem(CredentialFault::Command, "it failed; see the log for what it said"));
            }
            Ok(Renewed { token: printed?, outcome: Outcome::Renewed })
        })
    }
}

impl Command {
    /// What it printed on both ways, and whether it succeeded.
    async fn run(&self) -> io::Result<(Secret, String, bool)> {
        let (program, arguments) =
            self.command.split_first().ok_or_else(|| io::Error::other("no program"))?;
        let mut child = Process::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // It ends when its time is over: the future that waits for it is dropped then.
            .kill_on_drop(true)
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr, status) = tokio::join!(
            read(stdout, self.bytes_max),
            read(stderr, STDERR_BYTES_MAX),
            child.wait()
        );
        let (stdout, is_whole) = stdout?;
        let stdout = Secret::from(String::from_utf8_lossy(&stdout).into_owned());
        if !is_whole {
            let what = format!("more than {} bytes (credentials.token_bytes_max)", self.bytes_max);
            return Err(io::Error::other(what));
        }
        let stderr = String::from_utf8_lossy(&stderr?.0).into_owned();
        Ok((stdout, stderr, status?.success()))
    }

    /// The token in its output: bare on one line, or in a JSON object.
    fn printed(&self, stdout: &Secret, now: SystemTime) -> Result<Token, CredentialError> {
        let text = stdout.expose().trim();
        let worded = |what: &str| self.problem(CredentialFault::Command, what);
        if text.is_empty() {
            return Err(worded("it printed nothing"));
        }
        let by_interval = self.refresh_interval.and_then(|interval| now.checked_add(interval));
        if !text.starts_with('{') {
            if text.lines().count() > 1 {
                return Err(worded("it printed several lines; one with the token is allowed"));
            }
            return Ok(Token::new(&self.header, text)?.expiring(by_interval, self.refresh_interval));
        }
        // Serde's own words would quote what it printed.
        let printed: Printed = serde_json::from_str(text).map_err(|_| {
            worded("it printed JSON without a \"token\", or with an expiry of another type")
        })?;
        let at = match printed.expires_at {
            Some(Moment::Seconds(seconds)) => since_1970(seconds),
            Some(Moment::Date(date)) => humantime::parse_rfc3339(&date).ok(),
            None => None,
        };
        let lifetime = printed.expires_in.and_then(|left| Duration::try_from_secs_f64(left).ok());
        let at = at.or_else(|| now.checked_add(lifetime?));
        let token = Token::new(&self.header, printed.token.expose())?;
        Ok(match at {
            Some(_) => token.expiring(at, lifetime),
            None => token.expiring(by_interval, self.refresh_interval),
        })
    }

    fn problem(&self, fault: CredentialFault, what: &str) -> CredentialError {
        CredentialError::new(fault, format!("{}: {what}", self.origin()))
    }

    /// Logs what it said beside the token, without the token.
    fn log(&self, stderr: &str, stdout: &Secret, token: Option<&Token>) {
        let mut told = stderr.trim().to_owned();
        let token = token.map_or("", |token| token.secret().expose());
        for secret in [stdout.expose().trim(), token] {
            if !secret.is_empty() {
                told = told.replace(secret, "***");
            }
        }
        if !told.is_empty() {
            tracing::warn!(
                command = self.origin(),
                stderr = told,
                "what a credential's command said"
            );
        }
    }
}

/// Reads to the end, keeps `bytes_max`; whether that was all.
async fn read(
    from: Option<impl AsyncRead + Unpin>,
    bytes_max: usize,
) -> io::Result<(Vec<u8>, bool)> {
    let Some(mut from) = from else { return Ok((Vec::new(), true)) };
    let mut kept = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    (&mut from).take(limit).read_to_end(&mut kept).await?;
    // Read on, so that the program is not stopped by a full pipe.
    let rest = tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok((kept, rest == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str) -> Command {
        Command {
            header: AuthHeader::Bearer,
            command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
            timeout: Duration::from_secs(20),
            refresh_interval: Some(Duration::from_secs(900)),
            bytes_max: 1024,
        }
    }

    async fn run(script: &str) -> Result<Token, CredentialError> {
        command(script).renew(None).await.map(|renewed| renewed.token)
    }

    fn seconds_left(token: &Token) -> u64 {
        let left = token.expires_at().unwrap().duration_since(SystemTime::now());
        (left.unwrap_or_default() + Duration::from_millis(500)).as_secs()
    }

    #[tokio::test]
    async fn a_bare_token_is_good_for_the_interval() {
        let token = run("echo tok-1").await.unwrap();
        assert_eq!((token.secret().expose(), seconds_left(&token)), ("tok-1", 900));
    }

    #[tokio::test]
    async fn json_says_when_it_expires() {
        let token = run(r#"echo '{"token":"tok-2","expires_in":60}'"#).await.unwrap();
        assert_eq!((token.secret().expose(), seconds_left(&token)), ("tok-2", 60));
        let token = run(r#"echo '{"token":"t","expires_at":"2001-01-01T00:00:00Z"}'"#).await;
        assert!(token.unwrap().is_expired(SystemTime::now()));
        let token = run(r#"echo '{"token":"t","expires_at":4102444800}'"#).await.unwrap();
        assert_eq!(token.expires_at(), since_1970(4_102_444_800.0));
        assert_eq!(seconds_left(&run(r#"echo '{"access_token":"t"}'"#).await.unwrap()), 900);
    }

    #[tokio::test]
    async fn what_brings_no_token_is_said_without_its_output() {
        for (script, fault, what) in [
            ("echo tok-1; exit 3", CredentialFault::Command, "it failed"),
            ("true", CredentialFault::Command, "printed nothing"),
            ("echo tok-1; echo tok-2", CredentialFault::Command, "several lines"),
            ("echo '{\"tok-1\":1}'", CredentialFault::Command, "without a \"token\""),
            ("head -c 2000 /dev/zero", CredentialFault::Command, "more than 1024 bytes"),
        ] {
            let error = run(script).await.unwrap_err();
            assert_eq!(error.fault, fault, "{script}");
            assert!(error.text.contains(what) && !error.text.contains("tok-"), "{error}");
        }
        let nowhere = Command { command: vec!["/nonexistent".to_owned()], ..command("") };
        let error = nowhere.renew(None).await.unwrap_err();
        assert!(error.text.starts_with("command /nonexistent: "), "{error}");
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_ended() {
        let slow = Command { timeout: Duration::from_millis(50), ..command("exec sleep 1000") };
        assert_eq!(slow.renew(None).await.unwrap_err().fault, CredentialFault::Timeout);
    }
}
