//! Sends the spans of requests that are over to a collector: OTLP over HTTP, in batches, from a thread of
//! its own. Who cannot keep up loses spans, never requests.

use std::convert::Infallible;
use std::sync::Arc;

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanProcessor as _};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use url::Url;

use super::spans;
use crate::telemetry::build::VERSION;
use crate::telemetry::journal::Journal;
use crate::telemetry::record::Record;

/// Exports traces. `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS` and
/// `OTEL_BSP_*` are heard, as the OpenTelemetry specification describes them.
#[derive(Debug)]
pub struct Exporter {
    ended: Receiver<Record>,
    processor: Arc<BatchSpanProcessor>,
}

/// Why no exporter can be made.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported: {0}; look at traces.endpoint and OTEL_EXPORTER_OTLP_*")]
pub struct ExporterError(#[from] ExporterBuildError);

impl Exporter {
    /// An exporter to a collector of what a journal hears from now on.
    ///
    /// # Errors
    ///
    /// When its HTTP client cannot be built.
    pub fn new(collector: &Url, journal: &Journal) -> Result<Self, ExporterError> {
        let exporter = SpanExporter::builder().with_http().with_endpoint(collector.as_str());
        let mut processor = BatchSpanProcessor::builder(exporter.build()?).build();
        processor.set_resource(&resource());
        Ok(Self { ended: journal.listen(), processor: Arc::new(processor) })
    }

    /// Exports each request that is over, for ever.
    pub async fn run(&mut self) -> Infallible {
        loop {
            match self.ended.recv().await {
                Ok(record) => self.export(&record),
                Err(RecvError::Lagged(missed)) => lost(missed),
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// Exports what is left, and waits until the collector has it or its time is over.
    pub async fn finish(mut self) {
        loop {
            match self.ended.try_recv() {
                Ok(record) => self.export(&record),
                Err(TryRecvError::Lagged(missed)) => lost(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let processor = self.processor;
        // It blocks until the last batch is sent.
        let sent = tokio::task::spawn_blocking(move || processor.shutdown()).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!(error = &error as &dyn std::error::Error, "the last traces are lost");
        }
    }

    fn export(&self, record: &Record) {
        record.read(|story| {
            for span in spans::of(record, story) {
                self.processor.on_end(span);
            }
        });
    }
}

/// What the environment says of this process, and what we know better.
fn resource() -> Resource {
    let written = Resource::builder().build();
    let name = written.get(&Key::new("service.name")).map(|name| name.to_string());
    let is_named = name.is_some_and(|name| !name.starts_with("unknown_service"));
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", VERSION));
    if is_named { resource.build() } else { resource.with_service_name("sidestep").build() }
}

fn lost(requests: u64) {
    tracing::warn!(requests, "more requests ended than could be exported: their traces are lost");
}
