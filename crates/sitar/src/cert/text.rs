//! Certificates that are ordered, for people.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use sitar_acme::{Progress, Stage};
use sitar_site::Printable;

use crate::admin::{Ordered, time};

/// Returns a line for each certificate.
pub(super) fn list(all: &[Ordered]) -> String {
    if all.is_empty() {
        return "this server orders no certificates\n".to_owned();
    }
    let width = all.iter().map(|one| one.progress.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for one in all {
        let Progress { name, validity, next, failures, .. } = &one.progress;
        let name = Printable(name).to_string();
        let _ = write!(text, "{name:<width$}  {}", state(one));
        if let Some((_, end)) = validity {
            let _ = write!(text, ", expires {}", time(*end));
        }
        if let Some(next) = next {
            let what = if *failures > 0 { "next attempt" } else { "next order" };
            let _ = write!(text, ", {what} {}", time(seconds(*next)));
        }
        text.push('\n');
    }
    text
}

/// Returns all that is known of certificates.
pub(super) fn show(all: &[&Ordered]) -> String {
    if all.is_empty() {
        return list(&[]);
    }
    let blocks: Vec<String> = all.iter().map(|one| block(one)).collect();
    blocks.join("\n")
}

fn block(one: &Ordered) -> String {
    let Progress { name, serial, validity, authority, next, failed, hint, failures, .. } = &one.progress;
    let mut text = format!("{}\n", Printable(name));
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "  {label:<9}  {}", Printable(value));
    };
    line("names", &one.names.join(", "));
    line("state", state(one));
    if let Some((start, end)) = validity {
        line("valid", &format!("{} to {}", time(*start), time(*end)));
    }
    if let Some(serial) = serial {
        line("serial", serial);
    }
    if let Some(authority) = authority {
        line("authority", authority);
    }
    if let Some(next) = next {
        line("next", &time(seconds(*next)));
    }
    if let Some(failed) = failed {
        match failures {
            0 => line("failed", failed),
            _ => line("failed", &format!("{failures} in a row, the last: {failed}")),
        }
    }
    if let Some(hint) = hint {
        line("hint", hint);
    }
    text
}

fn state(one: &Ordered) -> &'static str {
    match (one.is_served, one.progress.stage) {
        (true, Stage::Resting) => "served",
        (true, Stage::Ordering) => "served, and being ordered",
        (true, Stage::Failing) => "served; the last order has failed",
        (false, Stage::Resting) => "not there yet; the local one is served",
        (false, Stage::Ordering) => "being ordered; the local one is served",
        (false, Stage::Failing) => "the last order has failed; the local one is served",
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::ordered;
    use super::*;

    #[test]
    fn what_is_known_as_text() {
        let mut first = ordered("example.com", &["example.com", "www.example.com"]);
        let progress = &mut first.progress;
        progress.validity = Some((1_767_225_600, 1_775_001_600));
        progress.next = Some(UNIX_EPOCH + Duration::from_secs(1_772_409_600));
        progress.serial = Some("04ab".to_owned());
        progress.authority = Some("https://acme.example.com/directory".to_owned());
        let mut second = ordered("_.b.example", &["*.b.example"]);
        second.is_served = false;
        let progress = &mut second.progress;
        progress.stage = Stage::Failing;
        progress.failures = 2;
        progress.failed = Some("the DNS has no such record".to_owned());
        progress.hint = Some("look: dig _acme-challenge.b.example TXT".to_owned());
        progress.next = Some(UNIX_EPOCH + Duration::from_secs(1_767_226_200));
        let all = [first, second];
        assert_eq!(
            list(&all),
            "example.com  served, expires 2026-04-01 00:00:00 UTC, next order 2026-03-02 00:00:00 UTC\n\
             _.b.example  the last order has failed; the local one is served, next attempt 2026-01-01 \
             00:10:00 UTC\n"
        );
        let [first, second] = &all;
        assert_eq!(
            show(&[first, second]),
            "example.com\n  \
               names      example.com, www.example.com\n  \
               state      served\n  \
               valid      2026-01-01 00:00:00 UTC to 2026-04-01 00:00:00 UTC\n  \
               serial     04ab\n  \
               authority  https://acme.example.com/directory\n  \
               next       2026-03-02 00:00:00 UTC\n\
             \n\
             _.b.example\n  \
               names      *.b.example\n  \
               state      the last order has failed; the local one is served\n  \
               next       2026-01-01 00:10:00 UTC\n  \
               failed     2 in a row, the last: the DNS has no such record\n  \
               hint       look: dig _acme-challenge.b.example TXT\n"
        );
        let mut third = ordered("c.example", &["c.example"]);
        third.progress.failed = Some("the certificate of c.example is not revoked: it says no".to_owned());
        assert_eq!(
            show(&[&third]),
            "c.example\n  \
               names      c.example\n  \
               state      served\n  \
               failed     the certificate of c.example is not revoked: it says no\n"
        );
        assert_eq!(list(&[]), "this server orders no certificates\n");
    }
}
