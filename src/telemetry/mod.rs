//! What is told of each request: logs, metrics, the journal, traces.

pub mod build;
pub mod entry;
pub mod journal;
pub mod logs;
pub mod metrics;
pub mod record;
pub mod traces;

mod log_fields;
