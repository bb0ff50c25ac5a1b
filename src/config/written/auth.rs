//! `auth`, as it is written: one credential or a list of them.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::super::secret::Secret;
use super::Span;

/// `auth = { … }` or `auth = [{ … }, …]`.
#[derive(Debug, Default)]
pub struct AuthList {
    /// What stands there, in order.
    pub all: Vec<Auth>,
    /// Whether it stands there as a list.
    pub is_list: bool,
}

/// One credential.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Which of the kinds it is.
    pub kind: Option<String>,
    /// The header's name.
    pub name: Option<String>,
    /// The secret: in an environment variable.
    pub env: Option<String>,
    /// The secret or the tokens: in a file.
    pub file: Option<PathBuf>,
    /// The secret itself.
    pub secret: Option<Secret>,
    /// A program that prints the secret, and its arguments.
    pub command: Option<Vec<String>>,
    /// How long the program may take.
    pub timeout: Option<Span>,
    /// How long its output is good for.
    pub refresh_interval: Option<Span>,
    /// Where a refresh token is exchanged.
    pub token_url: Option<String>,
    /// Who we are there.
    pub client_id: Option<String>,
    /// What proves it.
    pub client_secret: Option<SecretSource>,
    /// What is asked for.
    pub scope: Option<String>,
    /// `form` or `json`.
    pub body: Option<String>,
    /// Whether the file belongs to somebody else.
    pub read_only: Option<bool>,
}

impl Auth {
    /// The keys that are written, less `kind`.
    pub fn keys(&self) -> Vec<&'static str> {
        let written = [
            ("name", self.name.is_some()),
            ("env", self.env.is_some()),
            ("file", self.file.is_some()),
            ("secret", self.secret.is_some()),
            ("command", self.command.is_some()),
            ("timeout", self.timeout.is_some()),
            ("refresh_interval", self.refresh_interval.is_some()),
            ("token_url", self.token_url.is_some()),
            ("client_id", self.client_id.is_some()),
            ("client_secret", self.client_secret.is_some()),
            ("scope", self.scope.is_some()),
            ("body", self.body.is_some()),
            ("read_only", self.read_only.is_some()),
        ];
        written.into_iter().filter(|(_, is_written)| *is_written).map(|(key, _)| key).collect()
    }
}

/// Where a secret stands: exactly one of these.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSource {
    /// In an environment variable.
    pub env: Option<String>,
    /// In a file.
    pub file: Option<PathBuf>,
    /// Here.
    pub secret: Option<Secret>,
}

impl<'de> Deserialize<'de> for AuthList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

/// By hand, because an untagged enum would lose the path of what is wrong.
struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = AuthList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a table such as { kind = \"bearer\", env = \"OPENAI_API_KEY\" }, or a list of them",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AuthList, A::Error> {
        let one = Auth::deserialize(MapAccessDeserializer::new(map))?;
        Ok(AuthList { all: vec![one], is_list: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AuthList, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        Ok(AuthList { all, is_list: true })
    }
}
