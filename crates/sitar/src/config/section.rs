//! Tables as their definitions say: every key known, every value of the right form.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use toml::de::{DeArray, DeTable, DeValue};

use super::Place;
use super::foreign::{self, Instead};
use super::keys::{self, Form, Key, Table};
use super::nearest::nearest;
use super::problems::{Problems, quoted};
use super::source::{Doubtful, Source};
use crate::settings::{Settings, definitions};

/// A value of the form that its key has.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Switch(bool),
    /// A number, a word, a size or a text, as a flag would have it.
    Text(String),
    /// A path, relative to no folder.
    Path(PathBuf),
    Texts(Vec<Text>),
    Table(Section),
    /// Of `[[listen]]`, `[[site]]`, and of a certificate, which is one or more tables.
    Tables(Vec<Section>),
}

/// A text and its place.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) place: Place,
    pub(super) text: String,
}

/// A table of the file.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) place: Place,
    pub(super) entries: Vec<Entry>,
}

/// A key that is there.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: &'static Key,
    /// The place of the key.
    pub(super) place: Place,
    /// The place of the value.
    pub(super) at: Place,
    /// `None`: it has been refused.
    pub(super) value: Option<Value>,
}

impl Section {
    /// A table that is not in the file.
    pub(super) fn absent(place: Place) -> Section {
        Section { place, entries: Vec::new() }
    }

    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        let mut all = self.entries.iter().filter(|entry| entry.key.name == name);
        // One that was only meant stands beside the real one.
        let first = all.next()?;
        if first.value.is_some() {
            Some(first)
        } else {
            all.find(|entry| entry.value.is_some()).or(Some(first))
        }
    }

    /// Returns a text with the place of its value.
    pub(super) fn text(&self, name: &str) -> Option<(&str, &Place)> {
        let entry = self.entry(name)?;
        match &entry.value {
            Some(Value::Text(text)) => Some((text, &entry.at)),
            _ => None,
        }
    }

    /// Returns a path with the place of its value.
    pub(super) fn path(&self, name: &str) -> Option<(&Path, &Place)> {
        let entry = self.entry(name)?;
        match &entry.value {
            Some(Value::Path(path)) => Some((path, &entry.at)),
            _ => None,
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// Returns a switch, or its default.
    pub(super) fn switch(&self, name: &str, default: bool) -> bool {
        match self.entry(name).and_then(|entry| entry.value.as_ref()) {
            Some(Value::Switch(on)) => *on,
            _ => default,
        }
    }

    pub(super) fn texts(&self, name: &str) -> &[Text] {
        match self.entry(name).and_then(|entry| entry.value.as_ref()) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    pub(super) fn table(&self, name: &str) -> Option<&Section> {
        match self.entry(name)?.value.as_ref()? {
            Value::Table(section) => Some(section),
            _ => None,
        }
    }

    pub(super) fn tables(&self, name: &str) -> &[Section] {
        match self.entry(name).and_then(|entry| entry.value.as_ref()) {
            Some(Value::Tables(sections)) => sections,
            _ => &[],
        }
    }
}

/// Reads the tables of one file.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    /// The folder of the file.
    pub(super) folder: &'a Path,
    pub(super) doubtful: &'a Doubtful,
    pub(super) problems: &'a mut Problems,
}

impl Reader<'_> {
    /// Reads a table, and reports what is not as its definition says.
    pub(super) fn table(&mut self, table: &'static Table, toml: &DeTable<'_>, place: Place) -> Section {
        let mut all: Vec<_> = toml.iter().collect();
        all.sort_by_key(|(key, _)| key.span().start);
        let mut entries = Vec::new();
        for (name, value) in all {
            let place = self.source.place(name.span().start);
            let at = self.source.place(value.span().start);
            let name = name.get_ref();
            match table.key(name) {
                Some(key) => {
                    let value = self.value(key, value.get_ref(), &at);
                    entries.push(Entry { key, place, at, value });
                }
                None => {
                    let meant = self.unknown(name, table, value.get_ref(), &place);
                    // What it was meant to be is not missing.
                    entries.extend(meant.map(|key| Entry { key, place, at, value: None }));
                }
            }
        }
        Section { place, entries }
    }

    /// Reports a key that is not in the table. Returns the one that was meant, if it is reported.
    fn unknown(
        &mut self,
        name: &str,
        table: &'static Table,
        value: &DeValue<'_>,
        place: &Place,
    ) -> Option<&'static Key> {
        if self.problems.is_full() || self.doubtful.covers(place) {
            return None;
        }
        let what = match (table.name, value) {
            ("", DeValue::Table(_)) => format!("unknown table [{}]", short(name)),
            ("", DeValue::Array(array)) if array.iter().all(|item| item.get_ref().is_table()) => {
                format!("unknown table [[{}]]", short(name))
            }
            ("", _) => format!("unknown key {} before the first table", quoted(name)),
            (inside, _) => format!("unknown key {} in {inside}", quoted(name)),
        };
        let Instead { hint, key } = foreign::instead(name, table);
        // A table that other programs have is no key of ours.
        let is_table = table.name.is_empty() && matches!(value, DeValue::Table(_));
        let hint = hint.filter(|hint| !(is_table && hint.contains("' of ["))).or_else(|| {
            let names = table.keys.iter().map(|key| match key.form {
                Form::Table(inner) | Form::Tables(inner, _) if inner.name.starts_with('[') => inner.name,
                _ => key.name,
            });
            Some(format!("there is: {}", names.collect::<Vec<_>>().join(", ")))
        });
        self.problems.push(place, what, hint);
        key
    }

    fn push(&mut self, place: &Place, what: String, hint: Option<String>) {
        if !self.doubtful.covers(place) {
            self.problems.push(place, what, hint);
        }
    }

    fn value(&mut self, key: &'static Key, value: &DeValue<'_>, at: &Place) -> Option<Value> {
        match (key.form, value) {
            (Form::Switch, DeValue::Boolean(on)) => Some(Value::Switch(*on)),
            (Form::Number(least, most), DeValue::Integer(_)) => {
                let number = integer(value).filter(|number| (least..=most).contains(number));
                match number {
                    Some(number) => self.set(key, number.to_string(), at),
                    None => {
                        self.bad(key, value, at, &format!("expected a whole number from {least} to {most}"))
                    }
                }
            }
            (Form::Numbers(numbers), DeValue::Integer(_)) => {
                let number =
                    integer(value).filter(|number| numbers.iter().any(|one| u64::from(*one) == *number));
                match number {
                    Some(number) => Some(Value::Text(number.to_string())),
                    None => {
                        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
                        self.bad(key, value, at, &format!("expected one of {}", numbers.join(", ")))
                    }
                }
            }
            (Form::Size, DeValue::Integer(_)) => {
                match integer(value).filter(|mib| *mib <= u64::from(u32::MAX)) {
                    Some(mib) => self.set(key, mib.to_string(), at),
                    None => self.bad(key, value, at, "expected a size: 512 MiB, 1 GiB, or a number of MiB"),
                }
            }
            (Form::Word(words), DeValue::String(text)) => {
                let words: Vec<&str> = words().into_iter().map(|(word, _)| word).collect();
                if words.contains(&&**text) {
                    return self.set(key, text.to_string(), at);
                }
                let what = format!("invalid value {} for '{}': {}", quoted(text), key.name, one_of(&words));
                let near = nearest(text, words.iter().copied());
                self.push(at, what, near.map(|word| format!("did you mean \"{word}\"?")));
                None
            }
            (Form::Text | Form::Size, DeValue::String(text)) => self.set(key, text.to_string(), at),
            (Form::Path, DeValue::String(text)) => self.path(key, text, at),
            (Form::Texts(_), DeValue::String(text)) => {
                Some(Value::Texts(vec![Text { place: at.clone(), text: text.to_string() }]))
            }
            (Form::Texts(most), DeValue::Array(array)) => self.texts(key, array, most, at),
            (Form::Certificate, _) => self.certificate(key, value, at),
            (Form::Table(inner), DeValue::Table(toml)) => {
                Some(Value::Table(self.table(inner, toml, at.clone())))
            }
            (Form::Tables(inner, most), DeValue::Array(array)) => self.tables(key, inner, array, most, at),
            _ => self.wrong_type(key, value, at),
        }
    }

    /// Gives a text to the setting that the key stands for.
    fn set(&mut self, key: &'static Key, text: String, at: &Place) -> Option<Value> {
        let setting = key.setting.and_then(definitions::find);
        if let Some(setting) = setting
            && let Err(why) = (setting.set)(&mut Settings::default(), OsStr::new(&text))
        {
            let what = format!("invalid value {} for '{}': {why}", quoted(&text), key.name);
            self.push(at, what, Some(example(key)));
            return None;
        }
        Some(Value::Text(text))
    }

    fn path(&mut self, key: &'static Key, text: &str, at: &Place) -> Option<Value> {
        let why = match text {
            "" => "a path is not empty",
            _ if text.contains('\0') => "a path has no NUL",
            _ => return Some(Value::Path(self.folder.join(text))),
        };
        let what = format!("invalid value {} for '{}': {why}", quoted(text), key.name);
        self.push(at, what, Some(example(key)));
        None
    }

    fn texts(&mut self, key: &'static Key, array: &DeArray<'_>, most: usize, at: &Place) -> Option<Value> {
        if array.is_empty() {
            self.push(at, format!("'{}' is an empty array", key.name), Some(example(key)));
            return None;
        }
        if array.len() > most {
            self.push(at, format!("'{}' has {} elements; {most} are allowed", key.name, array.len()), None);
            return None;
        }
        let mut texts = Vec::with_capacity(array.len());
        let mut is_whole = true;
        for item in array {
            let place = self.source.place(item.span().start);
            match item.get_ref() {
                DeValue::String(text) => texts.push(Text { place, text: text.to_string() }),
                other => {
                    let what =
                        format!("wrong type in '{}': expected texts, found {}", key.name, found(other));
                    self.push(&place, what, Some(example(key)));
                    is_whole = false;
                }
            }
        }
        is_whole.then_some(Value::Texts(texts))
    }

    fn tables(
        &mut self,
        key: &'static Key,
        inner: &'static Table,
        array: &DeArray<'_>,
        most: usize,
        at: &Place,
    ) -> Option<Value> {
        if array.len() > most {
            let what = format!("{} is there {} times; {most} are allowed", inner.name, array.len());
            self.push(at, what, None);
            return None;
        }
        let mut sections = Vec::with_capacity(array.len());
        for item in array {
            let place = self.source.place(item.span().start);
            match item.get_ref() {
                DeValue::Table(toml) => sections.push(self.table(inner, toml, place)),
                other => {
                    let _: Option<Value> = self.wrong_type(key, other, &place);
                }
            }
        }
        Some(Value::Tables(sections))
    }

    fn certificate(&mut self, key: &'static Key, value: &DeValue<'_>, at: &Place) -> Option<Value> {
        match value {
            DeValue::String(text) if matches!(&**text, "acme" | "local") => {
                Some(Value::Text(text.to_string()))
            }
            DeValue::String(text) => {
                let what = format!(
                    "invalid value {} for 'certificate': expected \"acme\", \"local\", or a table with chain and \
                     key",
                    quoted(text)
                );
                let hint = match nearest(text, ["acme", "local"]) {
                    Some(word) => format!("did you mean \"{word}\"?"),
                    None => example(key),
                };
                self.push(at, what, Some(hint));
                None
            }
            DeValue::Table(toml) => {
                let section = self.pair(toml, at.clone());
                Some(Value::Tables(vec![section]))
            }
            DeValue::Array(array) if array.is_empty() => {
                self.push(at, "'certificate' is an empty array".to_owned(), Some(example(key)));
                None
            }
            DeValue::Array(array) => self.certificates(key, array, at),
            _ => self.wrong_type(key, value, at),
        }
    }

    fn certificates(&mut self, key: &'static Key, array: &DeArray<'_>, at: &Place) -> Option<Value> {
        let most = keys::CERTIFICATES_MAX;
        if array.len() > most {
            let what = format!("'certificate' has {} elements; {most} are allowed", array.len());
            self.push(at, what, None);
            return None;
        }
        let mut sections = Vec::with_capacity(array.len());
        for item in array {
            let place = self.source.place(item.span().start);
            match item.get_ref() {
                DeValue::Table(toml) => sections.push(self.pair(toml, place)),
                other => {
                    let what = format!(
                        "wrong type in 'certificate': expected tables with chain and key, found {}",
                        found(other)
                    );
                    self.push(&place, what, Some(example(key)));
                }
            }
        }
        (sections.len() == array.len()).then_some(Value::Tables(sections))
    }

    /// Reads a table with a chain and a key.
    fn pair(&mut self, toml: &DeTable<'_>, place: Place) -> Section {
        let section = self.table(&keys::CERTIFICATE, toml, place);
        for (name, other) in [("chain", "key"), ("key", "chain")] {
            if section.entry(name).is_none() {
                let what = match section.entry(other) {
                    Some(_) => format!("'certificate' has a {other}, but no {name}"),
                    None if name == "chain" => "'certificate' has no chain and no key".to_owned(),
                    None => continue,
                };
                let hint = "write: certificate = { chain = \"fullchain.pem\", key = \"privkey.pem\" }";
                self.push(&section.place.clone(), what, Some(hint.to_owned()));
            }
        }
        section
    }

    fn bad(&mut self, key: &'static Key, value: &DeValue<'_>, at: &Place, why: &str) -> Option<Value> {
        let shown = match value {
            DeValue::Integer(number) => number.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        let what = format!("invalid value {} for '{}': {why}", quoted(&shown), key.name);
        self.push(at, what, Some(example(key)));
        None
    }

    fn wrong_type(&mut self, key: &'static Key, value: &DeValue<'_>, at: &Place) -> Option<Value> {
        let what =
            format!("wrong type of '{}': expected {}, found {}", key.name, expected(key.form), found(value));
        let hint = match (key.form, value) {
            (Form::Tables(inner, _), _) => {
                format!("the header is {}, with two brackets on each side", inner.name)
            }
            (Form::Table(inner), DeValue::Array(_)) if inner.name.starts_with('[') => {
                format!("the header is {}, with one bracket on each side, and there once", inner.name)
            }
            (Form::Table(inner), _) if inner.name.starts_with('[') => {
                format!("the header is {}, and its keys stand below it", inner.name)
            }
            (Form::Switch, DeValue::String(text)) => match &*text.to_ascii_lowercase() {
                "true" | "yes" | "on" | "1" => format!("write: {} = true", key.name),
                "false" | "no" | "off" | "0" => format!("write: {} = false", key.name),
                _ => example(key),
            },
            (Form::Number(..) | Form::Numbers(_), DeValue::String(text)) if is_number(text) => {
                format!("without quotes: {} = {text}", key.name)
            }
            (Form::Texts(_), DeValue::Integer(number)) if key.name == "address" => {
                format!("with quotes: {} = \":{}\"", key.name, number.as_str())
            }
            (Form::Word(words), DeValue::Float(number))
                if words().iter().any(|(word, _)| *word == number.as_str()) =>
            {
                format!("with quotes: {} = \"{}\"", key.name, number.as_str())
            }
            _ => example(key),
        };
        self.push(at, what, Some(hint));
        None
    }
}

fn short(name: &str) -> String {
    quoted(name).trim_matches('\'').to_owned()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() < 20 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns an integer that is not negative.
fn integer(value: &DeValue<'_>) -> Option<u64> {
    let DeValue::Integer(number) = value else { return None };
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn one_of(words: &[&str]) -> String {
    match words {
        [word] => format!("expected \"{word}\""),
        _ => format!("expected one of {}", words.join(", ")),
    }
}

/// Returns a line that would be right.
fn example(key: &Key) -> String {
    format!("for example: {} = {}", key.name, key.example)
}

fn expected(form: Form) -> &'static str {
    match form {
        Form::Switch => "true or false",
        Form::Number(..) | Form::Numbers(_) => "a whole number",
        Form::Word(_) | Form::Text => "a text",
        Form::Path => "a path",
        Form::Texts(_) => "a text or an array of texts",
        Form::Size => "a size",
        Form::Certificate => "a table with chain and key, an array of them, \"acme\" or \"local\"",
        Form::Table(_) => "a table",
        Form::Tables(..) => "an array of tables",
    }
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {}", quoted(text)),
        DeValue::Integer(number) => format!("the number {}", short(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", short(number.as_str())),
        DeValue::Boolean(on) => on.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
