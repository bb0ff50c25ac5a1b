//! The configuration: read from its sources ([`mod@load`]), as written ([`written`]), as used ([`checked`], [`auth`]).
//!
//! [`watch`] notices when its file changes. Nothing here starts anything: a configuration that is not sound never reaches a port.

pub mod auth;
pub mod checked;
pub mod load;
pub mod locations;
pub mod problem;
pub mod secret;
pub mod stamp;
pub mod starter;
pub mod watch;
pub mod written;

mod check;

pub use checked::Config;
pub use load::{Sources, load};
pub use problem::{ConfigError, Problem};
pub use secret::Secret;
pub use watch::Watch;
