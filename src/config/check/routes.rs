//! The routes: their names and patterns, their chains.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};

use super::super::checked::{ChainEntry, Route};
use super::super::written;
use super::{Check, quoted};

impl Check<'_> {
    pub(super) fn routes(
        &mut self,
        written: &[written::Route],
        backends: &BTreeSet<String>,
    ) -> Vec<Route> {
        if written.is_empty() {
            self.wrong("routes", "no route", "at least one [[routes]] table with a chain");
        }
        let mut seen = BTreeSet::new();
        let mut has_default = false;
        let mut routes = Vec::new();
        for (index, route) in written.iter().enumerate() {
            let key = format!("routes.{index}");
            let name = match route.model.as_deref() {
                Some("") => {
                    self.wrong(
                        &format!("{key}.model"),
                        "an empty name",
                        "a model's name or a pattern",
                    );
                    continue;
                }
                Some(model) => model.to_owned(),
                None if route.default => "default".to_owned(),
                None => {
                    self.wrong(
                        &format!("{key}.model"),
                        "nothing",
                        "a model's name or a pattern, or default = true",
                    );
                    continue;
                }
            };
            if route.model.is_some() && !seen.insert(name.clone()) {
                self.wrong(
                    &format!("{key}.model"),
                    format!("{} a second time", quoted(&name)),
                    "each model name or pattern once",
                );
            }
            if route.default && std::mem::replace(&mut has_default, true) {
                self.wrong(
                    &format!("{key}.default"),
                    "a second default route",
                    "one default route at most",
                );
            }
            let pattern = self.pattern(&format!("{key}.model"), route.model.as_deref());
            let chain = self.chain(&format!("{key}.chain"), &route.chain, backends);
            routes.push(Route { name, pattern, default: route.default, chain });
        }
        routes
    }

    fn pattern(&mut self, key: &str, model: Option<&str>) -> Option<GlobMatcher> {
        let model = model.filter(|model| model.contains(['*', '?', '[', '{']))?;
        match GlobBuilder::new(model).backslash_escape(true).build() {
            Ok(glob) => Some(glob.compile_matcher()),
            Err(error) => {
                self.wrong(
                    key,
                    format!("{} ({})", quoted(model), error.kind()),
                    "a name, or a pattern with *, ?, [abc], {a,b}",
                );
                None
            }
        }
    }

    fn chain(
        &mut self,
        key: &str,
        written: &[String],
        backends: &BTreeSet<String>,
    ) -> Vec<ChainEntry> {
        if written.is_empty() {
            self.wrong(
                key,
                "an empty chain",
                "at least one target: \"backend\" or \"backend:model\"",
            );
        }
        let mut chain = Vec::new();
        for (index, entry) in written.iter().enumerate() {
            let (backend, model) = match entry.split_once(':') {
                Some((backend, model)) => (backend, Some(model)),
                None => (entry.as_str(), None),
            };
            let at = format!("{key}.{index}");
            if !backends.contains(backend) {
                let known = backends.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
                self.wrong(
                    &at,
                    format!("the backend {} in {}", quoted(backend), quoted(entry)),
                    format!("a backend that is configured: {known}"),
                );
            } else if model == Some("") {
                self.wrong(&at, quoted(entry), "a model name after the colon, or no colon");
            }
            let entry = ChainEntry { backend: backend.to_owned(), model: model.map(str::to_owned) };
            if chain.contains(&entry) {
                self.wrong(
                    &at,
                    format!("{} a second time", quoted(&written[index])),
                    "each target once in a chain",
                );
            }
            chain.push(entry);
        }
        chain
    }
}
