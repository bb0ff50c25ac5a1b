//! From the sources to a sound configuration: merge, read as written, check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::error::{Actual, Kind};
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Deserialize as _;

use super::check::check;
use super::checked::Config;
use super::problem::{ConfigError, Problem};
use super::written::Written;

/// The defaults, their documentation and the template in one.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// More problems than this are not worth a longer list.
const PROBLEMS_MAX: usize = 100;

/// Where a configuration comes from, so that tests need no process environment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// Flags: the name as typed, the key that it sets, the value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

impl Sources {
    /// The file to read: the flag's, the variable's, else the first usual place that has one.
    pub fn file(&self) -> Option<PathBuf> {
        let named = self.file.clone();
        let named = named.or_else(|| self.environment.get("SIDESTEP_CONFIG").map(PathBuf::from));
        named.or_else(|| {
            let home = |name: &str| self.environment.get(name).map(PathBuf::from);
            let user = home("XDG_CONFIG_HOME").or_else(|| Some(home("HOME")?.join(".config")));
            [
                Some(PathBuf::from("sidestep.toml")),
                user.map(|dir| dir.join("sidestep/sidestep.toml")),
            ]
            .into_iter()
            .flatten()
            .find(|file| file.is_file())
        })
    }
}

/// Loads the configuration and checks all of it. No port is bound, nothing is sent.
///
/// # Errors
///
/// Everything that is wrong, at once.
pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let file = sources.file();
    // What a file without meaning would have said is unknown: its other problems are no problems.
    let figment = merge(sources, file.as_deref())
        .map_err(|problem| ConfigError { problems: vec![problem] })?;
    let origin = Origin { figment, file };
    let mut problems = Vec::new();
    let config = read_all(&origin, &mut problems)
        .and_then(|written| check(&written, &origin, &sources.environment, &mut problems));
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => {
            problems.truncate(PROBLEMS_MAX);
            Err(ConfigError { problems })
        }
    }
}

fn merge(sources: &Sources, file: Option<&Path>) -> Result<Figment, Problem> {
    let mut figment = Figment::from(Toml::string(DEFAULT_TOML));
    if let Some(file) = file {
        figment = figment.merge(Layer::file(file)?);
    }
    for (name, value) in &sources.environment {
        let Some(path) = name.strip_prefix("SIDESTEP_") else {
            continue;
        };
        if path.contains("__") {
            let key = path.to_ascii_lowercase().replace("__", ".");
            figment =
                figment.merge(Layer::one(format!("environment variable {name}"), &key, value));
        }
    }
    for (flag, key, value) in &sources.flags {
        figment = figment.merge(Layer::one((*flag).to_owned(), key, value));
    }
    Ok(figment)
}

/// One source with the name that problems give it.
struct Layer {
    name: String,
    dict: Dict,
}

impl Layer {
    fn one(name: String, key: &str, value: &str) -> Self {
        let value = value.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
        let dict = figment::util::nest(key, value).into_dict().unwrap_or_default();
        Self { name, dict }
    }

    /// Reads a file here, because figment takes a missing one for an empty one.
    fn file(file: &Path) -> Result<Self, Problem> {
        let name = file.display().to_string();
        let problem = |found, allowed: &str| Problem {
            source: name.clone(),
            key: "(the file)".to_owned(),
            found,
            allowed: allowed.to_owned(),
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            problem(format!("no readable file ({error})"), "a readable TOML file in UTF-8")
        })?;
        let read = Toml::string(&text).data();
        let dict = read.map_err(|error| problem(without_excerpt(&error), "valid TOML"))?;
        Ok(Self { name, dict: dict.into_values().next().unwrap_or_default() })
    }
}

/// What a TOML error says, without the line that it quotes: a secret may stand there.
fn without_excerpt(error: &figment::Error) -> String {
    let text = error.kind.to_string();
    let is_excerpt = |line: &&str| {
        line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|')
    };
    let lines = text.lines().filter(|line| !is_excerpt(line) && !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(": ")
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

/// Knows where each value comes from.
#[derive(Debug)]
pub(super) struct Origin {
    figment: Figment,
    file: Option<PathBuf>,
}

impl Origin {
    /// The merged values.
    fn values(&self) -> Value {
        let merged = self.figment.data().unwrap_or_default().remove(&Profile::Default);
        Value::from(merged.unwrap_or_default())
    }

    /// The source of a key; where the key is absent, of the nearest table around it.
    pub(super) fn source_of(&self, path: &[String]) -> String {
        let mut value = &self.values();
        let mut tag = value.tag();
        for part in path {
            let inner = match value {
                Value::Dict(_, dict) => dict.get(part),
                Value::Array(_, list) => {
                    part.parse::<usize>().ok().and_then(|index| list.get(index))
                }
                _ => None,
            };
            let Some(inner) = inner else { break };
            value = inner;
            // A table merged from several sources has the tag of the first; its values have their own.
            tag = value.tag();
        }
        let name = self.figment.get_metadata(tag).map(|metadata| metadata.name.to_string());
        match name {
            Some(name) if name != "TOML source string" => name,
            _ => self.file.as_ref().map_or_else(
                || "no configuration file".to_owned(),
                |file| file.display().to_string(),
            ),
        }
    }
}

/// Reads the merged values as [`Written`]. Serde stops at the first problem: each one is noted, the
/// value at fault replaced by its default or removed, and the rest read again.
fn read_all(origin: &Origin, problems: &mut Vec<Problem>) -> Option<Written> {
    let defaults = Figment::from(Toml::string(DEFAULT_TOML));
    let defaults = Origin { figment: defaults, file: None }.values();
    let mut values = origin.values();
    for _ in 0..PROBLEMS_MAX {
        match Written::deserialize(&values) {
            Ok(written) => return Some(written),
            Err(error) => {
                problems.push(problem_of(&error, origin));
                mend(&mut values, &error.path, &defaults);
            }
        }
    }
    None
}

fn problem_of(error: &figment::Error, origin: &Origin) -> Problem {
    let is_secret =
        error.path.iter().any(|part| matches!(part.as_str(), "auth" | "headers" | "clients"));
    let (found, allowed) = match &error.kind {
        Kind::InvalidType(found, allowed) | Kind::InvalidValue(found, allowed) => {
            let found = if is_secret { "a value of another type".to_owned() } else { shown(found) };
            (found, in_plain_words(allowed))
        }
        Kind::UnknownField(name, allowed) => {
            let meant = meant(name, allowed);
            let allowed = allowed.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>();
            (format!("the unknown key \"{name}\"{meant}"), allowed.join(", "))
        }
        other if is_secret => ("a value that cannot be read".to_owned(), other_allowed(other)),
        other => {
            (other.to_string(), "a value of the type that config/default.toml shows".to_owned())
        }
    };
    Problem { source: origin.source_of(&error.path), key: error.path.join("."), found, allowed }
}

/// Which of the names a mistyped one was meant to be.
fn meant(name: &str, allowed: &[&str]) -> String {
    /// Two typing errors in a short word, or a letter too many.
    const LIKE: f64 = 0.8;
    let alike = allowed.iter().map(|one| (strsim::jaro_winkler(name, one), one));
    match alike.max_by(|(a, _), (b, _)| a.total_cmp(b)) {
        Some((likeness, one)) if likeness >= LIKE => format!(" (is it \"{one}\"?)"),
        _ => String::new(),
    }
}

/// What stands there, as it would be written.
fn shown(found: &Actual) -> String {
    match found {
        Actual::Str(text) => format!("{text:?}"),
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

fn other_allowed(kind: &Kind) -> String {
    match kind {
        Kind::MissingField(name) => format!("a value for \"{name}\""),
        _ => "a value of the type that config/default.toml shows".to_owned(),
    }
}

/// Serde names types as Rust does.
fn in_plain_words(expected: &str) -> String {
    match expected {
        "usize" | "u64" | "u32" | "u16" => "a whole number that is not negative".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

/// Puts the default of `path` in its place; without one, takes the value out.
fn mend(values: &mut Value, path: &[String], defaults: &Value) {
    let default = path.iter().try_fold(defaults, |value, part| value.as_dict()?.get(part));
    let mut place = values;
    for (depth, part) in path.iter().enumerate() {
        let is_last = depth + 1 == path.len();
        match place {
            Value::Dict(_, dict) if is_last => {
                match default {
                    Some(default) => dict.insert(part.clone(), default.clone()),
                    None => dict.remove(part),
                };
                return;
            }
            Value::Dict(_, dict) => match dict.get_mut(part) {
                Some(inner) => place = inner,
                None => return,
            },
            Value::Array(_, list) => match part.parse::<usize>() {
                Ok(index) if index < list.len() && !is_last => place = &mut list[index],
                Ok(index) if index < list.len() => {
                    list.remove(index);
                    return;
                }
                _ => return,
            },
            _ => return,
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
