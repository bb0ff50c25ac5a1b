//! What stands for the exporter in a binary without the feature `otlp`: nothing can make one.

use std::convert::Infallible;

use url::Url;

use crate::telemetry::journal::Journal;

/// Exports traces.
#[derive(Debug)]
pub enum Exporter {}

/// Why no exporter can be made.
#[derive(Debug, thiserror::Error)]
#[error("this binary was built without the feature otlp")]
pub struct ExporterError;

impl Exporter {
    /// An exporter to a collector.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn new(_collector: &Url, _journal: &Journal) -> Result<Self, ExporterError> {
        Err(ExporterError)
    }

    /// Exports each request that is over, for ever.
    pub async fn run(&mut self) -> Infallible {
        match *self {}
    }

    /// Exports what is left.
    pub async fn finish(self) {
        match self {}
    }
}
