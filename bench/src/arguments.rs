//! `--name value` pairs: one program starts this one, so there is nobody to be helped by more.

use crate::Result;
use std::collections::BTreeMap;
use std::str::FromStr;

/// The pairs by name.
pub(crate) struct Arguments(BTreeMap<String, String>);

impl Arguments {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Arguments> {
        let mut pairs = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("{word} is no --name"))?;
            let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
            pairs.insert(name.to_owned(), value);
        }
        Ok(Arguments(pairs))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// One that must be there.
    pub(crate) fn needed<T: FromStr>(&self, name: &str) -> Result<T> {
        self.optional(name)?.ok_or_else(|| format!("--{name} is missing").into())
    }

    pub(crate) fn optional<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let parse = |text: &str| text.parse().map_err(|_| format!("--{name} {text} cannot be"));
        Ok(self.text(name).map(parse).transpose()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_and_what_is_none_is_refused() {
        let read = |words: &[&str]| Arguments::read(words.iter().map(|word| (*word).to_owned()));
        let arguments = read(&["--count", "12", "--path", "/x"]).unwrap();
        assert_eq!(arguments.needed::<usize>("count").unwrap(), 12);
        assert_eq!(arguments.text("path"), Some("/x"));
        assert!(arguments.needed::<usize>("path").is_err());
        assert!(arguments.needed::<usize>("absent").is_err());
        assert_eq!(arguments.optional::<usize>("absent").unwrap(), None);
        assert!(read(&["count"]).is_err());
        assert!(read(&["--count"]).is_err());
    }
}
