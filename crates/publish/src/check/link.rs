//! Links: what they mean on the page that they stand on, and whether the site has that.

use super::groups::Groups;
use super::{Findings, Kind, Problem};
use sitar_http::{Field, Method, Request, RequestTarget, Status};
use sitar_site::raw::{NAME_MAX, encode, hex, printable, resolve};
use sitar_site::{Route, Scratch, Site};

/// A link as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) target: Vec<u8>,
    pub(super) using: Use,
    pub(super) line: u32,
}

/// The use of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To be followed by a visitor.
    Visit,
    /// Loaded with the page.
    Load,
    /// The base of the others.
    Base,
}

/// The page or style sheet that links stand on.
pub(super) struct Page<'n> {
    name: &'n [u8],
    /// The base of relative links: a path that ends in a slash; `None` when they lead to
    /// another site.
    base: Option<Vec<u8>>,
}

/// The target of a link.
enum Meaning {
    /// Nowhere that this site could answer for.
    Elsewhere,
    /// To another site without encryption.
    Plain,
    /// Above the root.
    Above,
    /// To this path and query of this site.
    Here(Vec<u8>),
}

impl<'n> Page<'n> {
    pub(super) fn new(name: &'n [u8], links: &[Link]) -> Page<'n> {
        let folder = name.iter().rposition(|&byte| byte == b'/').map_or(&b""[..], |slash| &name[..=slash]);
        let mut own = b"/".to_vec();
        encode(folder, &mut own);
        let mut page = Page { name, base: Some(own) };
        // HTML: the first base counts.
        if let Some(base) = links.iter().find(|link| link.using == Use::Base) {
            page.base = match page.meaning(&base.target) {
                Meaning::Here(path) => {
                    let end = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
                    Some(path[..end].to_vec())
                }
                Meaning::Elsewhere | Meaning::Plain => None,
                Meaning::Above => Some(b"/".to_vec()),
            };
        }
        page
    }

    /// Follows one link.
    pub(super) fn check(&self, site: &Site, link: &Link, findings: &mut Findings, groups: &mut Groups) {
        if link.using == Use::Base {
            return;
        }
        findings.links += 1;
        let loads = link.using == Use::Load;
        // Only now, because most links are good.
        let written = || printable(&link.target);
        let (kind, target, what) = match self.meaning(&link.target) {
            Meaning::Plain if loads => (
                Kind::MixedContent,
                written(),
                format!("loads {} without encryption: browsers refuse it", written()),
            ),
            Meaning::Above => {
                (Kind::LeavesSite, written(), format!("the link {} climbs above the site's root", written()))
            }
            Meaning::Here(target) if !leads_somewhere(site, &target) => {
                let verb = if loads { "loads" } else { "links to" };
                (Kind::BrokenLink, place(&target), format!("{verb} {}, which is not there", written()))
            }
            Meaning::Elsewhere | Meaning::Plain | Meaning::Here(_) => return,
        };
        let problem = Problem { target, ..Problem::new(kind, printable(self.name), link.line, what) };
        groups.add(findings, problem);
    }

    fn meaning(&self, written: &[u8]) -> Meaning {
        // As browsers read it: white space around it and line ends inside it are nothing, a
        // backslash is a slash.
        let text: Vec<u8> = written
            .trim_ascii()
            .iter()
            .filter(|byte| !matches!(byte, b'\t' | b'\n' | b'\r'))
            .map(|&byte| if byte == b'\\' { b'/' } else { byte })
            .collect();
        if let Some(colon) = scheme(&text) {
            let plain = text[..colon].eq_ignore_ascii_case(b"http");
            return if plain { Meaning::Plain } else { Meaning::Elsewhere };
        }
        let text = text.split(|&byte| byte == b'#').next().unwrap_or_default();
        // Nothing but a query or a fragment: the page itself.
        if text.is_empty() || text.starts_with(b"?") || text.starts_with(b"//") {
            return Meaning::Elsewhere;
        }
        let mut target = match (&self.base, text.starts_with(b"/")) {
            (_, true) => Vec::new(),
            (Some(base), false) => base.clone(),
            (None, false) => return Meaning::Elsewhere,
        };
        escape(text, &mut target);
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        let mut depth = 0_usize;
        for segment in path.split(|&byte| byte == b'/') {
            match segment {
                b"" | b"." => {}
                b".." => match depth.checked_sub(1) {
                    Some(up) => depth = up,
                    None => return Meaning::Above,
                },
                _ => depth += 1,
            }
        }
        Meaning::Here(target)
    }
}

/// One name for all ways to write a path: without its query, dots and escapes.
fn place(target: &[u8]) -> String {
    let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
    match resolve(path, &mut [0; NAME_MAX]) {
        Ok(found) if found.key.is_empty() => "/".to_owned(),
        Ok(found) => printable(&[b"/", found.key, &b"/"[..usize::from(found.slash)]].concat()),
        Err(_) => printable(path),
    }
}

/// Whether the site answers a path and query with a page or a redirect.
pub(super) fn leads_somewhere(site: &Site, target: &[u8]) -> bool {
    let Some(target) = RequestTarget::from_origin_form(target) else { return false };
    let mut request = Request::new(Method::Get, target);
    // Some files exist in compressed forms only.
    if request.fields.push(Field::AcceptEncoding, b"br, zstd, gzip").is_err() {
        return false;
    }
    match site.route(&request, &mut Scratch::new()) {
        Route::File(found) => found.status() == Status::OK,
        Route::Reply(reply) => (300..400).contains(&reply.status.code()),
    }
}

/// The keys under which a file is asked for.
pub(super) fn addresses(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let page = name.strip_suffix(b".html");
    let folder = name.strip_suffix(b"index.html").map(|folder| folder.strip_suffix(b"/").unwrap_or(folder));
    [Some(name), page, folder].into_iter().flatten()
}

/// Line ends in a text.
pub(super) fn line_of(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.iter().filter(|&&byte| byte == b'\n').count()).unwrap_or(u32::MAX)
}

/// Returns the end of an absolute address's scheme, if it has one (RFC 3986 §3.1).
fn scheme(text: &[u8]) -> Option<usize> {
    let colon = text.iter().position(|&byte| byte == b':')?;
    let (first, rest) = text[..colon].split_first()?;
    let rest_is_scheme = rest.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(byte));
    (first.is_ascii_alphabetic() && rest_is_scheme).then_some(colon)
}

/// Escapes as browsers do before they send a path and a query.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if byte.is_ascii_graphic() && !b"\"<>`{}".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
}
