//! The line of an event.
//!
//! Whatever is in a sentence, such as the name of a file, an event is one line: control characters
//! are escaped.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use sitar_site::Printable;
use time::OffsetDateTime;

use super::{Event, LINE_MAX};

/// Stands where something was left out, for want of room.
const CUT: &str = "…";
/// Bytes of the line that are kept for what ends a JSON object.
const END_ROOM: usize = 32;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// `sitar: sentence`, behind a word where it is no information.
    Terminal,
    /// The same behind the prefix of a priority (sd-daemon(3)): the journal has the time.
    Journal,
    /// `2026-11-30T19:44:37.123Z info sitar: sentence`.
    Timed,
    /// A JSON object.
    Json,
}

/// Returns the line of an event, with its line feed: [`LINE_MAX`] bytes at most.
pub(super) fn of(event: &Event, look: Look, now: SystemTime) -> String {
    if look == Look::Json {
        return json(event, now);
    }
    let level = event.level;
    let mut line = match look {
        Look::Journal => format!("<{}>sitar: ", level.priority()),
        Look::Timed => format!("{} {level} sitar: ", rfc_3339(now)),
        Look::Terminal | Look::Json => "sitar: ".to_owned(),
    };
    if look != Look::Timed && level != super::Level::Info {
        // Writing to a String cannot fail.
        let _ = write!(line, "{level}: ");
    }
    let _ = write!(line, "{}", Printable(&sentence(event)));
    cut(&mut line, LINE_MAX - 1);
    line.push('\n');
    line
}

/// Returns what a line of text says.
fn sentence(event: &Event) -> String {
    if let Some(text) = &event.text {
        return text.clone();
    }
    let causes = event.causes.iter().map(|cause| format!(": {cause}"));
    let hints = event.hints.iter().map(|hint| format!("; {hint}"));
    causes.chain(hints).fold(event.sentence.clone(), |text, part| text + &part)
}

/// Cuts a text to that many bytes.
fn cut(text: &mut String, most: usize) {
    if text.len() <= most {
        return;
    }
    let mut end = most.saturating_sub(CUT.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(CUT);
}

fn json(event: &Event, now: SystemTime) -> String {
    let time = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut line = format!(
        "{{\"level\":\"{}\",\"ts\":{}.{:06},\"logger\":\"sitar\",\"msg\":",
        event.level.json_word(),
        time.as_secs(),
        time.subsec_micros()
    );
    let mut is_whole = push_string(&mut line, &event.sentence, LINE_MAX / 2);
    for (name, all) in [("cause", &event.causes), ("hint", &event.hints)] {
        if !all.is_empty() {
            let all = Value::Array(all.iter().map(|one| one.as_str().into()).collect());
            is_whole &= push_field(&mut line, name, &all);
        }
    }
    for (name, value) in &event.fields {
        is_whole &= push_field(&mut line, name, value);
    }
    if !is_whole {
        line.push_str(",\"cut\":true");
    }
    line.push_str("}\n");
    line
}

/// Appends a field, as far as there is room. Returns whether all of it is there.
fn push_field(line: &mut String, name: &str, value: &Value) -> bool {
    let begun = line.len();
    let _ = write!(line, ",\"{name}\":");
    let is_whole = match value {
        Value::String(text) => push_string(line, text, room(line)),
        Value::Array(all) => push_array(line, all),
        other => {
            let text = other.to_string();
            let fits = text.len() <= room(line);
            line.push_str(if fits { &text } else { "null" });
            fits
        }
    };
    if line.len() > LINE_MAX - END_ROOM {
        line.truncate(begun);
        return false;
    }
    is_whole
}

fn push_array(line: &mut String, all: &[Value]) -> bool {
    line.push('[');
    let mut is_whole = true;
    for (at, value) in all.iter().enumerate() {
        let begun = line.len();
        if at > 0 {
            line.push(',');
        }
        match value {
            Value::String(text) => is_whole &= push_string(line, text, room(line).saturating_sub(1)),
            other => line.push_str(&other.to_string()),
        }
        if line.len() + 1 > LINE_MAX - END_ROOM {
            line.truncate(begun);
            is_whole = false;
            break;
        }
    }
    line.push(']');
    is_whole
}

/// Bytes that may still be appended.
fn room(line: &str) -> usize {
    (LINE_MAX - END_ROOM).saturating_sub(line.len())
}

/// Appends a JSON string of that many bytes at most, its quotes included. Returns whether all of
/// the text is in it.
fn push_string(line: &mut String, text: &str, most: usize) -> bool {
    let (mut escaped, mut fits) = (String::new(), 0);
    for character in text.chars() {
        escape(character, &mut escaped);
        if escaped.len() + CUT.len() + 2 <= most {
            fits = escaped.len();
        } else if escaped.len() + 2 > most {
            break;
        }
    }
    let is_whole = escaped.len() + 2 <= most;
    if !is_whole {
        escaped.truncate(fits);
        escaped.push_str(CUT);
    }
    line.push('"');
    line.push_str(&escaped);
    line.push('"');
    is_whole
}

fn escape(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        // Some programs end a line at the last two.
        other if other.is_control() || matches!(other, '\u{2028}' | '\u{2029}') => {
            // None of them is above U+FFFF.
            let _ = write!(out, "\\u{:04x}", u32::from(other));
        }
        other => out.push(other),
    }
}

/// Returns a time of UTC, to the millisecond.
fn rfc_3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = OffsetDateTime::from(SystemTime::UNIX_EPOCH + Duration::from_millis(millis(since)));
    let (hour, minute, second) = time.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}.{:03}Z", time.date(), time.millisecond())
}

/// Milliseconds until a time, up to the end of the year 9999.
fn millis(since: Duration) -> u64 {
    const LAST: u64 = 253_402_300_799_999;
    u64::try_from(since.as_millis()).map_or(LAST, |millis| millis.min(LAST))
}
