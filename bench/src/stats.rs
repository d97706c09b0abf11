//! Medians with their intervals, and figures as text.
//!
//! Written here because no dependency has a bootstrap, and a crate of statistics is more to keep
//! than these functions.

/// Number of times that the rounds are drawn.
const RESAMPLES: usize = 4000;
/// The same figures give the same intervals, whenever they are computed.
const SEED: u64 = 0x5eed_0f51_7a25_0001;

/// A median of several rounds with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Estimate {
    /// Returns the median with the percentile bootstrap's interval: rounds are drawn with
    /// replacement, and of their medians the middle 95 % are taken. That assumes nothing about the
    /// distribution of the figures. `None` without figures.
    pub(crate) fn of(figures: &[f64]) -> Option<Estimate> {
        let median = median(figures)?;
        let mut random = Random(SEED);
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .filter_map(|_| {
                let drawn: Vec<f64> = figures.iter().map(|_| figures[random.below(figures.len())]).collect();
                self::median(&drawn)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        Some(Estimate { median, low: percentile(&medians, 2.5)?, high: percentile(&medians, 97.5)? })
    }
}

/// Returns the figure in the middle, or the mean of the two in the middle.
pub(crate) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0)
}

/// Returns the nearest-rank percentile of sorted figures.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    // Without the subtraction, 99.9 % of 1000 would be a little more than 999.
    let rank = (percent * sorted.len() as f64 / 100.0 - 1e-9).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// SplitMix64. Not the `rand` crate's: a new version of that may draw others, and with them every
/// interval in `bench/results.json` would change.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, which is not 0. The remainder's bias is less than 2⁻⁵⁰ here.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Returns a figure with three digits that count, whatever its size.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_long_as_they_are_known() {
        assert_eq!([0.523, 9.994, 10.04, 123.4].map(figure), ["0.52", "9.99", "10.0", "123"]);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn percentiles_are_figures_that_occurred() {
        let figures: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(percentile(&figures, 50.0), Some(500.0));
        assert_eq!(percentile(&figures, 99.9), Some(999.0));
        assert_eq!(percentile(&figures, 100.0), Some(1000.0));
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 99.0), None);
    }

    #[test]
    fn an_interval_holds_the_median_and_is_the_same_each_time() {
        let figures = [1.0, 1.1, 0.9, 1.05, 0.95, 1.2, 5.0];
        let estimate = Estimate::of(&figures).unwrap();
        assert_eq!(estimate.median, 1.05);
        assert!(estimate.low < estimate.median && estimate.median < estimate.high, "{estimate:?}");
        assert!(estimate.low >= 0.9 && estimate.high <= 5.0);
        assert_eq!(Estimate::of(&figures).unwrap(), estimate);
        let same = Estimate::of(&[2.0; 7]).unwrap();
        assert_eq!((same.low, same.high), (2.0, 2.0));
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn seven_rounds_give_about_the_interval_of_the_order_statistics() {
        // For n = 7 the bootstrap of a median reaches from the second to the sixth figure, nearly
        // always.
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]).unwrap();
        assert_eq!((estimate.low, estimate.high), (2.0, 6.0));
    }
}
