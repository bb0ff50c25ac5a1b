//! A conversation's history on its way to a backend that did not answer all of it.
//!
//! Encrypted reasoning can be read only by its issuer, and a backend looks up item ids that it did not
//! give. What another one has issued is taken out: its reasoning but for a readable summary, and its ids.
//! What this one has issued, and what nobody knows about, stays byte for byte.

use serde_json::{Map, Value};

use super::blob::{Issuer, find, unmarked};
use super::members::{Edit, Members};

/// What is taken out of a history.
#[derive(Clone, Copy, Debug)]
pub struct Fitting<'a> {
    /// Who will read it.
    pub reader: Issuer,
    /// All encrypted content and all ids of answers go, whoever issued them.
    pub is_stripped: bool,
    /// The longest id, longer ones go; `call_id`s are shortened.
    pub id_bytes_max: Option<usize>,
    /// Fields of items that the reader must not see.
    pub hidden: &'a [&'a str],
}

/// What was taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Items with encrypted content.
    pub reasoning: usize,
    /// Ids of items.
    pub ids: usize,
}

/// The text of an `input` as the reader gets it. Marks always go; `None` when nothing else changes and
/// there is none.
pub fn fit(input: &str, fitting: &Fitting<'_>) -> Option<(String, Taken)> {
    let Some(items) = Members::of_array(input) else {
        return find(input.as_bytes())
            .any(|blob| !blob.mark.is_empty())
            .then(|| (unmarked(input), Taken::default()));
    };
    let texts: Vec<&str> = items.all().iter().map(|item| &input[item.value.clone()]).collect();
    let foreign = foreign(&texts, fitting);
    let mut taken = Taken::default();
    let mut edits: Vec<Edit> = texts
        .iter()
        .zip(&foreign)
        .map(|(text, is_foreign)| edit(text, *is_foreign, fitting, &mut taken))
        .collect();
    drop_without_follower(&texts, &foreign, &mut edits);
    let has_changed = edits.iter().any(|edit| *edit != Edit::Keep);
    let fitted =
        || items.edited(input, |index, _| std::mem::replace(&mut edits[index], Edit::Keep));
    has_changed.then(fitted).map(|text| (text, taken))
}

/// For each item whether the reader must not see what is private in it. One answer's items stand side by
/// side, and belong to whoever issued the encrypted content among them.
fn foreign(texts: &[&str], fitting: &Fitting<'_>) -> Vec<bool> {
    let mut foreign = vec![false; texts.len()];
    let mut start = 0;
    while start < texts.len() {
        let length = texts[start..].iter().take_while(|text| is_output(text)).count();
        let answer = start..start + length;
        let issuer = texts[answer.clone()]
            .iter()
            .flat_map(|text| find(text.as_bytes()))
            .find_map(|blob| blob.issuer);
        let is_foreign = issuer.is_some_and(|issuer| issuer != fitting.reader);
        foreign[answer].fill(is_foreign || fitting.is_stripped);
        start += length.max(1);
    }
    foreign
}

/// Whether an item is part of an answer, and not of what was asked.
fn is_output(text: &str) -> bool {
    let Some(item) = object(text) else { return false };
    match item.get("type").and_then(Value::as_str) {
        Some("reasoning" | "compaction") => true,
        Some("message") | None => item.get("role").and_then(Value::as_str) == Some("assistant"),
        Some(kind) => kind.ends_with("_call"),
    }
}

fn object(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok()
}

fn edit(text: &str, is_foreign: bool, fitting: &Fitting<'_>, taken: &mut Taken) -> Edit {
    let is_hidden = |name: &&str| text.contains(*name);
    let needs_a_look =
        is_foreign || fitting.id_bytes_max.is_some() || fitting.hidden.iter().any(is_hidden);
    if !needs_a_look {
        let has_mark = find(text.as_bytes()).any(|blob| !blob.mark.is_empty());
        return if has_mark { Edit::Value(unmarked(text)) } else { Edit::Keep };
    }
    let own = unmarked(text);
    let Some(mut item) = object(&own) else { return Edit::Keep };
    let before = item.clone();
    let kind = item.get("type").and_then(Value::as_str).unwrap_or("message").to_owned();
    if is_foreign && matches!(&*kind, "reasoning" | "compaction") {
        taken.reasoning += usize::from(item.get("encrypted_content").is_some_and(Value::is_string));
        match readable(&mut item) {
            Some(summary) => item = summary,
            None => return Edit::Drop,
        }
    }
    if is_foreign && item.remove("id").is_some() {
        taken.ids += 1;
    }
    if let Some(bytes_max) = fitting.id_bytes_max {
        shorten(&mut item, bytes_max, taken);
    }
    for name in fitting.hidden {
        item.remove(*name);
    }
    match item == before {
        true if own == text => Edit::Keep,
        true => Edit::Value(own),
        false => Edit::Value(Value::Object(item).to_string()),
    }
}

/// What everybody can read of a reasoning item.
fn readable(item: &mut Map<String, Value>) -> Option<Map<String, Value>> {
    let summary = item.remove("summary")?;
    let is_empty = summary.as_array().is_none_or(Vec::is_empty);
    (!is_empty).then(|| {
        [("type".to_owned(), "reasoning".into()), ("summary".to_owned(), summary)]
            .into_iter()
            .collect()
    })
}

/// Ids beyond a length are refused, and with them the whole conversation: items do without theirs, and
/// what connects a call with its output becomes a shorter name that is the same each time.
fn shorten(item: &mut Map<String, Value>, bytes_max: usize, taken: &mut Taken) {
    let is_long = |value: Option<&Value>| {
        value.and_then(Value::as_str).is_some_and(|text| text.len() > bytes_max)
    };
    if is_long(item.get("id")) {
        item.remove("id");
        taken.ids += 1;
    }
    if is_long(item.get("call_id"))
        && let Some(id) = item.get_mut("call_id")
    {
        let name = Issuer::new(id.as_str().unwrap_or_default());
        *id = format!("call_{name:?}").into();
    }
}

/// A summary that is left of another one's reasoning needs the item that it led to.
fn drop_without_follower(texts: &[&str], foreign: &[bool], edits: &mut [Edit]) {
    let mut has_follower = false;
    for index in (0..texts.len()).rev() {
        if !is_output(texts[index]) {
            has_follower = false;
            continue;
        }
        let kind =
            object(texts[index]).and_then(|item| Some(item.get("type")?.as_str()? == "reasoning"));
        let is_reasoning = kind.unwrap_or(false);
        if is_reasoning && foreign[index] && !has_follower {
            edits[index] = Edit::Drop;
        }
        has_follower |= !is_reasoning && edits[index] != Edit::Drop;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::super::blob::marked;
    use super::*;

    fn issuer(name: &str) -> Issuer {
        Issuer::new(name)
    }

    /// What a client stores of an answer of `name`.
    fn answer(name: &str, summary: &str) -> String {
        let summary = if summary.is_empty() {
            json!([])
        } else {
            json!([{ "type": "summary_text", "text": summary }])
        };
        let items = json!([
            { "id": format!("rs_{name}"), "type": "reasoning", "summary": summary, "encrypted_content": format!("gAAA{name}") },
            { "id": format!("fc_{name}"), "type": "function_call", "call_id": format!("call_{name}"), "name": "f", "arguments": "{}" },
        ]);
        let text = marked(&Bytes::from(items.to_string()), issuer(name));
        let text = String::from_utf8(text.to_vec()).unwrap();
        text[1..text.len() - 1].to_owned()
    }

    fn fitting(reader: &str) -> Fitting<'static> {
        Fitting { reader: issuer(reader), is_stripped: false, id_bytes_max: None, hidden: &[] }
    }

    fn ids(text: &str) -> Vec<Value> {
        let items: Vec<Value> = serde_json::from_str(text).unwrap();
        items.iter().map(|item| item.get("id").cloned().unwrap_or_default()).collect()
    }

    const USER: &str = r#"{"role":"user","content":"hi"}"#;
    const RESULT: &str = r#"{"type":"function_call_output", "call_id":"call_a","output":"1"}"#;

    #[test]
    fn the_issuer_gets_back_every_byte() {
        let input = format!("[{USER}, {} , {RESULT}]", answer("a", "so"));
        let (text, taken) = fit(&input, &fitting("a")).unwrap();
        assert_eq!(text, unmarked(&input));
        assert_eq!(taken, Taken::default());
    }

    #[test]
    fn another_one_gets_a_readable_summary_and_no_ids() {
        let input = format!("[{USER}, {}, {RESULT}]", answer("a", "so"));
        let (text, taken) = fit(&input, &fitting("b")).unwrap();
        let items: Value = serde_json::from_str(&text).unwrap();
        let summary = json!([{ "type": "summary_text", "text": "so" }]);
        assert_eq!(items[1], json!({ "type": "reasoning", "summary": summary }));
        let call =
            json!({ "type": "function_call", "call_id": "call_a", "name": "f", "arguments": "{}" });
        assert_eq!(items[2], call);
        assert_eq!(taken, Taken { reasoning: 1, ids: 1 });
        assert!(text.starts_with(&format!("[{USER}, ")) && text.ends_with(&format!(", {RESULT}]")));
    }

    #[test]
    fn reasoning_without_a_summary_goes() {
        let input = format!("[{USER},{},{RESULT}]", answer("a", ""));
        let (text, taken) = fit(&input, &fitting("b")).unwrap();
        assert!(!text.contains("\"reasoning\"") && !text.contains("gAAA"), "{text}");
        assert_eq!(taken.reasoning, 1);
    }

    #[test]
    fn the_way_there_and_back_keeps_each_ones_own() {
        let input = format!(
            "[{USER},{},{RESULT},{},{USER},{}]",
            answer("a", "x"),
            answer("b", "y"),
            answer("a", "")
        );
        let (for_a, _) = fit(&input, &fitting("a")).unwrap();
        assert_eq!(
            ids(&for_a),
            [
                json!(null),
                json!("rs_a"),
                json!("fc_a"),
                json!(null),
                json!(null),
                json!(null),
                json!(null),
                json!("rs_a"),
                json!("fc_a")
            ]
        );
        assert!(for_a.starts_with(&unmarked(&format!("[{USER},{}", answer("a", "x")))));
        assert!(for_a.contains("gAAAa") && !for_a.contains("gAAAb"));
        let (for_b, _) = fit(&input, &fitting("b")).unwrap();
        assert!(for_b.contains("gAAAb") && !for_b.contains("gAAAa"));
    }

    #[test]
    fn nothing_changes_where_nothing_is_known() {
        let input = format!(
            r#"[{USER},{{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}},{{"type":"message","role":"assistant","id":"msg_1","content":[]}}]"#
        );
        assert_eq!(fit(&input, &fitting("a")), None);
        assert_eq!(fit("\"hi\"", &fitting("a")), None);
        let all = Fitting { is_stripped: true, ..fitting("a") };
        let (text, taken) = fit(&input, &all).unwrap();
        assert_eq!(
            text,
            format!(r#"[{USER},{{"type":"message","role":"assistant","content":[]}}]"#)
        );
        assert_eq!(taken, Taken { reasoning: 1, ids: 1 });
    }

    #[test]
    fn no_summary_is_left_without_what_it_led_to() {
        let alone = r#"{"type":"reasoning","summary":[{"type":"summary_text","text":"so"}],"encrypted_content":"sidestep.0123456789abcdef.g"}"#;
        for input in [format!("[{USER},{alone}]"), format!("[{USER},{alone},{USER}]")] {
            let (text, _) = fit(&input, &fitting("b")).unwrap();
            assert!(!text.contains("reasoning"), "{text}");
        }
    }

    #[test]
    fn long_ids_are_shortened_the_same_way_each_time() {
        let long = "x".repeat(65);
        let input = format!(
            r#"[{{"type":"function_call","id":"fc_{long}","call_id":"{long}","name":"f","arguments":""}},{{"type":"function_call_output","call_id":"{long}","output":""}},{{"role":"user","content":"y"}}]"#
        );
        let short = Fitting { id_bytes_max: Some(64), ..fitting("a") };
        let (text, taken) = fit(&input, &short).unwrap();
        let items: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(items[0]["call_id"], items[1]["call_id"]);
        assert!(items[0]["call_id"].as_str().unwrap().len() <= 64 && items[0].get("id").is_none());
        assert_eq!(taken.ids, 1);
        assert!(text.ends_with(r#",{"role":"user","content":"y"}]"#));
    }

    #[test]
    fn what_is_hidden_is_not_seen() {
        let hidden = ["metadata_x"];
        let input = format!(r#"[{USER},{{"role":"user","content":"","metadata_x":{{"a":1}}}}]"#);
        let (text, _) = fit(&input, &Fitting { hidden: &hidden, ..fitting("a") }).unwrap();
        assert_eq!(text, format!(r#"[{USER},{{"role":"user","content":""}}]"#));
    }
}
