//! The arena: every byte that the kernel may read or write by address, besides
//! [regions](crate::Region).
//!
//! It is one anonymous mapping, cut into receive slots and send slots when the ring is made;
//! nothing is allocated afterwards. Access is by move-only leases: the holder of a [`TxBuf`] or an
//! [`RxBuf`] is the only one who can touch the slot, because the kernel is given a slot only when
//! its lease has moved into the op table (send, read) or has been dropped (receive). Leases keep
//! the arena alive, also after the ring is gone (I7).

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

/// Sizes of an arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Receive slots, a power of two (the kernel's rule for provided buffer rings).
    pub(crate) rx_count: u16,
    /// Bytes of one receive slot.
    pub(crate) rx_len: u32,
    /// Send slots.
    pub(crate) tx_count: u32,
    /// Bytes of one send slot.
    pub(crate) tx_len: u32,
}

impl Layout {
    /// Returns the bytes of the mapping. What lies within it needs no further check: no product or
    /// sum of [`Arena::rx_addr`] and [`Arena::tx_addr`] is larger.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for more bytes than a slice may have, and for slots that
    /// mean nothing: a receive into a slot of no bytes is a receive of no bytes, which is how a
    /// kernel reports the end of a stream.
    fn map_len(&self) -> io::Result<usize> {
        let refused = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        if !self.rx_count.is_power_of_two() {
            return Err(refused("the number of receive slots must be a power of two"));
        }
        if self.rx_len == 0 || self.tx_len == 0 {
            return Err(refused("receive slots and send slots must have at least one byte each"));
        }
        // 48 bits and 64 bits.
        let rx = u64::from(self.rx_count) * u64::from(self.rx_len);
        let tx = u64::from(self.tx_count) * u64::from(self.tx_len);
        let all = rx.checked_add(TX_SHIFT as u64).and_then(|sum| sum.checked_add(tx));
        all.and_then(|sum| usize::try_from(sum).ok())
            .filter(|len| isize::try_from(*len).is_ok())
            .ok_or_else(|| refused("the slots do not fit buf the address space"))
    }
}

/// The present owner of a receive slot. There is no other way to reach its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum RxState {
    /// Published to the kernel, which may write it at any time.
    Kernel,
    /// An `RxBuf` exists.
    Leased,
    /// Given back, to be published at the next wait.
    Returned,
}

struct Slots {
    rx_state: Vec<RxState>,
    /// Receive slots waiting to be published again. Capacity is reserved for all, so a push never
    /// allocates.
    rx_returned: Vec<u16>,
    /// Send slots that were given back, used last-in first-out: the slot that is still in the cache
    /// goes out first. Capacity is reserved for all.
    tx_free: Vec<u32>,
    /// Send slots that were ever used. Those behind them are free, too.
    tx_used: u32,
}

pub(crate) struct Arena {
    base: NonNull<u8>,
    map_len: usize,
    layout: Layout,
    slots: RefCell<Slots>,
}

/// Slots that are never used cost no memory. (Miri knows no such flag.)
const NO_RESERVE: libc::c_int = if cfg!(miri) { 0 } else { libc::MAP_NORESERVE };

/// Offset of the first send slot from the beginning of a page. (With slots of whole pages:
/// all of them.)
///
/// Bodies, and pages of files, begin where a page begins. `rep movsb`, with which C libraries and
/// the kernel copy more than two kilobytes where it is fast, is not when source and target are less
/// than 64 bytes apart modulo 4096: 3.0 µs instead of 0.43 for 16 KiB on an AMD EPYC, as much as
/// sealing them (`bench/LOG.md`).
const TX_SHIFT: usize = 2048;

impl Arena {
    pub(crate) fn new(layout: Layout) -> io::Result<Rc<Arena>> {
        let map_len = layout.map_len()?;
        // Before the mapping, which an error would leave behind. Reserved and not filled, so that
        // of memory for slots that are never used none is touched.
        let mut tx_free = Vec::new();
        tx_free.try_reserve_exact(layout.tx_count as usize).map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: a fresh private anonymous mapping at an address of the kernel's choice touches no
        // existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                map_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | NO_RESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let slots = Slots {
            rx_state: vec![RxState::Returned; usize::from(layout.rx_count)],
            rx_returned: (0..layout.rx_count).collect(),
            tx_free,
            tx_used: 0,
        };
        Ok(Rc::new(Arena { base, map_len, layout, slots: RefCell::new(slots) }))
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Address of a receive slot, for the kernel.
    pub(crate) fn rx_addr(&self, slot: u16) -> *mut u8 {
        debug_assert!(slot < self.layout.rx_count);
        // `wrapping_add` keeps the provenance of the mapping and needs no promise about bounds
        // here.
        self.base.as_ptr().wrapping_add(usize::from(slot) * self.layout.rx_len as usize)
    }

    fn tx_addr(&self, slot: u32) -> *mut u8 {
        debug_assert!(slot < self.layout.tx_count);
        let rx_bytes = usize::from(self.layout.rx_count) * self.layout.rx_len as usize;
        self.base.as_ptr().wrapping_add(rx_bytes + TX_SHIFT + slot as usize * self.layout.tx_len as usize)
    }

    /// Takes a send slot, or `None` when all are in use: back-pressure, not an error.
    pub(crate) fn take_tx(self: &Rc<Self>) -> Option<TxBuf> {
        let slots = &mut *self.slots.borrow_mut();
        let unused = || (slots.tx_used < self.layout.tx_count).then_some(slots.tx_used);
        let slot = slots.tx_free.pop().or_else(unused)?;
        slots.tx_used = slots.tx_used.max(slot + 1);
        Some(TxBuf { arena: Rc::clone(self), slot, filled: 0 })
    }

    pub(crate) fn tx_free(&self) -> usize {
        let slots = self.slots.borrow();
        slots.tx_free.len() + (self.layout.tx_count - slots.tx_used) as usize
    }

    /// Gives the memory of free send slots back to the system: of the pages that lie in them as a
    /// whole. They are zeros when they are used again.
    pub(crate) fn trim(&self) {
        // Borrowed until the end: no slot is taken meanwhile.
        let slots = self.slots.borrow_mut();
        let page = rustix::param::page_size();
        let mut free = slots.tx_free.clone();
        free.sort_unstable();
        for run in free.chunk_by(|slot, next| slot + 1 == *next) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let start = self.tx_addr(*first);
            let end = self.tx_addr(*last).addr() + self.layout.tx_len as usize;
            let skipped = start.addr().next_multiple_of(page) - start.addr();
            let len = (end / page * page).saturating_sub(start.addr() + skipped);
            if len == 0 || cfg!(miri) {
                continue;
            }
            // SAFETY: these pages lie in the mapping, in slots that are in `tx_free`. A slot gets
            // there when its only lease is dropped, which is after the kernel has finished with
            // it, and leaves it in `take_tx` only, which needs the borrow above. So no reference
            // to the pages exists, and no operation is given them. Private anonymous pages are
            // initialised to zero when they are touched again.
            unsafe { libc::madvise(start.wrapping_add(skipped).cast(), len, libc::MADV_DONTNEED) };
        }
    }

    pub(crate) fn rx_leased(&self) -> usize {
        self.slots.borrow().rx_state.iter().filter(|state| **state == RxState::Leased).count()
    }

    /// Turns a slot that the kernel says it filled into a lease. `None` when the kernel's word
    /// cannot be true (I4).
    pub(crate) fn lease(self: &Rc<Self>, slot: u16, len: u32) -> Option<RxBuf> {
        let mut slots = self.slots.borrow_mut();
        let state = slots.rx_state.get_mut(usize::from(slot))?;
        if *state != RxState::Kernel || len > self.layout.rx_len {
            return None;
        }
        *state = RxState::Leased;
        Some(RxBuf { arena: Rc::clone(self), slot, start: 0, len })
    }

    /// Copies `bytes` into a slot that belongs to the engine, as far as they fit.
    pub(crate) fn fill(&self, slot: u16, bytes: &[u8]) -> Option<usize> {
        let slots = self.slots.borrow();
        if *slots.rx_state.get(usize::from(slot))? != RxState::Kernel {
            return None;
        }
        let len = bytes.len().min(self.layout.rx_len as usize);
        // SAFETY: `len` bytes of the slot lie in the mapping. Its state is `Kernel`, so no lease
        // and hence no reference to its bytes exists; the one engine that gives slots to a kernel
        // does not call this.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.rx_addr(slot), len) };
        Some(len)
    }

    /// Lets `f` write into a slot that belongs to the engine: for an engine that receives in this
    /// process. `None` when the slot is not the engine's; `f` is not called then.
    pub(crate) fn fill_with<R>(&self, slot: u16, f: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        // Borrowed mutably for as long as `f` runs, although nothing changes: neither a lease nor a
        // second call of this function can come in between.
        let slots = self.slots.borrow_mut();
        if *slots.rx_state.get(usize::from(slot))? != RxState::Kernel {
            return None;
        }
        // SAFETY: the slot lies in the mapping, whose pages are initialised to zero. Its state is
        // `Kernel`, so no lease and hence no other reference to its bytes exists, and the borrow
        // above keeps it so until `f` has returned. The engine that gives slots to a kernel does
        // not call this.
        let bytes =
            unsafe { std::slice::from_raw_parts_mut(self.rx_addr(slot), self.layout.rx_len as usize) };
        Some(f(bytes))
    }

    /// Hands every returned receive slot to `publish`, which gives it to the kernel.
    pub(crate) fn publish(&self, mut publish: impl FnMut(u16)) {
        let slots = &mut *self.slots.borrow_mut();
        for slot in slots.rx_returned.drain(..) {
            slots.rx_state[usize::from(slot)] = RxState::Kernel;
            publish(slot);
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: `base` and `map_len` are those of the mapping made in `new`, unmapped once:
        // `Arena` is not `Clone`. No lease is left (each holds an `Rc` of this arena) and no
        // operation is in flight: the ring drops its own `Rc` only after the last terminal
        // completion, and leaks it otherwise (I3).
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.map_len) };
    }
}

/// Bytes received: the only handle to one receive slot. Dropping it gives the slot back to the
/// kernel at the next wait.
pub struct RxBuf {
    arena: Rc<Arena>,
    slot: u16,
    /// Bytes at the slot's beginning that are not part of it.
    start: u32,
    len: u32,
}

impl RxBuf {
    /// Leaves out the next `len` bytes, or all.
    pub(crate) fn skip(&mut self, len: usize) {
        let len = u32::try_from(len).unwrap_or(u32::MAX).min(self.len);
        self.start += len;
        self.len -= len;
    }

    fn addr(&self) -> *mut u8 {
        self.arena.rx_addr(self.slot).wrapping_add(self.start as usize)
    }
}

impl Deref for RxBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the slot lies in the mapping, which outlives `self.arena`; its state is `Leased`,
        // so neither the kernel nor another lease has it; `len` was checked against the slot's size
        // in `Arena::lease`, and `skip` keeps the sum of `start` and `len`.
        unsafe { std::slice::from_raw_parts(self.addr(), self.len as usize) }
    }
}

impl DerefMut for RxBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.addr(), self.len as usize) }
    }
}

impl Drop for RxBuf {
    fn drop(&mut self) {
        let mut slots = self.arena.slots.borrow_mut();
        slots.rx_state[usize::from(self.slot)] = RxState::Returned;
        slots.rx_returned.push(self.slot);
    }
}

impl fmt::Debug for RxBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxBuf").field("slot", &self.slot).field("len", &self.len).finish()
    }
}

/// One send slot: the whole slot as bytes, of which the first [`filled`](TxBuf::filled) are sent.
/// Dropping it frees the slot at once.
pub struct TxBuf {
    arena: Rc<Arena>,
    slot: u32,
    filled: u32,
}

impl TxBuf {
    /// Returns how many bytes from the start a send sends.
    #[must_use]
    pub fn filled(&self) -> usize {
        self.filled as usize
    }

    /// Says how many bytes from the start are to be sent. More than the slot holds is cut to the
    /// slot's size.
    pub fn set_filled(&mut self, len: usize) {
        self.filled = u32::try_from(len).unwrap_or(u32::MAX).min(self.arena.layout.tx_len);
    }
}

impl Deref for TxBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the slot lies in the mapping, which outlives `self.arena`; it left `tx_free` when
        // this lease was made and comes back only when it is dropped, so this is the only one. The
        // kernel uses it only while the lease itself is inside the op table. Anonymous pages are
        // initialised to zero.
        unsafe {
            std::slice::from_raw_parts(self.arena.tx_addr(self.slot), self.arena.layout.tx_len as usize)
        }
    }
}

impl DerefMut for TxBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes this the only reference.
        unsafe {
            std::slice::from_raw_parts_mut(self.arena.tx_addr(self.slot), self.arena.layout.tx_len as usize)
        }
    }
}

impl Drop for TxBuf {
    fn drop(&mut self) {
        self.arena.slots.borrow_mut().tx_free.push(self.slot);
    }
}

impl fmt::Debug for TxBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxBuf").field("slot", &self.slot).field("filled", &self.filled).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena() -> Rc<Arena> {
        Arena::new(Layout { rx_count: 4, rx_len: 64, tx_count: 2, tx_len: 128 }).unwrap()
    }

    #[test]
    fn send_slots_run_out_and_come_back() {
        let arena = arena();
        let (mut a, b) = (arena.take_tx().unwrap(), arena.take_tx().unwrap());
        assert!(arena.take_tx().is_none());
        a[127] = 9;
        drop(b);
        assert!(arena.take_tx().is_some());
        assert_eq!(a[127], 9);
        a.set_filled(4000);
        assert_eq!(a.filled(), 128);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri keeps the pages")]
    fn free_send_slots_give_their_pages_back_and_others_keep_them() {
        let arena = Arena::new(Layout { rx_count: 4, rx_len: 64, tx_count: 5, tx_len: 64 << 10 }).unwrap();
        let mut slots: Vec<_> = (0..5).map(|_| arena.take_tx().unwrap()).collect();
        for slot in &mut slots {
            slot.fill(7);
        }
        let kept = [slots.remove(0), slots.remove(1)];
        drop(slots);
        arena.trim();
        assert!(kept.iter().all(|slot| slot.iter().all(|byte| *byte == 7)), "in use");
        let mut zeros: Vec<_> =
            (0..3).map(|_| arena.take_tx().unwrap().iter().filter(|byte| **byte == 0).count()).collect();
        zeros.sort_unstable();
        // One lies between two that are in use, the others are one run: a page of each slot that
        // is shared with another one, at most, is left.
        assert!(zeros.iter().all(|zeros| *zeros >= (64 << 10) - 2 * 4096), "{zeros:?}");
        let all: usize = zeros.iter().sum();
        assert!(all >= 3 * (64 << 10) - 4 * 4096, "{zeros:?}");
        // As often as one likes, also with nothing to give.
        arena.trim();
        drop(kept);
        arena.trim();
    }

    #[test]
    fn a_receive_slot_is_leased_once_and_only_after_publishing() {
        let arena = arena();
        assert!(arena.lease(0, 1).is_none(), "not published yet");
        let mut published = Vec::new();
        arena.publish(|slot| published.push(slot));
        assert_eq!(published, [0, 1, 2, 3]);
        let mut lease = arena.lease(2, 64).unwrap();
        lease.copy_from_slice(&std::array::from_fn::<u8, 64, _>(|at| at as u8));
        lease.skip(60);
        assert_eq!(&lease[..], &[60, 61, 62, 63]);
        lease.skip(9);
        assert!(lease.is_empty());
        assert!(arena.lease(2, 1).is_none(), "twice");
        assert!(arena.lease(3, 65).is_none(), "longer than the slot");
        assert!(arena.lease(4, 1).is_none(), "no such slot");
        assert_eq!(arena.rx_leased(), 1);
        drop(lease);
        assert!(arena.lease(2, 1).is_none(), "returned, but not published");
        published.clear();
        arena.publish(|slot| published.push(slot));
        assert_eq!(published, [2]);
    }

    #[test]
    fn leases_keep_the_arena_alive() {
        let arena = arena();
        let mut tx = arena.take_tx().unwrap();
        drop(arena);
        tx[0] = 1;
        assert_eq!(tx[0], 1);
    }

    #[test]
    fn a_layout_the_kernel_would_refuse_is_refused() {
        assert!(Arena::new(Layout { rx_count: 3, rx_len: 64, tx_count: 2, tx_len: 128 }).is_err());
        assert!(Arena::new(Layout { rx_count: 0, rx_len: 64, tx_count: 2, tx_len: 128 }).is_err());
        assert!(Arena::new(Layout { rx_count: 4, rx_len: 0, tx_count: 2, tx_len: 128 }).is_err());
        assert!(Arena::new(Layout { rx_count: 4, rx_len: 64, tx_count: 2, tx_len: 0 }).is_err());
    }

    #[test]
    fn the_mapping_is_as_long_as_all_slots_together_or_there_is_none() {
        let len =
            |rx_count, rx_len, tx_count, tx_len| Layout { rx_count, rx_len, tx_count, tx_len }.map_len().ok();
        assert_eq!(len(4, 64, 2, 128), Some(2560));
        assert_eq!(len(1, 1, 0, 1), Some(2049));
        // The sum is 2^64 + 1,050,625 bytes.
        assert_eq!(len(32768, 262_176, u32::MAX, u32::MAX), None);
        if cfg!(target_pointer_width = "64") {
            // The largest that there can be in 64 bits of address: 2^63 - 1, of which 2,048 lie
            // between, or one more.
            assert_eq!(len(1, 2_147_481_599, 0x8000_0000, u32::MAX), Some(0x7fff_ffff_ffff_ffff));
            assert_eq!(len(1, 2_147_481_600, 0x8000_0000, u32::MAX), None);
            assert_eq!(len(1, 1, 65_537, 65_536), Some(4_295_034_881));
        } else {
            assert_eq!(len(1, 1, 65_537, 65_536), None);
        }
        let refused = Arena::new(Layout { rx_count: 1, rx_len: 1, tx_count: u32::MAX, tx_len: u32::MAX });
        assert_eq!(refused.map(drop).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    /// Reserved memory is not touched: four thousand million slots of a byte are a mapping of four
    /// gigabytes, of which one page is used.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn slots_that_are_never_used_cost_no_memory() {
        let layout = Layout { rx_count: 1, rx_len: 1, tx_count: u32::MAX, tx_len: 1 };
        // Where address space is limited there is no such arena, and nothing to see.
        let Ok(arena) = Arena::new(layout) else { return };
        assert_eq!(arena.tx_free(), 4_294_967_295);
        let (mut a, b) = (arena.take_tx().unwrap(), arena.take_tx().unwrap());
        a[0] = 1;
        assert_eq!((a.slot, b.slot, arena.tx_free()), (0, 1, 4_294_967_293));
        drop(a);
        assert_eq!(arena.take_tx().unwrap().slot, 0, "last in, first out");
    }
}
