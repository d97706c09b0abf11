//! Finds the rules that can match a path: those that name it, and those with wildcards, in the
//! order of the file.

use super::pattern::{Asked, Pattern, Room};
use super::subject::Subject;
use std::collections::HashMap;

/// Rules by their numbers.
#[derive(Debug, Default)]
pub(super) struct RuleTable {
    // The standard hasher is keyed per process: neither a site nor a request can aim at collisions.
    fixed: HashMap<Box<[u8]>, Vec<u16>>,
    /// Rules with wildcards or a host whose paths begin with a fixed segment, by that segment.
    begun: HashMap<Box<[u8]>, Vec<u16>>,
    /// All other rules with wildcards or a host.
    open: Vec<u16>,
    /// `begun` and `open` together.
    dynamic: Vec<u16>,
    /// Some rule names a host.
    has_hosts: bool,
}

impl RuleTable {
    /// Adds a rule; numbers only ever grow. `fixed` is the one key that its source matches, if it
    /// is one.
    pub(super) fn add(&mut self, number: u16, source: &Pattern, fixed: Option<Vec<u8>>) {
        self.has_hosts |= source.names_host();
        if let Some(key) = fixed {
            self.fixed.entry(key.into()).or_default().push(number);
            return;
        }
        self.dynamic.push(number);
        match source.first_literal() {
            Some(segment) => self.begun.entry(segment.into()).or_default().push(number),
            None => self.open.push(number),
        }
    }

    /// Returns a request as the rules see it. `room` keeps what many of them look at.
    #[inline]
    pub(super) fn asked<'c, 'k>(&self, subject: &Subject<'k>, room: &'c mut Room) -> Asked<'c, 'k> {
        Asked::of(subject, self.has_hosts, self.is_large().then_some(room))
    }

    /// Whether there are enough rules for a lookup by segment to be worth it.
    fn is_large(&self) -> bool {
        self.dynamic.len() > FEW
    }

    /// Returns the rules that can match a key with this first segment, in order.
    pub(super) fn at<'k>(&self, key: &[u8], first: impl FnOnce() -> Option<&'k [u8]>) -> Places<'_> {
        let fixed = if self.fixed.is_empty() { None } else { self.fixed.get(key) };
        let fixed = fixed.map_or(&[][..], Vec::as_slice);
        if !self.is_large() {
            return Places([fixed, &[], &self.dynamic]);
        }
        let begun = first().and_then(|first| self.begun.get(first));
        Places([fixed, begun.map_or(&[], Vec::as_slice), &self.open])
    }

    /// Returns the rules with wildcards or a host.
    pub(super) fn dynamic(&self) -> impl Iterator<Item = u16> {
        self.dynamic.iter().copied()
    }
}

/// Three ordered lists, merged.
pub(super) struct Places<'t>([&'t [u16]; 3]);

impl Iterator for Places<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let [fixed, begun, open] = &mut self.0;
        let next = |list: &[u16]| list.first().map_or(u32::MAX, |&number| u32::from(number));
        let numbers = [next(fixed), next(begun), next(open)];
        let list = if numbers[2] <= numbers[0].min(numbers[1]) {
            open
        } else if numbers[0] < numbers[1] {
            fixed
        } else {
            begun
        };
        let (first, rest) = list.split_first()?;
        *list = rest;
        Some(*first)
    }
}

/// So few rules are tried in less time than it takes to look up the first segment of a path.
const FEW: usize = 8;
