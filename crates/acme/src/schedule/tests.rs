use proptest::prelude::*;

use super::*;

const START: u64 = 1_800_000_000;

fn days(lifetime: u64) -> Validity {
    Validity { start: START, end: START + lifetime * DAY }
}

/// The days after the start at which a certificate is renewed, at the earliest and the latest, for
/// many seeds.
fn span(lifetime: u64, window: Option<(u64, u64)>) -> (u64, u64) {
    let window = window.map(|(start, end)| Window { start: START + start * DAY, end: START + end * DAY });
    let all = (0..2000).map(|seed| renewal(days(lifetime), window, hash::of(&[&u64::to_be_bytes(seed)])));
    let all: Vec<_> = all.map(|at| at - START).collect();
    (all.iter().min().unwrap() / HOUR, all.iter().max().unwrap() / HOUR)
}

#[test]
fn without_a_window_two_thirds_or_the_half() {
    // 60 days, give or take 1.8; 30 and 0.9; 3 days and 2.88 hours.
    assert_eq!(span(90, None), (1396, 1483));
    assert_eq!(span(45, None), (698, 741));
    assert_eq!(span(6, None), (69, 74));
    // Ten days are not short: 160 hours, give or take 4.8.
    assert_eq!(span(10, None), (155, 164));
}

#[test]
fn a_window_of_the_authority() {
    assert_eq!(span(90, Some((40, 42))), (960, 1007));
    // It may be past, and then the first seconds of it are too.
    assert_eq!(span(90, Some((0, 1))), (0, 23));
    // It may be one moment, as after a revocation.
    assert_eq!(span(90, Some((40, 40))), (960, 960));
    // But a sixth of the lifetime before the end at the latest, which is day 75.
    assert_eq!(span(90, Some((80, 90))), (1800, 1800));
    // What makes no sense is as nothing: it ends after the certificate, or before it begins, or
    // is years away.
    for (start, end) in [(80, 91), (100, 110), (42, 40), (5000, 5001)] {
        assert_eq!(span(90, Some((start, end))), (1396, 1483), "{start} to {end}");
    }
    let past = Window { start: START - 2 * DAY, end: START - DAY };
    assert!(renewal(days(90), Some(past), 0) > START + 58 * DAY);
}

#[test]
fn the_window_is_asked_for_again() {
    // The seed 0 takes a tenth away.
    assert_eq!(ask_again(START, None, 0, 0), START + 6 * 54 * MINUTE);
    assert_eq!(ask_again(START, Some(0), 0, 0), START + 54);
    assert_eq!(ask_again(START, Some(u64::MAX), 0, 0), START + DAY / 10 * 9);
    assert_eq!(ask_again(START, Some(DAY), 1, 0), START + 54);
    assert_eq!(ask_again(START, None, 4, 0), START + 8 * 54);
    assert_eq!(ask_again(START, None, u32::MAX, 0), START + 6 * 54 * MINUTE);
    assert_eq!(ask_again(u64::MAX, None, 0, 7), u64::MAX);
}

#[test]
fn attempts_are_spaced_out() {
    let minutes = |fault, is_ending| -> Vec<u64> {
        // A seed at which nothing is given or taken: a tenth of the wait.
        let wait = |failures| retry(START, fault, failures, is_ending, 0) - START;
        (1..=9).map(|failures| wait(failures) * 10 / 9 / MINUTE).collect()
    };
    assert_eq!(minutes(Fault::Refused, false), [5, 10, 20, 40, 80, 160, 320, 640, 720]);
    assert_eq!(minutes(Fault::Authority, false), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(minutes(Fault::Refused, true), [5, 10, 20, 40, 60, 60, 60, 60, 60]);
    assert_eq!(minutes(Fault::Authority, true), [1, 2, 4, 8, 15, 15, 15, 15, 15]);
    assert_eq!(ban(START, START + 2), START + 2);
    assert_eq!(ban(START, u64::MAX), START + 7 * DAY);
}

#[test]
fn authorities_take_turns() {
    let turns: Vec<_> = (0..10).map(|failures| authority(failures, 3)).collect();
    assert_eq!(turns, [0, 0, 0, 1, 1, 1, 2, 2, 2, 0]);
    assert_eq!(authority(7, 1), 0);
    assert_eq!(authority(7, 0), 0);
}

fn event(at: u64, kind: EventKind) -> Event {
    Event { at, kind, authority: "https://a.example/".into(), set: 1 }
}

fn ask(is_urgent: bool) -> Ask<'static> {
    Ask { authority: "https://a.example/", set: 1, is_urgent, lifetime: None }
}

#[test]
fn limits_of_the_authority() {
    let mut limits = Limits::default();
    for hour in 0..4 {
        assert_eq!(limits.earliest(START, ask(false)), START);
        limits.add(event(START + hour * HOUR, EventKind::Issued));
    }
    // Four of five are used, and the last one is for when it is urgent.
    assert_eq!(limits.earliest(START + DAY, ask(false)), START + WEEK + 1);
    assert_eq!(limits.earliest(START + DAY, ask(true)), START + DAY);
    limits.add(event(START + DAY, EventKind::Issued));
    assert_eq!(limits.earliest(START + DAY, ask(true)), START + WEEK + 1);
    // Another set, and another authority, count for themselves.
    assert_eq!(limits.earliest(START, Ask { set: 2, ..ask(false) }), START);
    assert_eq!(limits.earliest(START, Ask { authority: "https://b.example/", ..ask(false) }), START);

    let mut limits = Limits::default();
    for minute in 0..4 {
        limits.add(event(START + minute * MINUTE, EventKind::Invalid));
    }
    assert_eq!(limits.earliest(START, ask(true)), START + HOUR + 1);

    let mut limits = Limits::default();
    for second in 0..250 {
        limits.add(Event { set: second, ..event(START + second, EventKind::Ordered) });
    }
    assert_eq!(limits.earliest(START, Ask { set: 999, ..ask(true) }), START + 3 * HOUR + 1);
    limits.forget(START + 3 * HOUR + MINUTE);
    assert_eq!(limits.earliest(START + 3 * HOUR + MINUTE, ask(true)), START + 3 * HOUR + MINUTE);
}

/// Certificates of that lifetime are renewed for sixty days, as soon as limits let them be.
#[test]
fn limits_let_no_certificate_expire() {
    for hours in [2, 12, 24, 36, 48, 72, 84, 96, 120, 160, 240] {
        let (mut limits, mut end) = (Limits::default(), None);
        let (mut now, mut count) = (START, 0);
        while now < START + 60 * DAY {
            let validity = end.map(|end| Validity { start: end - hours * HOUR, end });
            let at =
                validity.map_or(now, |validity| renewal(validity, None, hash::of(&[&now.to_be_bytes()])));
            let earliest = |at| {
                let is_urgent = validity.is_none_or(|validity| validity.is_ending(at));
                let lifetime = validity.map(Validity::lifetime);
                limits.earliest(at, Ask { lifetime, ..ask(is_urgent) })
            };
            // When time is short, one more is permitted.
            let latest = validity.map_or(at, Validity::latest);
            now = earliest(at).min(earliest(latest.max(at)));
            assert!(end.is_none_or(|end| now < end), "{hours} hours: expired after {count}");
            limits.add(event(now, EventKind::Issued));
            limits.forget(now);
            end = Some(now + hours * HOUR);
            count += 1;
        }
    }
    // An authority whose windows are always past gets a bounded number of orders.
    let mut limits = Limits::default();
    let of_a_day = Ask { lifetime: Some(DAY), ..ask(true) };
    for second in 0..28 {
        assert_eq!(limits.earliest(START + 60, of_a_day), START + 60);
        limits.add(event(START + second, EventKind::Issued));
    }
    assert_eq!(limits.earliest(START + 60, of_a_day), START + WEEK + 1);
    // Those of Let's Encrypt stay what they are.
    let of_160_hours = Ask { lifetime: Some(160 * HOUR), ..ask(true) };
    assert_eq!(limits.earliest(START + 60, of_160_hours), START + 23 + WEEK + 1);
}

#[test]
fn limits_of_accounts_and_domains() {
    assert_eq!(account_earliest(START, &[START; 4]), START);
    assert_eq!(account_earliest(START, &[START; 5]), START + 3 * HOUR + 1);
    // A clock that was wrong does not forbid one for ever.
    assert_eq!(account_earliest(START, &[u64::MAX; 5]), START + 3 * HOUR + 1);
    assert_eq!(domain_earliest(START, &mut vec![START - 5; 39]), START);
    assert_eq!(domain_earliest(START, &mut vec![START - 5; 40]), START - 5 + 202 * MINUTE);
    assert_eq!(domain_earliest(START, &mut vec![START - WEEK; 99]), START);
}

#[test]
fn events_of_the_future_are_counted_once_more() {
    let mut events = vec![event(START, EventKind::Issued), event(START + 3000 * DAY, EventKind::Issued)];
    assert!(bound(&mut events, START));
    assert_eq!([events[0].at, events[1].at], [START; 2]);
    assert!(!bound(&mut events, START));
    assert!(is_counted(&events[1], START + WEEK) && !is_counted(&events[1], START + WEEK + MINUTE));
}

proptest! {
    /// Whatever an authority says, renewal begins while the certificate is valid, with a sixth of
    /// its lifetime left or more, and nothing overflows.
    #[test]
    fn renewal_is_in_time(
        start in any::<u64>(), lifetime in 0..400 * DAY, window: Option<(u64, u64)>, near: bool, seed: u64,
    ) {
        let validity = Validity { start, end: start.saturating_add(lifetime) };
        let window = window.map(|(from, to)| match near {
            true => Window { start: start.saturating_add(from % (lifetime + 1)), end: start.saturating_add(to % (2 * lifetime + 1)) },
            false => Window { start: from, end: to },
        });
        let at = renewal(validity, window, seed);
        prop_assert!(at <= validity.end - (validity.end - validity.start) / 6);
        prop_assert_eq!(at, renewal(validity, window, seed));
    }

    /// Orders that are placed as soon as they may be never exceed what the authority permits,
    /// however they end.
    #[test]
    fn limits_hold_over_any_history(ends in prop::collection::vec((0_u64..7200, 0_u8..3, 1_u64..4, any::<bool>()), 1..300)) {
        let (mut now, mut limits, mut all) = (START, Limits::default(), Vec::new());
        for (pause, end, set, is_urgent) in ends {
            now = limits.earliest(now + pause, Ask { set, ..ask(is_urgent) });
            let mut note = |kind| {
                let event = Event { set, ..event(now, kind) };
                limits.add(event.clone());
                all.push(event);
            };
            note(EventKind::Ordered);
            match end {
                0 => note(EventKind::Issued),
                1 => note(EventKind::Invalid),
                _ => {}
            }
            limits.forget(now);
        }
        let most = |kind, period, per_set: bool| {
            let counted = |one: &Event| all.iter().filter(|other| {
                other.kind == kind && other.at <= one.at && other.at + period >= one.at && (!per_set || other.set == one.set)
            }).count();
            all.iter().filter(|event| event.kind == kind).map(counted).max().unwrap_or(0)
        };
        prop_assert!(most(EventKind::Issued, WEEK, true) <= 5);
        prop_assert!(most(EventKind::Invalid, HOUR, true) <= 4);
        prop_assert!(most(EventKind::Ordered, 3 * HOUR, false) <= 300);
    }
}
