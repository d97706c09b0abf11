//! `sitar check`: what is wrong with a site, found without serving it.
//!
//! Each page and style sheet is read once, as far as `READ_MAX` goes, and each thread has one at a
//! time, so memory does not grow with the site. Findings come in the order of names, whatever the
//! number of threads. Links are tried on the site itself, its rules included: what is reported as
//! broken would be 404.

mod css;
mod groups;
mod html;
mod link;
mod manifest;
mod sidecars;
mod sniff;
mod threads;

use self::groups::Groups;
pub use self::threads::Work;
use sitar_html::Syntax;
use sitar_http::semantics::Coding;
use sitar_site::raw::{Override, Sidecar, StoredCoding, media_type, printable, stored_coding};
use sitar_site::{Budget, FileId, OpenError, OpenFault, Options, Site, Warning};
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;

/// The findings about a site.
#[derive(Debug, Default)]
pub struct Findings {
    /// In the order of files and lines.
    pub problems: Vec<Problem>,
    /// Further problems that were counted but not kept; links with one target count each.
    pub more: usize,
    /// Names of files that are not served because they configure other hosts: no problem, but not
    /// to be overlooked.
    pub not_served: Vec<String>,
    /// Files looked at.
    pub files: usize,
    /// Links followed.
    pub links: usize,
}

/// One thing that is wrong, in one place or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of thing.
    pub kind: Kind,
    /// The file that it is in, made printable.
    pub file: String,
    /// The line, counted from 1; 0 where it is about the whole file.
    pub line: u32,
    /// The problem, in words.
    pub what: String,
    /// The target of the link: a path of this site, or an address as written, made printable. Empty
    /// where it is not about a link.
    pub target: String,
    /// Links that lead there.
    pub times: usize,
    /// Pages with such links.
    pub pages: usize,
    /// Further places, in order, as far as they are kept.
    pub others: Vec<Location>,
}

/// A line of a file of the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, made printable.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
}

impl Problem {
    /// A problem in one place, which is not about a link.
    #[must_use]
    pub fn new(kind: Kind, file: impl Into<String>, line: u32, what: impl Into<String>) -> Problem {
        Problem {
            kind,
            file: file.into(),
            line,
            what: what.into(),
            target: String::new(),
            times: 1,
            pages: 1,
            others: Vec::new(),
        }
    }
}

/// Kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A mistake in `_headers` or `_redirects`.
    Rule,
    /// A rule that can never apply, or whose target does not exist.
    DeadRule,
    /// A line of `_headers` that takes the place of another one.
    Override,
    /// A link to something on this site that is not there.
    BrokenLink,
    /// A link that climbs above the site's root.
    LeavesSite,
    /// Something that a page loads over plain HTTP.
    MixedContent,
    /// Content that is not what the file's name says.
    MediaType,
    /// An encoding beside a file that is not that file encoded, or that is too old to be sent for
    /// it.
    Sidecar,
    /// A file larger than it should be.
    Oversized,
    /// A file that is not served.
    LeftOut,
    /// A file that could not be read.
    Unreadable,
    /// The site has no page at its root.
    NoIndex,
    /// A file that was hardly meant for everyone.
    Secret,
}

impl Kind {
    /// The name in `--json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Rule => "rule",
            Kind::DeadRule => "dead-rule",
            Kind::Override => "override",
            Kind::BrokenLink => "broken-link",
            Kind::LeavesSite => "leaves-site",
            Kind::MixedContent => "mixed-content",
            Kind::MediaType => "media-type",
            Kind::Sidecar => "sidecar",
            Kind::Oversized => "oversized",
            Kind::LeftOut => "left-out",
            Kind::Unreadable => "unreadable",
            Kind::NoIndex => "no-index",
            Kind::Secret => "secret",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            // It is about the whole site.
            ("", _) => f.write_str(&self.what)?,
            (file, 0) => write!(f, "{file}: {}", self.what)?,
            (file, line) => write!(f, "{file}:{line}: {}", self.what)?,
        }
        groups::elsewhere(self, f)
    }
}

impl Findings {
    fn push(&mut self, kind: Kind, file: &[u8], line: u32, what: impl Into<String>) {
        self.keep(Problem::new(kind, printable(file), line, what));
    }

    fn keep(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.more += problem.times;
        }
    }

    /// Adds what was found in one file.
    fn add(&mut self, other: Findings, groups: &mut Groups) {
        let Findings { problems, more, files, links, not_served: _ } = other;
        for problem in problems {
            groups.add(self, problem);
        }
        self.more += more;
        self.files += files;
        self.links += links;
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Looks at everything in a site. `size_max`: bytes of a file above which it is reported.
///
/// # Errors
/// What keeps the site from being opened at all; mistakes in its rules are findings.
pub fn check(path: &Path, options: &Options, size_max: Option<u64>) -> Result<Findings, OpenError> {
    check_with(path, options, size_max, Work { threads: NonZeroUsize::MIN, progress: &mut |_, _| () })
}

/// The same with several threads.
///
/// # Errors
/// As for [`check`].
pub fn check_with(
    path: &Path,
    options: &Options,
    size_max: Option<u64>,
    mut work: Work<'_>,
) -> Result<Findings, OpenError> {
    let mut findings = Findings::default();
    let site = match Site::open(path, options) {
        Err(error) if matches!(error.fault(), OpenFault::Rules(_)) => {
            if let OpenFault::Rules(errors) = error.fault() {
                for error in errors {
                    let what = format!("{}: '{}'; {}", error.reason, error.text, error.hint);
                    findings.push(Kind::Rule, error.file.as_bytes(), error.line, what);
                }
            }
            Site::open_without_rules(path, options)?
        }
        opened => opened?,
    };
    rules(&site, &mut findings);
    findings.not_served = site.hidden_names().map(printable).collect();
    for warning in site.warnings() {
        match warning {
            Warning::LeftOut { name, why } => {
                findings.push(Kind::LeftOut, name.as_bytes(), 0, format!("is left out: {why}"));
            }
            // Named one by one, with their contents looked at.
            Warning::Outdated { .. } => {}
            Warning::Secret { name, what } => {
                let what = format!("looks like {what}, and everyone can fetch it");
                findings.push(Kind::Secret, name.as_bytes(), 0, what);
            }
            Warning::HostConfig { .. } => {}
            other => findings.push(kind_of(other), b"", 0, other.to_string()),
        }
    }
    files(&site, size_max, &mut work, &mut findings);
    Ok(findings)
}

/// The kind of what is about the whole site.
fn kind_of(warning: &Warning) -> Kind {
    match warning {
        Warning::NoFiles | Warning::NoIndex | Warning::NoPages | Warning::OneTopFolder { .. } => {
            Kind::NoIndex
        }
        _ => Kind::LeftOut,
    }
}

fn files(site: &Site, size_max: Option<u64>, work: &mut Work<'_>, findings: &mut Findings) {
    let mut names: Vec<_> = site.names().collect();
    names.sort_unstable();
    let pairs = site.sidecars();
    let (mut done, all) = (0, names.len() + pairs.len());
    let mut groups = Groups::default();
    let budget = || Budget::new(READ_MAX, READ_MAX);
    for batch in names.chunks(BATCH) {
        (work.progress)(done, all);
        let look = |budget: &mut Budget, &(name, file): &(&[u8], FileId)| {
            let mut findings = Findings { files: 1, ..Findings::default() };
            look(site, name, file, size_max, budget, &mut findings);
            findings
        };
        for found in threads::each(work.threads, batch, budget, look) {
            findings.add(found, &mut groups);
        }
        done += batch.len();
    }
    for batch in pairs.chunks(BATCH) {
        (work.progress)(done, all);
        let faults =
            threads::each(work.threads, batch, || (), |(), pair: &Sidecar<'_>| sidecars::fault(site, pair));
        for (pair, what) in batch.iter().zip(faults) {
            what.into_iter().for_each(|what| findings.push(Kind::Sidecar, pair.name, 0, what));
        }
        done += batch.len();
    }
    (work.progress)(done, all);
}

/// Looks at one file.
fn look(
    site: &Site,
    name: &[u8],
    file: FileId,
    size_max: Option<u64>,
    budget: &Budget,
    findings: &mut Findings,
) {
    let loaded = site.load(file, budget, std::time::SystemTime::now());
    let (bytes, length) = match loaded.and_then(|loaded| loaded.beginning(SNIFFED)) {
        Ok(read) => read,
        Err(error) => return findings.push(Kind::Unreadable, name, 0, format!("cannot be read: {error}")),
    };
    if size_max.is_some_and(|most| length > most) {
        findings.push(Kind::Oversized, name, 0, format!("is {} MiB large", length.div_ceil(1 << 20)));
    }
    if let Some(stored) = stored(site, name) {
        if !sniff::is_encoded(stored, &bytes, bytes.len() as u64 == length) {
            let coding = stored.name();
            let what = format!("is not encoded in {coding}, but is sent with Content-Encoding: {coding}");
            findings.push(Kind::MediaType, name, 0, what);
        }
        return;
    }
    let essence = media_type(name).essence;
    if let Some(wrong) = sniff::contradiction(essence, &bytes) {
        return findings.push(Kind::MediaType, name, 0, wrong);
    }
    if bytes.len() as u64 != length {
        // Only its beginning was read: what is said about it would be wrong.
        return;
    }
    let mut links = Vec::new();
    match essence {
        "text/html" => html::links(&bytes, Syntax::Html, &mut links),
        "application/xhtml+xml" | "image/svg+xml" => html::links(&bytes, Syntax::Xml, &mut links),
        "text/css" => css::links(&bytes, 0, &mut links),
        essence if manifest::is_manifest(name, essence) => manifest::links(&bytes, &mut links),
        _ => return,
    }
    let page = link::Page::new(name, &links);
    let mut groups = Groups::default();
    for link in &links {
        page.check(site, link, findings, &mut groups);
    }
}

/// The coding that a file is stored in, by the rules or by its name.
fn stored(site: &Site, name: &[u8]) -> Option<StoredCoding> {
    let by_name = || match stored_coding(name) {
        Coding::Gzip => Some(StoredCoding::Gzip),
        Coding::Identity | Coding::Br | Coding::Zstd => None,
    };
    site.rules().stored_coding(name).or_else(by_name)
}

/// Lines of `_headers` that take the place of others, in the answers for the site's files.
fn overrides(site: &Site, findings: &mut Findings) {
    let mut found = BTreeSet::new();
    for (name, _) in site.names() {
        link::addresses(name).for_each(|key| site.rules().overridden(key, &mut found));
    }
    for Override { line, replaced, name, is_within_rule } in found {
        let what = if is_within_rule {
            format!("takes the place of line {replaced}, which also sets {name} for this path")
        } else {
            format!(
                "takes the place of {name} in line {replaced}, where both match (Cloudflare would send both); if that is \
                 meant, write above it: ! {name}"
            )
        };
        findings.push(Kind::Override, b"_headers", line, what);
    }
}

fn rules(site: &Site, findings: &mut Findings) {
    for shadowed in site.rules().shadowed() {
        let what = format!("never applies: the rule in line {} takes all that it could", shadowed.by);
        findings.push(Kind::DeadRule, shadowed.file.as_bytes(), shadowed.line, what);
    }
    for (line, key) in site.rules().yielding() {
        if site.has_content(&key, false) || site.has_content(&key, true) {
            let what = "never applies: there is a page at its source; a ! behind the status replaces it";
            findings.push(Kind::DeadRule, b"_redirects", line, what);
        }
    }
    for (line, key, slash) in site.rules().rewrites() {
        if !site.has_content(key, slash) {
            let what = format!("the page that it shows does not exist: /{}", printable(key));
            findings.push(Kind::DeadRule, b"_redirects", line, what);
        }
    }
    for (line, target) in site.rules().targets() {
        if !link::leads_somewhere(site, target) {
            let what = format!("its target does not exist: {}", printable(target));
            findings.push(Kind::DeadRule, b"_redirects", line, what);
        }
    }
    overrides(site, findings);
    let Some(mut unmatched) = site.rules().unmatched() else { return };
    for (name, _) in site.names() {
        link::addresses(name).for_each(|key| unmatched.look_at(key));
    }
    for line in unmatched.lines() {
        findings.push(Kind::DeadRule, b"_headers", line, "never applies: there is no file at such a path");
    }
}

/// Bytes of one file that are read: pages and style sheets larger than this are not searched for
/// links.
const READ_MAX: u64 = 16 << 20;
/// Bytes of a larger one that are read to see what it is.
const SNIFFED: usize = 4096;
/// Files that the threads work on before what they found is put together.
const BATCH: usize = 256;
/// Problems that are kept; the rest is counted.
const PROBLEMS_MAX: usize = 1000;

#[cfg(test)]
mod tests;
