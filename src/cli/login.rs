//! `sidestep login`: gives a backend a login of its own. A running server picks it up by itself.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use super::{CodexLogin, CommandError, Login, OauthLogin, load};
use crate::backend::credential::codex::read_auth_json;
use crate::backend::credential::token_file::{TokenFile, Tokens};
use crate::config::Secret;
use crate::config::auth::Auth;
use crate::config::locations::{codex_cli_login, codex_login};

/// Larger files hold no login.
const BYTES_MAX: usize = 64 * 1024;
/// How long a renewal may keep the file.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Stores a login.
///
/// # Errors
///
/// When there is none to be found, or the file cannot be written.
pub async fn login(
    login: Login,
    environment: BTreeMap<String, String>,
) -> Result<(), CommandError> {
    match login {
        Login::Codex(arguments) => codex(arguments, &environment).await,
        Login::Oauth(arguments) => oauth(arguments, environment).await,
    }
}

async fn codex(
    arguments: CodexLogin,
    environment: &BTreeMap<String, String>,
) -> Result<(), CommandError> {
    let nowhere = |flag: &str| CommandError::Argument(format!("HOME is not set: use {flag}"));
    let from = arguments.codex_home.map(|home| home.join("auth.json"));
    let from = from.or_else(|| codex_cli_login(environment));
    let from = from.ok_or_else(|| nowhere("--codex-home"))?;
    let to = arguments.to.or_else(|| codex_login(environment)).ok_or_else(|| nowhere("--to"))?;
    let tokens = read_auth_json(&from, BYTES_MAX)?;
    store(to, &tokens).await?;
    writeln!(
        io::stdout().lock(),
        "From now on this login is Sidestep's: its refresh token is good for one use, so whoever of two
owners uses it first logs the other out. Log the Codex CLI in anew before you use it without Sidestep:
  codex login"
    )?;
    Ok(())
}

async fn oauth(
    arguments: OauthLogin,
    environment: BTreeMap<String, String>,
) -> Result<(), CommandError> {
    let OauthLogin { from, backend: name } = arguments;
    let config = load(from, environment)?;
    let backend = config.backends.get(&name).ok_or_else(|| {
        let names: Vec<&str> = config.backends.keys().map(String::as_str).collect();
        CommandError::Argument(format!(
            "no backend is called {name:?}; there are: {}",
            names.join(", ")
        ))
    })?;
    let mut files = backend.auth.iter().filter_map(|auth| match auth {
        Auth::OAuth { file, .. } => Some(file.clone()),
        _ => None,
    });
    let Some(to) = files.next() else {
        return Err(CommandError::Argument(format!(
            "backends.{name}.auth has no kind = \"oauth\""
        )));
    };
    // Not as an argument, which every user of the machine can see.
    let mut text = String::new();
    let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    io::stdin().lock().take(limit).read_to_string(&mut text)?;
    let text = Secret::from(text);
    let refresh_token = text.expose().trim();
    if refresh_token.is_empty() || refresh_token.contains(char::is_whitespace) {
        let what = "standard input has to hold one refresh token";
        return Err(CommandError::Argument(what.to_owned()));
    }
    store(to, &Tokens::of_refresh_token(Secret::from(refresh_token))).await
}

async fn store(to: PathBuf, tokens: &Tokens) -> Result<(), CommandError> {
    let file = TokenFile { path: to, bytes_max: BYTES_MAX };
    let failed = |source| CommandError::Store { file: file.path.clone(), source };
    file.create_folder().map_err(failed)?;
    let lock = file.lock(LOCK_TIMEOUT).await?;
    file.write(tokens, &lock).map_err(failed)?;
    writeln!(io::stdout().lock(), "stored in {}", file.path.display())?;
    Ok(())
}
