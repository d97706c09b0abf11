//! `_redirects`: one rule a line, `source [name=value …] target [status[!]]`; without a target
//! where the status is an error.

use super::captures::Captures;
use super::cost::looked_at;
use super::error::{Fault, Faults};
use super::files::{LINE_MAX, REDIRECTS_DYNAMIC_MAX, REDIRECTS_MAX, Shadowed, WORDS_MAX, lines};
use super::itself::{self, Itself};
use super::parameters::{Conditions, Parameter};
use super::pattern::{Pattern, Room};
use super::subject::Subject;
use super::table::RuleTable;
use super::target::{Action, Local, STATUSES_HINT, action, bare, expand, is_asset, is_redirect};
use crate::answer::reply::{Reply, Scratch};
use sitar_http::Status;

/// The rules of one `_redirects`, in order.
#[derive(Debug, Default)]
pub(crate) struct Redirects {
    rules: Vec<Redirect>,
    table: RuleTable,
    conditions: Conditions,
    /// Some apply even where there is a file.
    forced: bool,
}

/// One rule.
#[derive(Debug)]
struct Redirect {
    line: u32,
    source: Pattern,
    parameters: Vec<Parameter>,
    forced: bool,
    /// The address for which it does not apply, because it would lead there.
    itself: Option<Itself>,
    action: Action,
}

/// A rule that applies to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied<'r, 'k> {
    rule: &'r Redirect,
    captures: Captures<'k>,
}

/// The effect of a rule.
pub(crate) enum Outcome<'r> {
    /// This is the answer.
    Reply(Reply<'r>),
    /// The content of another page, to be found by [`Applied::with_target`], with this status. The
    /// memory for the answer is given back.
    Rewrite(Status, &'r mut Scratch),
}

impl Redirects {
    pub(super) fn compile(text: &[u8], faults: &mut Faults, shadowed: &mut Vec<Shadowed>) -> Redirects {
        let mut redirects = Redirects::default();
        let (mut all, mut dynamic) = (0, 0);
        for (number, line) in lines(text) {
            let mut words = words(line);
            if words.is_empty() {
                continue;
            }
            if line.len() > LINE_MAX {
                faults.push(number, line, Fault::new("the line is longer than 8192 bytes", "shorten it"));
                continue;
            }
            if faults.is_full() {
                break;
            }
            match Redirect::parse(number, &mut words) {
                Ok(rule) => {
                    all += 1;
                    let fixed = rule.source.fixed();
                    dynamic += usize::from(fixed.is_none() || !rule.parameters.is_empty());
                    if all > REDIRECTS_MAX || dynamic > REDIRECTS_DYNAMIC_MAX {
                        faults.push(number, line, Fault::new("too many rules", LIMITS_HINT));
                        break;
                    }
                    redirects.add(rule, fixed, shadowed);
                }
                Err(fault) => faults.push(number, line, fault),
            }
        }
        redirects
    }

    fn add(&mut self, mut rule: Redirect, fixed: Option<Vec<u8>>, shadowed: &mut Vec<Shadowed>) {
        if let Some(by) = self.shadower(&rule, fixed.as_deref()) {
            shadowed.push(Shadowed { file: "_redirects", line: rule.line, by });
            // It can never apply; so chains of rules for one path stay short.
            return;
        }
        self.forced |= rule.forced;
        // Below REDIRECTS_MAX, so it fits.
        self.table.add(self.rules.len() as u16, &rule.source, fixed);
        self.conditions.add(&mut rule.parameters);
        self.rules.push(rule);
    }

    /// The line of a rule before this one that takes all that it could.
    fn shadower(&self, rule: &Redirect, fixed: Option<&[u8]>) -> Option<u32> {
        let places: Box<dyn Iterator<Item = u16> + '_> = match fixed {
            Some(key) => Box::new(self.table.at(key, || key.split(|&byte| byte == b'/').next())),
            None => Box::new(self.table.dynamic()),
        };
        let takes = |before: &&Redirect| {
            before.parameters.is_empty()
                && (before.forced || !rule.forced)
                && !before.is_fallback()
                && before.itself.as_ref().is_none_or(|itself| itself.is_beside(&rule.source))
                && before.source.covers(&rule.source)
        };
        places.filter_map(|at| self.rules.get(usize::from(at))).find(takes).map(|before| before.line)
    }

    /// The first rule that applies; `exists`: there is a page at this path, which only rules with
    /// `!` replace.
    pub(crate) fn find<'r, 'k>(
        &'r self,
        subject: &Subject<'k>,
        query: Option<&'k [u8]>,
        exists: bool,
    ) -> Option<Applied<'r, 'k>> {
        if self.rules.is_empty() || (exists && !self.forced) {
            return None;
        }
        let mut room = Room::default();
        let asked = self.table.asked(subject, &mut room);
        let mut captures = Captures::new();
        // What several rules may ask for is found out once.
        let (mut is_for_asset, mut met) = (None, None);
        let mut applies = |rule: &Redirect, captures: &mut Captures<'k>| {
            if (exists && !rule.forced) || !rule.source.takes(&asked, captures) {
                return false;
            }
            if rule.itself.as_ref().is_some_and(|itself| itself.is_asked(subject)) {
                return false;
            }
            if rule.is_fallback()
                && *is_for_asset.get_or_insert_with(|| {
                    looked_at(subject.key.len());
                    is_asset(subject.key)
                })
            {
                return false;
            }
            if rule.parameters.is_empty() {
                return true;
            }
            let Some(query) = query else { return false };
            let has_all = met.get_or_insert_with(|| self.conditions.met(query)).all(&rule.parameters);
            if has_all {
                rule.parameters.iter().for_each(|parameter| parameter.capture(query, captures));
            }
            has_all
        };
        let places = self.table.at(subject.key, || asked.first());
        let rule = places
            .filter_map(|at| self.rules.get(usize::from(at)))
            .find(|rule| applies(rule, &mut captures))?;
        Some(Applied { rule, captures })
    }

    /// Whether a rule for a host, or for a query, is about the root's path: whether it applies
    /// depends on who asks.
    pub(crate) fn may_answer_root(&self) -> bool {
        let depends = |rule: &&Redirect| rule.source.names_host() || !rule.parameters.is_empty();
        self.rules.iter().filter(depends).any(|rule| rule.source.may_be_root())
    }

    /// Whether a rule may answer where another pattern matches; those that depend on the host do
    /// not count.
    pub(super) fn may_answer(&self, other: &Pattern) -> bool {
        let counts = |rule: &&Redirect| rule.itself.is_none() && !rule.source.names_host();
        self.rules.iter().filter(counts).any(|rule| rule.source.may_meet(other))
    }

    /// Targets inside the site that are fixed, with the lines of their rules.
    pub(crate) fn rewrites(&self) -> impl Iterator<Item = (u32, &[u8], bool)> {
        self.rules.iter().filter_map(|rule| match &rule.action {
            Action::Rewrite { target: Local::Key { key, slash }, .. } => Some((rule.line, &**key, *slash)),
            _ => None,
        })
    }

    /// The fixed paths of rules that give way to a file there, with the lines of the rules.
    pub(crate) fn yielding(&self) -> impl Iterator<Item = (u32, Vec<u8>)> {
        let yields = |rule: &&Redirect| !rule.forced;
        self.rules.iter().filter(yields).filter_map(|rule| Some((rule.line, rule.source.fixed()?)))
    }

    /// The targets of redirects inside the site, as far as they are fixed, with the lines of the
    /// rules.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.rules.iter().filter_map(|rule| match &rule.action {
            Action::Redirect { target, .. } => Some((rule.line, target.local_path()?)),
            Action::Rewrite { .. } => None,
        })
    }

    /// Whether some show a page under addresses that no file has.
    pub(crate) fn rewrite(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.action, Action::Rewrite { status: Status::OK, .. }))
    }
}

impl<'r> Applied<'r, '_> {
    pub(crate) fn outcome(&self, query: Option<&[u8]>, scratch: &'r mut Scratch, head: bool) -> Outcome<'r> {
        match &self.rule.action {
            Action::Rewrite { status, .. } => Outcome::Rewrite(*status, scratch),
            Action::Redirect { status, target } => {
                Outcome::Reply(target.reply(*status, &self.captures, query, &mut scratch.lines, head))
            }
        }
    }

    /// Whether the answer is an error, with a page or without.
    pub(crate) fn is_error(&self) -> bool {
        matches!(&self.rule.action, Action::Rewrite { status, .. } if *status != Status::OK)
    }

    /// Calls `find` with the key of the page that a rewrite shows, and whether it was written with
    /// a slash at its end.
    pub(crate) fn with_target<T>(&self, find: impl FnOnce(&[u8], bool) -> T) -> Option<T> {
        match &self.rule.action {
            Action::Rewrite { target: Local::Key { key, slash }, .. } => Some(find(key, *slash)),
            Action::Rewrite { target: Local::Template(template), .. } => {
                expand(template, &self.captures, find)
            }
            Action::Rewrite { target: Local::Nothing, .. } | Action::Redirect { .. } => None,
        }
    }
}

impl Redirect {
    fn is_fallback(&self) -> bool {
        matches!(self.action, Action::Rewrite { fallback: true, .. })
    }

    fn parse(line: u32, words: &mut Vec<&[u8]>) -> Result<Redirect, Fault> {
        let example = "a rule is: /source /target 301";
        let source_text = words.remove(0);
        let mut source = Pattern::parse(source_text)?;
        // `to=https://…` is a parameter.
        let is_target = |word: &[u8]| {
            let scheme = word.windows(3).position(|three| three == b"://");
            word.starts_with(b"/") || scheme.is_some_and(|at| !word[..at].contains(&b'='))
        };
        let no_target = || Fault::new("there is no target", example);
        let target_at = words.iter().position(|word| is_target(word));
        // Behind the parameters.
        let at = target_at.or_else(|| words.iter().position(|word| status(word).is_ok()));
        let Some(at) = at else { return Err(no_target()) };
        let target = target_at.map(|at| words[at]);
        let mut rest = words[at + usize::from(target.is_some())..].iter();
        let status = match rest.next() {
            Some(word) if word.first().is_some_and(u8::is_ascii_digit) => status(word),
            Some(word) => Err(condition(word)),
            None => Ok((301, false)),
        };
        if target.is_none() && !status.as_ref().is_ok_and(|(code, _)| bare(*code).is_some()) {
            return Err(no_target());
        }
        let parameters = words[..at]
            .iter()
            .map(|word| Parameter::parse(word, &mut source))
            .collect::<Result<Vec<_>, _>>()?;
        let (code, forced) = status?;
        if let Some(word) = rest.next() {
            return Err(condition(word));
        }
        let Some(target) = target else {
            let action = bare(code).ok_or_else(no_target)?;
            return Ok(Redirect { line, source, parameters, forced, itself: None, action });
        };
        let mut itself = None;
        match itself::compare(source_text, &source, target, !parameters.is_empty()) {
            Ok((slash, asked)) => {
                source.set_slash(slash);
                itself = asked.filter(|_| is_redirect(code));
            }
            Err(fault) if is_redirect(code) => return Err(fault),
            // A page under its own address: so paths are kept from the rules behind this one.
            Err(_) => {}
        }
        let mut action = action(code, target, &source)?;
        if let Action::Redirect { target, .. } = &mut action {
            // What a rule reads from the query it does not pass on.
            target.passes_query &= parameters.is_empty();
        }
        Ok(Redirect { line, source, parameters, forced, itself, action })
    }
}

fn status(word: &[u8]) -> Result<(u16, bool), Fault> {
    let (digits, forced) = match word.strip_suffix(b"!") {
        Some(digits) => (digits, true),
        None => (word, false),
    };
    let number =
        std::str::from_utf8(digits).ok().filter(|text| text.len() == 3).and_then(|text| text.parse().ok());
    number
        .map(|number| (number, forced))
        .ok_or_else(|| Fault::new("the status is not a number of three digits", STATUSES_HINT))
}

/// Explains why the word behind the status is no condition here.
fn condition(word: &[u8]) -> Fault {
    let name = word.split(|&byte| byte == b'=').next().unwrap_or_default().to_ascii_lowercase();
    match &name[..] {
        b"country" | b"language" | b"role" | b"cookie" | b"sign" | b"signed" => Fault::new(
            "conditions on country, language, role or cookie do not exist here",
            "take the condition out, or the rule: the same address gives everybody the same",
        ),
        b"!" => Fault::new("a space before the !", "write it right behind the status: 200!"),
        _ if word.contains(&b'=') => Fault::new(
            "a parameter behind the target",
            "parameters stand before it: /source id=:id /target 301",
        ),
        _ => Fault::new("too many words", "a rule is: /source /target 301"),
    }
}

/// Words of a line, up to a comment.
fn words(line: &[u8]) -> Vec<&[u8]> {
    let words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    words.take_while(|word| !word.starts_with(b"#")).take(WORDS_MAX).collect()
}

const LIMITS_HINT: &str = "10,000 are allowed, 500 of them with placeholders, splats, hosts or parameters";

#[cfg(test)]
mod tests;
