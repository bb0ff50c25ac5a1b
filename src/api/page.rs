//! `GET /sidestep`: the status page. Rendered here, whole; its script only asks for it again.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderName, HeaderValue};
use maud::{DOCTYPE, Markup, html};

use super::Api;
use super::status::{Hour, Link, OnBench, Route, Status};
use crate::telemetry::entry::{Entry, short};

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Requests on the page.
const SHOWN_MAX: usize = 50;

/// `GET /sidestep`.
pub async fn page(State(api): State<Api>) -> Response {
    let entries: Vec<Entry> = api.journal.latest(SHOWN_MAX).iter().map(Entry::of).collect();
    let page = whole(&Status::of(&api), &entries).into_string();
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// `GET /sidestep/page.css`.
pub async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page.css"))
}

/// `GET /sidestep/page.js`.
pub async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("page.js"))
}

/// `GET /sidestep/icon.svg`.
pub async fn icon() -> impl IntoResponse {
    ([(CONTENT_TYPE, "image/svg+xml")], include_str!("icon.svg"))
}

/// What every answer below `/sidestep` says to browsers.
pub fn secured(mut response: Response) -> Response {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn whole(status: &Status, entries: &[Entry]) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Sidestep" }
                link rel="icon" type="image/svg+xml" href="/sidestep/icon.svg";
                link rel="stylesheet" href="/sidestep/page.css";
                script src="/sidestep/page.js" defer {}
                noscript { meta http-equiv="refresh" content="10"; }
            }
            body {
                header {
                    h1 { "Sidestep" }
                    span.quiet { (status.version) " (" (status.commit) ")" }
                    span.quiet #live {}
                }
                main {
                    (figures(status))
                    h2 { "Chains" }
                    @for route in &status.routes { (chain(route)) }
                    h2 { "Requests" }
                    (requests(entries))
                }
                footer {
                    a href="/metrics" { "metrics" } " \u{b7} "
                    a href="/sidestep/status" { "this as JSON" } " \u{b7} "
                    a href="/sidestep/requests" { "requests as JSON" }
                }
            }
        }
    }
}

fn figures(status: &Status) -> Markup {
    let Hour { requests, failovers, rescued, failed, minutes } = &status.hour;
    let a_minute = f64::from(*requests) / minutes.len() as f64;
    html! {
        div.figures {
            div.figure { b { (status.requests_in_flight) } "in work" @if status.draining { ", draining" } }
            div.figure { b { (requests) } "in the last hour, " (format!("{a_minute:.1}")) " a minute" }
            div.figure { b { (failovers) } "failovers" }
            div.figure { b { (rescued) } "answered after a failure" }
            div.figure { b { (failed) } "failed" }
        }
        (bars(minutes))
        div.legend.quiet {
            span { i.all {} "requests a minute, last hour" }
            span { i.rescued {} "answered after a failure" }
            span { i.failed {} "failed" }
        }
    }
}

/// A bar a minute.
fn bars(minutes: &[(u32, u32, u32)]) -> Markup {
    const HEIGHT: f64 = 60.0;
    const WIDTH: usize = 10;
    let most = minutes.iter().map(|(requests, ..)| *requests).max().unwrap_or(0).max(1);
    let height = |count: u32| f64::from(count) / f64::from(most) * HEIGHT;
    let bar = |class: &str, at: usize, count: u32, below: u32| {
        let (tall, base) = (height(count), height(below));
        let top = format!("{:.1}", HEIGHT - tall - base);
        html! {
            @if count > 0 {
                rect class=(class) x=(at * WIDTH) y=(top) width=(WIDTH - 2) height=(format!("{tall:.1}")) {}
            }
        }
    };
    let title = format!("Requests of the last hour, minute by minute; {most} at most");
    let box_of_view = format!("0 0 {} {HEIGHT}", minutes.len() * WIDTH);
    html! {
        svg.chart viewBox=(box_of_view) preserveAspectRatio="none" role="img" aria-label=(title) {
            @for (at, (requests, rescued, failed)) in minutes.iter().enumerate() {
                (bar("all", at, *requests, 0))
                (bar("failed", at, *failed, 0))
                (bar("rescued", at, *rescued, *failed))
            }
        }
    }
}

fn chain(route: &Route) -> Markup {
    html! {
        section.route {
            h3 { (route.name) }
            ol.chain { @for link in &route.chain { (target(link)) } }
        }
    }
}

fn target(link: &Link) -> Markup {
    html! {
        li class=(link.state) {
            span.state { (in_words(link.state)) }
            strong { (link.backend) }
            @if let Some(model) = &link.model { span.quiet { ":" (model) } }
            @for benched in &link.bench { (on_bench(benched)) }
            @for credential in &link.credentials {
                @if credential.kind != "none" {
                    p.quiet {
                        (credential.kind) ": " (credential.state.replace('_', " "))
                        @if let Some(at) = &credential.expires_at { ", expires " (at) }
                        @if let Some(trouble) = &credential.trouble { br; (trouble) }
                    }
                }
            }
        }
    }
}

fn in_words(state: &str) -> &str {
    match state {
        "due" => "next request tries it",
        "benched" => "on the bench",
        "partly" => "partly on the bench",
        other => other,
    }
}

fn on_bench(benched: &OnBench) -> Markup {
    let left = short(std::time::Duration::from_secs(benched.seconds_left));
    html! {
        p {
            (benched.scope)
            @if let Some(number) = benched.credential { " " (number) }
            @if let Some(model) = &benched.model { " " (model) }
            ": " (benched.class) ", " (benched.failures) "\u{d7}; "
            @if benched.probing { "a request is trying it" }
            @else if benched.seconds_left == 0 { "tried with the next request" }
            @else { "tried again in " (left) " (" time datetime=(benched.until) { (benched.until) } ")" }
        }
    }
}

fn requests(entries: &[Entry]) -> Markup {
    html! {
        @if entries.is_empty() { p.quiet { "None so far." } }
        @else { ul.requests { @for entry in entries { (request(entry)) } } }
    }
}

fn request(entry: &Entry) -> Markup {
    let is_rescued = entry.outcome == "answered" && entry.attempts.len() > 1;
    let class = if is_rescued { "outcome rescued" } else { "outcome" };
    html! {
        li {
            p {
                span class=(format!("{class} {}", entry.outcome)) {
                    @if is_rescued { "answered after a failure" }
                    @else { (entry.outcome.replace('_', " ")) }
                }
                " " (entry.story)
            }
            p.facts {
                time datetime=(entry.began_at) { (entry.began_at) }
                @if let Some(client) = &entry.client { " \u{b7} " (client) }
                @if let Some(model) = &entry.model { " \u{b7} " (model) @if entry.stream { ", stream" } }
                @if let Some(tokens) = &entry.tokens {
                    " \u{b7} " (tokens.input) " \u{2192} " (tokens.output) " tokens"
                }
                " \u{b7} " a href=(format!("/sidestep/requests/{}", entry.id)) { (entry.id) }
            }
        }
    }
}
