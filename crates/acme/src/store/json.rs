//! Checked access to the members of a file.

use serde_json::{Map, Value};

/// The version of the files. A file with a higher one is left to the program that has written it.
pub(super) const VERSION: u64 = 1;

/// The most bytes of a text, but for a key, and the most members of a list.
const TEXT_MAX: usize = 4096;
const LIST_MAX: usize = 1024;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is from a later version of the program.
    Newer,
    /// It is not what was written: the member that shows it.
    Member(&'static str),
}

/// The members of an object.
#[derive(Clone, Copy)]
pub(super) struct Members<'v>(&'v Map<String, Value>);

impl<'v> Members<'v> {
    /// Takes the object of a file and checks its version.
    pub(super) fn of_file(value: &'v Value) -> Result<Members<'v>, Wrong> {
        let members = Members::of(value, "the file")?;
        match members.0.get("version").and_then(Value::as_u64) {
            Some(VERSION) => Ok(members),
            Some(later) if later > VERSION => Err(Wrong::Newer),
            _ => Err(Wrong::Member("version")),
        }
    }

    fn of(value: &'v Value, name: &'static str) -> Result<Members<'v>, Wrong> {
        value.as_object().map(Members).ok_or(Wrong::Member(name))
    }

    /// Returns a member; one that is null or missing is `None`.
    fn get(self, name: &'static str) -> Option<&'v Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn object(self, name: &'static str) -> Result<Option<Members<'v>>, Wrong> {
        self.get(name).map(|value| Members::of(value, name)).transpose()
    }

    pub(super) fn text(self, name: &'static str) -> Result<Option<&'v str>, Wrong> {
        self.get(name).map(|value| text(value, name)).transpose()
    }

    pub(super) fn needed_text(self, name: &'static str) -> Result<&'v str, Wrong> {
        self.text(name)?.ok_or(Wrong::Member(name))
    }

    pub(super) fn number(self, name: &'static str) -> Result<Option<u64>, Wrong> {
        self.get(name).map(|value| value.as_u64().ok_or(Wrong::Member(name))).transpose()
    }

    pub(super) fn needed_number(self, name: &'static str) -> Result<u64, Wrong> {
        self.number(name)?.ok_or(Wrong::Member(name))
    }

    pub(super) fn flag(self, name: &'static str) -> Result<bool, Wrong> {
        self.get(name).and_then(Value::as_bool).ok_or(Wrong::Member(name))
    }

    /// Returns a list, which is empty if it is missing.
    pub(super) fn list(self, name: &'static str) -> Result<&'v [Value], Wrong> {
        let Some(value) = self.get(name) else { return Ok(&[]) };
        let list = value.as_array().filter(|list| list.len() <= LIST_MAX);
        list.map(Vec::as_slice).ok_or(Wrong::Member(name))
    }

    pub(super) fn texts(self, name: &'static str) -> Result<Vec<String>, Wrong> {
        self.list(name)?.iter().map(|value| text(value, name).map(str::to_owned)).collect()
    }
}

/// Returns a text of bounded length.
pub(super) fn text<'v>(value: &'v Value, name: &'static str) -> Result<&'v str, Wrong> {
    value.as_str().filter(|text| text.len() <= TEXT_MAX).ok_or(Wrong::Member(name))
}

/// Cuts a text that is to be stored to a length that is accepted when it is read.
pub(super) fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(TEXT_MAX)).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or("")
}
