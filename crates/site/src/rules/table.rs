//! Which rules can match a path: those that name it, and those with wildcards, in the order of the file.

use std::collections::HashMap;

/// Numbers of rules.
#[derive(Debug, Default)]
pub(super) struct Table {
    // The standard hasher is keyed per process: neither a site nor a request can aim at collisions.
    fixed: HashMap<Box<[u8]>, Vec<u16>>,
    dynamic: Vec<u16>,
}

impl Table {
    /// Adds a rule; numbers only ever grow.
    pub(super) fn add(&mut self, number: u16, fixed: Option<Vec<u8>>) {
        match fixed {
            Some(key) => self.fixed.entry(key.into()).or_default().push(number),
            None => self.dynamic.push(number),
        }
    }

    /// The rules that can match a key, in order.
    pub(super) fn at(&self, key: &[u8]) -> Places<'_> {
        let fixed = if self.fixed.is_empty() { None } else { self.fixed.get(key) };
        Places { fixed: fixed.map_or(&[], Vec::as_slice), dynamic: &self.dynamic }
    }

    /// The rules with wildcards.
    pub(super) fn dynamic(&self) -> impl Iterator<Item = u16> {
        self.dynamic.iter().copied()
    }
}

/// Two ordered lists as one.
pub(super) struct Places<'t> {
    fixed: &'t [u16],
    dynamic: &'t [u16],
}

impl Iterator for Places<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let list = match (self.fixed.first(), self.dynamic.first()) {
            (Some(fixed), Some(dynamic)) if fixed < dynamic => &mut self.fixed,
            (Some(_), None) => &mut self.fixed,
            _ => &mut self.dynamic,
        };
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    }
}
