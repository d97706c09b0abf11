//! The header lines that rules add to one answer. Nothing here allocates.

use super::rule::{Line, List, Rule, Text};
use super::{CODING, HSTS, HeaderSet, NOSNIFF, OWN, Occasion, StoredCoding, TYPE};
use crate::answer::field_buf::FieldBuf;
use crate::rules::captures::Captures;
use crate::rules::cost::looked_at;
use crate::rules::files::HEADER_LINES_MAX;
use crate::rules::pattern::{Asked, Room};
use crate::rules::subject::Subject;
use crate::rules::template::Sink;
use sitar_http::{FIELDS_MAX, Request};

impl<'s> HeaderSet<'s> {
    pub(super) fn rules(self) -> impl Iterator<Item = &'s Rule> {
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
        self.replaced & TYPE != 0
    }

    /// The coding that the file is stored in: it is sent as it is, with that as its
    /// Content-Encoding.
    pub(crate) fn stored(&self) -> Option<StoredCoding> {
        self.stored
    }

    /// Whether HSTS is the rules' to say. Never on a site that was opened without it.
    pub(crate) fn replaces_hsts(&self) -> bool {
        self.replaced & HSTS != 0
    }

    /// Leaves the server's own type out: another one is sent.
    pub(crate) fn replace_type(&mut self) {
        self.replaced |= TYPE;
    }

    /// Adds the lines in which something is to be filled in. One for which there is no room is left
    /// out.
    pub(crate) fn fill(&mut self, occasion: Occasion, request: &Request<'_>, out: &mut FieldBuf) {
        if self.filled {
            let set = *self;
            let written =
                crate::rules::subject::subject(request, |subject| set.fill_for(occasion, subject, out));
            self.written = written.unwrap_or(0);
        }
    }

    /// Returns which lines have been written, one bit each: those with placeholders, and what they
    /// are joined with.
    fn fill_for(self, occasion: Occasion, subject: &Subject<'_>, out: &mut FieldBuf) -> u64 {
        let mut room = Room::default();
        let asked = self.headers.table.asked(subject, &mut room);
        let mut captures = Captures::new();
        let (present, len) = self.present(occasion);
        let present = &present[..len];
        let filled = bits(present, |line| matches!(line.text, Text::Filled(_)));
        let mut written = 0;
        for (at, &place) in present.iter().enumerate() {
            let Some((_, line)) = place.filter(|_| (filled & !written) >> at & 1 != 0) else { continue };
            let own = 1 << at;
            let list = bits(present, |other| line.list != List::ALONE && other.list == line.list);
            let group = (list | own) & !written;
            // What others say may be long. Then the line goes out beside theirs (RFC 9110 §5.3).
            for lines in [group, group & filled, own] {
                let chosen = (0..).zip(present).filter(|(at, _)| lines >> at & 1 != 0);
                if write(chosen.filter_map(|(_, line)| *line), &asked, &mut captures, out) {
                    written |= lines;
                    break;
                }
            }
        }
        written
    }

    /// The lines for an occasion, and how many there are.
    fn present(self, occasion: Occasion) -> ([Option<(&'s Rule, &'s Line)>; HEADER_LINES_MAX], usize) {
        let mut present = [None; HEADER_LINES_MAX];
        let mut len = 0;
        // `check_room` has counted: there is a place for each.
        for (place, line) in present.iter_mut().zip(self.lines(occasion)) {
            *place = Some(line);
            len += 1;
        }
        (present, len)
    }

    /// Puts the header block of an answer together: the server's own lines as far as no rule
    /// replaces them, then the rules'. Returns how many pieces that makes.
    pub(crate) fn gather<'p>(&self, occasion: Occasion, own: &'p [u8], pieces: &mut [&'p [u8]]) -> usize
    where
        's: 'p,
    {
        let mut pieces = PieceList { pieces, len: 0 };
        let replaced = match occasion {
            Occasion::Content | Occasion::NotModified => {
                self.replaced | if self.stored.is_some() { CODING } else { 0 }
            }
            // The text of an error is the server's, and so is its type.
            Occasion::Failure => self.replaced & (NOSNIFF | HSTS),
            Occasion::Bare => 0,
        };
        if occasion == Occasion::Bare && !self.has_room(own) {
            pieces.push(own);
        } else if self.listed || (self.stored.is_some() && occasion != Occasion::Failure) {
            self.gather_lists(occasion, own, replaced, &mut pieces);
        } else {
            if replaced == 0 {
                pieces.push(own);
            } else {
                push_own(own, replaced, &mut pieces);
            }
            for (_, line) in self.lines(occasion) {
                if let Text::Fixed(text) = &line.text {
                    pieces.push(text);
                }
            }
        }
        pieces.len
    }

    /// Whether the lines for a redirect fit beside its own: the Location of a folder whose name is
    /// long and escaped byte by byte leaves room for little. (What else a file's answer or an error
    /// may have is bounded when the rules are compiled.)
    fn has_room(&self, own: &[u8]) -> bool {
        let lines: usize = self.lines(Occasion::Bare).map(|(_, line)| line.fixed_len()).sum();
        own.len() + FieldBuf::CAPACITY + lines <= FIELDS_MAX
    }

    /// The same where lines are joined. What leaves as one line lies in several pieces.
    #[inline(never)]
    fn gather_lists<'p>(self, occasion: Occasion, own: &'p [u8], replaced: u8, pieces: &mut PieceList<'_, 'p>)
    where
        's: 'p,
    {
        let (present, len) = self.present(occasion);
        let present = &present[..len];
        let fixed = |at: usize| {
            let (_, line) = present.get(at).copied().flatten().filter(|_| self.written >> at & 1 == 0)?;
            if let Text::Fixed(text) = &line.text { Some((line, &**text)) } else { None }
        };
        // A file that is stored in a coding is sent in that one, whatever is asked for.
        let varies = self.stored.is_none() || occasion == Occasion::Failure;
        let of_rules = || (0..len).filter_map(fixed).filter(|(line, _)| line.list == List::VARY);
        let is_said = of_rules().any(|(line, _)| line.has_any(&["accept-encoding", "*"]));
        let mut own_vary = None;
        if of_rules().next().is_some() || !varies {
            let (before, vary, behind) = cut_vary(own);
            push_own(before, replaced, pieces);
            push_own(behind, replaced, pieces);
            own_vary = vary.filter(|_| varies && !is_said);
        } else {
            push_own(own, replaced, pieces);
        }
        let mut joined = 0_u64;
        for at in 0..len {
            let Some((line, text)) = fixed(at).filter(|_| joined >> at & 1 == 0) else { continue };
            let mut last = text;
            if line.list == List::VARY
                && let Some(own) = own_vary
            {
                pieces.push(without_end(own));
                last = &line.joint;
            }
            if line.list != List::ALONE {
                for behind in at + 1..len {
                    let Some((other, _)) = fixed(behind).filter(|(other, _)| other.list == line.list) else {
                        continue;
                    };
                    joined |= 1 << behind;
                    pieces.push(without_end(last));
                    last = &other.joint;
                }
            }
            pieces.push(last);
        }
    }
}

/// Writes lines of one name as one line; or nothing, where there is no room.
fn write<'l>(
    lines: impl Iterator<Item = (&'l Rule, &'l Line)>,
    asked: &Asked<'_, 'l>,
    captures: &mut Captures<'l>,
    out: &mut FieldBuf,
) -> bool {
    let before = out.len();
    let mut is_first = true;
    let mut fill = |(rule, line): (&'l Rule, &'l Line)| {
        let start = if std::mem::take(&mut is_first) { &line.start[..] } else { b", " };
        match &line.text {
            Text::Fixed(_) => out.push(start) && out.push(&line.value),
            Text::Filled(template) => {
                rule.source.takes(asked, captures) && out.push(start) && template.expand(captures, out)
            }
        }
    };
    let is_written = { lines }.all(&mut fill) && out.push(b"\r\n");
    if !is_written {
        out.cut(before);
    }
    is_written
}

/// Returns one bit for each line: whether it is such a one.
fn bits(lines: &[Option<(&Rule, &Line)>], is_one: impl Fn(&Line) -> bool) -> u64 {
    let is_one = |line: &Option<(&Rule, &Line)>| line.is_some_and(|(_, line)| is_one(line));
    lines.iter().rev().fold(0, |bits, line| bits << 1 | u64::from(is_one(line)))
}

/// The server's own lines without those that are replaced.
fn push_own<'p>(own: &'p [u8], replaced: u8, pieces: &mut PieceList<'_, 'p>) {
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

/// Cuts header lines into those before Vary, that line, and those behind it.
fn cut_vary(own: &[u8]) -> (&[u8], Option<&[u8]>, &[u8]) {
    let mut start = 0;
    for line in own.split_inclusive(|&byte| byte == b'\n') {
        if line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"vary:")) {
            return (&own[..start], Some(line), &own[start + line.len()..]);
        }
        start += line.len();
    }
    (own, None, b"")
}

fn without_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r\n").unwrap_or(line)
}

struct PieceList<'a, 'p> {
    pieces: &'a mut [&'p [u8]],
    len: usize,
}

impl<'p> PieceList<'_, 'p> {
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
