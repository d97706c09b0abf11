//! The cost of matching, counted for tests: a count is the same on every machine, a time is not.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts bytes that have been looked at, and rules that have been tried. Nothing outside of tests.
#[inline]
pub(super) fn looked_at(steps: usize) {
    #[cfg(test)]
    STEPS.with(|sum| sum.set(sum.get() + steps));
    #[cfg(not(test))]
    let _ = steps;
}

/// Runs `action` and returns how many steps it took on this thread.
#[cfg(test)]
pub(super) fn steps(action: impl FnOnce()) -> usize {
    let before = STEPS.with(std::cell::Cell::get);
    action();
    STEPS.with(std::cell::Cell::get) - before
}
