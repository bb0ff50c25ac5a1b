//! Which targets may serve a request, in order.

use std::collections::HashMap;
use std::sync::Arc;

use globset::GlobMatcher;

use super::{Backend, Backends, Target};
use crate::config::Config;

/// The routes of the configuration, ready to look up.
#[derive(Debug)]
pub struct Routes {
    exact: HashMap<String, Arc<Route>>,
    patterns: Vec<(GlobMatcher, Arc<Route>)>,
    default: Option<Arc<Route>>,
    all: Vec<Arc<Route>>,
}

/// One route: a chain of targets.
#[derive(Debug)]
pub struct Route {
    /// Its model name or pattern, or `default`.
    pub name: Arc<str>,
    /// Whether `name` is a model that a client can ask for, and no pattern.
    pub is_exact: bool,
    chain: Vec<Link>,
}

#[derive(Debug)]
struct Link {
    backend: Arc<Backend>,
    /// `None` keeps the name that the client asks for.
    model: Option<Arc<str>>,
}

/// The targets for one request, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The route that they come from.
    pub route: Arc<Route>,
    /// The targets. Never empty.
    pub targets: Vec<Target>,
    /// The model that the client asked for.
    pub asked: Arc<str>,
    /// Whether the request continues what only its one backend has, so that others of the chain are no
    /// help.
    pub is_pinned: bool,
}

impl Routes {
    /// The routes of a configuration to its backends.
    pub fn new(config: &Config, backends: &Backends) -> Self {
        let mut routes =
            Self { exact: HashMap::new(), patterns: Vec::new(), default: None, all: Vec::new() };
        for written in &config.routes {
            let links = written.chain.iter().filter_map(|entry| {
                let backend = backends.get(&entry.backend)?.clone();
                Some(Link { backend, model: entry.model.as_deref().map(Arc::from) })
            });
            let is_named = !(written.default && written.name == "default");
            let route = Arc::new(Route {
                name: written.name.as_str().into(),
                is_exact: is_named && written.pattern.is_none(),
                chain: links.collect(),
            });
            if route.is_exact {
                routes.exact.insert(written.name.clone(), route.clone());
            }
            if let Some(pattern) = &written.pattern {
                routes.patterns.push((pattern.clone(), route.clone()));
            }
            if written.default {
                routes.default = Some(route.clone());
            }
            routes.all.push(route);
        }
        routes
    }

    /// The targets for a model: the exact route, else the first pattern that fits, else the default
    /// route. `None` when there is none of them.
    pub fn plan(&self, model: &str) -> Option<Plan> {
        let by_pattern = || self.patterns.iter().find(|(pattern, _)| pattern.is_match(model));
        let route = self
            .exact
            .get(model)
            .or_else(|| by_pattern().map(|(_, route)| route))
            .or(self.default.as_ref())?;
        let asked: Arc<str> = model.into();
        let targets = route.chain.iter().map(|link| route.target(link, &asked)).collect();
        Some(Plan { route: route.clone(), targets, asked, is_pinned: false })
    }

    /// The targets of a chain that a client writes, such as `openai, azure:gpt-5-eu`: backends, and
    /// targets of some route.
    ///
    /// # Errors
    ///
    /// The first name that the configuration does not have.
    pub fn chain(
        &self,
        written: &str,
        plan: &Plan,
        backends: &Backends,
    ) -> Result<Vec<Target>, String> {
        /// A name that is not known goes into an error message.
        const NAME_BYTES_MAX: usize = 128;
        let known = self.targets(backends);
        let target = |name: &str| -> Result<Target, String> {
            let (backend, model): (_, Option<Arc<str>>) = match name.split_once(':') {
                Some((backend, model)) => (backend, Some(model.into())),
                None => (name, None),
            };
            let backend = backends.get(backend).filter(|_| known.iter().any(|one| one == name));
            let backend =
                backend.ok_or_else(|| name.chars().take(NAME_BYTES_MAX).collect::<String>())?;
            let link = Link { backend: backend.clone(), model };
            Ok(plan.route.target(&link, &plan.asked))
        };
        let mut targets: Vec<Target> = Vec::new();
        for name in written.split(',').map(str::trim) {
            let target = target(name)?;
            let is_new = |one: &Target| one.to_string() != target.to_string();
            if targets.iter().all(is_new) {
                targets.push(target);
            }
        }
        Ok(targets)
    }

    /// Every name that a client's own chain may hold.
    pub fn targets(&self, backends: &Backends) -> Vec<String> {
        let mut names: Vec<String> =
            backends.all().map(|backend| backend.name.to_string()).collect();
        for name in self.all.iter().flat_map(|route| route.chain()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Every route, in the order of the configuration.
    pub fn all(&self) -> &[Arc<Route>] {
        &self.all
    }

    /// The model names that a client can ask for: exact routes, and names of targets that a pattern
    /// covers.
    pub fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = Vec::new();
        for route in &self.all {
            let pattern = self.patterns.iter().find(|(_, other)| Arc::ptr_eq(other, route));
            let covered = route.chain.iter().filter_map(|link| link.model.as_deref());
            let covered =
                covered.filter(|model| pattern.is_some_and(|(pattern, _)| pattern.is_match(model)));
            for model in route.is_exact.then_some(&*route.name).into_iter().chain(covered) {
                if !models.contains(&model) {
                    models.push(model);
                }
            }
        }
        models
    }
}

impl Route {
    /// The chain as it is written: `backend` or `backend:model`.
    pub fn chain(&self) -> impl Iterator<Item = String> {
        self.chain.iter().map(|link| match &link.model {
            Some(model) => format!("{}:{model}", link.backend.name),
            None => link.backend.name.to_string(),
        })
    }

    /// The targets of the chain as far as the configuration says them: the backend, and the model where the
    /// client's is not kept.
    pub fn links(&self) -> impl Iterator<Item = (&Arc<Backend>, Option<&Arc<str>>)> {
        self.chain.iter().map(|link| (&link.backend, link.model.as_ref()))
    }

    fn target(&self, link: &Link, asked: &Arc<str>) -> Target {
        let backend = link.backend.clone();
        match &link.model {
            Some(model) => Target { backend, model: model.clone(), model_label: model.clone() },
            None => Target { backend, model: asked.clone(), model_label: self.name.clone() },
        }
    }

    /// The backends of the chain, in order.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.chain.iter().map(|link| &link.backend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};
    use crate::telemetry::metrics::Metrics;

    fn routes(written: &str) -> Routes {
        let environment = [("SIDESTEP_CONFIG".to_owned(), "/dev/null".to_owned())].into();
        let flags = vec![
            ("test", "backends.a.base_url", "http://127.0.0.1:1".to_owned()),
            ("test", "routes", written.to_owned()),
        ];
        let config = load(&Sources { file: None, environment, flags }).unwrap();
        let backends = Backends::new(&config, None, &Metrics::new().unwrap()).unwrap();
        Routes::new(&config, &backends)
    }

    fn target(routes: &Routes, model: &str) -> Option<String> {
        routes.plan(model).map(|plan| plan.targets[0].to_string())
    }

    #[test]
    fn exact_names_come_first_then_patterns_in_order_then_the_default() {
        let routes = routes(
            r#"[{model="gpt-*",chain=["a:pattern"]},{model="gpt-5",chain=["a:exact"]},
                {model="g*",chain=["a:later"]},{default=true,chain=["a"]}]"#,
        );
        assert_eq!(target(&routes, "gpt-5").unwrap(), "a:exact");
        assert_eq!(target(&routes, "gpt-4/mini").unwrap(), "a:pattern");
        assert_eq!(target(&routes, "gemini").unwrap(), "a:later");
        assert_eq!(target(&routes, "other").unwrap(), "a:other");
        assert_eq!(target(&routes, "default").unwrap(), "a:default");
    }

    #[test]
    fn without_a_default_other_models_have_no_plan() {
        let routes = routes(r#"[{model="o?",chain=["a"]}]"#);
        assert_eq!(target(&routes, "o3").unwrap(), "a:o3");
        assert_eq!(target(&routes, "o3-mini"), None);
    }

    #[test]
    fn models_are_exact_names_and_what_patterns_cover() {
        let routes = routes(
            r#"[{model="gpt-*",chain=["a:gpt-5","a:llama","a"]},{model="coder",chain=["a:gpt-5"]},
                {default=true,chain=["a:hidden"]}]"#,
        );
        assert_eq!(routes.models(), ["gpt-5", "coder"]);
    }
}
