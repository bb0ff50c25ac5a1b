//! Sidestep: a local HTTP proxy that fronts several LLM backends behind one OpenAI-compatible
//! Responses endpoint, and goes on to the next backend, inside the same request, when one fails.
//!
//! # The map, in reading order
//!
//! - [`app`]: THE PIPELINE. Both stacks on one screen, each layer with the reason for its place.
//! - [`verdict`]: THE FAILURE RULES. Pure: evidence in, class and action out.
//! - [`layers`]: one tower layer a file: `inspect` gives verdicts, `failover` acts on them.
//! - [`api`]: what clients meet; [`api::error`] is the only place that picks a status.
//! - [`backend`]: backends, routes, attempts, credentials, the transport.
//! - [`wire`]: bytes and types of the Responses protocol.
//! - [`config`]: load, as written, as used.
//! - [`telemetry`]: logs, metrics, the record of each request.
//! - [`reload`]: another configuration in the place of the one that is served.
//! - [`server`]: listen, serve, drain.
//! - [`faults`]: the built-in fault backend that the demo and the tests use.
//! - [`cli`]: the commands.
//! - `durable`: files of our own, all or nothing.

pub mod api;
pub mod app;
pub mod backend;
pub mod cli;
pub mod config;
pub mod faults;
pub mod layers;
pub mod reload;
pub mod server;
pub mod telemetry;
pub mod verdict;
pub mod wire;

mod durable;
