use super::*;

const LIMIT: Duration = Duration::from_secs(30);

/// Returns the lines for each time in milliseconds and number of answers under way, and for the
/// end.
fn said(is_terminal: bool, steps: &[(u64, usize)], end: (u64, usize)) -> Vec<String> {
    let mut teller = Teller::new(LIMIT, is_terminal);
    let ms = Duration::from_millis;
    let mut all: Vec<String> = steps.iter().filter_map(|(at, count)| teller.step(ms(*at), *count)).collect();
    all.extend(teller.end(ms(end.0), end.1));
    all
}

#[test]
fn a_log_gets_a_line_now_and_then() {
    let steps: Vec<(u64, usize)> = (0..120).map(|step| (step * 100, if step < 80 { 3 } else { 1 })).collect();
    assert_eq!(
        said(false, &steps, (12_000, 0)),
        [
            "sitar: stopping when 3 connections have their answers, after 30 s at the latest (another signal does not wait)\n",
            "sitar: stopping when 3 connections have their answers, after 25 s at the latest\n",
            "sitar: stopping when 1 connection has its answer, after 20 s at the latest\n",
        ]
    );
}

#[test]
fn a_terminal_gets_one_line_that_counts_down() {
    assert_eq!(
        said(true, &[(300, 2), (400, 2), (900, 1), (1100, 1), (29_999, 1), (30_000, 1)], (30_010, 1)),
        [
            "\r\x1b[Ksitar: stopping when 2 connections have their answers, after 30 s at the latest (another signal does not wait)",
            "\r\x1b[Ksitar: stopping when 1 connection has its answer, after 30 s at the latest (another signal does not wait)",
            "\r\x1b[Ksitar: stopping when 1 connection has its answer, after 29 s at the latest (another signal does not wait)",
            "\r\x1b[Ksitar: stopping when 1 connection has its answer, after 1 s at the latest (another signal does not wait)",
            "\nsitar: 1 answer was cut off after 30 s\n",
        ]
    );
}

#[test]
fn a_stop_that_waits_for_nothing_says_nothing() {
    assert_eq!(said(false, &[(0, 5), (200, 5), (300, 0), (400, 0)], (400, 0)), [""; 0]);
    assert_eq!(said(true, &[(0, 0), (100, 0)], (150, 0)), [""; 0]);
    assert_eq!(said(false, &[], (0, 2)), ["sitar: 2 answers were cut off after 0 s\n"]);
}
