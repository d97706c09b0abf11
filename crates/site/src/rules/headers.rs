//! `_headers`: a path, and below it the header lines that answers for it carry.

mod gather;
mod rule;

use super::bits::Bits;
use super::captures::Captures;
use super::error::{Fault, Faults};
use super::files::{HEADER_LINES_MAX, HEADER_RULES_MAX, LINE_MAX, lines};
use super::pattern::Pattern;
use super::pattern::Room;
use super::source;
use super::subject::Subject;
use super::table::RuleTable;
use rule::{Class, Line, List, Repetition, Rule, Text};
pub use rule::{Override, StoredCoding};
use std::collections::{BTreeSet, HashMap};

/// The rules of one `_headers`, in order.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    rules: Vec<Rule>,
    table: RuleTable,
}

/// The kind of answer that header lines are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// 200 and 206.
    Content,
    /// 304.
    NotModified,
    /// 404 and whatever else is not the content that was asked for.
    Failure,
    /// Redirects, and the answer to OPTIONS: there is no content.
    Bare,
}

impl Occasion {
    fn takes(self, class: Class) -> bool {
        match self {
            Occasion::Content => true,
            Occasion::NotModified => matches!(class, Class::Caching | Class::Access),
            Occasion::Failure => matches!(class, Class::Policy | Class::Access),
            Occasion::Bare => class == Class::Access,
        }
    }
}

/// The header rules that match a request: found once, applied when the answer is known.
#[derive(Clone, Copy)]
pub struct HeaderSet<'s> {
    headers: &'s Headers,
    /// The numbers of the rules.
    matched: Bits<WORDS>,
    /// The server's own lines ([`OWN`]) that are replaced or taken away, one bit each.
    replaced: u8,
    /// There are lines with placeholders.
    filled: bool,
    /// There are lines that may be joined.
    listed: bool,
    /// Lines that were written with those with placeholders, one bit each, in the order of
    /// [`HeaderSet::lines`].
    written: u64,
    /// The coding that the file is stored in.
    stored: Option<StoredCoding>,
}

impl std::fmt::Debug for HeaderSet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rules().map(|rule| rule.number)).finish()
    }
}

impl Headers {
    pub(super) fn compile(text: &[u8], faults: &mut Faults) -> Headers {
        let mut headers = Headers::default();
        let mut current: Option<Rule> = None;
        // After a bad path its header lines are skipped: they are not at fault.
        let mut skipping = false;
        for (number, line) in lines(text) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if faults.is_full() {
                break;
            }
            if line.len() > LINE_MAX {
                faults.push(number, line, Fault::new("the line is longer than 8192 bytes", "shorten it"));
                continue;
            }
            if source::is_path(line) {
                headers.end(current.take(), faults);
                skipping = false;
                match source::of_headers(line) {
                    Ok(source) => current = Some(Rule::new(number, line, source)),
                    Err(fault) => {
                        skipping = true;
                        faults.push(number, line, fault);
                    }
                }
                continue;
            }
            match &mut current {
                Some(rule) => {
                    if let Err(fault) = rule.add(number, line) {
                        rule.faulty = true;
                        faults.push(number, line, fault);
                    }
                }
                None if skipping => {}
                None => faults.push(
                    number,
                    line,
                    Fault::new(
                        "a header line before the first path",
                        "put the path above it, on a line of its own: /*",
                    ),
                ),
            }
        }
        headers.end(current, faults);
        headers.check_room(faults);
        headers.link();
        headers
    }

    fn end(&mut self, rule: Option<Rule>, faults: &mut Faults) {
        let Some(mut rule) = rule else { return };
        if let Err(fault) = rule.finish() {
            faults.push(rule.number, &rule.text, fault);
            return;
        }
        if rule.ends_stored && self.rules.iter().all(|before| before.stored.is_none()) {
            let fault = Fault::new(
                "! Content-Encoding, and no rule before it sets one: this header is the server's own",
                "take the line out",
            );
            faults.push(rule.number, &rule.text, fault);
            return;
        }
        if rule.lines.is_empty() && rule.detached.is_empty() {
            if rule.faulty {
                return;
            }
            let fault = Fault::new("no header line stands below this path", "add one: Name: value");
            faults.push(rule.number, &rule.text, fault);
            return;
        }
        if self.rules.len() >= HEADER_RULES_MAX {
            faults.push(
                rule.number,
                &rule.text,
                Fault::new("more than 500 rules", "put paths together with a splat: /assets/*"),
            );
            return;
        }
        // Below HEADER_RULES_MAX, so it fits.
        self.table.add(self.rules.len() as u16, &rule.source, rule.source.fixed());
        self.rules.push(rule);
    }

    /// All rules that can meet on one path must fit into one answer. Whatever set meets lies among
    /// those that may meet with each of its members, so that is what is added up.
    fn check_room(&self, faults: &mut Faults) {
        for rule in &self.rules {
            let meeting = || self.rules.iter().filter(|other| rule.source.may_meet(&other.source));
            let all = || meeting().flat_map(|rule| &rule.lines);
            let fixed: usize = all().map(Line::fixed_len).sum();
            let filled: usize = all().map(Line::filled_len).sum();
            if all().count() > HEADER_LINES_MAX || fixed > FIXED_BYTES_MAX || filled > FILLED_BYTES_MAX {
                faults.push(
                    rule.number,
                    &rule.text,
                    Fault::new(
                        "with the rules that can meet it on one path it adds too much to an answer",
                        "together they may have 64 lines, 12,288 bytes, and 400 bytes in lines with placeholders",
                    ),
                );
                return;
            }
        }
    }

    /// Finds out once what names say, so that no request compares any: which of the server's own
    /// lines each rule replaces, which rules behind it take a line away, and what it is joined
    /// with.
    fn link(&mut self) {
        let mut takers: HashMap<Box<str>, Bits<WORDS>> = HashMap::new();
        // From the last one to the first: those behind a rule are known when it is reached.
        for (at, rule) in self.rules.iter_mut().enumerate().rev() {
            for (bit, own) in OWN.iter().enumerate() {
                rule.replaced |= u8::from(rule.names(own)) << bit & !(CODING | HSTS);
            }
            rule.filled = rule.lines.iter().any(|line| matches!(line.text, Text::Filled(_)));
            for line in &mut rule.lines {
                line.takers = takers.get(&line.name).copied().unwrap_or(Bits::EMPTY);
            }
            let last = rule.lines.iter().filter(|line| Repetition::of(&line.name).is_last());
            for name in rule.detached.iter().chain(last.map(|line| &line.name)) {
                // Below HEADER_RULES_MAX, so it fits.
                takers.entry(name.clone()).or_insert(Bits::EMPTY).add(at as u16);
            }
        }
        self.number_lists();
    }

    /// Has the line of HSTS, which every answer of this site carries, replaced by rules that name
    /// it.
    pub(crate) fn replace_hsts(&mut self) {
        for rule in &mut self.rules {
            rule.replaced |= if rule.names(HSTS_NAME) { HSTS } else { 0 };
        }
    }

    /// Gives the names of lines that several rules have, and that are joined, a number each.
    fn number_lists(&mut self) {
        let mut lists: HashMap<Box<str>, (usize, List)> = HashMap::new();
        let mut next = List::OTHERS;
        for line in self.rules.iter().flat_map(|rule| &rule.lines) {
            if Repetition::of(&line.name) == Repetition::Joined {
                let list = if &*line.name == "vary" { List::VARY } else { List(next) };
                // Fewer than there are bytes in the file.
                next += 1;
                lists.entry(line.name.clone()).or_insert((0, list)).0 += 1;
            }
        }
        for rule in &mut self.rules {
            for line in &mut rule.lines {
                match lists.get(&line.name) {
                    Some(&(count, list)) if count > 1 || list == List::VARY => line.join(list),
                    _ => {}
                }
            }
            rule.listed = rule.lines.iter().any(|line| line.list != List::ALONE);
        }
    }

    /// Adds to `found` what takes the place of what in the answers for a key, whatever the host.
    pub(crate) fn overridden<'h>(&'h self, key: &[u8], found: &mut BTreeSet<Override>) {
        let subject = Subject { key, slash: false, authority: None };
        let Some(set) = self.find(&subject) else { return };
        let mut known: HashMap<&'h str, &'h Line> = HashMap::new();
        for rule in set.rules() {
            found.extend(rule.repeated.iter().cloned());
            for name in &rule.detached {
                known.remove(&**name);
            }
            for line in rule.lines.iter().filter(|line| Repetition::of(&line.name).is_last()) {
                let before = known.insert(&line.name, line);
                // Taken away first, it is meant to be replaced; and the same twice is no loss.
                if let Some(before) = before.filter(|before| before.value != line.value) {
                    let name = String::from_utf8_lossy(line.start.strip_suffix(b": ").unwrap_or(&line.start));
                    found.insert(Override {
                        line: line.number,
                        replaced: before.number,
                        name: name.into(),
                        is_within_rule: false,
                    });
                }
            }
        }
    }

    /// The coding that the rules say a file is stored in.
    pub(crate) fn stored(&self, key: &[u8]) -> Option<StoredCoding> {
        self.find(&Subject { key, slash: false, authority: None })?.stored()
    }

    /// The rules that match no path until they have been shown one. Those with a host are not among
    /// them, nor are those for what something else may answer.
    pub(super) fn unmatched(&self, may_be_answered: impl Fn(&Pattern) -> bool) -> Unmatched<'_> {
        let is_left = |rule: &&Rule| !rule.source.names_host() && !may_be_answered(&rule.source);
        Unmatched { left: self.rules.iter().filter(is_left).collect() }
    }

    /// The rules for a request; `None` when there are none.
    pub(crate) fn find(&self, subject: &Subject<'_>) -> Option<HeaderSet<'_>> {
        if self.rules.is_empty() {
            return None;
        }
        let mut set = HeaderSet {
            headers: self,
            matched: Bits::EMPTY,
            replaced: 0,
            filled: false,
            listed: false,
            written: 0,
            stored: None,
        };
        let mut any = false;
        let mut room = Room::default();
        let asked = self.table.asked(subject, &mut room);
        let mut captures = Captures::new();
        for at in self.table.at(subject.key, || asked.first()) {
            let Some(rule) = self.rules.get(usize::from(at)) else { continue };
            if !rule.source.takes(&asked, &mut captures) {
                continue;
            }
            any = true;
            set.matched.add(at);
            set.replaced |= rule.replaced;
            set.filled |= rule.filled;
            set.listed |= rule.listed;
            set.stored = rule.stored.or(set.stored.filter(|_| !rule.ends_stored));
        }
        any.then_some(set)
    }
}

/// Rules for which no path has been found yet.
pub struct Unmatched<'s> {
    left: Vec<&'s Rule>,
}

impl Unmatched<'_> {
    /// Takes out those that match a key.
    pub fn look_at(&mut self, key: &[u8]) {
        let subject = Subject { key, slash: false, authority: None };
        self.left.retain(|rule| rule.source.matches(&subject).is_none());
    }

    /// The lines of those that are left.
    pub fn lines(&self) -> impl Iterator<Item = u32> {
        self.left.iter().map(|rule| rule.number)
    }
}

/// Words of a set of rules.
const WORDS: usize = HEADER_RULES_MAX.div_ceil(64);
/// The server's own lines that rules may replace.
const OWN: [&str; 5] =
    ["content-type", "x-content-type-options", "cache-control", "content-encoding", HSTS_NAME];
const HSTS_NAME: &str = "strict-transport-security";
/// Their bits.
const TYPE: u8 = 1;
const NOSNIFF: u8 = 1 << 1;
const CODING: u8 = 1 << 3;
const HSTS: u8 = 1 << 4;
/// Bytes that fixed lines may add to one answer: with all others they fit into its head
/// ([`crate::answer::reply`] adds up).
pub(crate) const FIXED_BYTES_MAX: usize = 12 << 10;
/// Bytes of text in lines with placeholders: with what is filled in they have to fit into a
/// [`FieldBuf`](crate::answer::field_buf::FieldBuf).
const FILLED_BYTES_MAX: usize = 400;

#[cfg(test)]
mod tests;
