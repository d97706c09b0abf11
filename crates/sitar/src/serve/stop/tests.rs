use super::*;

const LIMIT: Duration = Duration::from_secs(30);

/// Returns the lines for each time in milliseconds and number of answers under way.
fn said(is_terminal: bool, steps: &[(u64, usize)]) -> Vec<String> {
    let mut teller = Teller::new(LIMIT, is_terminal);
    let ms = Duration::from_millis;
    steps.iter().filter_map(|(at, count)| teller.step(ms(*at), *count)).collect()
}

#[test]
fn a_log_gets_a_line_now_and_then() {
    let steps: Vec<(u64, usize)> = (0..120).map(|step| (step * 100, if step < 80 { 3 } else { 1 })).collect();
    assert_eq!(
        said(false, &steps),
        [
            "stopping when 3 connections have their answers, after 30 s at the latest (another signal does not wait)",
            "stopping when 3 connections have their answers, after 25 s at the latest",
            "stopping when 1 connection has its answer, after 20 s at the latest",
        ]
    );
}

#[test]
fn a_terminal_gets_one_line_that_counts_down() {
    assert_eq!(
        said(true, &[(300, 2), (400, 2), (900, 1), (1100, 1), (29_999, 1), (30_000, 1)]),
        [
            "\r\x1b[Ksitar: stopping when 2 connections have their answers, after 30 s at the latest (another signal does not wait)",
            "\r\x1b[Ksitar: stopping when 1 connection has its answer, after 30 s at the latest (another signal does not wait)",
            "\r\x1b[Ksitar: stopping when 1 connection has its answer, after 29 s at the latest (another signal does not wait)",
            "\r\x1b[Ksitar: stopping when 1 connection has its answer, after 1 s at the latest (another signal does not wait)",
        ]
    );
}

#[test]
fn a_stop_that_waits_for_nothing_says_nothing() {
    assert_eq!(said(false, &[(0, 5), (200, 5), (300, 0), (400, 0)]), [""; 0]);
    assert_eq!(said(true, &[(0, 0), (100, 0)]), [""; 0]);
}

#[test]
fn answers_that_are_cut_off_are_counted() {
    assert_eq!(cut_off(LIMIT, 0), None);
    assert_eq!(cut_off(LIMIT, 1).as_deref(), Some("1 answer was cut off after 30 s"));
    assert_eq!(cut_off(Duration::ZERO, 2).as_deref(), Some("2 answers were cut off after 0 s"));
}
