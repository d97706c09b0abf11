//! Work on many things by several threads, with results in the order of the things.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The threads of a check, and its callback for progress.
pub struct Work<'p> {
    /// Threads that read and search.
    pub threads: NonZeroUsize,
    /// Called now and then with the number of files that are done, and of all.
    pub progress: &'p mut dyn FnMut(usize, usize),
}

/// Does `work` on each item, and returns what comes of it in their order. Each thread has a `state`
/// of its own.
pub(super) fn each<I: Sync, S, T: Send>(
    threads: NonZeroUsize,
    items: &[I],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &I) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let take = || {
        let (mut state, mut done) = (state(), Vec::new());
        loop {
            // Nothing but the number is shared.
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, work(&mut state, item)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        // Where no thread can be had, this one does it all.
        let others = (1..threads.get().min(items.len()))
            .map_while(|_| std::thread::Builder::new().spawn_scoped(scope, take).ok());
        let others: Vec<_> = others.collect();
        let mut done = take();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, done)| done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_number_of_threads() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled: Vec<u32> = (0..2000).step_by(2).collect();
        for threads in [1, 2, 7] {
            let threads = NonZeroUsize::new(threads).unwrap();
            assert_eq!(each(threads, &items, || 0, |_, item| item * 2), doubled);
        }
        assert_eq!(each(NonZeroUsize::MIN, &[0_u8; 0], || (), |(), item| *item), [0_u8; 0]);
    }
}
