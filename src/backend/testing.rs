//! Targets and requests for tests of single layers.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::Backends;
use super::attempt::{Attempt, Original, Planned};
use super::credential::Lease;
use super::route::Routes;
use crate::config::{Config, Sources, load};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::Record;
use crate::wire::request::Envelope;

/// The default configuration with backends `a`, `b` and `c` at a port where nobody listens, in one
/// chain.
pub(crate) fn config() -> Config {
    let mut flags =
        vec![("test", "routes", "[{default=true,chain=[\"a\",\"b\",\"c\"]}]".to_owned())];
    for key in ["backends.a.base_url", "backends.b.base_url", "backends.c.base_url"] {
        flags.push(("test", key, "http://127.0.0.1:1".to_owned()));
    }
    let environment = [("SIDESTEP_CONFIG".to_owned(), "/dev/null".to_owned())].into();
    load(&Sources { file: None, environment, flags }).unwrap()
}

/// A request with the chain of [`config`].
pub(crate) fn planned(stream: bool) -> Planned {
    let body = Bytes::from(format!("{{\"model\":\"m\",\"stream\":{stream}}}"));
    let envelope = Envelope::read(&body).unwrap();
    let record = Record::new("req_test".to_owned());
    let config = config();
    let backends = Backends::new(&config, &Metrics::new().unwrap()).unwrap();
    let plan = Routes::new(&config, &backends).plan("m").unwrap();
    let deadline = Instant::now() + config.limits.request_timeout;
    let original = Original { envelope, body, headers: HeaderMap::new(), record, deadline };
    Planned { original: Arc::new(original), plan }
}

/// An attempt at the first target of [`config`].
pub(crate) fn attempt(stream: bool) -> Attempt {
    let planned = planned(stream);
    let target = &planned.plan.targets[0];
    Attempt::bind(
        &planned.original,
        target,
        &Lease::new(&target.backend.credentials.all()[0]),
        false,
    )
}
