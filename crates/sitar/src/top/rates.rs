//! From two samples to what happens in a second.

use std::collections::BTreeMap;

use crate::admin::{CountsByName, Histogram, SiteTotals, Totals, by_class};

/// What happened between two samples, for each second of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rates {
    /// The time between the samples, in seconds.
    pub(super) seconds: f64,
    pub(super) accepted: f64,
    pub(super) refused: f64,
    pub(super) shed: f64,
    /// Answers by the first digit of their status; the first is of 1xx.
    pub(super) classes: [f64; 5],
    /// Bytes of content.
    pub(super) bytes: f64,
    /// Quantiles of durations, in the order of [`QUANTILES`]; `None`: nothing was answered.
    pub(super) quantiles: Option<[Estimate; 3]>,
    pub(super) handshakes: f64,
    /// The share of them that were resumed, from 0 to 1; `None`: there were none.
    pub(super) resumed: Option<f64>,
    /// Calls of `io_uring_enter` for each answer; `None`: no answer, or no ring.
    pub(super) enters: Option<f64>,
    /// Records written to access logs.
    pub(super) written: f64,
    /// Records that are in no access log, though they should be.
    pub(super) lost: f64,
    /// Sites, in the order of the sample.
    pub(super) sites: Vec<SiteRates>,
}

/// What happened to a site in a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SiteRates {
    pub(super) name: String,
    pub(super) release: Option<String>,
    /// Answers.
    pub(super) requests: f64,
    /// Bytes of content.
    pub(super) bytes: f64,
    /// Answers with 4xx, and with 5xx.
    pub(super) client_errors: f64,
    pub(super) server_errors: f64,
}

/// The quantiles that are shown.
pub(super) const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// A duration in microseconds, as far as a histogram tells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Estimate {
    /// About this, as if durations were spread evenly within a bucket.
    About(f64),
    /// More than this, the bound of the last bucket.
    Above(u64),
}

/// The sample that rates count from.
#[derive(Debug, Default)]
pub(super) struct History(Option<Totals>);

impl History {
    /// Takes a sample. Returns the rates since the last one of the same server. `None`: there is
    /// none, or this one is old itself.
    pub(super) fn take(&mut self, now: &Totals) -> Option<Rates> {
        if !now.is_up {
            // Its counters stand still, and will jump.
            self.0.take_if(|before| !is_same(before, now));
            return None;
        }
        let before = self.0.replace(now.clone())?;
        rates(&before, now)
    }
}

/// Whether both samples are of one process.
fn is_same(before: &Totals, now: &Totals) -> bool {
    before.pid == now.pid
        && before.started == now.started
        && before.uptime_milliseconds <= now.uptime_milliseconds
}

/// Returns the rates between two samples. `None`: counters have begun from zero, or no time has
/// passed.
pub(super) fn rates(before: &Totals, now: &Totals) -> Option<Rates> {
    let milliseconds = now.uptime_milliseconds.checked_sub(before.uptime_milliseconds)?;
    if !is_same(before, now) || milliseconds == 0 {
        return None;
    }
    let seconds = float(milliseconds) / 1000.0;
    let rate = |count: u64| float(count) / seconds;
    let connection = |name| rate(grown(&before.connections, &now.connections, name));
    let record = |name| rate(grown(&before.log_records, &now.log_records, name));
    let classes = classes(&before.answers, &now.answers);
    let answers: u64 = classes.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
    let ((all_before, resumed_before), (all, resumed)) = (before.handshakes(), now.handshakes());
    let handshakes = all.saturating_sub(all_before);
    let enters = now.ring_enters.zip(before.ring_enters);
    let enters = enters.map(|(now, before)| now.saturating_sub(before)).filter(|_| answers > 0);
    Some(Rates {
        seconds,
        accepted: connection("accepted"),
        refused: connection("refused"),
        shed: connection("shed"),
        classes: classes.map(rate),
        bytes: rate(now.response_bytes.saturating_sub(before.response_bytes)),
        quantiles: quantiles(before.durations.as_ref(), now.durations.as_ref()),
        handshakes: rate(handshakes),
        resumed: share(resumed.saturating_sub(resumed_before), handshakes),
        enters: enters.map(|enters| float(enters) / float(answers)),
        written: record("written"),
        lost: record("failed") + record("dropped"),
        sites: sites(before, now, rate),
    })
}

fn sites(before: &Totals, now: &Totals, rate: impl Fn(u64) -> f64) -> Vec<SiteRates> {
    let known: BTreeMap<&str, &SiteTotals> = before.sites.iter().map(|site| (&*site.name, site)).collect();
    let zero = SiteTotals::default();
    let of = |site: &SiteTotals| {
        let known = match known.get(&*site.name) {
            Some(known) => known,
            // It may have been among those that were left out.
            None if before.sites_left_out > 0 => site,
            None => &zero,
        };
        let [informational, success, redirection, client_errors, server_errors] =
            classes(&known.answers, &site.answers).map(&rate);
        SiteRates {
            name: site.name.clone(),
            release: site.release.clone(),
            requests: informational + success + redirection + client_errors + server_errors,
            bytes: rate(site.response_bytes.saturating_sub(known.response_bytes)),
            client_errors,
            server_errors,
        }
    };
    now.sites.iter().map(of).collect()
}

/// Returns how many answers of each class came.
fn classes(before: &BTreeMap<u16, u64>, now: &BTreeMap<u16, u64>) -> [u64; 5] {
    let of = |(code, count): (&u16, &u64)| {
        (*code, count.saturating_sub(before.get(code).copied().unwrap_or_default()))
    };
    by_class(&now.iter().map(of).collect())
}

fn grown(before: &CountsByName, now: &CountsByName, name: &str) -> u64 {
    let count = |counts: &CountsByName| counts.get(name).copied().unwrap_or_default();
    count(now).saturating_sub(count(before))
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (float(part) / float(whole)).min(1.0))
}

fn quantiles(before: Option<&Histogram>, now: Option<&Histogram>) -> Option<[Estimate; 3]> {
    let (before, now) = (before?, now?);
    if before.bounds != now.bounds {
        return None;
    }
    let counts = now.counts.iter().zip(&before.counts).map(|(now, before)| now.saturating_sub(*before));
    let counts: Vec<u64> = counts.collect();
    let all = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let quantile = |quantile: f64| self::quantile(&now.bounds, &counts, quantile * float(all));
    (all > 0).then(|| QUANTILES.map(|(_, share)| quantile(share)))
}

/// Returns the duration that this number of answers stay below.
fn quantile(bounds: &[u64], counts: &[u64], rank: f64) -> Estimate {
    let (mut below, mut lower) = (0.0, 0);
    for (bound, count) in bounds.iter().zip(counts) {
        let count = float(*count);
        if count > 0.0 && below + count >= rank {
            let width = float(bound.saturating_sub(lower));
            return Estimate::About(float(lower) + width * ((rank - below) / count).clamp(0.0, 1.0));
        }
        (below, lower) = (below + count, *bound);
    }
    Estimate::Above(lower)
}

/// Returns a number with the precision that matters here.
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(milliseconds: u64, count: u64) -> Totals {
        let by_name = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), count)).collect();
        Totals {
            pid: 7,
            started: 100,
            uptime_milliseconds: milliseconds,
            is_up: true,
            connections: by_name(&["accepted", "refused", "shed"]),
            handshakes: by_name(&["tls13_full", "tls13_resumed"]),
            answers: [(200, count), (304, 2 * count), (503, count)].into(),
            response_bytes: 1000 * count,
            durations: Some(Histogram {
                bounds: vec![100, 1000],
                counts: vec![count, count, 2 * count],
                sum: 0,
            }),
            ring_enters: Some(8 * count),
            log_records: by_name(&["written", "failed", "dropped"]),
            sites: vec![SiteTotals {
                name: "a.test".into(),
                answers: [(200, count), (404, count)].into(),
                response_bytes: count,
                ..SiteTotals::default()
            }],
            ..Totals::default()
        }
    }

    #[test]
    fn rates_are_differences_by_time() {
        let rates = rates(&sample(1000, 100), &sample(3000, 110)).unwrap();
        assert_eq!(
            rates,
            Rates {
                seconds: 2.0,
                accepted: 5.0,
                refused: 5.0,
                shed: 5.0,
                classes: [0.0, 5.0, 10.0, 0.0, 5.0],
                bytes: 5000.0,
                quantiles: Some([Estimate::About(1000.0), Estimate::Above(1000), Estimate::Above(1000)]),
                handshakes: 10.0,
                resumed: Some(0.5),
                enters: Some(2.0),
                written: 5.0,
                lost: 10.0,
                sites: vec![SiteRates {
                    name: "a.test".into(),
                    requests: 10.0,
                    bytes: 5.0,
                    client_errors: 5.0,
                    ..SiteRates::default()
                }],
            }
        );
    }

    #[test]
    fn another_process_and_a_silent_worker_give_no_rates() {
        let mut history = History::default();
        assert_eq!(history.take(&sample(1000, 1000)), None);
        assert!(history.take(&sample(2000, 1001)).is_some());
        // Another process, which has begun from zero.
        let other = |milliseconds, count| Totals { pid: 8, started: 103, ..sample(milliseconds, count) };
        assert_eq!(history.take(&other(100, 5)), None);
        assert_eq!(history.take(&other(1100, 6)).unwrap().accepted, 1.0);
        // In a container the number is the same.
        assert_eq!(history.take(&Totals { pid: 8, ..sample(50, 0) }), None);
        let mut history = History::default();
        history.take(&sample(1000, 10));
        // The first numbers after a silence are those of all of it.
        assert_eq!(history.take(&Totals { is_up: false, ..sample(2000, 10) }), None);
        assert_eq!(history.take(&Totals { is_up: false, ..sample(9000, 10) }), None);
        assert_eq!(history.take(&sample(11_000, 20)).unwrap().accepted, 1.0);
        // A counter that goes back, and no time at all.
        assert_eq!(history.take(&sample(12_000, 5)).unwrap().accepted, 0.0);
        assert_eq!(history.take(&sample(12_000, 6)), None);
    }

    #[test]
    fn a_site_that_was_left_out_before_has_not_answered_everything_now() {
        let before = Totals { sites: Vec::new(), ..sample(1000, 10) };
        let of = |before: &Totals| rates(before, &sample(2000, 20)).unwrap().sites[0].requests;
        assert_eq!(of(&before), 40.0);
        assert_eq!(of(&Totals { sites_left_out: 1, ..before }), 0.0);
    }

    #[test]
    fn quantiles_are_within_their_buckets() {
        for (counts, rank, expected) in [
            (vec![10, 0, 0], 5.0, Estimate::About(50.0)),
            (vec![10, 10, 0], 15.0, Estimate::About(550.0)),
            (vec![0, 10, 0], 10.0, Estimate::About(1000.0)),
            (vec![0, 1, 99], 50.0, Estimate::Above(1000)),
        ] {
            assert_eq!(quantile(&[100, 1000], &counts, rank), expected, "{counts:?}");
        }
        assert_eq!(quantile(&[], &[1], 1.0), Estimate::Above(0));
    }
}
