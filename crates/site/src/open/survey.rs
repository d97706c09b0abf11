//! Warnings about the files of a site: which of them are not served, what is missing,
//! what looks like a secret.

mod secrets;

use crate::open::directory::Root;
use crate::open::error::{Warning, Warnings};
use crate::open::printable::printable;
use crate::open::sidecar::sidecar;
use crate::open::site::{Site, Store};
pub use secrets::is_html;
use secrets::secrets;
use sitar_http::{Field, Method, Request, RequestTarget, Status};
use sitar_io::File;

/// Whether a key is a file that configures another host of sites, or an encoding of one: beside
/// `_headers` and `_redirects`, never in deeper folders. Cloudflare Pages does not upload its own
/// (the ignore list of wrangler's `pages deploy`).
pub(crate) fn is_host_config(key: &[u8]) -> bool {
    if !matches!(key.first(), Some(b'_' | b'C' | b'n' | b'v' | b'w')) {
        return false;
    }
    let mut stem = key;
    while let Some((original, _)) = sidecar(stem) {
        stem = original;
    }
    HOST_CONFIG.contains(&stem) || key.starts_with(b"_worker.js/")
}

/// Warns of files that are not served because they configure another host.
fn host_config<'n>(names: impl Iterator<Item = &'n [u8]>, warnings: &mut Warnings) {
    let mut files = 0;
    let mut shown: Vec<String> = Vec::new();
    for name in names {
        files += 1;
        if shown.len() < NAMES_SHOWN {
            shown.push(printable(name));
        }
    }
    if files > 0 {
        warnings.push(Warning::HostConfig { files, names: shown });
    }
}

/// Looks at the names of a directory that is to be packed: returns those that are packed, which
/// with `config_files` are all, and warns of what is left out and of what looks like a secret.
pub fn screen(
    root: &Root,
    mut names: Vec<Box<[u8]>>,
    config_files: bool,
    warnings: &mut Warnings,
) -> Vec<Box<[u8]>> {
    if !config_files {
        let (hidden, kept) = names.into_iter().partition::<Vec<_>, _>(|name| is_host_config(name));
        host_config(hidden.iter().map(|name| &**name), warnings);
        names = kept;
    }
    let named = names.iter().map(|name| ((), &**name));
    secrets(named, |(), name, buffer| first_bytes(root, name, buffer), warnings);
    names
}

/// Looks at a site that has just been opened, whose root is the folder `prefix` of what lies there.
pub(crate) fn survey(site: &Site, prefix: Option<&str>, warnings: &mut Warnings) {
    let hidden = site.index.hidden().filter_map(|source| site.index.source_name(source));
    host_config(hidden, warnings);
    landing(site, prefix, warnings);
    let names = site.index.sources_of_their_own().filter_map(|source| {
        let name = site.index.source_name(source)?;
        Some((source, name))
    });
    secrets(names, |source, name, buffer| beginning(site, source, name, buffer), warnings);
}

/// The page that visitors come to first, and whether there is any. Rules alone are a site, too: one
/// that leads elsewhere.
fn landing(site: &Site, prefix: Option<&str>, warnings: &mut Warnings) {
    // A rule for one host, or for one query, may be all that is meant to answer.
    if answers_root(site) || site.rules.redirects.may_answer_root() {
        return;
    }
    let ends = |name: &[u8], end: &[u8]| {
        name.len().checked_sub(end.len()).is_some_and(|at| name[at..].eq_ignore_ascii_case(end))
    };
    let is_page = |name: &[u8]| [&b".html"[..], b".htm", b".xhtml"].iter().any(|end| ends(name, end));
    warnings.push(if site.index.files == 0 {
        Warning::NoFiles
    } else if let Some(folder) = only_folder(site.index.all_names()) {
        let folder = printable(folder);
        Warning::OneTopFolder {
            prefix: match prefix {
                Some(prefix) => format!("{}/{folder}", prefix.trim_matches('/')),
                None => folder,
            },
        }
    } else if site.index.all_names().any(is_page) {
        Warning::NoIndex
    } else {
        Warning::NoPages
    });
}

/// The one folder that everything public lies in, if there is just one.
fn only_folder<'n>(names: impl Iterator<Item = &'n [u8]>) -> Option<&'n [u8]> {
    let mut only = None;
    for name in names {
        let slash = name.iter().position(|&byte| byte == b'/')?;
        let folder = &name[..slash];
        if only.is_some_and(|only| only != folder) || folder == b".well-known" {
            return None;
        }
        only = Some(folder);
    }
    only
}

fn answers_root(site: &Site) -> bool {
    use crate::answer::{reply::Scratch, route::Route};
    let Some(target) = RequestTarget::from_origin_form(b"/") else { return false };
    let mut request = Request::new(Method::Get, target);
    // A page may exist in compressed forms only.
    let _ = request.fields.push(Field::AcceptEncoding, b"br, zstd, gzip");
    match site.route(&request, &mut Scratch::new()) {
        Route::File(found) => found.status == Status::OK,
        Route::Reply(reply) => (300..400).contains(&reply.status.code()),
    }
}

/// Reads the first bytes of a source; `None` where it cannot be read, which is for the loader to
/// report.
fn beginning<'b>(site: &Site, source: usize, name: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let (file, offset, size) = match &site.store {
        Store::Embedded(bodies) => {
            let body = bodies.get(source)?;
            let kept = buffer.get_mut(..body.len().min(buffer.len()))?;
            kept.copy_from_slice(body.get(..kept.len())?);
            return Some(kept);
        }
        Store::Archive { file, bodies, maps } => {
            let stored = bodies.get(source)?;
            if let Some(map) = maps.get(&stored.offset) {
                let kept = head(buffer, stored.size)?;
                file.sparse(map).read_exact_at(kept, 0).ok()?;
                return Some(kept);
            }
            (file.clone(), stored.offset, stored.size)
        }
        Store::Pack { file, records, .. } => {
            let record = records.get(source)?;
            (file.clone(), record.offset, record.size)
        }
        Store::Directory(root) => return first_bytes(root, name, buffer),
    };
    read(&file, offset, size, buffer)
}

/// Reads the first bytes of a file in a directory.
fn first_bytes<'b>(root: &Root, name: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let (fd, stat) = root.file(name).ok()?;
    read(&File::from(fd), 0, u64::try_from(stat.st_size).unwrap_or(0), buffer)
}

fn read<'b>(file: &File, offset: u64, size: u64, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let kept = head(buffer, size)?;
    file.read_exact_at(kept, offset).ok()?;
    Some(kept)
}

/// The part of a buffer that the first bytes of a file of this size take.
fn head(buffer: &mut [u8], size: u64) -> Option<&mut [u8]> {
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(buffer.len());
    buffer.get_mut(..length)
}

/// At the root of a site.
const HOST_CONFIG: [&[u8]; 8] = [
    b"CNAME",
    b"_routes.json",
    b"_worker.js",
    b"netlify.toml",
    b"vercel.json",
    b"wrangler.json",
    b"wrangler.jsonc",
    b"wrangler.toml",
];
/// Names in one warning.
const NAMES_SHOWN: usize = 8;
