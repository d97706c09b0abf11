//! The properties of a line, for tests and for the fuzz target.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::line::{Look, of};
use super::{Event, LINE_MAX, Level};
use crate::error::Error;

/// Makes an event of any text, and checks its line in each form.
///
/// # Panics
/// A line is too long, or is not one line, or does not have the form that it should have.
pub fn event_lines(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let level = [Level::Error, Level::Warning, Level::Info][usize::from(choice % 3)];
    let text = String::from_utf8_lossy(rest).repeat(1 << (choice / 3 % 8));
    let parts: Vec<&str> = text.splitn(4, ' ').collect();
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let mut event = Event::new(level, part(0)).with("number", rest.len()).with("name", part(3));
    if choice & 64 > 0 {
        event = event.because(&Error::new(part(1)).cause(part(2)).hint(part(3)));
    }
    if choice & 128 > 0 {
        event = event.with("list", parts.repeat(usize::from(*choice))).in_text(part(2));
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_764_531_877_123_456);
    for look in [Look::Terminal, Look::Journal, Look::Timed, Look::Json] {
        let line = of(&event, look, now);
        assert!(line.len() <= LINE_MAX, "{} bytes", line.len());
        let inner = line.strip_suffix('\n').unwrap_or_default();
        assert!(!inner.is_empty() && !inner.contains(char::is_control), "{line:?}");
        match look {
            Look::Json => object(inner, &event, level),
            Look::Terminal => assert!(inner.starts_with("sitar: "), "{inner}"),
            Look::Journal => assert!(inner.starts_with(&format!("<{}>sitar: ", level.priority()))),
            Look::Timed => {
                assert!(inner.starts_with(&format!("2025-11-30T19:44:37.123Z {level} sitar: ")), "{inner}");
            }
        }
    }
}

/// Checks a line of JSON.
fn object(line: &str, event: &Event, level: Level) {
    let value: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    assert_eq!((text("level"), text("logger")), (level.json_word(), "sitar"), "{line}");
    assert_eq!(value.get("ts").and_then(Value::as_f64), Some(1_764_531_877.123_456), "{line}");
    if value.get("cut").is_some() {
        let msg = text("msg").trim_end_matches('…');
        assert!(event.sentence.starts_with(msg), "{line}");
        return;
    }
    assert_eq!(text("msg"), event.sentence, "{line}");
    let list = |name: &str| -> Vec<&str> {
        let list = value.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    };
    assert_eq!((list("cause"), list("hint")), (as_strs(&event.causes), as_strs(&event.hints)), "{line}");
    for (name, wanted) in &event.fields {
        assert_eq!(value.get(*name), Some(wanted), "{line}");
    }
}

fn as_strs(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}
