//! What Sidestep tells of itself: logs, metrics, and the record of each request that feeds both.

pub mod logs;
pub mod metrics;
pub mod record;
