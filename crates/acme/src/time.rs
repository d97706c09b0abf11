//! Points in time, as authorities write them and as people read them.

use std::time::{Duration, SystemTime};

use sitar_tls::der::{Der, GENERALIZED_TIME};
use time::OffsetDateTime;

/// Returns seconds since 1970; a time before that is 0.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns a time as in `2026-11-30 23:05 (UTC)`.
pub(crate) fn utc(time: SystemTime) -> String {
    let Ok(time) = OffsetDateTime::from_unix_timestamp(seconds(time).cast_signed()) else {
        return "a time far away".to_owned();
    };
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year}-{month:02}-{day:02} {:02}:{:02} (UTC)", time.hour(), time.minute())
}

/// Reads a time of RFC 3339, `YYYY-MM-DDTHH:MM:SSZ` with or without a fraction, or with an offset
/// such as `+01:00`. Fractions are cut off. Times before 1970 are none.
pub(crate) fn rfc3339(text: &str) -> Option<SystemTime> {
    let &[
        y1,
        y2,
        y3,
        y4,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        b'T' | b't' | b' ',
        h1,
        h2,
        b':',
        n1,
        n2,
        b':',
        s1,
        s2,
        ..,
    ] = text.as_bytes()
    else {
        return None;
    };
    let digits = [y1, y2, y3, y4, m1, m2, d1, d2, h1, h2, n1, n2, s1, s2];
    let mut element = vec![GENERALIZED_TIME, 15];
    element.extend(digits);
    element.push(b'Z');
    let local = Der::new(&element).time()?;
    let mut rest = text.as_bytes().get(19..)?;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest = fraction.get(len..).filter(|_| len > 0)?;
    }
    let offset = match *rest {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let hours = two_digits(h1, h2).filter(|&hours| hours < 24)?;
            let minutes = two_digits(m1, m2).filter(|&minutes| minutes < 60)?;
            (hours * 60 + minutes) * 60 * if sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = u64::try_from(local - offset).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn two_digits(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

/// The longest time that an authority may ask for; more is taken for this.
const RETRY_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Reads Retry-After (RFC 9110 §10.2.3): seconds, or a date. No later than in a year.
pub(crate) fn retry_after(field: &str, now: SystemTime) -> Option<SystemTime> {
    let field = field.trim();
    let wait = if field.bytes().all(|byte| byte.is_ascii_digit()) && !field.is_empty() {
        // A number that is too large for 64 bits is a long time.
        Duration::from_secs(field.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(field).ok()?.duration_since(now).unwrap_or_default()
    };
    now.checked_add(wait.min(RETRY_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn times_of_authorities() {
        for (text, seconds) in [
            ("2025-01-02T04:00:00Z", Some(1_735_790_400)),
            ("2025-01-02T04:00:00.123456789Z", Some(1_735_790_400)),
            ("2025-01-02T05:30:00+01:30", Some(1_735_790_400)),
            ("2025-01-01T23:00:00-05:00", Some(1_735_790_400)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800)),
            ("2025-02-29T00:00:00Z", None),
            ("2025-01-02T04:00:00", None),
            ("2025-01-02T04:00:00.Z", None),
            ("2025-01-02T04:00:00+1:00", None),
            ("2025-01-02T04:00:00+99:00", None),
            ("1969-12-31T23:59:59Z", None),
            ("2025-1-2T04:00:00Z", None),
            ("\u{fc}025-01-02T04:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(rfc3339(text), seconds.map(at), "{text}");
        }
        assert_eq!(utc(at(1_735_790_459)), "2025-01-02 04:00 (UTC)");
        assert_eq!(utc(at(u64::MAX >> 2)), "a time far away");
    }

    #[test]
    fn how_long_to_wait() {
        let now = at(1_735_790_400);
        for (field, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(31_622_400)),
            ("Thu, 02 Jan 2025 05:00:00 GMT", Some(3600)),
            ("Wed, 01 Jan 2025 05:00:00 GMT", Some(0)),
            ("Tue, 02 Jan 2125 05:00:00 GMT", Some(31_622_400)),
            ("-1", None),
            ("soon", None),
            ("", None),
        ] {
            let until = seconds.map(|seconds| now + Duration::from_secs(seconds));
            assert_eq!(retry_after(field, now), until, "{field}");
        }
    }
}
