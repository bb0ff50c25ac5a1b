//! The journal: the last requests, each with its record, and how the last hour went.
//!
//! It holds records, not copies: what is asked for is read when somebody asks. Bounded, in memory, without
//! bodies. No lock is held across an await.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::metrics::Outcome;
use super::record::{End, Record, Story};

/// How many requests a slow listener may be behind before it misses some.
const BEHIND_MAX: usize = 256;
/// Minutes that are counted.
pub const MINUTES: usize = 60;
const MINUTE_SECONDS: u64 = 60;

/// The last requests. Clones share them.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entries_max: usize,
    started: Instant,
    records: Mutex<VecDeque<Record>>,
    ended: broadcast::Sender<Record>,
    hour: Mutex<Hour>,
}

/// What happened in one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Requests that were over in it.
    pub requests: u32,
    /// How often one of them went on to another target.
    pub failovers: u32,
    /// Those of them that took more than one attempt, and were answered.
    pub rescued: u32,
    /// Those of them that failed.
    pub failed: u32,
}

/// The last minutes, by the time since the start.
#[derive(Debug)]
struct Hour {
    minutes: [Minute; MINUTES],
    /// The minute that is counted now.
    now: u64,
}

impl Hour {
    fn new() -> Self {
        Self { minutes: [Minute::default(); MINUTES], now: 0 }
    }

    /// Goes on to a minute; those that passed without a request were empty.
    fn turn(&mut self, minute: u64) {
        let passed = minute.saturating_sub(self.now).min(MINUTES as u64);
        for step in 1..=passed {
            self.minutes[Self::place(minute - passed + step)] = Minute::default();
        }
        self.now = self.now.max(minute);
    }

    fn place(minute: u64) -> usize {
        usize::try_from(minute % MINUTES as u64).unwrap_or_default()
    }
}

impl Journal {
    /// A journal of so many requests; 0: none.
    pub fn new(entries_max: usize) -> Self {
        Self(Arc::new(Inner {
            entries_max,
            started: Instant::now(),
            records: Mutex::default(),
            ended: broadcast::channel(BEHIND_MAX).0,
            hour: Mutex::new(Hour::new()),
        }))
    }

    /// A request begins.
    pub fn begins(&self, record: &Record) {
        if self.0.entries_max == 0 {
            return;
        }
        let mut records = self.lock();
        if records.len() >= self.0.entries_max {
            records.pop_front();
        }
        records.push_back(record.clone());
    }

    /// A request is over.
    pub fn ended(&self, record: &Record, story: &Story, end: End) {
        let minute = self.minute();
        let mut hour = self.hour();
        hour.turn(minute);
        let counted = &mut hour.minutes[Hour::place(minute)];
        counted.requests = counted.requests.saturating_add(1);
        counted.failovers = counted.failovers.saturating_add(story.failovers());
        let is_rescued = end.outcome == Outcome::Answered && story.attempts.len() > 1;
        counted.rescued = counted.rescued.saturating_add(u32::from(is_rescued));
        let has_failed = end.outcome == Outcome::Failed;
        counted.failed = counted.failed.saturating_add(u32::from(has_failed));
        drop(hour);
        if self.0.ended.receiver_count() > 0 {
            // Without a listener it is not missed.
            let _ = self.0.ended.send(record.clone());
        }
    }

    /// The record of a request.
    pub fn get(&self, id: &str) -> Option<Record> {
        self.lock().iter().rev().find(|record| record.id() == id).cloned()
    }

    /// The newest requests, newest first.
    pub fn latest(&self, count: usize) -> Vec<Record> {
        self.lock().iter().rev().take(count).cloned().collect()
    }

    /// Hears of each request that is over from now on.
    pub fn listen(&self) -> broadcast::Receiver<Record> {
        self.0.ended.subscribe()
    }

    /// The last hour, the current minute last.
    pub fn hour_by_minutes(&self) -> [Minute; MINUTES] {
        let minute = self.minute();
        let mut hour = self.hour();
        hour.turn(minute);
        let mut minutes = hour.minutes;
        minutes.rotate_left((Hour::place(minute) + 1) % MINUTES);
        minutes
    }

    fn minute(&self) -> u64 {
        self.0.started.elapsed().as_secs() / MINUTE_SECONDS
    }

    /// A panic in another holder leaves records that are still good to read.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.0.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hour(&self) -> MutexGuard<'_, Hour> {
        self.0.hour.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn end(journal: &Journal, id: &str, outcome: Outcome) {
        let record = Record::new(id.to_owned());
        journal.begins(&record);
        record.ended(None, |_| outcome, |story, end| journal.ended(&record, story, end));
    }

    #[tokio::test]
    async fn the_oldest_request_makes_room() {
        let journal = Journal::new(2);
        for id in ["a", "b", "c"] {
            end(&journal, id, Outcome::Answered);
        }
        let ids: Vec<String> = journal.latest(9).iter().map(|one| one.id().to_owned()).collect();
        assert_eq!(ids, ["c", "b"]);
        assert!(journal.get("a").is_none());
        assert!(journal.get("b").is_some());
    }

    #[tokio::test]
    async fn no_entries_are_kept_where_none_are_wanted() {
        let journal = Journal::new(0);
        end(&journal, "a", Outcome::Answered);
        assert!(journal.latest(9).is_empty());
        assert_eq!(journal.hour_by_minutes()[MINUTES - 1].requests, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_hour_moves_on() {
        let journal = Journal::new(9);
        end(&journal, "a", Outcome::Failed);
        tokio::time::advance(Duration::from_mins(2)).await;
        end(&journal, "b", Outcome::Answered);
        let minutes = journal.hour_by_minutes();
        assert_eq!((minutes[57].requests, minutes[57].failed), (1, 1));
        assert_eq!(minutes[58], Minute::default());
        assert_eq!((minutes[59].requests, minutes[59].failed), (1, 0));
        tokio::time::advance(Duration::from_hours(2)).await;
        assert_eq!(journal.hour_by_minutes(), [Minute::default(); MINUTES]);
    }

    #[tokio::test]
    async fn a_listener_hears_of_what_ends() {
        let journal = Journal::new(9);
        let mut listener = journal.listen();
        end(&journal, "a", Outcome::Answered);
        assert_eq!(listener.recv().await.unwrap().id(), "a");
    }
}
