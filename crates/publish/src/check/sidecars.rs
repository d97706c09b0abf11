//! Encodings that lie beside a file: each is decoded and compared with it.

use crate::sidecar::{COMPARED_MAX, Comparison, compare, is_oversized};
use sitar_http::semantics::Coding;
use sitar_site::raw::{Sidecar, printable};
use sitar_site::{Budget, FileId, Site};
use std::io;
use std::time::SystemTime;

/// Returns what is wrong with a pair. A file that cannot be read is a finding of its own.
pub(super) fn fault(site: &Site, pair: &Sidecar<'_>) -> Option<String> {
    let original = printable(pair.original_name);
    let coding = match pair.coding {
        Coding::Br => "brotli",
        Coding::Zstd => "Zstandard",
        Coding::Gzip | Coding::Identity => "gzip",
    };
    match verdict(site, pair).ok()? {
        Some(Comparison::Broken) => {
            Some(format!("is not {original} in {coding}: browsers cannot decode it to the end"))
        }
        Some(Comparison::Oversized) => {
            Some(format!("is far larger than {original}, and cannot save any of its bytes"))
        }
        Some(Comparison::Other) => Some(format!(
            "is not {original} in {coding}: it decodes to something else, such as an older version of it"
        )),
        None if pair.is_outdated => Some(format!("is older than {original}, and therefore not sent for it")),
        Some(Comparison::Same) if pair.is_outdated => Some(format!(
            "is older than {original}, and therefore not sent for it, although it has the same content; \
             touch it, or pack the site"
        )),
        Some(Comparison::Same) | None => None,
    }
}

/// `None`: the original is too large to be compared.
fn verdict(site: &Site, pair: &Sidecar<'_>) -> io::Result<Option<Comparison>> {
    let (content, length) = read(site, pair.original, COMPARED_MAX)?;
    if length > COMPARED_MAX {
        return Ok(None);
    }
    let (encoded, size) = read(site, pair.sidecar, 2 * COMPARED_MAX)?;
    if is_oversized(size, length) {
        return Ok(Some(Comparison::Oversized));
    }
    Ok(Some(compare(pair.coding, &encoded, &content)))
}

/// The first bytes of a file, and how many it has.
fn read(site: &Site, file: FileId, at_most: u64) -> io::Result<(Vec<u8>, u64)> {
    // Without a budget nothing is read beyond what is asked for.
    let nothing = Budget::new(0, 0);
    site.load(file, &nothing, SystemTime::now())?.beginning(usize::try_from(at_most).unwrap_or(usize::MAX))
}
