//! The heap of the process.

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

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_in_use_stays_as_it_is() {
        let kept: Vec<Vec<u8>> = (0..2000_u32).map(|nth| vec![nth as u8; 3000]).collect();
        drop((0..2000).map(|_| vec![1_u8; 3000]).collect::<Vec<_>>());
        super::trim_heap();
        assert!(kept.iter().zip(0_u32..).all(|(bytes, nth)| bytes.iter().all(|byte| *byte == nth as u8)));
    }
}
