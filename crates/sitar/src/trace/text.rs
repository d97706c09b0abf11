//! The lines of a trace for people. Whatever a client has sent, a record is one line without
//! control characters.

use std::fmt::Write as _;

use serde_json::Value;

use crate::admin::grouped;

/// Returns a sentence about a trace that begins.
pub(super) fn begin(first: &Value) -> String {
    let (trace, limits) = (&first["trace"], &first["limits"]);
    let mut sentence = "answers".to_owned();
    for (name, what) in [("status", "with the status"), ("host", "of"), ("path", "for")] {
        if let Some(value) = trace[name].as_str() {
            let _ = write!(sentence, " {what} {value}");
        }
    }
    if let Some(sample) = trace["sample"].as_u64().filter(|sample| *sample > 1) {
        let _ = write!(sentence, ", 1 of {}", grouped(sample));
    }
    let milliseconds = limits["milliseconds"].as_u64().unwrap_or(0);
    let _ = match milliseconds % 1000 {
        0 => write!(sentence, "; it ends after {} s", grouped(milliseconds / 1000)),
        _ => write!(sentence, "; it ends after {} ms", grouped(milliseconds)),
    };
    if let Some(count) = limits["count"].as_u64() {
        let _ = write!(sentence, " or {}", records(count));
    }
    sentence
}

/// Returns a sentence about a trace that has ended.
pub(super) fn end(end: &Value) -> String {
    let number = |name: &str| end[name].as_u64().unwrap_or(0);
    let why = match end["why"].as_str() {
        Some("duration") => "the time is over",
        Some("count") => "these are all that were asked for",
        Some("reader") => "the records were not read",
        Some("stopped") => "the server stops, or another worker takes over",
        _ => "the trace has ended",
    };
    let unfinished = match end["why"].as_str() {
        Some("count") => "beyond --count, or not over when the trace ended",
        _ => "not over when the trace ended",
    };
    let (matched, written) = (number("matched"), number("written"));
    let mut sentence = format!("{why}: {} matched, {} shown", answers(matched), records(written));
    for (name, what) in [
        ("dropped", "dropped, since they were not read or not fast enough"),
        ("left_out", "left out, since a shard takes 1,000 a second"),
        ("unfinished", unfinished),
    ] {
        if number(name) > 0 {
            let _ = write!(sentence, "; {} {what}", grouped(number(name)));
        }
    }
    sentence
}

/// Returns the line of a record.
pub(super) fn record(record: &Value) -> String {
    let request = &record["request"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let client = text(&request["client_ip"]);
    let line = format!(
        "{} {} {:>9} {:>10} {:<15} {:<8} {:<4} {}{}",
        clock(record["ts"].as_f64().unwrap_or(0.0)),
        record["status"].as_u64().unwrap_or(0),
        duration(record["duration"].as_f64().unwrap_or(0.0)),
        grouped(record["size"].as_u64().unwrap_or(0)),
        if client.is_empty() { "-" } else { &client },
        text(&request["proto"]),
        text(&request["method"]),
        text(&request["host"]),
        text(&request["uri"]),
    );
    let cut = record["cut"].as_str().map_or_else(String::new, |why| format!(" cut: {why}"));
    printable(&(line + &cut))
}

/// Escapes what a terminal obeys: control characters, and those that end a line or change the
/// direction of a text.
fn printable(line: &str) -> String {
    let is_obeyed = |character: char| {
        character.is_control()
            || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}')
            || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(line.len());
    for character in line.chars() {
        if is_obeyed(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

pub(super) fn records(count: u64) -> String {
    counted(count, "record")
}

fn answers(count: u64) -> String {
    counted(count, "answer")
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", grouped(count)) }
}

/// Returns the time of day (UTC) of a time since the epoch, with milliseconds.
fn clock(seconds: f64) -> String {
    let milliseconds = (seconds.max(0.0) * 1000.0) as u64;
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{rest:03}", seconds % 60)
}

fn duration(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1000.0) } else { format!("{seconds:.2} s") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_a_line() {
        let request = json!({
            "client_ip": "192.0.2.0", "proto": "HTTP/2.0", "method": "GET", "host": "a.test", "uri": "/b?c"
        });
        let mut one = json!({
            "ts": 1_700_003_045.126, "duration": 0.000_412, "size": 12345, "status": 200, "request": request
        });
        let expected = "23:04:05.126 200    0.4 ms     12,345 192.0.2.0       HTTP/2.0 GET  a.test/b?c";
        assert_eq!(record(&one), expected);
        one["cut"] = "stream_reset".into();
        one["duration"] = json!(61.5);
        one["request"]["client_ip"] = "".into();
        let expected = "23:04:05.126 200   61.50 s     12,345 -               HTTP/2.0 GET  a.test/b?c cut: stream_reset";
        assert_eq!(record(&one), expected);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_in_a_line() {
        let evil = "/\u{1b}[2J\r\n\u{9b}\u{7f}\u{202e}x";
        let shown =
            record(&json!({ "status": 200, "request": { "uri": evil, "method": "\u{7}", "host": "\t" } }));
        assert!(
            !shown.chars().any(|character| character.is_control() || character == '\u{202e}'),
            "{shown:?}"
        );
        assert!(shown.ends_with('x'), "{shown}");
        // What is none of a record is a line, too.
        assert!(record(&Value::Null).starts_with("00:00:00.000 0 "));
    }

    #[test]
    fn the_begin_and_the_end_are_sentences() {
        let trace = json!({ "host": "a.test", "path": "/x*", "status": "5xx", "sample": 1000 });
        let first = json!({ "trace": trace, "limits": { "milliseconds": 10_000, "count": 1 } });
        let expected =
            "answers with the status 5xx of a.test for /x*, 1 of 1,000; it ends after 10 s or 1 record";
        assert_eq!(begin(&first), expected);
        let first = json!({ "trace": { "sample": 1 }, "limits": { "milliseconds": 1500, "count": null } });
        assert_eq!(begin(&first), "answers; it ends after 1,500 ms");
        let whole = json!({ "why": "duration", "matched": 4000, "sampled": 4, "written": 4, "dropped": 0 });
        assert_eq!(end(&whole), "the time is over: 4,000 answers matched, 4 records shown");
        let cut = json!({
            "why": "reader", "matched": 1, "written": 0, "dropped": 7, "left_out": 8, "unfinished": 9
        });
        let expected = "the records were not read: 1 answer matched, 0 records shown; 7 dropped, since they were \
            not read or not fast enough; 8 left out, since a shard takes 1,000 a second; 9 not over when the trace \
            ended";
        assert_eq!(end(&cut), expected);
        let counted = json!({ "why": "count", "matched": 4, "written": 2, "unfinished": 2 });
        let expected = "these are all that were asked for: 4 answers matched, 2 records shown; 2 beyond --count, or \
            not over when the trace ended";
        assert_eq!(end(&counted), expected);
    }
}
