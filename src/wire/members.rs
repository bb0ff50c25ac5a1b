//! The members of a JSON object or array as spans of its text, so that some can be changed while every
//! other byte stays as it was.

use std::ops::Range;

use super::skim::{Shape, skim};

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name; empty in an array.
    pub name: String,
    /// The whole of it, name included.
    pub whole: Range<usize>,
    /// Its value.
    pub value: Range<usize>,
}

/// The members of one object or array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    all: Vec<Member>,
}

/// What becomes of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It stays.
    Keep,
    /// It goes.
    Drop,
    /// It has another value.
    Value(String),
}

impl Members {
    /// The members of an object. `None` when `text` is none.
    pub fn of_object(text: &str) -> Option<Self> {
        Self::read(text, Shape::Object)
    }

    /// The members of an array. `None` when `text` is none.
    pub fn of_array(text: &str) -> Option<Self> {
        Self::read(text, Shape::Array)
    }

    fn read(text: &str, expected: Shape) -> Option<Self> {
        let mut all = Vec::new();
        let mut from = text.find(['{', '['])? + 1;
        let mut has_names = true;
        let shape = skim(text, |name, value| {
            let before = &text[from..value.start];
            let start = before.find(|c: char| !c.is_ascii_whitespace() && c != ',');
            let start = from + start.unwrap_or(before.len());
            from = value.end;
            match name.read() {
                Some(name) => {
                    let whole = start..value.end;
                    all.push(Member { name: name.into_owned(), whole, value });
                }
                None => has_names = false,
            }
        });
        (shape == Ok(expected) && has_names).then_some(Self { all })
    }

    /// Every member, in order.
    pub fn all(&self) -> &[Member] {
        &self.all
    }

    /// The text with its members as `edit` says, in order. What separates them stays.
    pub fn edited(&self, text: &str, mut edit: impl FnMut(usize, &Member) -> Edit) -> String {
        let (Some(first), Some(last)) = (self.all.first(), self.all.last()) else {
            return text.to_owned();
        };
        let mut edited = String::with_capacity(text.len());
        edited.push_str(&text[..first.whole.start]);
        let mut is_first = true;
        let mut before = first.whole.start;
        for (index, member) in self.all.iter().enumerate() {
            let separator = &text[before..member.whole.start];
            before = member.whole.end;
            let edit = edit(index, member);
            if edit == Edit::Drop {
                continue;
            }
            if !std::mem::replace(&mut is_first, false) {
                // The first one has none in front of it, but may be the only one that is dropped.
                edited.push_str(if separator.is_empty() { "," } else { separator });
            }
            match edit {
                Edit::Value(value) => {
                    edited.push_str(&text[member.whole.start..member.value.start]);
                    edited.push_str(&value);
                }
                Edit::Keep | Edit::Drop => edited.push_str(&text[member.whole.clone()]),
            }
        }
        edited.push_str(&text[last.whole.end..]);
        edited
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn dropped(text: &str, name: &str) -> String {
        let members = Members::of_object(text).unwrap();
        members.edited(text, |_, member| if member.name == name { Edit::Drop } else { Edit::Keep })
    }

    #[test]
    fn members_go_with_what_separates_them() {
        let text = " { \"a\" : 1 ,\n \"b\":[2, 3], \"c\": {\"a\": 4}}\n";
        assert_eq!(dropped(text, "a"), " { \"b\":[2, 3], \"c\": {\"a\": 4}}\n");
        assert_eq!(dropped(text, "b"), " { \"a\" : 1, \"c\": {\"a\": 4}}\n");
        assert_eq!(dropped(text, "c"), " { \"a\" : 1 ,\n \"b\":[2, 3]}\n");
        assert_eq!(dropped(text, "d"), text);
        assert_eq!(dropped("{\"a\":1}", "a"), "{}");
        assert_eq!(dropped("{ }", "a"), "{ }");
        assert_eq!(dropped("{\"\\u0061\":1,\"b\":2}", "a"), "{\"b\":2}");
    }

    #[test]
    fn values_are_replaced_in_place() {
        let text = "[1, \"two\" ,{\"x\":[]}]";
        let members = Members::of_array(text).unwrap();
        let edited = members.edited(text, |index, _| match index {
            0 => Edit::Drop,
            1 => Edit::Value("2".to_owned()),
            _ => Edit::Keep,
        });
        assert_eq!(edited, "[2 ,{\"x\":[]}]");
    }

    #[test]
    fn other_texts_have_no_members() {
        for text in ["", "7", "\"{\"", "[1", "{\"a\":}", "null"] {
            assert_eq!((Members::of_object(text), Members::of_array(text)), (None, None), "{text}");
        }
        assert_eq!(Members::of_object("[1]"), None);
        assert_eq!(Members::of_array("{\"a\":1}"), None);
    }

    proptest! {
        #[test]
        fn what_is_edited_stays_json(
            entries in prop::collection::vec(("[a-z\"\\\\]{0,4}", any::<i32>(), any::<u8>()), 0..8),
            gap in "[ \n\t]{0,2}",
        ) {
            let written: Vec<String> = entries.iter().enumerate().map(|(index, (name, value, _))| {
                let name = Value::from(format!("{name}{index}"));
                format!("{gap}{name}{gap}:{gap}{value}{gap}")
            }).collect();
            let text = format!("{gap}{{{}}}", written.join(","));
            let members = Members::of_object(&text).unwrap();
            prop_assert_eq!(&members.edited(&text, |_, _| Edit::Keep), &text);
            let edited = members.edited(&text, |index, _| match entries[index].2 % 3 {
                0 => Edit::Drop,
                1 => Edit::Value("true".to_owned()),
                _ => Edit::Keep,
            });
            let mut expected = serde_json::Map::new();
            for (index, (name, value, fate)) in entries.iter().enumerate() {
                match fate % 3 {
                    0 => {}
                    1 => { expected.insert(format!("{name}{index}"), json!(true)); }
                    _ => { expected.insert(format!("{name}{index}"), json!(value)); }
                }
            }
            prop_assert_eq!(serde_json::from_str::<Value>(&edited).unwrap(), Value::Object(expected));
        }
    }
}
