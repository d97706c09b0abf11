//! Open files, which the tests of this program share.

use super::skip;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::{Condvar, Mutex, PoisonError};

/// Files that tests which need none of these have open, and the program's own.
const OTHERS: u64 = 1000;

/// Files that are reserved, and a signal for the tests that wait for others to give theirs back.
static RESERVED: Mutex<u64> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();

/// Open files that a test has to itself until this is dropped.
pub(crate) struct OpenFiles(u64);

impl OpenFiles {
    /// Waits until the test may open `count` files, with the soft limit raised as far as it goes.
    /// `None`: the hard limit is lower, and the test is recorded as skipped.
    pub(crate) fn reserve(count: usize) -> Option<OpenFiles> {
        let count = count as u64;
        let limit = getrlimit(Resource::Nofile);
        let maximum = limit.maximum.unwrap_or(u64::MAX);
        if maximum < count + OTHERS {
            skip(&format!("needs {} open files; the hard limit is {maximum}", count + OTHERS));
            return None;
        }
        let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
        while *reserved + count + OTHERS > maximum {
            reserved = CHANGED.wait(reserved).unwrap_or_else(PoisonError::into_inner);
        }
        *reserved += count;
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
        Some(OpenFiles(count))
    }
}

impl Drop for OpenFiles {
    fn drop(&mut self) {
        *RESERVED.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        CHANGED.notify_all();
    }
}
