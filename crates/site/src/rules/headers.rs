//! `_headers`: a path, and below it the header lines that answers for it carry.

mod rule;

use super::bits::Bits;
use super::cost::looked_at;
use super::error::{Fault, Faults};
use super::pattern::{Captures, Pattern, Room, Subject};
use super::table::Table;
use super::template::Sink;
use super::{HEADER_LINES_MAX, HEADER_RULES_MAX, LINE_MAX, lines};
use crate::reply::FieldBuf;
use rule::{Class, Line, Rule, Text};
use sitar_http::Request;
use std::collections::HashMap;

/// The rules of one `_headers`, in order.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    rules: Vec<Rule>,
    table: Table,
}

/// What kind of answer header lines are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// 200 and 206.
    Content,
    /// 304.
    NotModified,
    /// 404 and whatever else is not the content that was asked for.
    Failure,
}

impl Occasion {
    fn takes(self, class: Class) -> bool {
        match self {
            Occasion::Content => true,
            Occasion::NotModified => class == Class::Caching,
            Occasion::Failure => class == Class::Policy,
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
            if [&b"/"[..], b"https://", b"http://"].iter().any(|start| line.starts_with(start)) {
                headers.end(current.take(), faults);
                skipping = false;
                match Pattern::parse(line) {
                    Ok(source) => {
                        current = Some(Rule {
                            number,
                            text: line.into(),
                            source,
                            lines: Vec::new(),
                            detached: Vec::new(),
                            replaced: 0,
                            filled: false,
                            faulty: false,
                        });
                    }
                    Err(fault) => {
                        skipping = true;
                        faults.push(number, line, fault);
                    }
                }
                continue;
            }
            match &mut current {
                Some(rule) => {
                    if let Err(fault) = rule.add(line) {
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
        let Some(rule) = rule else { return };
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

    /// All rules that can meet on one path must fit into one answer. Whatever set meets lies among those that may meet with
    /// each of its members, so that is what is added up.
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
    /// lines each rule replaces, and which rules behind it take a line away.
    fn link(&mut self) {
        let mut takers: HashMap<Box<str>, Bits<WORDS>> = HashMap::new();
        // From the last one to the first: those behind a rule are known when it is reached.
        for (at, rule) in self.rules.iter_mut().enumerate().rev() {
            for (bit, own) in OWN.iter().enumerate() {
                rule.replaced |= u8::from(rule.names(own)) << bit;
            }
            rule.filled = rule.lines.iter().any(|line| matches!(line.text, Text::Filled(_)));
            for line in &mut rule.lines {
                line.takers = takers.get(&line.name).copied().unwrap_or(Bits::EMPTY);
            }
            for name in std::mem::take(&mut rule.detached) {
                // Below HEADER_RULES_MAX, so it fits.
                takers.entry(name).or_insert(Bits::EMPTY).add(at as u16);
            }
        }
    }

    /// The rules that match no path until they have been shown one; those with a host are not among them.
    pub(crate) fn unmatched(&self) -> Unmatched<'_> {
        Unmatched { left: self.rules.iter().filter(|rule| !rule.source.names_host()).collect() }
    }

    /// The rules for a request; `None` when there are none.
    pub(crate) fn find(&self, subject: &Subject<'_>) -> Option<HeaderSet<'_>> {
        if self.rules.is_empty() {
            return None;
        }
        let mut set = HeaderSet { headers: self, matched: Bits::EMPTY, replaced: 0, filled: false };
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
        }
        any.then_some(set)
    }
}

/// Rules for which no path has been found yet.
pub(crate) struct Unmatched<'s> {
    left: Vec<&'s Rule>,
}

impl Unmatched<'_> {
    /// Takes out those that match a key.
    pub(crate) fn look_at(&mut self, key: &[u8]) {
        let subject = Subject { key, slash: false, authority: None };
        self.left.retain(|rule| rule.source.matches(&subject).is_none());
    }

    /// The lines of those that are left.
    pub(crate) fn lines(&self) -> impl Iterator<Item = u32> {
        self.left.iter().map(|rule| rule.number)
    }
}

impl<'s> HeaderSet<'s> {
    fn rules(self) -> impl Iterator<Item = &'s Rule> {
        self.matched.numbers().filter_map(move |at| self.headers.rules.get(at))
    }

    /// Lines for an occasion that no later rule takes away.
    fn lines(self, occasion: Occasion) -> impl Iterator<Item = (&'s Rule, &'s Line)> {
        let set = self;
        let is_there = move |line: &&Line| {
            looked_at(1);
            occasion.takes(line.class) && !line.takers.meets(&set.matched)
        };
        set.rules().flat_map(move |rule| rule.lines.iter().filter(is_there).map(move |line| (rule, line)))
    }

    /// Whether the type of the content is the rules' to say.
    pub(crate) fn replaces_type(&self) -> bool {
        self.replaced & 1 != 0
    }

    /// Adds the lines in which something is to be filled in. One for which there is no room is left out.
    pub(crate) fn fill(&self, occasion: Occasion, request: &Request<'_>, out: &mut FieldBuf) {
        if self.filled {
            crate::route::subject(request, |subject| self.fill_for(occasion, subject, out));
        }
    }

    fn fill_for(&self, occasion: Occasion, subject: &Subject<'_>, out: &mut FieldBuf) {
        let mut room = Room::default();
        let asked = self.headers.table.asked(subject, &mut room);
        let mut captures = Captures::new();
        for (rule, line) in self.lines(occasion) {
            let Text::Filled(template) = &line.text else { continue };
            if !rule.source.takes(&asked, &mut captures) {
                continue;
            }
            let before = out.len();
            if !(template.expand(&captures, out) && out.push(b"\r\n")) {
                out.cut(before);
            }
        }
    }

    /// Puts the header block of an answer together: the server's own lines as far as no rule replaces them, then the rules'.
    /// Returns how many pieces that makes.
    pub(crate) fn gather<'p>(&self, occasion: Occasion, own: &'p [u8], pieces: &mut [&'p [u8]]) -> usize
    where
        's: 'p,
    {
        let mut pieces = Pieces { pieces, len: 0 };
        let replaced = match occasion {
            // The text of an error is the server's, and so is its type.
            Occasion::Failure => self.replaced & 1 << 1,
            Occasion::Content | Occasion::NotModified => self.replaced,
        };
        if replaced == 0 {
            pieces.push(own);
        } else {
            for line in own.split_inclusive(|&byte| byte == b'\n') {
                let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
                let is_replaced = |(bit, own): (usize, &&str)| {
                    replaced & 1 << bit != 0 && own.as_bytes().eq_ignore_ascii_case(name)
                };
                if !OWN.iter().enumerate().any(is_replaced) {
                    pieces.push(line);
                }
            }
        }
        for (_, line) in self.lines(occasion) {
            if let Text::Fixed(text) = &line.text {
                pieces.push(text);
            }
        }
        pieces.len
    }
}

struct Pieces<'a, 'p> {
    pieces: &'a mut [&'p [u8]],
    len: usize,
}

impl<'p> Pieces<'_, 'p> {
    fn push(&mut self, piece: &'p [u8]) {
        // `check_room` has counted: PIECES_MAX is enough.
        if let Some(place) = self.pieces.get_mut(self.len) {
            *place = piece;
            self.len += 1;
        }
    }
}

impl Sink for FieldBuf {
    fn put(&mut self, byte: u8) -> bool {
        self.push(&[byte])
    }
}

/// Words of a set of rules.
const WORDS: usize = HEADER_RULES_MAX.div_ceil(64);
/// The server's own lines that rules may replace.
const OWN: [&str; 3] = ["content-type", "x-content-type-options", "cache-control"];
/// Bytes that fixed lines may add to one answer: with all others they fit into its head
/// ([`crate::reply`] adds up).
pub(crate) const FIXED_BYTES_MAX: usize = 12 << 10;
/// Bytes of text in lines with placeholders: with what is filled in they have to fit into a [`FieldBuf`].
const FILLED_BYTES_MAX: usize = 400;

#[cfg(test)]
mod tests;
