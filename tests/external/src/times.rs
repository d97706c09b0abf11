//! The answers that a client got, and how long they took.

use std::fmt::Display;
use std::time::Duration;

/// The times of the answers that were right, and what was wrong with the others.
#[derive(Default)]
pub(crate) struct Times {
    pub(crate) took: Vec<Duration>,
    pub(crate) errors: Vec<String>,
}

impl Times {
    /// Adds what came of one request.
    pub(crate) fn add(&mut self, asked: Result<Duration, impl Display>) {
        match asked {
            Ok(took) => self.took.push(took),
            Err(error) => self.errors.push(error.to_string()),
        }
    }

    /// Returns the milliseconds within which this percentage of the requests was answered.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.took.clone();
        sorted.sort();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(f64::INFINITY, |took| took.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let mut times = Times::default();
        (0..200).rev().for_each(|took| times.add(Ok::<_, String>(Duration::from_millis(took))));
        times.add(Err("late"));
        assert_eq!((times.percentile(50), times.percentile(99)), (100.0, 198.0));
        assert_eq!(times.errors, ["late"]);
    }
}
