//! Traces: where a request stands in one, and, with the feature `otlp`, its spans for a collector.

pub mod context;
#[cfg(feature = "otlp")]
mod spans;

#[cfg(feature = "otlp")]
mod exporter;
#[cfg(not(feature = "otlp"))]
#[path = "no_exporter.rs"]
mod exporter;

pub use exporter::{Exporter, ExporterError};
