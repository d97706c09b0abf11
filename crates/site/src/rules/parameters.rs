//! Parameters of a rule: `name=value`, or `name=:capture` for any value.
//!
//! A query is read once, whatever the number of rules that ask for parameters: each distinct pair
//! that rules ask for is a condition with a number, and one pass over the query finds out which of
//! them it meets.

use super::bits::Bits;
use super::captures::{Captured, Captures, find_name};
use super::cost::looked_at;
use super::error::Fault;
use super::files::{REDIRECTS_DYNAMIC_MAX, WORDS_MAX};
use super::pattern::Pattern;
use std::collections::HashMap;

/// One parameter of one rule.
#[derive(Debug)]
pub(super) struct Parameter {
    name: Box<[u8]>,
    /// `None`: any value but an empty one, captured.
    value: Option<Box<[u8]>>,
    /// Its number among [`Conditions`].
    condition: u16,
}

impl Parameter {
    pub(super) fn parse(word: &[u8], source: &mut Pattern) -> Result<Parameter, Fault> {
        let Some(equals) = word.iter().position(|&byte| byte == b'=') else {
            return Err(Fault::new(
                "neither a parameter nor a target",
                "a parameter is name=value, a target begins with / or https://",
            ));
        };
        let (name, value) = (&word[..equals], &word[equals + 1..]);
        if name.is_empty() {
            return Err(Fault::new(
                "a parameter without a name",
                "write it as name=value or name=:placeholder",
            ));
        }
        let value = match find_name(value) {
            Some((0, end)) if end == value.len() => {
                source.add_name(&value[1..])?;
                None
            }
            _ => Some(value.into()),
        };
        Ok(Parameter { name: name.into(), value, condition: 0 })
    }

    /// Adds the first value that is not empty to the captures, if this parameter takes any.
    pub(super) fn capture<'k>(&self, query: &'k [u8], captures: &mut Captures<'k>) {
        if self.value.is_some() {
            return;
        }
        looked_at(query.len());
        let mut values = pairs(query).filter(|(name, _)| *name == &*self.name).map(|(_, value)| value);
        if let Some(value) = values.find(|value| !value.is_empty()) {
            captures.push(Captured::Query(value));
        }
    }
}

#[cfg(test)]
impl Parameter {
    /// Returns what it takes from a query, in the plainest way, as an oracle for tests.
    pub(super) fn taken_plainly(&self, query: &[u8]) -> Option<Option<Vec<u8>>> {
        let text = String::from_utf8_lossy(query).into_owned();
        let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut values =
            pairs.filter(|(name, _)| name.as_bytes() == &*self.name).map(|(_, value)| value.as_bytes());
        match &self.value {
            Some(wanted) => values.any(|value| *value == **wanted).then_some(None),
            None => values.find(|value| !value.is_empty()).map(|value| Some(value.to_vec())),
        }
    }
}

/// The conditions of the parameters of all rules, each once.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    names: HashMap<Box<[u8]>, Named>,
    len: u16,
}

/// The conditions on one name.
#[derive(Debug, Default)]
struct Named {
    any: Option<u16>,
    values: HashMap<Box<[u8]>, u16>,
}

impl Conditions {
    /// Numbers the parameters of a rule.
    pub(super) fn add(&mut self, parameters: &mut [Parameter]) {
        for parameter in parameters {
            let named = self.names.entry(parameter.name.clone()).or_default();
            let known = match &parameter.value {
                Some(value) => named.values.entry(value.clone()).or_insert(self.len),
                None => named.any.get_or_insert(self.len),
            };
            parameter.condition = *known;
            self.len += u16::from(*known == self.len);
        }
    }

    /// Reads a query.
    // Apart, so that other requests do not clear its buffer.
    #[inline(never)]
    pub(super) fn met(&self, query: &[u8]) -> Met {
        let mut met = Met(Bits::EMPTY);
        looked_at(query.len());
        for (name, value) in pairs(query) {
            let Some(named) = self.names.get(name) else { continue };
            let any = named.any.filter(|_| !value.is_empty());
            let own = named.values.get(value).copied();
            any.into_iter().chain(own).for_each(|condition| met.0.add(condition));
        }
        met
    }
}

/// The conditions that a query meets.
pub(super) struct Met(Bits<WORDS>);

impl Met {
    /// Whether all parameters of a rule are there.
    pub(super) fn all(&self, parameters: &[Parameter]) -> bool {
        looked_at(parameters.len());
        parameters.iter().all(|parameter| self.0.has(parameter.condition))
    }
}

/// The names and values of a query, as they came.
fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&byte| byte == b'&').map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=');
        equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]))
    })
}

/// Words for the conditions of as many rules with parameters as there may be, each on a line of as
/// many words.
const WORDS: usize = (REDIRECTS_DYNAMIC_MAX * WORDS_MAX).div_ceil(64);
