//! A first configuration, made of what a user has: keys in the environment, a Codex login, servers on
//! this machine. Nothing of it is a secret: keys stay in their variables.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::locations::{codex_cli_login, codex_login};

/// A service that is known by the variable that holds its key.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    name: &'static str,
    variable: &'static str,
    base_url: &'static str,
}

/// Services that speak the Responses API, the one that is most likely meant first.
const SERVICES: [Service; 4] = [
    Service { name: "openai", variable: "OPENAI_API_KEY", base_url: "https://api.openai.com/v1" },
    Service {
        name: "openrouter",
        variable: "OPENROUTER_API_KEY",
        base_url: "https://openrouter.ai/api/v1",
    },
    Service { name: "xai", variable: "XAI_API_KEY", base_url: "https://api.x.ai/v1" },
    Service { name: "groq", variable: "GROQ_API_KEY", base_url: "https://api.groq.com/openai/v1" },
];

/// A server on this machine that is known by its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalServer {
    /// Its name as a backend.
    pub name: &'static str,
    /// Where it listens unless it is told otherwise.
    pub port: u16,
}

/// Servers that speak the Responses API on this machine.
pub const LOCAL_SERVERS: [LocalServer; 4] = [
    LocalServer { name: "ollama", port: 11434 },
    LocalServer { name: "lm-studio", port: 1234 },
    LocalServer { name: "llama-cpp", port: 8080 },
    LocalServer { name: "vllm", port: 8000 },
];

/// What a user has.
#[derive(Debug, Default)]
pub struct Found {
    /// Services with a key in the environment.
    pub services: Vec<&'static Service>,
    /// Azure's endpoint, where its key is in the environment, too.
    pub azure: Option<String>,
    /// The Codex CLI's login, and whether Sidestep has its copy of it already.
    pub codex: Option<(PathBuf, bool)>,
    /// Servers that listen.
    pub local: Vec<LocalServer>,
}

impl Found {
    /// What the environment says; `local` are the servers that listen.
    pub fn look(environment: &BTreeMap<String, String>, local: Vec<LocalServer>) -> Self {
        let has = |name: &str| environment.get(name).is_some_and(|value| !value.trim().is_empty());
        let login = codex_cli_login(environment).filter(|file| file.is_file());
        let own = codex_login(environment).is_some_and(|file| file.is_file());
        let endpoint =
            environment.get("AZURE_OPENAI_ENDPOINT").filter(|url| !url.contains(['"', '\\']));
        Self {
            services: SERVICES.iter().filter(|service| has(service.variable)).collect(),
            azure: endpoint.filter(|_| has("AZURE_OPENAI_API_KEY")).cloned(),
            codex: login.map(|file| (file, own)),
            local,
        }
    }

    /// What was found, a line each.
    pub fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        told.extend(
            self.codex.as_ref().map(|(file, _)| format!("a Codex login: {}", file.display())),
        );
        told.extend(self.services.iter().map(|one| format!("a key: {}", one.variable)));
        told.extend(self.azure.as_ref().map(|url| format!("a key and an endpoint: {url}")));
        let server = |one: &LocalServer| format!("a server: {} at port {}", one.name, one.port);
        told.extend(self.local.iter().map(server));
        told
    }

    /// The configuration: what costs nothing more first, then what has a key, then this machine.
    pub fn compose(&self) -> String {
        let mut text = "# Sidestep's configuration. Every key, its default and what it is for:\n\
             # config/default.toml. `sidestep check` shows what comes out of this file.\n\n"
            .to_owned();
        let mut chain: Vec<String> = Vec::new();
        let mut add = |name: &str, table: &str| {
            // Writing to a string cannot fail.
            let _ = write!(text, "[backends.{name}]\n{table}\n");
            chain.push(name.to_owned());
        };
        if self.codex.is_some() {
            add(
                "chatgpt",
                "# The ChatGPT login, in a copy of Sidestep's own: sidestep login codex --import\n\
                base_url = \"https://chatgpt.com/backend-api/codex\"\nauth = { kind = \"codex\" }\n",
            );
        }
        for Service { name, variable, base_url } in &self.services {
            add(
                name,
                &format!(
                    "base_url = \"{base_url}\"\nauth = {{ kind = \"bearer\", env = \"{variable}\" }}\n"
                ),
            );
        }
        if let Some(endpoint) = &self.azure {
            let endpoint = endpoint.trim_end_matches('/');
            add(
                "azure",
                &format!(
                    "base_url = \"{endpoint}/openai/v1\"\n\
                auth = {{ kind = \"header\", name = \"api-key\", env = \"AZURE_OPENAI_API_KEY\" }}\n"
                ),
            );
        }
        for LocalServer { name, port } in &self.local {
            add(
                name,
                &format!(
                    "# Its models have names of their own: \"{name}:MODEL\" in the chain below.\n\
                base_url = \"http://127.0.0.1:{port}/v1\"\ntimeouts = {{ connect = \"1s\" }}\n"
                ),
            );
        }
        let chain: Vec<String> = chain.iter().map(|name| format!("\"{name}\"")).collect();
        let chain = chain.join(", ");
        let _ = write!(
            text,
            "# Whatever model is asked for, in this order; \"backend:model\" asks for another name.\n\
             [[routes]]\ndefault = true\nchain = [{chain}]\n"
        );
        if self.codex.is_some() {
            text.push_str(
                "\n# Codex repeats what has a status; an event it shows at once.\n\
                 [exhausted]\nstyle = \"auto\"\n",
            );
        }
        text
    }
}

/// Where a user's configuration is, if nobody says otherwise.
pub fn usual_file(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let named =
        |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = named("XDG_CONFIG_HOME").or_else(|| Some(named("HOME")?.join(".config")));
    Some(folder?.join("sidestep/sidestep.toml"))
}

/// Writes a new file; one that is there already stays as it is.
///
/// # Errors
///
/// When there is one, or none can be made.
pub fn store(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    let mut new = options.write(true).create_new(true).mode(0o600).open(file)?;
    new.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn found(
        variables: &[(&str, &str)],
        local: Vec<LocalServer>,
    ) -> (Found, BTreeMap<String, String>) {
        let environment: BTreeMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        (Found::look(&environment, local), environment)
    }

    #[test]
    fn whatever_was_found_makes_a_sound_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join(".codex");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("auth.json"), "{}").unwrap();
        let variables = [
            ("HOME", folder.path().to_str().unwrap()),
            ("OPENAI_API_KEY", "key-1"),
            ("XAI_API_KEY", " "),
            ("AZURE_OPENAI_API_KEY", "key-2"),
            ("AZURE_OPENAI_ENDPOINT", "https://me.openai.azure.com/"),
        ];
        let (found, environment) = found(&variables, vec![LOCAL_SERVERS[0]]);
        assert_eq!(found.told().len(), 4, "{:?}", found.told());
        let text = found.compose();
        assert!(!text.contains("key-1") && !text.contains("key-2"));
        let file = folder.path().join("new/sidestep.toml");
        store(&file, &text).unwrap();
        let config = load(&Sources { file: Some(file.clone()), environment, flags: Vec::new() });
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let chain: Vec<&str> = config.routes[0].chain.iter().map(|one| &*one.backend).collect();
        assert_eq!(chain, ["chatgpt", "openai", "azure", "ollama"]);
        assert_eq!(
            config.backends["azure"].url.as_str(),
            "https://me.openai.azure.com/openai/v1/responses"
        );
        assert_eq!(store(&file, "").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn nothing_is_found_in_an_empty_environment() {
        let (found, _) = found(&[], Vec::new());
        assert_eq!(found.told(), Vec::<String>::new());
    }
}
