//! The same facts as a document of the admin socket.

use std::collections::BTreeMap;
use std::time::Duration;

use sitar_server::Durations;

use super::numbers::Site;
use super::text::Facts;
use crate::admin::{CountsByName, CountsByStatus, Histogram, SITES_MAX, SiteTotals, Totals};

impl Facts {
    /// Returns what is counted and held. The process is its caller's to name.
    pub(crate) fn totals(&self) -> Totals {
        let numbers = &self.numbers;
        let count = |name: &str| numbers.count(name);
        let (mut answers, mut response_bytes) = (CountsByStatus::new(), 0_u64);
        for site in numbers.sites.values() {
            add_answers(&mut answers, site);
            response_bytes = response_bytes.saturating_add(site.content);
        }
        let sites = self.site_totals();
        let [tls12, tls13] = numbers.handshakes;
        Totals {
            started: self.started,
            is_up: self.is_up,
            worker_restarts: self.restarts,
            is_reload_ok: self.reload.0,
            connections: by_name([
                ("open", numbers.open()),
                ("accepted", count("accepted")),
                ("passed", count("passed")),
                ("refused", count("refused")),
                ("shed", count("shed")),
                ("kernel_sealed", count("kernel_sealed")),
                ("http2_floods", count("calmed")),
            ]),
            closed: by_name(numbers.ends.iter().map(|(reason, count)| (*reason, *count))),
            handshakes: by_name([
                ("tls12_full", tls12[0]),
                ("tls12_resumed", tls12[1]),
                ("tls13_full", tls13[0]),
                ("tls13_resumed", tls13[1]),
            ]),
            answers,
            response_bytes,
            durations: Some(histogram(&numbers.durations)),
            ring_enters: self.is_uring.then_some(numbers.calls),
            password_hashes: count("hashes"),
            send_buffers: by_name([
                ("free", numbers.send_buffers_free),
                ("used", numbers.send_buffers.saturating_sub(numbers.send_buffers_free)),
            ]),
            memory: by_name([("bodies", numbers.bodies), ("connections", numbers.held)]),
            log_records: by_name(numbers.records.iter().map(|(what, count)| (*what, *count))),
            sites_left_out: sites.len().saturating_sub(SITES_MAX) as u64,
            sites: sites.into_iter().take(SITES_MAX).collect(),
            certificates: self.first_ends().into_iter().map(|(name, end)| (name.to_owned(), end)).collect(),
            ..Totals::default()
        }
    }

    /// Returns all sites, those with the most answers first.
    fn site_totals(&self) -> Vec<SiteTotals> {
        let releases: BTreeMap<&str, &str> =
            self.sites.iter().map(|(name, release)| (&**name, &**release)).collect();
        let total = |name: &str, site: &Site| {
            let mut answers = CountsByStatus::new();
            add_answers(&mut answers, site);
            let release = releases.get(name).filter(|release| !release.is_empty());
            SiteTotals {
                name: name.to_owned(),
                release: release.map(|release| (*release).to_owned()),
                answers,
                response_bytes: site.content,
            }
        };
        let counted = self.numbers.sites.iter().map(|(name, site)| total(name, site));
        let unasked = releases.keys().filter(|name| !self.numbers.sites.contains_key(**name));
        let mut sites: Vec<SiteTotals> =
            counted.chain(unasked.map(|name| total(name, &Site::default()))).collect();
        sites.sort_by_cached_key(|site| {
            let sum = site.answers.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
            (std::cmp::Reverse(sum), site.name.clone())
        });
        sites
    }
}

fn histogram(durations: &Durations) -> Histogram {
    let microseconds = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let (counts, _) = durations.parts();
    let bounds = Durations::bounds().map(microseconds).collect();
    Histogram { bounds, counts: counts.to_vec(), sum: microseconds(durations.total()) }
}

fn by_name<'n>(counts: impl IntoIterator<Item = (&'n str, u64)>) -> CountsByName {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn add_answers(sum: &mut CountsByStatus, site: &Site) {
    for ((code, _), count) in &site.answers {
        let sum: &mut u64 = sum.entry(*code).or_default();
        *sum = sum.saturating_add(*count);
    }
}
