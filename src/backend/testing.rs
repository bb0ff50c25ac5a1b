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
use crate::wire::blob::issuers;
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

/// The backends of [`config`].
pub(crate) fn backends() -> Backends {
    Backends::new(&config(), None, &Metrics::new().unwrap()).unwrap()
}

/// The chain of [`config`].
pub(crate) fn plan() -> Plan {
    plan_of(&config())
}

pub(crate) fn plan_of(config: &Config) -> Plan {
    let backends = Backends::new(config, None, &Metrics::new().unwrap()).unwrap();
    Routes::new(config, &backends).plan("m").unwrap()
}

/// A request that begins now and goes along `plan`.
pub(crate) fn request(plan: Plan, stream: bool) -> Planned {
    let body = format!("{{\"model\":\"m\",\"stream\":{stream}}}");
    Planned { original: Arc::new(original(&body)), plan }
}

/// A request that begins now.
pub(crate) fn original(body: &str) -> Original {
    let body = Bytes::copy_from_slice(body.as_bytes());
    Original {
        envelope: Envelope::read(&body).unwrap(),
        issuers: issuers(&body),
        body,
        headers: HeaderMap::new(),
        record: Record::new("req_test".to_owned()),
        conversation: Conversation::default(),
        opening: Opening::watched(),
        wants_event: false,
        deadline: Instant::now() + Duration::from_secs(900),
    }
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
    Attempt::bind(&planned.original, target, &lease, false, false)
}
