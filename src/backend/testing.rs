//! Targets and requests for tests of single layers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::Backends;
use super::affinity::Conversation;
use super::attempt::{Attempt, Opening, Original, Planned};
use super::credential::Lease;
use super::route::{Plan, Routes};
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

/// The chain of [`config`].
pub(crate) fn plan() -> Plan {
    plan_of(&config())
}

fn plan_of(config: &Config) -> Plan {
    let backends = Backends::new(config, None, &Metrics::new().unwrap()).unwrap();
    Routes::new(config, &backends).plan("m").unwrap()
}

/// A request that begins now and goes along `plan`.
pub(crate) fn request(plan: Plan, stream: bool) -> Planned {
    let body = Bytes::from(format!("{{\"model\":\"m\",\"stream\":{stream}}}"));
    let envelope = Envelope::read(&body).unwrap();
    let record = Record::new("req_test".to_owned());
    let deadline = Instant::now() + Duration::from_secs(900);
    let headers = HeaderMap::new();
    let conversation = Conversation::default();
    let opening = Opening::watched();
    let original = Original { envelope, body, headers, record, conversation, opening, deadline };
    Planned { original: Arc::new(original), plan }
}

/// A request with the chain of [`config`].
pub(crate) fn planned(stream: bool) -> Planned {
    request(plan(), stream)
}

/// An attempt at the first target of [`config`].
pub(crate) fn attempt(stream: bool) -> Attempt {
    attempt_with(&config(), stream)
}

/// The same under another configuration.
pub(crate) fn attempt_with(config: &Config, stream: bool) -> Attempt {
    let planned = request(plan_of(config), stream);
    let target = &planned.plan.targets[0];
    let lease = Lease::new(&target.backend.credentials.all()[0]);
    Attempt::bind(&planned.original, target, &lease, false)
}
