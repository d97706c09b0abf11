//! The line about a system call that was refused. A signal handler makes it: nothing here
//! allocates, locks or panics.

use std::time::Duration;

/// What a line is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// In front of the time.
    pub begin: &'static str,
    /// The time in it.
    pub time: Time,
    /// Between the time and the name of the call.
    pub sentence: &'static str,
    /// Behind the name, in front of the line feed.
    pub end: &'static str,
}

/// How a line tells the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Not at all.
    None,
    /// Seconds since 1970, with six decimals.
    Seconds,
    /// UTC as in RFC 3339, with three decimals of the second.
    Rfc3339,
}

/// A line as it is written.
pub(super) struct Text {
    bytes: [u8; 320],
    len: usize,
}

impl Text {
    /// Makes a line about a call. `now` is the time since 1970.
    pub(super) fn new(line: &Line, now: Duration, name: &[u8]) -> Text {
        let mut text = Text { bytes: [0; 320], len: 0 };
        text.push(line.begin.as_bytes());
        match line.time {
            Time::None => {}
            Time::Seconds => {
                text.number(now.as_secs(), 1);
                text.push(b".");
                text.number(now.subsec_micros().into(), 6);
            }
            Time::Rfc3339 => text.date(now),
        }
        text.push(line.sentence.as_bytes());
        text.push(name);
        text.push(line.end.as_bytes());
        text.push(b"\n");
        text
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    /// Appends a number with that many digits at least.
    fn number(&mut self, mut number: u64, least: usize) {
        let mut digits = [b'0'; 20];
        let mut first = digits.len();
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            first = at;
            if number == 0 {
                break;
            }
        }
        let first = first.min(digits.len().saturating_sub(least));
        self.push(digits.get(first..).unwrap_or_default());
    }

    fn date(&mut self, now: Duration) {
        let (seconds, days) = (now.as_secs() % 86_400, now.as_secs() / 86_400);
        let (year, month, day) = civil(days);
        let parts = [
            (year, 4, b'-'),
            (month, 2, b'-'),
            (day, 2, b'T'),
            (seconds / 3600, 2, b':'),
            (seconds / 60 % 60, 2, b':'),
            (seconds % 60, 2, b'.'),
            (now.subsec_millis().into(), 3, b'Z'),
        ];
        for (number, least, behind) in parts {
            self.number(number, least);
            self.push(&[behind]);
        }
    }
}

/// Returns year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    // Eras of 400 years, from 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &Line, micros: u64, name: &[u8]) -> String {
        let text = Text::new(line, Duration::from_micros(micros), name);
        String::from_utf8(text.bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_line_has_the_time_that_it_should_have() {
        let line = |time| Line { begin: "<", time, sentence: "> refused: ", end: "." };
        assert_eq!(text(&line(Time::None), 1, b"openat"), "<> refused: openat.\n");
        let seconds = line(Time::Seconds);
        assert_eq!(text(&seconds, 1_764_531_877_023_456, b"7"), "<1764531877.023456> refused: 7.\n");
        assert_eq!(text(&seconds, 9, b""), "<0.000009> refused: .\n");
        let date = line(Time::Rfc3339);
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_210_096, "2024-02-29T12:34:56.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (1_764_531_877, "2025-11-30T19:44:37.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(text(&date, seconds * 1_000_000, b"x"), format!("<{expected}> refused: x.\n"));
        }
        assert_eq!(text(&date, 7_000, b"x"), "<1970-01-01T00:00:00.007Z> refused: x.\n");
    }

    #[test]
    fn a_line_is_cut_where_there_is_no_room() {
        let line = Line { begin: "", time: Time::Seconds, sentence: "", end: "" };
        assert_eq!(text(&line, u64::MAX, &[b'x'; 1000]).len(), 320);
    }
}
