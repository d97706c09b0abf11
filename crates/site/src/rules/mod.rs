//! Rules that a site brings along: `_redirects` and `_headers`, in the syntax of Netlify and
//! Cloudflare Pages.
//!
//! Compiled once, when a site opens or is packed; on the path of a request nothing is allocated. A
//! request's path, host and query are cut once, rules are found by the path or by its first
//! segment, and the others are tried one after the other: the time is bounded by the length of the
//! request and the length of those rules, added. The same rules hold for an archive, a directory
//! and a pack.
//!
//! Where the two models differ:
//!
//! | | Netlify | Cloudflare Pages | here |
//! |---|---|---|---|
//! | no status | 301 | 302 | 301 |
//! | a page at the source's path | wins, unless `!` | loses | wins, unless `!` |
//! | slash at the path's end | no difference | a difference | no difference, except to a rule that only adds or removes it |
//! | scheme of a source | counts | – | no difference; a redirect does not apply to the address that it leads to |
//! | a splat | at the end | anywhere, one | anywhere, one |
//! | `/* /index.html 200` and a missing script | 200 with the page | – | 404 |
//! | a bad line | ignored | ignored | an error |
//! | `Cache-Control` in two rules | – | both, as a list | the last one's, as of all fields with one value |
//! | header rules and redirects | files only | every header | access, referrer, robots, HSTS |
//! | OPTIONS | – | a redirect, else 405 | 204, with the same |
//!
//! Not done: other hosts as the source of content (proxying), conditions on country, language, role
//! or cookie.

mod bits;
mod cost;
mod error;
mod headers;
mod host;
mod itself;
mod origin;
mod parameters;
mod pattern;
mod pieces;
mod redirects;
mod review;
mod source;
mod table;
mod target;
mod template;

pub use error::RuleError;
pub(crate) use headers::{FIXED_BYTES_MAX, Headers, Occasion};
pub use headers::{HeaderSet, Override, StoredCoding, Unmatched};
pub(crate) use pattern::Subject;
pub(crate) use redirects::{Outcome, Redirects};

use error::{Fault, Faults};

/// The compiled rules of a site.
#[derive(Debug, Default)]
pub struct Rules {
    pub(crate) headers: Headers,
    pub(crate) redirects: Redirects,
    shadowed: Vec<Shadowed>,
}

/// A rule that can never apply, because another one before it always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// The file's name.
    pub file: &'static str,
    /// The line of the rule that never applies.
    pub line: u32,
    /// The line of the one that does.
    pub by: u32,
}

impl Rules {
    /// Compiles the contents of `_headers` and `_redirects`, as far as there are such files.
    ///
    /// # Errors
    /// Everything that is wrong with them, up to 20 mistakes for each file.
    pub fn compile(headers: Option<&[u8]>, redirects: Option<&[u8]>) -> Result<Rules, Vec<RuleError>> {
        let mut rules = Rules::default();
        let mut errors = Vec::new();
        if let Some(text) = headers.filter(|text| !text.is_empty()) {
            let mut faults = Faults::new(HEADERS);
            if let Some(text) = checked(text, &mut faults) {
                rules.headers = Headers::compile(text, &mut faults);
            }
            errors.extend(faults.finish());
        }
        if let Some(text) = redirects.filter(|text| !text.is_empty()) {
            let mut faults = Faults::new(REDIRECTS);
            if let Some(text) = checked(text, &mut faults) {
                rules.redirects = Redirects::compile(text, &mut faults, &mut rules.shadowed);
            }
            errors.extend(faults.finish());
        }
        if errors.is_empty() { Ok(rules) } else { Err(errors) }
    }

    /// Rules that can never apply.
    #[must_use]
    pub fn shadowed(&self) -> &[Shadowed] {
        &self.shadowed
    }
}

/// The text without a byte order mark, if it is not too long.
fn checked<'t>(text: &'t [u8], faults: &mut Faults) -> Option<&'t [u8]> {
    if text.len() > FILE_MAX {
        faults.push(
            0,
            b"",
            Fault::new("the file is larger than 1 MiB", "use splats and placeholders instead of many lines"),
        );
        return None;
    }
    Some(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text))
}

/// Lines with their numbers, whatever their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    // FILE_MAX is far below 2^32.
    (1..).zip(text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)))
}

/// The file with the header rules.
pub(crate) const HEADERS: &str = "_headers";
/// The file with the redirects.
pub(crate) const REDIRECTS: &str = "_redirects";
/// Bytes of one file.
pub(crate) const FILE_MAX: usize = 1 << 20;
/// Bytes of one line. Cloudflare allows 2,000 characters, which are 8,000 bytes at most.
const LINE_MAX: usize = 8192;
/// Rules in `_redirects`. Cloudflare allows 2,100.
const REDIRECTS_MAX: usize = 10_000;
/// Those of them with wildcards, a host or parameters. Cloudflare allows 100.
const REDIRECTS_DYNAMIC_MAX: usize = 500;
/// Rules in `_headers`. Cloudflare allows 100.
const HEADER_RULES_MAX: usize = 500;
/// Lines that rules may add to one answer.
pub(crate) const HEADER_LINES_MAX: usize = 64;
/// Pieces of a header block: the lines of rules, and those of the server's own.
pub(crate) const PIECES_MAX: usize = HEADER_LINES_MAX + 16;
