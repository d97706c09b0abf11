//! Copies of a process's memory, to look in for secrets that should be gone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A copy of all memory that a process can write to, its stacks and freed memory included.
///
/// Each byte is changed, so that nothing is found in a copy of the copy.
pub(crate) struct Snapshot(Vec<u8>);

impl Snapshot {
    /// Copies the memory of this process, which has to be still.
    #[allow(dead_code, reason = "the record layer's tests use it")]
    pub(crate) fn of_self() -> io::Result<Snapshot> {
        copy(Path::new("/proc/self"), true).map(Snapshot)
    }

    /// Copies the memory of another process of this user.
    #[allow(dead_code, reason = "the record layer's tests use only the other one")]
    pub(crate) fn of(pid: u32) -> io::Result<Snapshot> {
        copy(&Path::new("/proc").join(pid.to_string()), false).map(Snapshot)
    }

    /// Returns the number of parts of 16 bytes that are there of each secret, zeros included.
    ///
    /// In parts, because memory that is given back is written to by the allocator, so that a secret
    /// is rarely found as a whole.
    pub(crate) fn count<'a>(&self, secrets: &'a [(&'a str, Vec<u8>)]) -> Vec<(&'a str, usize)> {
        let mut found: Vec<(&str, usize)> = secrets.iter().map(|(name, _)| (*name, 0)).collect();
        let mut parts = Vec::new();
        let mut begins = vec![false; 1 << 16];
        for (at, (_, secret)) in secrets.iter().enumerate() {
            for part in secret.chunks_exact(16) {
                let part: Vec<u8> = part.iter().map(|byte| byte ^ MASK).collect();
                begins[usize::from(u16::from_be_bytes([part[0], part[1]]))] = true;
                parts.push((at, part));
            }
        }
        for (at, pair) in self.0.windows(2).enumerate() {
            if begins[usize::from(u16::from_be_bytes([pair[0], pair[1]]))] {
                for (secret, _) in parts.iter().filter(|(_, part)| self.0[at..].starts_with(part)) {
                    found[*secret].1 += 1;
                }
            }
        }
        found
    }

    /// The same, without those of which nothing is there.
    #[allow(dead_code, reason = "the record layer's tests use it")]
    pub(crate) fn find<'a>(&self, secrets: &'a [(&'a str, Vec<u8>)]) -> Vec<(&'a str, usize)> {
        self.count(secrets).into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

fn copy(process: &Path, is_own: bool) -> io::Result<Vec<u8>> {
    let memory = File::open(process.join("mem"))?;
    let mut buffer = vec![0; 256 * PAGE];
    // What lies in there has been copied already.
    let own = buffer.as_ptr_range();
    let own = if is_own { own.start as usize - PAGE + 1..own.end as usize } else { 0..0 };
    let mut copy = Vec::new();
    let maps = std::fs::read_to_string(process.join("maps"))?;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        // proc_pid_maps(5): FROM-TO ACCESS …
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let (from, to) = range.ok_or(io::ErrorKind::InvalidData)?;
        let at = |hex| usize::from_str_radix(hex, 16).map_err(io::Error::other);
        let (mut from, to) = (at(from)?, at(to)?);
        while from < to {
            let wanted = buffer.len().min(to - from);
            // Not all that is mapped can be read.
            let Ok(read @ 1..) = memory.read_at(&mut buffer[..wanted], from as u64) else {
                from += PAGE;
                continue;
            };
            for page in buffer[..read].chunks(PAGE) {
                if !own.contains(&from) && *page != [0; PAGE][..page.len()] {
                    copy.extend(page.iter().map(|byte| byte ^ MASK));
                }
                from += page.len();
            }
        }
    }
    if copy.is_empty() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(copy) }
}

const PAGE: usize = 4096;
const MASK: u8 = 0x5A;
