//! Where the allocator of a process is: the functions of its C library, which Rust's allocations go
//! through as well.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use sitar_io::counters::Counter;

use super::kernel::{self, Missing, refused};

/// Functions that allocate.
const NAMES: [&str; 6] = ["malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "memalign"];
/// Bytes of a library, at most.
const LIBRARY_MAX: u64 = 64 << 20;
const PROBES: &str = "/sys/bus/event_source/devices/uprobe/type";
// elf(5)
const LOAD: u32 = 1;
const DYNAMIC_SYMBOLS: u32 = 11;
const FUNCTION: u8 = 2;

/// Counts allocations of threads from now on; `maps` is /proc/PID/maps of their process.
pub(super) fn start(maps: &Path, threads: &BTreeSet<u32>) -> Result<Vec<Counter>, Missing> {
    let maps =
        fs::read_to_string(maps).map_err(|_| "another user's process may not be looked at".to_owned())?;
    let library = library(&maps).ok_or_else(|| "the program has no C library of its own file".to_owned())?;
    let kind = fs::read_to_string(PROBES).ok().and_then(|text| text.trim().parse().ok());
    let kind = kind.ok_or_else(|| "this kernel has no uprobes, or a container hides them".to_owned())?;
    let unreadable = |error: io::Error| format!("the C library cannot be read: {error}");
    if fs::metadata(library).map_err(unreadable)?.len() > LIBRARY_MAX {
        return Err("the C library is too large".to_owned());
    }
    let places = places(&fs::read(library).map_err(unreadable)?);
    let places = places.filter(|places| !places.is_empty());
    let places = places.ok_or_else(|| "the C library is not understood".to_owned())?;
    let file = CString::new(library).map_err(|_| "the C library has no name".to_owned())?;
    let open = |thread| places.iter().map(|place| Counter::open_probe(kind, &file, *place, thread)).collect();
    kernel::each(threads, open).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::ACCESS | Errno::PERM) => {
            "uprobes are not permitted; what helps: sudo sitar prove".to_owned()
        }
        _ => refused(&error),
    })
}

/// Returns the path of the C library in a list of mappings (proc_pid_maps(5)).
pub(super) fn library(maps: &str) -> Option<&str> {
    maps.lines().find_map(|line| {
        let path = line.get(line.find('/')?..)?;
        let name = path.rsplit('/').next()?;
        ["libc.so", "libc-", "ld-musl-"].iter().any(|start| name.starts_with(start)).then_some(path)
    })
}

/// Returns the places of the functions in an ELF file of 64 bits, little endian.
pub(super) fn places(file: &[u8]) -> Option<BTreeSet<u64>> {
    let file = Elf(file);
    // Magic, class, order of bytes.
    if file.0.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    // Entries of which the file has at least that number of bytes each.
    let table = |at: u64, size: u64, count: u64, least: u64| -> Option<Vec<u64>> {
        let (at, size, count) = (file.u64(at)?, file.u16(size)?.into(), u64::from(file.u16(count)?));
        let entry = |number: u64| number.checked_mul(size)?.checked_add(at);
        let is_inside = |at: &u64| at.checked_add(least).is_some_and(|end| end <= file.0.len() as u64);
        (0..count).map(|number| entry(number).filter(is_inside)).collect()
    };
    let segments = table(32, 54, 56, 56)?;
    let sections = table(40, 58, 60, 64)?;
    let symbols = sections.iter().find(|at| file.u32(*at + 4) == Some(DYNAMIC_SYMBOLS))?;
    let (at, len) = (file.u64(symbols + 24)?, file.u64(symbols + 32)?);
    let texts = sections.get(usize::try_from(file.u32(symbols + 40)?).ok()?)?;
    let texts = file.u64(texts + 24)?;
    let mut places = BTreeSet::new();
    for number in 0..len.min(file.0.len() as u64) / 24 {
        let symbol = at.checked_add(number * 24)?;
        let is_function = file.u8(symbol.checked_add(4)?)? & 15 == FUNCTION;
        let address = file.u64(symbol + 8)?;
        if is_function && address != 0 && file.has_name(texts.checked_add(file.u32(symbol)?.into())?) {
            let place = segments.iter().find_map(|segment| file.place(*segment, address));
            places.extend(place);
        }
    }
    Some(places)
}

/// The bytes of a file, of which what is outside is `None`.
struct Elf<'f>(&'f [u8]);

impl Elf<'_> {
    fn bytes<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let at = usize::try_from(at).ok()?;
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u8(&self, at: u64) -> Option<u8> {
        self.bytes(at).map(u8::from_le_bytes)
    }

    fn u16(&self, at: u64) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: u64) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: u64) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }

    /// Whether a text is one of the names.
    fn has_name(&self, at: u64) -> bool {
        let text = usize::try_from(at).ok().and_then(|at| self.0.get(at..));
        let text = text.and_then(|text| text.split(|byte| *byte == 0).next());
        text.is_some_and(|text| NAMES.iter().any(|name| name.as_bytes() == text))
    }

    /// Returns where in the file an address is, if that segment is loaded there.
    fn place(&self, segment: u64, address: u64) -> Option<u64> {
        let offset = self.u64(segment.checked_add(8)?)?;
        let (start, len) = (self.u64(segment + 16)?, self.u64(segment.checked_add(32)?)?);
        let inside = address.checked_sub(start).filter(|inside| *inside < len)?;
        (self.u32(segment)? == LOAD).then(|| offset.checked_add(inside)).flatten()
    }
}
