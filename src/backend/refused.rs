//! Fields of a request that a target has refused by name: it is not sent them again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

/// Models of one backend that are remembered.
const MODELS_MAX: usize = 64;
/// Fields of one model that are remembered.
const FIELDS_MAX: usize = 32;
/// The longest name of a field.
const NAME_BYTES_MAX: usize = 64;
/// What a request cannot do without: another answer would come of it, and nobody would know why.
const VITAL: [&str; 10] = [
    "model", "input", "stream", "tools", "tool_choice", "text", "instructions", "conversation",
    "previous_response_id", "prompt",
];

/// A field that can be left out of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// A field of the request itself.
    Top(String),
    /// A field of an object in it, or of every item of a list.
    Inner(String, String),
}

impl Field {
    /// Reads a field's name as an error writes it: `top_k`, `reasoning.context`, `input[3].x`. `None`
    /// for what stands deeper, and for what a request cannot do without.
    pub fn parse(name: &str) -> Option<Self> {
        let is_name = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let mut parts = name.split('.').map(|part| part.split('[').next().unwrap_or_default());
        let (first, second, third) = (parts.next()?, parts.next(), parts.next());
        match (is_name(first), second, third) {
            (true, None, None) if !VITAL.contains(&first) && !name.contains('[') => {
                Some(Self::Top(first.to_owned()))
            }
            (true, Some(second), None) if is_name(second) && !matches!(second, "type" | "role") => {
                Some(Self::Inner(first.to_owned(), second.to_owned()))
            }
            _ => None,
        }
    }

    /// The field of the request that it is, or that it stands in.
    pub fn outer(&self) -> &str {
        match self {
            Self::Top(name) | Self::Inner(name, _) => name,
        }
    }

    /// Its name, as `x-sidestep-repaired` writes it.
    pub fn name(&self) -> String {
        match self {
            Self::Top(name) => name.clone(),
            Self::Inner(outer, name) => format!("{outer}.{name}"),
        }
    }
}

/// What the targets of one backend have refused.
#[derive(Debug)]
pub struct Refused(Mutex<LruCache<Arc<str>, Arc<[Field]>>>);

impl Default for Refused {
    fn default() -> Self {
        Self(Mutex::new(LruCache::unbounded()))
    }
}

impl Refused {
    /// What a model has refused.
    pub fn of(&self, model: &str) -> Arc<[Field]> {
        let mut models = self.lock();
        if models.is_empty() {
            return Arc::default();
        }
        models.get(model).cloned().unwrap_or_default()
    }

    /// A model has refused a field; whether that is news.
    pub fn learn(&self, model: &Arc<str>, field: Field) -> bool {
        let mut models = self.lock();
        let known = models.get(model).cloned().unwrap_or_default();
        if known.contains(&field) || known.len() >= FIELDS_MAX {
            return false;
        }
        models.put(model.clone(), known.iter().cloned().chain([field]).collect());
        if models.len() > MODELS_MAX {
            models.pop_lru();
        }
        true
    }

    /// A panic in another holder leaves entries that are still good to use.
    fn lock(&self) -> MutexGuard<'_, LruCache<Arc<str>, Arc<[Field]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_as_errors_write_them() {
        let parsed = |name: &str| Field::parse(name).map(|field| field.name());
        assert_eq!(parsed("max_output_tokens").unwrap(), "max_output_tokens");
        assert_eq!(parsed("reasoning.context").unwrap(), "reasoning.context");
        assert_eq!(parsed("input[12].metadata_x").unwrap(), "input.metadata_x");
        for vital in
            ["model", "tools", "input[0]", "input[0].type", "a.b.c", "", "a b", "x\r\ny", "."]
        {
            assert_eq!(parsed(vital), None, "{vital}");
        }
        assert_eq!(parsed(&"x".repeat(65)), None);
    }

    #[test]
    fn a_field_is_news_once_and_memory_is_bounded() {
        let refused = Refused::default();
        let model: Arc<str> = "m".into();
        let field = |name: &str| Field::Top(name.to_owned());
        assert!(refused.learn(&model, field("a")));
        assert!(!refused.learn(&model, field("a")));
        assert_eq!(*refused.of("m"), [field("a")]);
        assert_eq!(*refused.of("other"), []);
        for number in 0..100 {
            refused.learn(&model, field(&number.to_string()));
            refused.learn(&format!("m{number}").into(), field("a"));
        }
        assert!(refused.of("m").len() <= FIELDS_MAX && refused.lock().len() <= MODELS_MAX);
    }
}
