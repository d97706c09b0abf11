//! Sidecars that the directory brings: decoded and compared with their files before anything is
//! written.

use super::write::{PackError, PackFault};
use crate::sidecar::{COMPARED_MAX, Comparison, compare, is_oversized};
use sitar_http::semantics::Coding;
use sitar_site::raw::{RULE_FILES, Root, SiteFile, Warnings, is_outdated, sidecar};
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A file and the sidecars that lie beside it, by their places among the names.
struct Group {
    original: usize,
    sidecars: Vec<(usize, Coding)>,
}

/// Removes the sidecars that are not encodings of their files from the names, which are sorted.
/// Returns how many they were.
///
/// # Errors
/// A file cannot be read, or is changed meanwhile.
pub(super) fn sift(
    root: &Root,
    names: &mut Vec<Box<[u8]>>,
    threads: NonZeroUsize,
    warnings: &mut Warnings,
) -> Result<usize, PackError> {
    let groups = groups(names);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut faults = Vec::new();
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            faults.extend(examine(root, names, group)?);
        }
        Ok(faults)
    };
    let results: Vec<Result<Vec<(usize, &'static str)>, PackError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.get().min(groups.len())).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(PackError::of(b"")(PackFault::Panicked))))
            .collect()
    });
    let mut faults = results.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    faults.sort_unstable();
    let mut left_out: HashSet<usize> = faults.iter().map(|(at, _)| *at).collect();
    // In the order of names, so that a file comes before its sidecars, and those before theirs.
    for group in &groups {
        if left_out.contains(&group.original) {
            for (at, _) in &group.sidecars {
                if left_out.insert(*at) {
                    faults.push((*at, ORPHAN));
                }
            }
        }
    }
    faults.sort_unstable();
    for (at, why) in &faults {
        warnings.left_out(&names[*at], why);
    }
    let mut at = 0;
    names.retain(|_| {
        at += 1;
        !left_out.contains(&(at - 1))
    });
    Ok(left_out.len())
}

fn groups(names: &[Box<[u8]>]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut pairs: Vec<_> = (0..names.len())
        .filter_map(|at| {
            let (original, coding) = sidecar(&names[at])?;
            Some((original_of(names, original)?, at, coding))
        })
        .collect();
    pairs.sort_unstable_by_key(|(original, at, _)| (*original, *at));
    for (original, at, coding) in pairs {
        match groups.last_mut().filter(|group| group.original == original) {
            Some(group) => group.sidecars.push((at, coding)),
            None => groups.push(Group { original, sidecars: vec![(at, coding)] }),
        }
    }
    groups
}

/// Returns the place among the sorted names of a sidecar's original. The rules have no sidecars:
/// they are not served.
pub(super) fn original_of(names: &[Box<[u8]>], original: &[u8]) -> Option<usize> {
    if RULE_FILES.contains(&original) {
        return None;
    }
    names.binary_search_by(|name| (**name).cmp(original)).ok()
}

/// Returns what is wrong with the sidecars of a file.
fn examine(root: &Root, names: &[Box<[u8]>], group: &Group) -> Result<Vec<(usize, &'static str)>, PackError> {
    let content = read(root, &names[group.original], |size| size <= COMPARED_MAX)?;
    let mut faults = Vec::new();
    for &(at, coding) in &group.sidecars {
        let fault = match &content {
            Ok(content) => {
                let size = content.len() as u64;
                match read(root, &names[at], |encoded| !is_oversized(encoded, size))? {
                    Ok(encoded) => match compare(coding, &encoded, content) {
                        Comparison::Same => None,
                        Comparison::Other => Some(OTHER),
                        Comparison::Broken => Some(BROKEN),
                        Comparison::Oversized => Some(OVERSIZED),
                    },
                    Err(_) => Some(OVERSIZED),
                }
            }
            Err(original) => {
                let sidecar = open(root, &names[at])?;
                is_outdated(original.modified(), sidecar.modified()).then_some(OUTDATED)
            }
        };
        faults.extend(fault.map(|why| (at, why)));
    }
    Ok(faults)
}

/// Reads a file whole; `Ok(Err(…))` is the open file, whose size is not fit for that.
fn read(
    root: &Root,
    name: &[u8],
    is_fit: impl FnOnce(u64) -> bool,
) -> Result<Result<Vec<u8>, SiteFile>, PackError> {
    let fault = PackError::of(name);
    let file = open(root, name)?;
    let size = file.size();
    let (true, Ok(length)) = (is_fit(size), usize::try_from(size)) else {
        return Ok(Err(file));
    };
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, 0).map_err(|error| fault(PackFault::Read(error)))?;
    match file.is_unchanged() {
        Ok(true) => Ok(Ok(content)),
        Ok(false) | Err(_) => Err(fault(PackFault::Changed)),
    }
}

fn open(root: &Root, name: &[u8]) -> Result<SiteFile, PackError> {
    root.open_file(name).map_err(|error| PackError::of(name)(PackFault::Read(error)))
}

const OTHER: &str = "it decodes to something other than its file, such as an older version; \
                     sitar encodes that where it pays";
const BROKEN: &str = "browsers cannot decode it to the end; sitar encodes its file where that pays";
const OVERSIZED: &str = "it is far larger than its file; sitar encodes that where it pays";
const OUTDATED: &str = "it is older than its file, which is too large to be compared with it";
const ORPHAN: &str = "it encodes a file that is left out";
