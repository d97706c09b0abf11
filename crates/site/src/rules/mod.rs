//! Rules that a site brings along: `_redirects` and `_headers`, in the syntax of Netlify and
//! Cloudflare Pages.
//!
//! Compiled once, when a site opens or is packed; on the path of a request nothing is allocated. A
//! request's path, host and query are cut once, rules are found by the path or by its first
//! segment, and the others are tried one after the other: the time is bounded by the length of the
//! request and the length of those rules, added. The same rules hold for an archive, a directory
//! and a pack.
//!
//! Differences between the two models:
//!
//! | | Netlify | Cloudflare Pages | here |
//! |---|---|---|---|
//! | no status | 301 | 302 | 301 |
//! | a page at the source's path | wins, unless `!` | loses | wins, unless `!` |
//! | slash at the end | no difference | a difference | counts for a rule that adds or removes it |
//! | scheme of a source | counts | – | no difference, and no redirect to the same address |
//! | a splat | at the end | anywhere, one | anywhere, one |
//! | `/* /index.html 200` and a missing script | 200 with the page | – | 404 |
//! | a bad line | ignored | ignored | an error |
//! | `Cache-Control` twice | – | both, as a list | the last, as of all fields with one value |
//! | header rules and redirects | files only | every header | access, referrer, robots, HSTS |
//! | OPTIONS | – | a redirect, else 405 | 204, with the same |
//!
//! Not done: other hosts as the source of content (proxying), conditions on country, language, role
//! or cookie.

mod bits;
mod captures;
mod cost;
mod error;
mod files;
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
mod subject;
mod table;
mod target;
mod template;

pub use error::RuleError;
pub(crate) use files::{FILE_MAX, HEADER_LINES_MAX, HEADERS, PIECES_MAX, REDIRECTS, rule_bytes};
pub use files::{RULE_FILES, Shadowed};
pub(crate) use headers::{FIXED_BYTES_MAX, Headers, Occasion};
pub use headers::{HeaderSet, Override, StoredCoding, Unmatched};
pub(crate) use redirects::{Outcome, Redirects};
pub(crate) use subject::{Subject, subject};

use error::{Fault, Faults};

/// The compiled rules of a site.
#[derive(Debug, Default)]
pub struct Rules {
    pub(crate) headers: Headers,
    pub(crate) redirects: Redirects,
    shadowed: Vec<Shadowed>,
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
