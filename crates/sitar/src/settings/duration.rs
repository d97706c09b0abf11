//! Durations on the command line: a whole number and its unit, `500us`, `1ms`, `10s`.

use std::time::Duration;

/// The longest time that is accepted: an hour, which is for ever to an operator who watches a busy
/// core.
pub(crate) const MAX: Duration = Duration::from_secs(3600);

/// Reads a duration of at most an hour; zero may go without a unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "us" => Some(Duration::from_micros as fn(u64) -> Duration),
        "ms" => Some(Duration::from_millis as fn(u64) -> Duration),
        "s" => Some(Duration::from_secs as fn(u64) -> Duration),
        "" if text == "0" => Some(Duration::from_secs as fn(u64) -> Duration),
        _ => None,
    };
    match (number.parse::<u64>(), unit) {
        (Ok(number), Some(unit)) if unit(number) <= MAX => Ok(unit(number)),
        _ => Err("expected a number and its unit, at most an hour: 500us, 1ms or 10s".to_owned()),
    }
}

/// Reads the time between two looks: at least a tenth of a second.
pub(crate) fn parse_pause(text: &str) -> Result<Duration, String> {
    match parse(text) {
        Ok(pause) if pause >= Duration::from_millis(100) => Ok(pause),
        _ => Err("expected a number and its unit, from 100ms to an hour: 500ms or 2s".to_owned()),
    }
}

/// Reads a time to wait, which may be zero.
pub(crate) fn parse_wait(text: &str) -> Result<Duration, String> {
    parse(text).map_err(|_| "expected a number and its unit, at most an hour: 30s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_not_too_short() {
        assert_eq!(parse_pause("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_pause("2s"), Ok(Duration::from_secs(2)));
        for wrong in ["99ms", "0", "3601s", "2"] {
            assert!(parse_pause(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_as_people_write_them() {
        for (text, expected) in [
            ("500us", Duration::from_micros(500)),
            ("1ms", Duration::from_millis(1)),
            ("10s", Duration::from_secs(10)),
            ("3600s", Duration::from_secs(3600)),
            ("0s", Duration::ZERO),
            ("0", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "s",
            "10",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            "1m",
            "1ns",
            "3601s",
            "3600001ms",
            "18446744073709551615s",
            "18446744073709551616us",
            "1ſ",
            "１s",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
