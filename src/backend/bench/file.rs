//! What is on the bench, in a file, so that it is still there after a restart.
//!
//! Rejected credentials are left out: whoever starts anew has most likely mended them. The file holds
//! names of the configuration, times, and short digests by which another address or another key is told
//! from the one that failed; no secret. One process, one file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::super::Backends;
use super::{Bench, Entry, Key, Scope, is_of};
use crate::durable;
use crate::verdict::Class;
use crate::wire::blob::Issuer;

/// The shape of the file.
const VERSION: u32 = 1;
/// It is not read further than this.
const BYTES_MAX: u64 = 4 << 20;

/// A file for what is on the bench.
#[derive(Debug)]
pub struct BenchFile {
    path: PathBuf,
    /// One moment on both clocks, so that the same entry has the same time in each writing.
    anchor: (Instant, SystemTime),
    /// What it holds; `None` when that is not known.
    written: Option<Vec<u8>>,
    /// Whether the last writing failed: nobody wants to read that each second.
    has_failed: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    benched: Vec<StoredEntry>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct StoredEntry {
    scope: String,
    backend: String,
    identity: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    class: String,
    failures: u32,
    /// Milliseconds since 1970.
    until_ms: u64,
}

impl BenchFile {
    /// A file at `path`, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        let anchor = (Instant::now(), SystemTime::now());
        Self { path, anchor, written: None, has_failed: false }
    }

    /// Puts on the bench what was there when the file was written and whose time is not over. A file
    /// that cannot be used is ignored with a warning.
    pub fn restore(&mut self, bench: &Bench, backends: &Backends) {
        let file = self.path.display();
        match self.read() {
            Ok(None) => {}
            Ok(Some(stored)) => {
                let entries = stored.benched.into_iter().filter_map(|one| self.entry(one));
                let entries = entries.filter(|(key, _)| is_of(key, backends));
                let count = bench.restore(entries);
                if count > 0 {
                    tracing::info!(%file, count, "on the bench as before the restart");
                }
            }
            Err(error) => {
                tracing::warn!(%file, error = &error as &dyn std::error::Error, "bench.file is ignored");
            }
        }
    }

    fn read(&self) -> io::Result<Option<Stored>> {
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => file.take(BYTES_MAX).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let stored: Stored = serde_json::from_str(&text)?;
        match stored.version {
            VERSION => Ok(Some(stored)),
            other => Err(io::Error::other(format!("it is of version {other}, not {VERSION}"))),
        }
    }

    /// An entry; one whose time is over is due.
    fn entry(&self, stored: StoredEntry) -> Option<(Key, Entry)> {
        let scope = Scope::ALL.into_iter().find(|scope| scope.as_str() == stored.scope)?;
        let class = Class::from_word(&stored.class)?;
        let until = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(stored.until_ms))?;
        let left = until.duration_since(self.anchor.1).unwrap_or_default();
        let key = Key {
            scope,
            backend: stored.backend.into(),
            model: stored.model.map(Into::into),
            identity: Issuer::parse(&stored.identity)?,
            account: stored.account.map(|text| Issuer::parse(&text)).unwrap_or_default(),
        };
        let until = Some(self.anchor.0.checked_add(left)?);
        Some((key, Entry { failures: stored.failures, until, class, is_probed: false }))
    }

    /// Brings it up to date. A file that cannot be written is told once; the bench works without.
    pub fn save(&mut self, bench: &Bench) {
        if let Some(text) = self.news(bench) {
            self.write(text);
        }
    }

    /// What the file has to hold now, if it holds something else.
    fn news(&self, bench: &Bench) -> Option<Vec<u8>> {
        let mut benched: Vec<StoredEntry> = Vec::new();
        bench.each(|key, entry| {
            // Also those whose time is over: one request at a time tries them.
            let until = entry.until.filter(|_| entry.class != Class::Auth);
            let until = until.and_then(|until| self.anchor.1.checked_add(until - self.anchor.0));
            let since_1970 =
                until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok());
            let Some(since_1970) = since_1970 else { return };
            let text = |text: &Arc<str>| text.to_string();
            benched.push(StoredEntry {
                scope: key.scope.as_str().to_owned(),
                backend: text(&key.backend),
                model: key.model.as_ref().map(text),
                identity: format!("{:?}", key.identity),
                account: key.account.map(|account| format!("{account:?}")),
                class: entry.class.as_str().to_owned(),
                failures: entry.failures,
                until_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            });
        });
        benched.sort();
        let stored = Stored { version: VERSION, benched };
        // Names and numbers can always be written.
        let text = serde_json::to_vec_pretty(&stored).unwrap_or_default();
        (self.written.as_ref() != Some(&text)).then_some(text)
    }

    fn write(&mut self, text: Vec<u8>) {
        let written =
            durable::create_folder(&self.path).and_then(|()| durable::replace(&self.path, &text));
        match written {
            Ok(()) => (self.written, self.has_failed) = (Some(text), false),
            Err(error) => {
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::warn!(
                        file = %self.path.display(),
                        error = &error as &dyn std::error::Error,
                        "bench.file cannot be written: a restart will forget what is on the bench"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::testing::{backends, config, plan};
    use crate::telemetry::metrics::Metrics;
    use crate::verdict::{Action, DetectedBy, Failure, Stage};

    fn bench() -> Bench {
        Bench::new(config().bench, Metrics::new().unwrap())
    }

    fn fail(bench: &Bench, class: Class) {
        let target = &plan().targets[0];
        let failure = Failure {
            class,
            detected_by: DetectedBy::Status,
            stage: Stage::BeforeCommit,
            action: Action::Next,
            detail: String::new(),
            repair: None,
            retry_after: Some(Duration::from_secs(60)),
        };
        bench.failed(target, &target.backend.credentials.all()[0], &failure);
    }

    fn held(bench: &Bench) -> Vec<String> {
        let mut held = Vec::new();
        bench.each(|key, entry| {
            held.push(format!("{} {} {}", key.scope.as_str(), key.backend, entry.class));
        });
        held
    }

    #[test]
    fn what_was_benched_still_is_after_a_restart_but_for_rejected_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/bench.json");
        let (mut file, before) = (BenchFile::new(path.clone()), bench());
        fail(&before, Class::Quota);
        fail(&before, Class::RateLimit);
        file.save(&before);
        assert_eq!(file.news(&before), None, "nothing has changed");

        let (mut file, after) = (BenchFile::new(path.clone()), bench());
        file.restore(&after, &backends());
        let mut held = held(&after);
        held.sort();
        assert_eq!(held, ["account a rate_limit", "credential a quota"]);

        let rejected = bench();
        fail(&rejected, Class::Auth);
        file.save(&rejected);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\n  \"version\": 1,\n  \"benched\": []\n}");
    }

    #[test]
    fn what_is_unknown_is_left_out_and_what_is_over_is_due() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.json");
        let known = backends();
        let one = |backend: &str, class: &str, until_ms: u64| {
            let identity = known.get(backend).map(|backend| backend.identity);
            let identity = identity.unwrap_or_else(|| Issuer::new("another address"));
            format!(
                r#"{{"scope":"backend","backend":"{backend}","identity":"{identity:?}","class":"{class}","failures":2,"until_ms":{until_ms}}}"#
            )
        };
        let far = 1_u64 << 42;
        let entries = [
            one("a", "network", 1),
            one("gone", "network", far),
            one("a", "strange", far),
            one("c", "network", u64::MAX),
            one("b", "network", far),
        ];
        std::fs::write(&path, format!(r#"{{"version":1,"benched":[{}]}}"#, entries.join(",")))
            .unwrap();
        let after = bench();
        BenchFile::new(path).restore(&after, &backends());
        let mut held = held(&after);
        held.sort();
        assert_eq!(held, ["backend a network", "backend b network", "backend c network"]);
        after.each(|key, entry| {
            assert_eq!(entry.until.unwrap() <= Instant::now(), &*key.backend == "a");
        });
        let longest = config().bench.reset_max;
        after.each(|_, entry| assert!(entry.until.unwrap() <= Instant::now() + longest));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.json");
        for text in ["", "{", "[]", r#"{"version":2,"benched":[]}"#, "\u{0}"] {
            std::fs::write(&path, text).unwrap();
            let after = bench();
            BenchFile::new(path.clone()).restore(&after, &backends());
            assert_eq!(held(&after), Vec::<String>::new(), "{text:?}");
        }
        // A folder can be neither read nor written as a file.
        let mut file = BenchFile::new(folder.path().to_owned());
        file.restore(&bench(), &backends());
        file.save(&bench());
        assert!(file.has_failed);
    }
}
