//! End-to-end tests: the real server against the built-in fault backend, all on 127.0.0.1:0.
//!
//! One binary, because each one links the whole program. [`kit`] and [`program`] are the test
//! kit; every other module is one topic.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and says so best by a panic"
)]

mod kit;
mod program;

mod announce;
mod api;
mod check_live;
mod commands;
mod conversations;
mod credentials;
mod credentials_kinds;
mod credentials_shared;
mod detection;
mod drill;
mod exhausted;
mod failover;
mod guard;
mod journal;
mod limits;
mod observability;
mod reload;
mod streaming;
mod switch;
mod tidy;
mod time;
mod tls;
mod traces;
mod transport;
