//! Fits a request's body to its target: what the target must not see, cannot take or could not read is
//! left out, and every other byte stays as the client sent it.

use bytes::Bytes;
use serde_json::Value;

use super::Target;
use super::attempt::Original;
use super::profile::Profile;
use super::refused::Field;
use crate::telemetry::record::Repaired;
use crate::wire::blob::{Issuer, unmarked};
use crate::wire::history::{Fitting, Taken, fit};
use crate::wire::members::{Edit, Member, Members};

/// A body, and what was repaired in it.
#[derive(Debug)]
pub struct Fitted {
    /// The body to send.
    pub body: Bytes,
    /// What was taken out of it: encrypted content and ids of another backend, fields that this target
    /// has refused before.
    pub repaired: Vec<Repaired>,
}

/// The body for a target that reads what `reader` issued. `is_stripped` takes out whatever another
/// backend may have issued, known or not.
pub fn body_for(original: &Original, target: &Target, reader: Issuer, is_stripped: bool) -> Fitted {
    let Original { envelope, body, issuers, .. } = original;
    let profile = target.backend.profile;
    let refused = target.backend.refused.of(&target.model);
    let has_plain_needs = profile.fields.is_none() && !target.backend.must_not_see(body);
    let is_own = issuers.iter().all(|issuer| *issuer == reader);
    let plain = |body| Fitted { body, repaired: Vec::new() };
    if has_plain_needs && !is_stripped && refused.is_empty() && issuers.is_empty() {
        return plain(envelope.with_model(body, &target.model));
    }
    let Ok(text) = std::str::from_utf8(body) else { return plain(body.clone()) };
    let Some(members) = Members::of_object(text) else { return plain(body.clone()) };
    let mut fitter = Fitter {
        profile,
        refused: &refused,
        model: &target.model,
        // Where nothing else is to do, no item has to be read.
        is_light: is_own && !is_stripped && has_plain_needs,
        fitting: Fitting {
            reader,
            is_stripped,
            id_bytes_max: profile.id_bytes_max,
            hidden: profile.hidden_in_items,
        },
        taken: Taken::default(),
        dropped: Vec::new(),
    };
    let mut fitted =
        members.edited(text, |_, member| fitter.edit(member, &text[member.value.clone()]));
    fitter.complete(&members, &mut fitted);
    let Fitter { taken, dropped, .. } = fitter;
    let mut repaired = Vec::new();
    repaired.extend((taken.reasoning > 0).then_some(Repaired::Reasoning));
    repaired.extend((taken.ids > 0).then_some(Repaired::ItemIds));
    repaired.extend(dropped.into_iter().map(Repaired::Field));
    Fitted { body: fitted.into(), repaired }
}

struct Fitter<'a> {
    profile: &'static Profile,
    refused: &'a [Field],
    model: &'a str,
    is_light: bool,
    fitting: Fitting<'a>,
    taken: Taken,
    dropped: Vec<String>,
}

impl Fitter<'_> {
    fn edit(&mut self, member: &Member, value: &str) -> Edit {
        let name = member.name.as_str();
        let Profile { fields, hidden, fixed, short, .. } = self.profile;
        if fields.is_some_and(|fields| !fields.contains(&name)) || hidden.contains(&name) {
            return Edit::Drop;
        }
        if self.refused.iter().any(|field| matches!(field, Field::Top(refused) if refused == name))
        {
            self.dropped.push(name.to_owned());
            return Edit::Drop;
        }
        if let Some((_, only)) = fixed.iter().find(|(fixed, _)| *fixed == name) {
            return Edit::Value((*only).to_owned());
        }
        if let Some((_, required)) =
            self.required(name).filter(|_| matches!(value, "null" | "\"\"" | "[]"))
        {
            return Edit::Value((*required).to_owned());
        }
        if let Some((_, bytes_max)) = short.iter().find(|(short, _)| *short == name) {
            return shortened(value, *bytes_max);
        }
        match name {
            "model" => Edit::Value(Value::from(self.model).to_string()),
            "input" => self.input(value),
            "tools" if self.profile.fields.is_some() && value == "[]" => Edit::Drop,
            _ => self.without_refused(name, value).map_or(Edit::Keep, Edit::Value),
        }
    }

    fn required(&self, name: &str) -> Option<&'static (&'static str, &'static str)> {
        self.profile.required.iter().find(|(required, _)| *required == name)
    }

    fn input(&mut self, value: &str) -> Edit {
        if self.profile.needs_list && value.starts_with('"') {
            return Edit::Value(format!("[{{\"role\":\"user\",\"content\":{value}}}]"));
        }
        let fitted = if self.is_light {
            Some((unmarked(value), Taken::default()))
        } else {
            fit(value, &self.fitting)
        };
        let fitted = fitted.map(|(text, taken)| {
            self.taken = taken;
            text
        });
        let without = self.without_refused("input", fitted.as_deref().unwrap_or(value));
        without.or(fitted).map_or(Edit::Keep, Edit::Value)
    }

    /// The value of a field without what was refused within it; `None` if there is nothing of that.
    fn without_refused(&mut self, name: &str, value: &str) -> Option<String> {
        let refused: Vec<&str> = self
            .refused
            .iter()
            .filter_map(|field| match field {
                Field::Inner(outer, inner) if outer == name => Some(inner.as_str()),
                _ => None,
            })
            .collect();
        if refused.is_empty() {
            return None;
        }
        let without = match Members::of_array(value) {
            Some(items) => {
                let item = |text: &str| without(text, &refused).map_or(Edit::Keep, Edit::Value);
                let edited = items.edited(value, |_, member| item(&value[member.value.clone()]));
                (edited != value).then_some(edited)
            }
            None => without(value, &refused),
        };
        if without.is_some() {
            self.dropped.extend(refused.iter().map(|inner| format!("{name}.{inner}")));
        }
        without
    }

    /// Adds what the target cannot do without.
    fn complete(&self, members: &Members, text: &mut String) {
        let is_absent = |name: &str| members.all().iter().all(|member| member.name != name);
        let missing = self.profile.fixed.iter().chain(self.profile.required);
        for (name, value) in missing.filter(|(name, _)| is_absent(name)) {
            if let Some(end) = text.rfind('}') {
                // There is a `model` in front of it.
                text.insert_str(end, &format!(",\"{name}\":{value}"));
            }
        }
    }
}

/// An object without some of its fields; `None` if it has none of them.
fn without(text: &str, refused: &[&str]) -> Option<String> {
    let fields = Members::of_object(text)?;
    let is_refused = |member: &Member| refused.contains(&member.name.as_str());
    fields.all().iter().any(is_refused).then(|| {
        fields.edited(text, |_, member| if is_refused(member) { Edit::Drop } else { Edit::Keep })
    })
}

/// A text that is too long becomes a name for it that is the same each time.
fn shortened(value: &str, bytes_max: usize) -> Edit {
    match serde_json::from_str::<String>(value) {
        Ok(text) if text.len() > bytes_max => Edit::Value(format!("\"{:?}\"", Issuer::new(&text))),
        _ => Edit::Keep,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::testing::{config, original, plan_of};
    use crate::config::checked;
    use crate::wire::blob::marked;

    fn target(profile: checked::Profile) -> Target {
        let mut config = config();
        for backend in config.backends.values_mut() {
            backend.profile = profile;
        }
        plan_of(&config).targets.remove(0)
    }

    fn fitted(profile: checked::Profile, body: &str) -> String {
        let fitted = body_for(&original(body), &target(profile), Issuer::new("own"), false);
        String::from_utf8(fitted.body.to_vec()).unwrap()
    }

    const METADATA: &str = r#"{"client_metadata":{"a":1}, "model":"m","input":[{"role":"user","content":"hi","internal_chat_message_metadata_passthrough":{}}], "x": 1.0}"#;

    #[test]
    fn what_identifies_a_workspace_is_for_openai_alone() {
        assert_eq!(
            fitted(checked::Profile::Generic, METADATA),
            r#"{"model":"m","input":[{"role":"user","content":"hi"}], "x": 1.0}"#
        );
        assert_eq!(fitted(checked::Profile::OpenAi, METADATA), METADATA);
    }

    #[test]
    fn the_codex_backend_gets_what_it_takes() {
        let long = "k".repeat(65);
        let body = json!({
            "model": "m", "input": "hi", "max_output_tokens": 5, "temperature": 1, "tools": [],
            "store": true, "prompt_cache_key": long, "instructions": null,
        });
        let fitted: Value =
            serde_json::from_str(&fitted(checked::Profile::Codex, &body.to_string())).unwrap();
        let key = fitted["prompt_cache_key"].as_str().unwrap();
        assert!(key.len() <= 64, "{key}");
        assert_eq!(
            fitted,
            json!({
                "model": "m", "input": [{ "role": "user", "content": "hi" }], "store": false,
                "prompt_cache_key": key, "instructions": "You are a helpful assistant.",
                "stream": true, "include": ["reasoning.encrypted_content"],
            })
        );
    }

    #[test]
    fn refused_fields_are_left_out_and_named() {
        let target = target(checked::Profile::Generic);
        for name in ["top_k", "reasoning.context", "input[0].x", "absent"] {
            assert!(target.backend.refused.learn(&target.model, Field::parse(name).unwrap()));
        }
        let body = r#"{"model":"m","top_k":5,"reasoning":{"effort":"low","context":"a"},"input":[{"x":1,"role":"user"},{"y":2}]}"#;
        let fitted = body_for(&original(body), &target, Issuer::new("own"), false);
        assert_eq!(
            fitted.body,
            r#"{"model":"m","reasoning":{"effort":"low"},"input":[{"role":"user"},{"y":2}]}"#
        );
        let dropped =
            ["top_k", "reasoning.context", "input.x"].map(|name| Repaired::Field(name.into()));
        assert_eq!(fitted.repaired, dropped);
    }

    #[test]
    fn the_issuer_gets_its_own_bytes_back() {
        let plain =
            r#"{ "model":"m","input":[{"type":"reasoning","encrypted_content": "gAAA" }] }"#;
        let (own, other) = (Issuer::new("own"), Issuer::new("other"));
        let client = marked(&Bytes::from(plain), own);
        let client = std::str::from_utf8(&client).unwrap();
        assert_eq!(fitted(checked::Profile::Generic, client), plain);
        let foreign = body_for(&original(client), &target(checked::Profile::Generic), other, false);
        assert_eq!(foreign.repaired, [Repaired::Reasoning]);
        assert_eq!(foreign.body, r#"{ "model":"m","input":[] }"#);
        let stripped = body_for(&original(plain), &target(checked::Profile::Generic), own, true);
        assert_eq!(stripped.repaired, [Repaired::Reasoning]);
    }
}
