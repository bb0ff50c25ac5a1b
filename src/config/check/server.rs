//! Where to listen, and whom to let in.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::uri::Authority;
use url::Url;

use super::super::checked::{self, Access, ClientKey};
use super::super::written::{self, SecretSource};
use super::{Check, quoted};

/// Shorter keys can be guessed.
const KEY_CHARS_MIN: usize = 16;

impl Check<'_> {
    pub(super) fn server(
        &mut self,
        server: &written::Server,
        has_keys: bool,
    ) -> Option<checked::Server> {
        let is_open = server.allow_without_key || has_keys;
        let listen = self.address("server.listen", &server.listen, is_open);
        let admin_listen = match server.admin_listen.as_str() {
            "" => None,
            text => self.address("server.admin_listen", text, is_open),
        };
        self.at_least_one("server.connections_max", server.connections_max);
        self.positive("server.idle_timeout", server.idle_timeout.0);
        self.positive("server.body_timeout", server.body_timeout.0);
        self.positive("server.write_timeout", server.write_timeout.0);
        self.buffer("server.buffer_bytes_max", server.buffer_bytes_max.0);
        Some(checked::Server {
            listen: listen?,
            admin_listen,
            drain_timeout: server.drain_timeout.0,
            idle_timeout: server.idle_timeout.0,
            body_timeout: server.body_timeout.0,
            write_timeout: server.write_timeout.0,
            buffer_bytes_max: server.buffer_bytes_max.0,
            connections_max: server.connections_max,
            reload_interval: Some(server.reload_interval.0).filter(|time| !time.is_zero()),
        })
    }

    /// An address to listen on, and whether that is wise.
    fn address(&mut self, key: &str, text: &str, is_open: bool) -> Option<SocketAddr> {
        let Ok(address) = text.parse::<SocketAddr>() else {
            let allowed = "an address and a port, such as \"127.0.0.1:8787\" or \"[::1]:8787\"";
            self.wrong(key, quoted(text), allowed);
            return None;
        };
        if !address.ip().is_loopback() && !is_open {
            self.wrong(
                key,
                format!("{text}, where others can use your credentials without a key"),
                "a loopback address; or keys for clients, [clients.NAME]; or server.allow_without_key = true",
            );
        }
        Some(address)
    }

    /// Whom to let in.
    pub(super) fn access(
        &mut self,
        server: &written::Server,
        clients: &BTreeMap<String, SecretSource>,
    ) -> Access {
        for host in &server.allowed_hosts {
            let is_name = host.parse::<Authority>().is_ok_and(|name| name.host() == host);
            if !is_name {
                let allowed = "names without a port, such as \"sidestep.internal\"";
                self.wrong("server.allowed_hosts", quoted(host), allowed);
            }
        }
        for origin in &server.allowed_origins {
            let url = Url::parse(origin).ok().filter(|url| url.has_host());
            let is_origin = url.is_some_and(|url| url.path() == "/" && !origin.ends_with('/'));
            if !is_origin && !origin.contains("://") {
                let allowed = "origins as browsers send them, such as \"https://app.example.com\"";
                self.wrong("server.allowed_origins", quoted(origin), allowed);
            }
        }
        let mut keys: Vec<ClientKey> = Vec::new();
        for (name, source) in clients {
            let at = format!("clients.{name}");
            let Some(key) = self.secret_of(&at, source) else { continue };
            if key.expose().chars().count() < KEY_CHARS_MIN {
                self.wrong(&at, "a short key", format!("{KEY_CHARS_MIN} characters or more"));
            } else if keys.iter().any(|other| other.key == key) {
                self.wrong(&at, "the key of another client", "a key for each client");
            }
            keys.push(ClientKey { name: name.as_str().into(), key });
        }
        Access {
            allowed_hosts: server.allowed_hosts.clone(),
            allowed_origins: server.allowed_origins.clone(),
            clients: keys,
        }
    }
}
