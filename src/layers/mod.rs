//! One tower layer a file. `app` puts them in order; no layer knows another.

pub mod announce;
pub mod authenticate;
pub mod concurrency;
pub mod failover;
pub mod first_byte;
pub mod guard;
pub mod in_flight;
pub mod inspect;
pub mod observe_attempt;
pub mod observe_request;

mod guarded;
