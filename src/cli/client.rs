//! `sidestep client`: what to write where, so that a client finds Sidestep.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::ValueEnum;

use super::CommandError;
use crate::config::{Sources, load};

/// A client that can be pointed at Sidestep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Client {
    /// The Codex CLI.
    Codex,
    /// Hermes.
    Hermes,
    /// The OpenAI SDK for Python.
    OpenaiPython,
    /// The OpenAI SDK for JavaScript and TypeScript.
    OpenaiNode,
    /// The Vercel AI SDK.
    VercelAiSdk,
    /// The OpenAI Agents SDK for Python.
    OpenaiAgents,
    /// Pydantic AI.
    PydanticAi,
}

impl Client {
    /// What to write where; `URL` stands for the base URL.
    const fn snippet(self) -> &'static str {
        match self {
            Self::Codex => include_str!("clients/codex.txt"),
            Self::Hermes => include_str!("clients/hermes.txt"),
            Self::OpenaiPython => include_str!("clients/openai-python.txt"),
            Self::OpenaiNode => include_str!("clients/openai-node.txt"),
            Self::VercelAiSdk => include_str!("clients/vercel-ai-sdk.txt"),
            Self::OpenaiAgents => include_str!("clients/openai-agents.txt"),
            Self::PydanticAi => include_str!("clients/pydantic-ai.txt"),
        }
    }
}

/// Prints what to write where, with the address that the configuration says.
///
/// # Errors
///
/// When the output cannot be written.
pub fn print(client: Client, sources: &Sources, out: &mut impl Write) -> Result<(), CommandError> {
    let url = format!("http://{}/v1", address(sources));
    out.write_all(client.snippet().replace("URL", &url).as_bytes())?;
    Ok(())
}

/// Where the process that these sources describe is reached from this machine. A configuration that is
/// not sound (yet, or any more) says nothing against what the flags and the environment say.
pub(super) fn address(sources: &Sources) -> SocketAddr {
    let told = || {
        let flag = sources.flags.iter().find(|(_, key, _)| *key == "server.listen");
        let flag = flag.map(|(_, _, value)| value);
        flag.or_else(|| sources.environment.get("SIDESTEP_SERVER__LISTEN"))?.parse().ok()
    };
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, 8787));
    let listen = load(sources).map_or_else(|_| told().unwrap_or(usual), |c| c.server.listen);
    let ip = match listen.ip() {
        // It listens everywhere, so also here.
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
