//! Logs: text for people, JSON for machines, always on standard error.
//!
//! Text on a terminal is written line by line, at once. Elsewhere lines are gathered for a moment and written together by a
//! thread of their own: that costs a request less, and a slow reader of the log holds no request up. Warnings and errors go out at
//! once, with what stands before them.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::log_fields::Plain;

/// How long a line may wait for others.
const GATHER_TIME: Duration = Duration::from_millis(20);
/// What may wait to be written. Whoever logs more than that helps to write it.
const GATHERED_BYTES_MAX: usize = 1024 * 1024;

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("the log level {0:?} cannot be read")]
    Filter(String),
    /// Something else logs already.
    #[error("logging has been started before")]
    Started,
    /// The thread that writes cannot be started.
    #[error("the log's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// What is gathered in this process.
static GATHERED: OnceLock<Gathered> = OnceLock::new();

/// Writes what has been gathered. To be called when everything that logs has ended.
pub fn finish() {
    if let Some(Gathered(shared)) = GATHERED.get() {
        shared.write();
    }
}

/// Starts logging for the whole process; [`finish`] ends it.
///
/// # Errors
///
/// When the filter is wrong, logging has been started before, or a thread cannot be started.
pub fn start(json: bool, level: &str) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(level).map_err(|_| LogError::Filter(level.to_owned()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    let text = builder.with_target(false);
    // Left alone on a terminal: the default hears NO_COLOR.
    let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
    let gathered = GATHERED.get_or_init(Gathered::default);
    let started = match (json, is_terminal) {
        (false, true) => text.with_writer(io::stderr).try_init(),
        (false, false) => {
            text.fmt_fields(Plain).with_ansi(false).with_writer(gathered.clone()).try_init()
        }
        (true, _) => {
            let json = text.with_target(true).json().flatten_event(true);
            let json = json.with_current_span(false).with_span_list(false);
            json.with_writer(gathered.clone()).try_init()
        }
    };
    started.map_err(|_| LogError::Started)?;
    if json || !is_terminal {
        gathered.keep_writing().map_err(LogError::Thread)?;
    }
    Ok(())
}

/// Lines that wait to be written. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Gathered(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Vec<u8>>,
    /// What is being written; locked before `lines`, and by whoever writes.
    written: Mutex<Vec<u8>>,
    /// Wakes the thread that writes, once the first line is there.
    some: Condvar,
}

impl Gathered {
    /// Writes what is gathered, for ever, in a thread that ends with the process.
    fn keep_writing(&self) -> io::Result<()> {
        let shared = self.0.clone();
        let write = move || loop {
            let some = shared.some.wait_while(lock(&shared.lines), |lines| lines.is_empty());
            // Nobody wakes it while there are lines.
            let some = some.unwrap_or_else(PoisonError::into_inner);
            drop(shared.some.wait_timeout(some, GATHER_TIME));
            shared.write();
        };
        std::thread::Builder::new().name("log".to_owned()).spawn(write).map(drop)
    }
}

impl Shared {
    fn add(&self, line: &[u8], is_urgent: bool) {
        let mut lines = lock(&self.lines);
        let was_empty = lines.is_empty();
        lines.extend_from_slice(line);
        let is_full = lines.len() > GATHERED_BYTES_MAX;
        drop(lines);
        if is_urgent || is_full {
            self.write();
        } else if was_empty {
            self.some.notify_one();
        }
    }

    /// Writes all that is there. Further lines are gathered meanwhile, and none overtakes another.
    fn write(&self) {
        let mut written = lock(&self.written);
        std::mem::swap(&mut *lock(&self.lines), &mut *written);
        // There is nobody to tell that nobody listens.
        let _ = io::stderr().write_all(&written);
        written.clear();
    }
}

/// A panic in another holder leaves lines that are still good to write.
fn lock(lines: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the lines of one level.
#[derive(Debug)]
pub struct Line<'a> {
    shared: &'a Shared,
    is_urgent: bool,
}

impl<'a> MakeWriter<'a> for Gathered {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { shared: &self.0, is_urgent: true }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line { shared: &self.0, is_urgent: *meta.level() <= Level::WARN }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.add(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
