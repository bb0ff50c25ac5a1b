//! Where and how to serve, as it is written.

use serde::Deserialize;

use super::{Size, Span};

/// `[server]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address and port.
    pub listen: String,
    /// Address and port for those who operate it; empty: the same.
    pub admin_listen: String,
    /// Whether anybody who reaches an address other than loopback may use it.
    pub allow_without_key: bool,
    /// Names by which clients may call it.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may use it.
    pub allowed_origins: Vec<String>,
    /// How long running answers may go on after a signal.
    pub drain_timeout: Span,
    /// How long a connection may take for the next request's head.
    pub idle_timeout: Span,
    /// How long a request's body may take.
    pub body_timeout: Span,
    /// How long a client may take nothing of what is sent to it.
    pub write_timeout: Span,
    /// Bytes that wait for one client.
    pub buffer_bytes_max: Size,
    /// Open connections.
    pub connections_max: usize,
    /// How often the configuration's file is looked at.
    pub reload_interval: Span,
}
