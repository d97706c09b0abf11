//! Text that stays within its columns, and numbers in few of them.

use unicode_width::UnicodeWidthChar as _;

use super::rates::{Estimate, float};
use crate::admin::{grouped, size};

/// Returns the columns that a text of [`shown`] characters takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

/// Replaces what would drive a terminal, or is not seen on it: control characters, marks that
/// belong to another character, and those that turn the direction of writing.
pub(super) fn shown(text: &str) -> String {
    let shown = |character: char| match character {
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => '\u{fffd}',
        other if other.width().is_none_or(|columns| columns == 0) => '\u{fffd}',
        other => other,
    };
    text.chars().map(shown).collect()
}

/// Cuts a text to a number of columns. What is cut ends with an ellipsis.
pub(super) fn cut(text: &str, width: usize) -> String {
    let text = shown(text);
    if columns(&text) <= width {
        return text;
    }
    let (mut out, mut column) = (String::new(), 0);
    for character in text.chars() {
        column += character.width().unwrap_or(0);
        // The last column is that of the ellipsis.
        if column >= width {
            break;
        }
        out.push(character);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// The same, and fills it up.
pub(super) fn cell(text: &str, width: usize) -> String {
    let mut out = cut(text, width);
    out.extend(std::iter::repeat_n(' ', width.saturating_sub(columns(&out))));
    out
}

/// Returns a number of things in a second.
pub(super) fn rate(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        0.0..0.1 => "<0.1".to_owned(),
        0.0..10.0 => format!("{number:.1}"),
        _ => grouped(whole(number)),
    }
}

/// Returns a number of bytes.
pub(super) fn bytes(number: f64) -> String {
    size(whole(number))
}

/// Returns a share as a percentage.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", whole(share * 100.0))
}

/// Returns a duration with three digits, or what it is above.
pub(super) fn duration(estimate: Estimate) -> String {
    let (sign, microseconds) = match estimate {
        Estimate::About(microseconds) => ("~", microseconds),
        Estimate::Above(microseconds) => ("> ", float(microseconds)),
    };
    let (number, unit) = match microseconds {
        1e6.. => (microseconds / 1e6, "s"),
        1e3.. => (microseconds / 1e3, "ms"),
        _ => (microseconds, "µs"),
    };
    let number = match number {
        99.95.. => grouped(whole(number)),
        9.995.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    };
    format!("{sign}{number} {unit}")
}

/// Returns the nearest whole number. What is below zero, or no number, is zero: the cast saturates.
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_its_columns() {
        for (text, width, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("abcd", 1, "…"),
            ("abcd", 0, ""),
            // Two columns each.
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("a\u{1b}[2J\nb", 9, "a\u{fffd}[2J\u{fffd}b"),
            ("a\u{202e}b\u{301}\u{200b}", 9, "a\u{fffd}b\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(cut(text, width), expected, "{text:?} {width}");
        }
        assert_eq!(cell("日", 4), "日  ");
    }

    #[test]
    fn numbers_take_few_columns() {
        let rates = [0.0, 0.04, 0.5, 9.94, 10.0, 1234.4, f64::INFINITY, f64::NAN, -3.0].map(rate);
        assert_eq!(rates, ["0", "<0.1", "0.5", "9.9", "10", "1,234", "18,446,744,073,709,551,615", "0", "0"]);
        for (estimate, expected) in [
            (Estimate::About(0.0), "~0.00 µs"),
            (Estimate::About(83.21), "~83.2 µs"),
            (Estimate::About(1000.0), "~1.00 ms"),
            (Estimate::About(123_456.0), "~123 ms"),
            (Estimate::Above(10_000_000), "> 10.0 s"),
            (Estimate::Above(u64::MAX), "> 18,446,744,073,710 s"),
        ] {
            assert_eq!(duration(estimate), expected);
        }
        assert_eq!((percent(0.805), bytes(1536.0)), ("81 %".into(), "1.5 KiB".into()));
    }
}
