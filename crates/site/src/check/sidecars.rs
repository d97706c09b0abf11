//! Encodings that lie beside a file: each is decoded and compared with it.

use crate::budget::Budget;
use crate::index::{FileId, Slot};
use crate::sidecar::{COMPARED_MAX, Verdict, compare, is_oversized};
use crate::site::Site;
use sitar_http::semantics::Coding;
use std::collections::HashSet;
use std::io;
use std::time::SystemTime;

/// Every sidecar that has an original, in the order of names; one without is a file like any other.
pub(super) fn pairs(site: &Site) -> Vec<Pair<'_>> {
    let outdated: HashSet<usize> = site.index.outdated.iter().copied().collect();
    let names = site.index.names();
    let mut pairs: Vec<_> = names.filter_map(|(name, file)| pair(site, &outdated, name, file)).collect();
    pairs.sort_unstable_by_key(|pair| pair.name);
    pairs
}

/// A sidecar and its original.
pub(super) struct Pair<'s> {
    pub(super) name: &'s [u8],
    original_name: &'s [u8],
    coding: Coding,
    sidecar: FileId,
    original: FileId,
    is_outdated: bool,
}

fn pair<'s>(site: &'s Site, outdated: &HashSet<usize>, name: &'s [u8], sidecar: FileId) -> Option<Pair<'s>> {
    let (original_name, coding) = crate::index::sidecar(name)?;
    let Some(Slot::File(choice)) = site.index.get(original_name) else { return None };
    let original = choice.of(Coding::Identity)?;
    let is_outdated = site.index.source(sidecar).is_some_and(|(source, _)| outdated.contains(&source));
    Some(Pair { name, original_name, coding, sidecar, original, is_outdated })
}

/// What is wrong with a pair. A file that cannot be read is a finding of its own.
pub(super) fn fault(site: &Site, pair: &Pair<'_>) -> Option<String> {
    let original = crate::error::printable(pair.original_name);
    let coding = match pair.coding {
        Coding::Br => "brotli",
        Coding::Zstd => "Zstandard",
        Coding::Gzip | Coding::Identity => "gzip",
    };
    match verdict(site, pair).ok()? {
        Some(Verdict::Broken) => {
            Some(format!("is not {original} in {coding}: browsers cannot decode it to the end"))
        }
        Some(Verdict::Oversized) => {
            Some(format!("is far larger than {original}, and cannot save any of its bytes"))
        }
        Some(Verdict::Other) => Some(format!(
            "is not {original} in {coding}: it decodes to something else, such as an older version of it"
        )),
        None if pair.is_outdated => Some(format!("is older than {original}, and therefore not sent for it")),
        Some(Verdict::Same) if pair.is_outdated => Some(format!(
            "is older than {original}, and therefore not sent for it, although it has the same content; \
             touch it, or pack the site"
        )),
        Some(Verdict::Same) | None => None,
    }
}

/// `None`: the original is too large to be compared.
fn verdict(site: &Site, pair: &Pair<'_>) -> io::Result<Option<Verdict>> {
    let (content, length) = read(site, pair.original, COMPARED_MAX)?;
    if length > COMPARED_MAX {
        return Ok(None);
    }
    let (encoded, size) = read(site, pair.sidecar, 2 * COMPARED_MAX)?;
    if is_oversized(size, length) {
        return Ok(Some(Verdict::Oversized));
    }
    Ok(Some(compare(pair.coding, &encoded, &content)))
}

/// The first bytes of a file, and how many it has.
fn read(site: &Site, file: FileId, at_most: u64) -> io::Result<(Vec<u8>, u64)> {
    // Without a budget nothing is read beyond what is asked for.
    let nothing = Budget::new(0, 0);
    site.load(file, &nothing, SystemTime::now())?.beginning(usize::try_from(at_most).unwrap_or(usize::MAX))
}
