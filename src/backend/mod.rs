//! The backends, the routes to them, and one attempt at one of them.

pub mod answer;
pub mod attempt;
pub mod credential;
pub mod headers;
pub mod route;
pub mod transport;

#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use url::Url;

use crate::config::checked::{self, Timeouts};
use credential::Credential;
use transport::{Client, ClientError};

/// One upstream service: where it is, how it knows us, what its limits are.
#[derive(Debug)]
pub struct Backend {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where its Responses endpoint is.
    pub url: Url,
    /// How it knows us.
    pub credential: Credential,
    /// Headers of every request to it.
    pub headers: HeaderMap,
    /// Its time limits.
    pub timeouts: Timeouts,
    /// Its connections. No other backend's requests go over them.
    pub client: Client,
    context_window: Option<u64>,
    model_context_windows: BTreeMap<String, u64>,
}

impl Backend {
    /// A backend as configured.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be built, or the secret does not fit into a header.
    pub fn new(name: &str, config: &checked::Backend) -> Result<Self, ClientError> {
        Ok(Self {
            name: name.into(),
            url: config.url.clone(),
            credential: Credential::new(&config.auth)?,
            headers: config.headers.clone(),
            timeouts: config.timeouts,
            client: Client::new(&config.url, config.timeouts.connect)?,
            context_window: config.context_window,
            model_context_windows: config.model_context_windows.clone(),
        })
    }

    /// The tokens that a model takes here, where the configuration says it.
    pub fn context_window(&self, model: &str) -> Option<u64> {
        self.model_context_windows.get(model).copied().or(self.context_window)
    }
}

/// A backend and the model name to ask it for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The backend.
    pub backend: Arc<Backend>,
    /// The model name.
    pub model: Arc<str>,
}

impl Target {
    /// The tokens that this target takes, where the configuration says it.
    pub fn context_window(&self) -> Option<u64> {
        self.backend.context_window(&self.model)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.backend.name, self.model)
    }
}
