//! A client that asks all the time while something else happens, and counts.

use super::{Over, eventually};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Requests that are waited for by `more`.
const MORE: usize = 20;

/// Calls `ask` with 0, 1, 2 and so on, one after the other, while `during` runs. Each call is a
/// request that is answered. `during` gets a function that waits until more have been answered.
///
/// Returns how many requests there were.
pub(crate) fn while_asking(ask: impl Fn(usize) + Sync, during: impl FnOnce(&dyn Fn())) -> usize {
    let (asked, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let more = || {
        let before = asked.load(Ordering::Relaxed);
        eventually("more answers", || asked.load(Ordering::Relaxed) >= before + MORE);
    };
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                ask(asked.load(Ordering::Relaxed));
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        during(&more);
    });
    asked.into_inner()
}
