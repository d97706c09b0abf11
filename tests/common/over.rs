//! The end of threads that go on until they are told.

use std::sync::atomic::{AtomicBool, Ordering};

/// Tells the threads of a scope that it is over when it is dropped: in whatever way the test ends,
/// or a failure would wait for them for ever.
pub(crate) struct Over<'o>(pub(crate) &'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
