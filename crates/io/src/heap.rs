//! Memory of the process that can be had again: its heap, and the pages of its program.

use std::fs;
use std::path::Path;

/// Gives freed memory that the allocator keeps for later back to the system, all whole pages of it
/// (`malloc_trim` of glibc). It may take milliseconds, in which threads that allocate wait. Does
/// nothing with another C library.
pub fn trim_heap() {
    #[cfg(all(target_env = "gnu", not(miri)))]
    // SAFETY: it has no precondition, may be called on any thread, and touches memory only that the
    // allocator holds as free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of the pages of the program and its libraries that this process has in its memory. They
/// are in the kernel's cache of files, from where they come back when they are used. For a process
/// that has done its work and waits. Returns the bytes of the mappings.
///
/// # Errors
/// The mappings cannot be read (`/proc`).
pub fn release_program_pages() -> std::io::Result<usize> {
    let program = fs::read_link("/proc/self/exe")?;
    let mut released = 0;
    for Mapping { start, end, .. } in unchanged(&fs::read_to_string("/proc/self/smaps")?, &program) {
        // SAFETY: the range is a mapping of the program's file or of a shared library, which stays
        // for as long as this process: neither is ever unmapped or mapped over. It is private, not
        // writable, and has no page of its own, so each of its pages is the file's, and reading it
        // later finds the same bytes. (A debugger that writes into it at this moment loses what it
        // wrote.)
        let done = unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        if done == 0 {
            released += end - start;
        }
    }
    Ok(released)
}

/// A mapping of /proc/PID/smaps (proc(5)).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
    is_wanted: bool,
}

/// Returns the mappings of the program and of shared libraries that are private and not writable,
/// and have no page that differs from the file.
fn unchanged(smaps: &str, program: &Path) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        if let Some(mapping) = Mapping::read(line, program) {
            all.push(mapping);
        } else if let Some(rest) = line.strip_prefix("Anonymous:")
            && let Some(last) = all.last_mut()
        {
            // It is there once for each mapping, and without it nothing is known.
            last.is_wanted &= rest.trim() == "0 kB";
        }
    }
    all.retain(|mapping| mapping.is_wanted && mapping.start < mapping.end);
    all
}

impl Mapping {
    /// `55d0-55d8 r-xp 00001000 fe:00 1234   /usr/bin/sitar`
    fn read(line: &str, program: &Path) -> Option<Mapping> {
        let mut words = line.split_ascii_whitespace();
        let (range, permissions) = (words.next()?, words.next()?);
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        let (start, end) = (number(start)?, number(end)?);
        let path = Path::new(words.nth(3).unwrap_or_default());
        let is_program = path == program || path.to_str().is_some_and(|path| path.contains(".so"));
        let is_constant = matches!(permissions, "r--p" | "r-xp");
        Some(Mapping { start, end, is_wanted: is_program && is_constant })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn what_is_in_use_stays_as_it_is() {
        let kept: Vec<Vec<u8>> = (0..2000_u32).map(|nth| vec![nth as u8; 3000]).collect();
        drop((0..2000).map(|_| vec![1_u8; 3000]).collect::<Vec<_>>());
        super::trim_heap();
        assert!(kept.iter().zip(0_u32..).all(|(bytes, nth)| bytes.iter().all(|byte| *byte == nth as u8)));
    }

    #[test]
    fn only_what_is_as_in_its_file_is_let_go_of() {
        let smaps = "\
1000-2000 r--p 00000000 fe:00 7  /usr/bin/sitar
Size:                  4 kB
Anonymous:             0 kB
2000-5000 r-xp 00001000 fe:00 7  /usr/bin/sitar
Anonymous:             0 kB
5000-6000 r--p 00004000 fe:00 7  /usr/bin/sitar
Anonymous:             4 kB
6000-7000 rw-p 00005000 fe:00 7  /usr/bin/sitar
Anonymous:             0 kB
7000-8000 r--p 00000000 fe:00 8  /srv/site.tar
Anonymous:             0 kB
8000-9000 r-xs 00000000 fe:00 9  /usr/lib/libc.so.6
Anonymous:             0 kB
9000-a000 r-xp 00000000 fe:00 9  /usr/lib/libc.so.6
Anonymous:             0 kB
a000-b000 rw-p 00000000 00:00 0  [heap]
Anonymous:             4 kB
b000-c000 r-xp 00000000 00:00 0  [vdso]
Anonymous:             0 kB
";
        let found: Vec<(usize, usize)> = super::unchanged(smaps, Path::new("/usr/bin/sitar"))
            .into_iter()
            .map(|mapping| (mapping.start, mapping.end))
            .collect();
        assert_eq!(found, [(0x1000, 0x2000), (0x2000, 0x5000), (0x9000, 0xa000)]);
    }

    #[test]
    fn a_program_without_its_pages_goes_on() {
        assert!(super::release_program_pages().unwrap() > 0);
        assert_eq!(format!("{:?}", [1.5, 2.5]), "[1.5, 2.5]");
        let error = "x".parse::<u8>().unwrap_err();
        assert_eq!(error.to_string(), "invalid digit found in string");
        assert!(super::release_program_pages().unwrap() > 0);
    }
}
