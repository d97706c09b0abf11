//! Regions: counted, immutable pages that the kernel may read while any number of owners read them
//! too.
//!
//! A [`RegionMut`] is filled once (by code, or by the kernel through
//! [`Ring::read`](crate::Ring::read)), then frozen into a [`Region`]. From then on it cannot be
//! written, so it may be shared between threads and between operations in flight; the last handle
//! frees it (invariant I1: bodies are regions).

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::any::Any;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Alignment of every region, in bytes: the largest for which the allocator hands out zero pages
/// lazily (`calloc`), so that a large region costs no memory before it is filled.
const ALIGN: usize = 16;

/// The allocation itself, the only owner of its memory.
struct Pages {
    ptr: NonNull<u8>,
    len: usize,
    /// Held for its drop, which comes after the memory has been freed.
    _lease: Option<Box<dyn Any + Send + Sync>>,
}

impl Pages {
    fn new(len: usize) -> io::Result<Pages> {
        if len == 0 {
            return Ok(Pages { ptr: NonNull::dangling(), len, _lease: None });
        }
        let layout =
            Layout::from_size_align(len, ALIGN).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // SAFETY: `layout` has a size that is not zero, as `alloc_zeroed` asks; the line above
        // returned for zero.
        let ptr = unsafe { alloc_zeroed(layout) };
        match NonNull::new(ptr) {
            Some(ptr) => Ok(Pages { ptr, len, _lease: None }),
            None => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        let Ok(layout) = Layout::from_size_align(self.len, ALIGN) else { return };
        // SAFETY: `ptr` came from `alloc_zeroed` with this very layout in `Pages::new`, and `Pages`
        // is neither `Clone` nor `Copy`, so it is freed once. No operation of a ring can still use
        // it: the op table holds a handle (`Region` or `RegionMut`) until the terminal completion
        // (I2), and leaks it otherwise (I3).
        unsafe { dealloc(self.ptr.as_ptr(), layout) };
    }
}

// SAFETY: `Pages` owns plain bytes and hands out access only through `&self`/`&mut self` of its two
// owners below; the lease is `Send` by its type.
unsafe impl Send for Pages {}
// SAFETY: shared access is read-only: `Region` offers no `DerefMut`, and a `RegionMut` is the only
// owner; the lease is `Sync` by its type, and it is never used.
unsafe impl Sync for Pages {}

/// Memory under construction: one owner, writable, zeroed at the start.
///
/// It is the answer to "let the kernel fill *part* of an object that I have begun": whole and owned
/// it moves into [`Ring::read`](crate::Ring::read) with the range to fill, and comes back with the
/// rest as it was. The same memory can go through many reads, one after the other, and be frozen
/// when it is complete. What cannot be had is two reads into one region at the same time, or
/// writing the rest while the kernel fills its part: then both would hold the one object, and the
/// compiler could keep neither from the other's bytes. Take a region for each part instead, and
/// send them as pieces.
///
/// ```
/// use sitar_io::{Event, File, Key, ReadBuf, RegionMut};
/// # use sitar_io::{Config, Ring, sim::World};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = Config { connections: 1, rx_count: 1, rx_len: 1, tx_count: 1, tx_len: 1 };
/// # let mut ring = Ring::sim(&config, &World::new(1))?;
/// # let file: File = World::file(b"0123456789")?;
/// let mut message = RegionMut::new(16)?;
/// message[..4].copy_from_slice(b"head");
/// message[14..].copy_from_slice(b"!\n");
/// // Ten bytes between what is there already.
/// let mut buf = ReadBuf::Region(message, 4..14);
/// let message = loop {
///     ring.read(&file, 0, buf, Key(1)).map_err(|_| "the table is full")?;
///     // `message` is the ring's now: naming it would not compile.
/// #   let event = loop {
/// #       match ring.next() {
/// #           Some(event @ Event::Read { .. }) => break event,
/// #           Some(_) => {}
/// #           None => drop(ring.wait(None)?),
/// #       }
/// #   };
///     match event {
///         Event::Read { buf: ReadBuf::Region(message, _), result: Ok(10), .. } => break message,
///         Event::Read { buf: back, .. } => buf = back,
///         _ => unreachable!(),
///     }
/// };
/// assert_eq!(&message.freeze()[..], b"head0123456789!\n");
/// # Ok(())
/// # }
/// ```
pub struct RegionMut {
    pages: Pages,
}

impl RegionMut {
    /// Allocates `len` zeroed bytes. The address stays the same for the region's whole life.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] when the allocator refuses; nothing is lost.
    pub fn new(len: usize) -> io::Result<RegionMut> {
        Ok(RegionMut { pages: Pages::new(len)? })
    }

    /// Ends writing for ever and makes the bytes shareable.
    #[must_use]
    pub fn freeze(self) -> Region {
        Region { pages: Arc::new(self.pages) }
    }

    /// Freezes it as [`freeze`](RegionMut::freeze) does; `lease` is dropped when the memory has
    /// been freed, that is after the last handle, one that an operation in flight holds included.
    /// So an account of memory can be kept exactly.
    ///
    /// When the last handle was in a ring, the drop runs inside of
    /// [`Ring::next`](crate::Ring::next) or of the ring's own drop. A panic in it comes out there,
    /// and leaves the ring as if there had been none.
    #[must_use]
    pub fn freeze_with(mut self, lease: impl Any + Send + Sync) -> Region {
        self.pages._lease = Some(Box::new(lease));
        self.freeze()
    }

    /// Returns the address that the kernel writes to. Stable: a move of the `RegionMut` does not
    /// move the bytes.
    pub(crate) fn addr(&mut self) -> *mut u8 {
        self.pages.ptr.as_ptr()
    }
}

impl Deref for RegionMut {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `ptr` is valid for `len` initialised (zeroed) bytes while `self.pages` lives, and
        // the kernel writes only while the `RegionMut` itself is inside the op table, out of
        // everyone's reach.
        unsafe { std::slice::from_raw_parts(self.pages.ptr.as_ptr(), self.pages.len) }
    }
}

impl DerefMut for RegionMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` is the only owner.
        unsafe { std::slice::from_raw_parts_mut(self.pages.ptr.as_ptr(), self.pages.len) }
    }
}

impl fmt::Debug for RegionMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionMut").field("len", &self.len()).finish()
    }
}

/// A handle to immutable, counted bytes. Cloning copies no byte; the last handle frees the memory.
#[derive(Clone)]
pub struct Region {
    pages: Arc<Pages>,
}

impl Region {
    /// Copies `bytes` into a region of its own.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`], as for [`RegionMut::new`].
    pub fn copy_of(bytes: &[u8]) -> io::Result<Region> {
        let mut region = RegionMut::new(bytes.len())?;
        region.copy_from_slice(bytes);
        Ok(region.freeze())
    }
}

impl Deref for Region {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `ptr` is valid for `len` initialised bytes while the `Arc` lives; nothing writes
        // after `freeze`.
        unsafe { std::slice::from_raw_parts(self.pages.ptr.as_ptr(), self.pages.len) }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_zeroed_and_keeps_what_was_written() {
        let mut region = RegionMut::new(5000).unwrap();
        assert!(region.iter().all(|&byte| byte == 0));
        region[4999] = 7;
        let address = region.addr() as usize;
        let moved = region;
        let frozen = moved.freeze();
        assert_eq!(frozen.as_ptr() as usize, address);
        assert_eq!(frozen[4999], 7);
    }

    #[test]
    fn an_empty_region_is_a_region() {
        assert!(RegionMut::new(0).unwrap().freeze().is_empty());
    }

    #[test]
    fn an_absurd_length_is_refused() {
        assert!(RegionMut::new(usize::MAX).is_err());
        assert_eq!(
            RegionMut::new(isize::MAX as usize - 4096).unwrap_err().kind(),
            io::ErrorKind::OutOfMemory
        );
    }

    #[test]
    fn a_lease_lasts_as_long_as_the_last_handle() {
        let lease = Arc::new(());
        for len in [0, 100] {
            let region = RegionMut::new(len).unwrap().freeze_with(Arc::clone(&lease));
            let other = region.clone();
            drop(region);
            assert_eq!(Arc::strong_count(&lease), 2);
            drop(other);
            assert_eq!(Arc::strong_count(&lease), 1);
        }
    }

    #[test]
    fn handles_cross_threads() {
        let region = Region::copy_of(b"abc").unwrap();
        let clone = region.clone();
        assert_eq!(std::thread::spawn(move || clone[1]).join().unwrap(), b'b');
        assert_eq!(&region[..], b"abc");
    }
}
