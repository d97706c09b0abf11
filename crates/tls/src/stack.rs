//! Wipes what computing with secrets leaves on the stack.
//!
//! A value that is moved stays where it was, too, and so does what a library returned or computed
//! with. It lies there until deeper calls happen to write over it, so it is overwritten on purpose:
//! after each step of a handshake, and when a connection's keys are dropped.

use zeroize::Zeroize;

/// Does the work in a stack frame of its own, which begins where that of [`overwrite`] will.
#[inline(never)]
pub(crate) fn below<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Overwrites 32 KiB below the caller's frame.
///
/// A handshake with X25519MLKEM768 goes 28 KiB deep, one with X25519 26 KiB (aws-lc 1.19, x86-64),
/// a key update or a record less.
#[inline(never)]
pub(crate) fn overwrite() {
    // Words, because each is one write that the compiler must not leave out.
    [0_u64; 4096].zeroize();
}
