//! Flow-control windows for what this side sends (RFC 9113 §5.2, §6.9).

use super::frame::{HEADER, WINDOW_MAX};

/// Opening a window by less than this beyond what it has been counts against the peer.
pub(super) const STEP: i64 = 512;

/// Bytes of content that the peer lets this side send, on one stream or on all of them together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Bytes that may be sent now; negative after the peer has made its initial window smaller
    /// (§6.9.2).
    available: i64,
    /// The size that the peer has given to this window: at first the initial one.
    size: i64,
}

/// A window has become larger than [`WINDOW_MAX`]: FLOW_CONTROL_ERROR (§6.9.1).
#[derive(Debug)]
pub(super) struct TooLarge;

impl Window {
    pub(super) const fn new(initial: i64) -> Window {
        Window { available: initial, size: initial }
    }

    /// Returns the bytes that may be sent now, which can be negative.
    pub(super) const fn available(&self) -> i64 {
        self.available
    }

    /// Takes `len` bytes that are sent.
    pub(super) fn consume(&mut self, len: usize) {
        self.available -= len as i64;
    }

    /// Follows a change of the initial size by `change` (§6.9.2).
    pub(super) fn shift(&mut self, change: i64) -> Result<(), TooLarge> {
        self.available += change;
        self.size += change;
        if self.available > WINDOW_MAX { Err(TooLarge) } else { Ok(()) }
    }

    /// Opens the window by the increment of a WINDOW_UPDATE. Returns whether that counts against
    /// the peer: it went further than our own frames make necessary, and by very little
    /// (CVE-2019-9511).
    ///
    /// A peer that opens a window by what it has read, in steps of any size, stays within its size
    /// and may do so forever. An update beyond it makes the window larger from now on, unless it is
    /// smaller than the header of the frame that it would allow.
    pub(super) fn open(&mut self, increment: i64) -> bool {
        self.available += increment;
        if self.available <= self.size {
            return false;
        }
        if self.size > 0 || increment >= HEADER as i64 {
            // All of it: what has been read already may still be given back.
            self.size += increment;
        }
        increment < STEP
    }

    /// Returns whether the window is larger than any may be.
    pub(super) const fn is_too_large(&self) -> bool {
        self.available > WINDOW_MAX
    }
}
