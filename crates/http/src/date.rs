//! HTTP dates (RFC 9110 §5.6.7) to and from Unix seconds, without allocation and without a clock.

/// Seconds of the last moment that a four-digit year can express, 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;
const SECONDS_PER_DAY: u64 = 86_400;

const WEEKDAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const LONG_WEEKDAYS: [&[u8]; 7] =
    [b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// Writes an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`. Times after the year 9999 become its
/// last second.
#[must_use]
pub fn write_imf(unix_seconds: u64) -> [u8; 29] {
    let seconds = unix_seconds.min(LAST_SECOND);
    let days = seconds / SECONDS_PER_DAY;
    let (year, month, day) = civil_from_days(days);
    let of_day = seconds % SECONDS_PER_DAY;

    let mut out = *b"Mon, 00 Jan 0000 00:00:00 GMT";
    // 1 January 1970 was a Thursday, the third weekday counted from Monday as zero.
    out[0..3].copy_from_slice(WEEKDAYS[((days + 3) % 7) as usize]);
    two_digits(&mut out[5..7], day);
    out[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    two_digits(&mut out[12..14], year / 100);
    two_digits(&mut out[14..16], year % 100);
    two_digits(&mut out[17..19], of_day / 3600);
    two_digits(&mut out[20..22], of_day / 60 % 60);
    two_digits(&mut out[23..25], of_day % 60);
    out
}

/// Writes a time as of RFC 3339, `1994-11-06T08:49:37Z`. Times after the year 9999 become its last
/// second.
#[must_use]
pub fn write_rfc3339(unix_seconds: u64) -> [u8; 20] {
    let seconds = unix_seconds.min(LAST_SECOND);
    let (year, month, day) = civil_from_days(seconds / SECONDS_PER_DAY);
    let of_day = seconds % SECONDS_PER_DAY;
    let mut out = *b"0000-00-00T00:00:00Z";
    let numbers = [year / 100, year % 100, month, day, of_day / 3600, of_day / 60 % 60, of_day % 60];
    for (at, number) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(numbers) {
        two_digits(&mut out[at..at + 2], number);
    }
    out
}

/// Reads a date in any of the three formats that a recipient has to accept: IMF-fixdate, RFC 850
/// and asctime.
///
/// Returns seconds since 1970, or `None` for an invalid date. The weekday must be a weekday but is
/// not compared with the date. A leap second counts as the first second of the next minute. Years
/// of two digits lie in 1970 to 2069: RFC 9110 wants a window around today, but clients that still
/// send them mean the last century. Dates before 1970 become 0, as nothing that is served is older.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<u64> {
    // The third byte decides: `Sun, …`, `Sun Nov …`, or a weekday written out.
    match bytes.get(3)? {
        b',' => imf(bytes),
        b' ' => asctime(bytes),
        _ => rfc850(bytes),
    }
}

/// Reads IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf(bytes: &[u8]) -> Option<u64> {
    let bytes: &[u8; 29] = bytes.try_into().ok()?;
    weekday(&bytes[..3])?;
    literal(&bytes[3..5], b", ")?;
    literal(&bytes[7..8], b" ")?;
    literal(&bytes[11..12], b" ")?;
    literal(&bytes[16..17], b" ")?;
    literal(&bytes[25..], b" GMT")?;
    seconds(number(&bytes[12..16])?, month(&bytes[8..11])?, number(&bytes[5..7])?, time(&bytes[17..25])?)
}

/// Reads the format of RFC 850, `Sunday, 06-Nov-94 08:49:37 GMT`.
fn rfc850(bytes: &[u8]) -> Option<u64> {
    let comma = memchr::memchr(b',', bytes)?;
    if !LONG_WEEKDAYS.contains(&&bytes[..comma]) {
        return None;
    }
    let bytes: &[u8; 24] = bytes[comma..].try_into().ok()?;
    literal(&bytes[..2], b", ")?;
    literal(&bytes[4..5], b"-")?;
    literal(&bytes[8..9], b"-")?;
    literal(&bytes[11..12], b" ")?;
    literal(&bytes[20..], b" GMT")?;
    let year = match number(&bytes[9..11])? {
        year @ 0..70 => 2000 + year,
        year => 1900 + year,
    };
    seconds(year, month(&bytes[5..8])?, number(&bytes[2..4])?, time(&bytes[12..20])?)
}

/// Reads the format of asctime, `Sun Nov  6 08:49:37 1994`.
fn asctime(bytes: &[u8]) -> Option<u64> {
    let bytes: &[u8; 24] = bytes.try_into().ok()?;
    weekday(&bytes[..3])?;
    literal(&bytes[3..4], b" ")?;
    literal(&bytes[7..8], b" ")?;
    literal(&bytes[10..11], b" ")?;
    literal(&bytes[19..20], b" ")?;
    let day = if bytes[8] == b' ' { number(&bytes[9..10])? } else { number(&bytes[8..10])? };
    seconds(number(&bytes[20..])?, month(&bytes[4..7])?, day, time(&bytes[11..19])?)
}

fn literal(bytes: &[u8], expected: &[u8]) -> Option<()> {
    (bytes == expected).then_some(())
}

fn weekday(bytes: &[u8]) -> Option<()> {
    WEEKDAYS.iter().any(|name| &name[..] == bytes).then_some(())
}

fn month(bytes: &[u8]) -> Option<u64> {
    let index = MONTHS.iter().position(|name| &name[..] == bytes)?;
    Some(index as u64 + 1)
}

/// Reads a number of at most four digits.
fn number(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

/// Reads `08:49:37` as seconds of the day.
fn time(bytes: &[u8]) -> Option<u64> {
    literal(&bytes[2..3], b":")?;
    literal(&bytes[5..6], b":")?;
    let (hour, minute, second) = (number(&bytes[..2])?, number(&bytes[3..5])?, number(&bytes[6..])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn seconds(year: u64, month: u64, day: u64, of_day: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_in_month = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day == 0 || day > days_in_month {
        return None;
    }
    if year < 1970 {
        return Some(0);
    }
    Some(days_from_civil(year, month, day) * SECONDS_PER_DAY + of_day)
}

/// Returns year, month and day of the Gregorian calendar, `days` days after 1970-01-01.
///
/// The year is taken to begin in March, so that the leap day is its last; 719,468 days lie between
/// 0000-03-01 and 1970-01-01, and 400 years have 146,097. See Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms".
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Returns the days from 1970 to a date: the inverse of [`civil_from_days`] for years from 1970.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let year_of_era = year % 400;
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * march_month + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    year / 400 * 146_097 + of_era - 719_468
}

fn two_digits(out: &mut [u8], value: u64) {
    out[0] = b'0' + (value / 10 % 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn writes_imf_fixdates() {
        for (seconds, date) in [
            (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, b"Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, b"Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, b"Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, b"Fri, 31 Dec 9999 23:59:59 GMT"),
            (253_402_300_800, b"Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, b"Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(write_imf(seconds), *date, "{seconds}");
        }
    }

    #[test]
    fn writes_rfc3339() {
        for (date, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1994-11-06T08:49:37Z", 784_111_777),
            ("2000-02-29T00:00:00Z", 951_782_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
            ("9999-12-31T23:59:59Z", u64::MAX),
        ] {
            assert_eq!(write_rfc3339(seconds), date.as_bytes(), "{seconds}");
        }
    }

    // RFC 9110 §5.6.7: the three formats of the same moment.
    #[test]
    fn reads_three_formats() {
        for (date, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("Sun Nov 16 08:49:37 1994", 784_975_777),
            ("Wednesday, 01-Jan-70 00:00:00 GMT", 0),
            ("Tuesday, 31-Dec-69 00:00:00 GMT", 3_155_673_600),
            ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
            ("Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800),
            ("Fri, 01 Jan 1960 00:00:00 GMT", 0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
            // The weekday is not compared.
            ("Mon, 06 Nov 1994 08:49:37 GMT", 784_111_777),
        ] {
            assert_eq!(parse(date.as_bytes()), Some(seconds), "{date}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_date() {
        for date in [
            "",
            "Sun",
            "Sun,",
            "0",
            "784111777",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "sun, 06 nov 1994 08:49:37 gmt",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Thu, 31 Nov 1994 08:49:37 GMT",
            "Thu, 29 Feb 2100 08:49:37 GMT",
            "Xun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nox 1994 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Someday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994 ",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(date.as_bytes()), None, "{date}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_httpdate(seconds in 0..=LAST_SECOND) {
            let expected = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            let written = write_imf(seconds);
            prop_assert_eq!(std::str::from_utf8(&written).unwrap(), &expected);
            prop_assert_eq!(parse(expected.as_bytes()), Some(seconds));
        }

        #[test]
        fn anything_can_be_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&bytes);
        }

        // Near-misses reach further into the parser than random bytes.
        #[test]
        fn one_changed_byte_never_panics(which in 0..3_usize, at in 0..31_usize, byte: u8) {
            let formats = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"];
            let mut bytes = formats[which].as_bytes().to_vec();
            if let Some(slot) = bytes.get_mut(at) {
                *slot = byte;
            }
            let _ = parse(&bytes);
        }
    }
}
