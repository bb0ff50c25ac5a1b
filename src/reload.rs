//! Puts another configuration in the place of the one that is served.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::api::Live;
use crate::app::backend_stack;
use crate::backend::affinity::Affinity;
use crate::backend::bench::Bench;
use crate::backend::route::Routes;
use crate::backend::transport::ClientError;
use crate::backend::{Backends, Previous};
use crate::config::checked::{self, Server};
use crate::config::{Config, ConfigError};
use crate::telemetry::metrics::Metrics;

/// Puts another configuration in the place of the one that is served.
#[derive(Clone, Debug)]
pub struct Reloader {
    live: Arc<ArcSwap<Live>>,
    metrics: Metrics,
}

impl Reloader {
    /// Changes what `live` holds.
    pub(crate) fn new(live: Arc<ArcSwap<Live>>, metrics: Metrics) -> Self {
        Self { live, metrics }
    }

    /// Serves new requests by this configuration, all of it or, if anything is wrong, nothing. Running
    /// requests finish on the old one. What happened is logged and counted; gives back the
    /// `[server]` that is served by now, if it is a new one.
    pub fn reload(&self, loaded: Result<Config, ConfigError>) -> Option<Server> {
        let outcome = loaded.map_err(|error| error.to_string()).and_then(|config| {
            let old = self.live.load();
            live(config, Some(&old), &self.metrics).map_err(|error| error.to_string())
        });
        self.metrics.config_reload(outcome.is_ok());
        match outcome {
            Ok(new) => {
                let old = self.live.swap(Arc::new(new));
                self.metrics.forget_states();
                let new = self.live.load();
                warn_of_restart(&old.config, &new.config);
                let kept = new.backends.all().filter(|backend| old.backends.has(backend));
                tracing::info!(
                    backends = new.backends.all().count(),
                    unchanged = kept.count(),
                    routes = new.routes.all().len(),
                    "the configuration has been loaded again"
                );
                Some(new.config.server)
            }
            Err(problem) => {
                tracing::error!(problem, "the new configuration is refused, the old one stays");
                None
            }
        }
    }
}

/// Says which changes come too late.
fn warn_of_restart(old: &Config, new: &Config) {
    let server = |config: &Config| {
        // These two are read anew.
        let (body_timeout, reload_interval) = (Duration::ZERO, None);
        checked::Server { body_timeout, reload_interval, ..config.server }
    };
    let in_flight = |config: &Config| {
        let limits = &config.limits;
        (limits.in_flight_max, limits.queue_max, limits.queue_timeout)
    };
    for (part, has_changed) in [
        ("[server]", server(old) != server(new)),
        ("[log]", old.log != new.log),
        ("journal.entries_max", old.journal.entries_max != new.journal.entries_max),
        ("traces.endpoint", old.traces_endpoint != new.traces_endpoint),
        ("bench.file", old.bench_file != new.bench_file),
        ("limits.in_flight_max, limits.queue_*", in_flight(old) != in_flight(new)),
    ] {
        if has_changed {
            tracing::warn!(part, "this change takes effect at the next start");
        }
    }
}

/// Makes of a configuration what requests need; what an older one has just the same is taken over.
pub(crate) fn live(
    config: Config,
    old: Option<&Live>,
    metrics: &Metrics,
) -> Result<Live, ClientError> {
    let previous = old.map(|old| Previous { config: &old.config, backends: &old.backends });
    let backends = Backends::new(&config, previous, metrics)?;
    let (affinity, bench) = match old {
        Some(old) => {
            (old.affinity.continued(config.affinity), old.bench.continued(config.bench, &backends))
        }
        None => (Affinity::new(config.affinity), Bench::new(config.bench, metrics.clone())),
    };
    let (affinity, bench) = (Arc::new(affinity), Arc::new(bench));
    let routes = Routes::new(&config, &backends);
    let stack = backend_stack(&config, &bench, &affinity, metrics);
    Ok(Live { config, routes, backends, affinity, bench, stack })
}
