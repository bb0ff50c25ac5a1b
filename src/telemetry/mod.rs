//! What is told of each request: logs, metrics, the journal.

pub mod build;
pub mod entry;
pub mod journal;
pub mod logs;
pub mod metrics;
pub mod record;
