//! What a drill showed: a table for each route, what is weak, and what would help.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde::Serialize;

use super::rehearsal::{Rehearsed, Scene};
use crate::cli::table;
use crate::config::Config;
use crate::config::auth::Auth;
use crate::config::checked::{Detection, Route};

/// What a drill showed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    routes: Vec<RouteReport>,
}

#[derive(Debug, Serialize)]
struct RouteReport {
    route: String,
    chain: Vec<String>,
    scenes: Vec<Scene>,
    findings: Vec<Finding>,
}

/// A weakness that its owner could mend.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    what: String,
    advice: String,
}

impl Report {
    pub(super) fn new(config: &Config, rehearsed: Vec<Rehearsed>) -> Self {
        let routes = config.routes.iter().zip(rehearsed).map(|(route, one)| {
            let findings = findings(config, route, &one);
            let Rehearsed { route, chain, scenes } = one;
            RouteReport { route, chain, scenes, findings }
        });
        Self { routes: routes.collect() }
    }

    /// How many weaknesses there are.
    pub(super) fn findings(&self) -> usize {
        self.routes.iter().map(|route| route.findings.len()).sum()
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for route in &self.routes {
            writeln!(out, "route {}: {}\n", route.route, route.chain.join(" -> "))?;
            route.table(out)?;
            writeln!(out)?;
            for Finding { what, advice } in &route.findings {
                writeln!(out, "  weak: {what}\n        {advice}")?;
            }
            if route.findings.is_empty() {
                writeln!(out, "  no weakness that the configuration could mend")?;
            }
            writeln!(out)?;
        }
        writeln!(
            out,
            "Every fault was played at every target, while those before it could not be reached. Limits and waits\n\
             were cut short: a silent backend takes its own timeouts first. No request left this process."
        )
    }
}

impl RouteReport {
    /// A row a fault, a column a place.
    fn table(&self, out: &mut impl Write) -> io::Result<()> {
        let places = self.chain.iter().map(|target| format!("at {target}"));
        let header = std::iter::once("fault".to_owned()).chain(places).collect();
        let mut rows = Vec::new();
        let mut faults: Vec<&str> = self.scenes.iter().map(|scene| scene.fault).collect();
        faults.dedup();
        for fault in faults {
            let mut row = vec![fault.to_owned()];
            for position in 0..self.chain.len() {
                let mut cells = self
                    .scenes
                    .iter()
                    .filter(|scene| scene.fault == fault && scene.position == position);
                let cells: Vec<&Scene> = cells.by_ref().collect();
                row.push(cell(&cells));
            }
            rows.push(row);
        }
        writeln!(out, "{}", table::plain(header, rows))
    }
}

/// What the client saw of a fault at one place: once, where a stream made no difference.
fn cell(scenes: &[&Scene]) -> String {
    let seen: Vec<String> = scenes.iter().map(|scene| seen(scene)).collect();
    let slowest = scenes.iter().map(|scene| scene.milliseconds).fold(0.0, f64::max);
    let text = match &seen[..] {
        [plain, stream] if plain != stream => format!("{plain}; stream: {stream}"),
        [one, ..] => one.clone(),
        [] => String::new(),
    };
    format!("{text}, {slowest:.0} ms")
}

fn seen(scene: &Scene) -> String {
    match (&scene.answered_by, scene.stage.as_deref()) {
        (Some(target), _) if *target == scene.at => "answered".to_owned(),
        (Some(target), _) => format!("{target} answered"),
        (None, Some("after_commit")) => "cut, with response.failed".to_owned(),
        (None, _) => format!("{} {}", scene.status, scene.class.as_deref().unwrap_or("failed")),
    }
}

/// What the scenes and the chain itself show of weaknesses.
fn findings(config: &Config, route: &Route, rehearsed: &Rehearsed) -> Vec<Finding> {
    let mut findings = structure(config, route);
    let last = rehearsed.chain.len().saturating_sub(1);
    for (position, target) in rehearsed.chain.iter().enumerate().take(last) {
        let is_clients = is_clients_own(config, &route.chain[position].backend);
        let is_weak = |scene: &&Scene| {
            let is_by_contract =
                is_by_contract(scene) || is_clients && is_of_clients_account(scene);
            scene.position == position && scene.answered_by.is_none() && !is_by_contract
        };
        let weak: Vec<&Scene> = rehearsed.scenes.iter().filter(is_weak).collect();
        if weak.is_empty() {
            continue;
        }
        let faults: BTreeSet<&str> = weak.iter().map(|scene| scene.fault).collect();
        let faults: Vec<&str> = faults.into_iter().collect();
        let entry = &route.chain[position];
        let detection = config.backends.get(&entry.backend).map(|backend| backend.detection);
        let advice = match detection {
            Some(Detection::Shadow | Detection::Off) => {
                format!("set detection = \"enforce\" for [backends.{}]", entry.backend)
            }
            // Each may be asked, and the last but one once more.
            _ if config.limits.attempts_max <= rehearsed.chain.len() => format!(
                "set limits.attempts_max to {} or more: it is {}",
                rehearsed.chain.len() + 1,
                config.limits.attempts_max
            ),
            _ => "look at failures.actions, limits.attempts_max and the credentials of the targets behind it"
                .to_owned(),
        };
        let what =
            format!("{target} fails with {}, and the next target is not asked", faults.join(", "));
        findings.push(Finding { what, advice });
    }
    findings
}

/// What no other target is asked for: an answer that has begun, a request that is at fault.
fn is_by_contract(scene: &Scene) -> bool {
    let class = scene.class.as_deref();
    scene.stage.as_deref() == Some("after_commit")
        || matches!(class, Some("policy" | "invalid_request" | "context_length"))
}

/// What only the client can mend, where it brings its own credential.
fn is_of_clients_account(scene: &Scene) -> bool {
    scene.class.as_deref() == Some("auth")
}

fn is_clients_own(config: &Config, backend: &str) -> bool {
    let auth = config.backends.get(backend).map(|backend| &backend.auth);
    auth.is_some_and(|auth| auth.iter().all(|one| matches!(one, Auth::Passthrough)))
}

/// What all targets of a chain have in common falls with it.
fn structure(config: &Config, route: &Route) -> Vec<Finding> {
    let backends: Vec<_> =
        route.chain.iter().filter_map(|entry| config.backends.get(&entry.backend)).collect();
    let Some(first) = backends.first() else { return Vec::new() };
    let finding = |what: String, advice: &str| Finding { what, advice: advice.to_owned() };
    if backends.len() == 1 {
        return vec![finding(
            "the chain has one target: when that fails, the client hears of it".to_owned(),
            "add another backend to the chain",
        )];
    }
    let mut findings = Vec::new();
    if backends.iter().all(|other| other.url.origin() == first.url.origin()) {
        let host = first.url.host_str().unwrap_or_default();
        findings.push(finding(
            format!("every target is at {host}: an outage there takes all of them"),
            "add a target of another provider",
        ));
    }
    let needs_one = |auth: &&Auth| !matches!(auth, Auth::None | Auth::Passthrough);
    let common = first.auth.iter().find(needs_one).filter(|_| first.auth.len() == 1);
    if let Some(common) = common
        && backends.iter().all(|other| other.auth.iter().all(|auth| auth == common))
    {
        findings.push(finding(
            "every target uses the same credential: without it, or its quota, none answers"
                .to_owned(),
            "give a target a credential of another account",
        ));
    }
    findings
}
