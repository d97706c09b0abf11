//! The provided buffer ring (`struct io_uring_buf_ring`), in which receive slots are handed to the
//! kernel.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The ring in which receive slots are handed to the kernel.
pub(super) struct BufRing {
    base: NonNull<u8>,
    entries: u16,
    /// Counts every slot ever pushed, modulo 2^16, as the kernel does.
    tail: u16,
}

/// Bytes of `struct io_uring_buf`: address (8), length (4), id (2), reserved (2; in the first
/// entry: the tail).
const BUF_ENTRY: usize = 16;
const BUF_TAIL: usize = 14;

impl BufRing {
    pub(super) fn new(entries: u16) -> io::Result<BufRing> {
        // SAFETY: a fresh anonymous mapping touches no existing memory; a mapping is page-aligned,
        // as the kernel asks.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                usize::from(entries) * BUF_ENTRY,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(BufRing { base, entries, tail: 0 })
    }

    pub(super) fn addr(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// Gives the kernel a buffer.
    pub(super) fn push(&mut self, slot: u16, addr: *mut u8, len: u32) {
        let index = usize::from(self.tail & (self.entries - 1));
        let entry = self.base.as_ptr().wrapping_add(index * BUF_ENTRY);
        // SAFETY: `index` is below `entries`, so the 8 bytes lie in the mapping, aligned to 16. The
        // kernel does not read an entry at or behind the tail that it was told.
        unsafe { entry.cast::<u64>().write(addr as u64) };
        // SAFETY: as above, 4 bytes at offset 8.
        unsafe { entry.wrapping_add(8).cast::<u32>().write(len) };
        // SAFETY: as above, 2 bytes at offset 12. Offset 14 is left alone: in the first entry it is
        // the tail.
        unsafe { entry.wrapping_add(12).cast::<u16>().write(slot) };
        self.tail = self.tail.wrapping_add(1);
        let tail = self.base.as_ptr().wrapping_add(BUF_TAIL).cast::<u16>();
        // SAFETY: two aligned bytes inside the mapping that both sides use atomically only.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufRing {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, unmapped once. The io_uring that knew it has been
        // closed before (field order in `Uring`) and holds its own reference to the pages besides.
        unsafe { libc::munmap(self.base.as_ptr().cast(), usize::from(self.entries) * BUF_ENTRY) };
    }
}
