//! REDbot's output (HAR with its notes in `_red_messages`), and the notes that are accepted, with
//! their reasons.

use serde_json::Value;
use std::collections::BTreeSet;

/// Addresses, note, reason. An exception that is no longer needed fails the run.
const EXCEPTIONS: &[(&[&str], &str, &str)] = &[(
    &["/app.3f2a91bc.js"],
    "STORE_PUBLIC_UNNECESSARY",
    "a name that carries the content's hash means the same to everybody: `public` lets shared caches keep it \
         also where the request had credentials (RFC 9111 §3.5)",
)];

/// REDbot's verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Good,
    Info,
    Warn,
    Bad,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Good => "good",
            Level::Info => "info",
            Level::Warn => "WARN",
            Level::Bad => "BAD",
        }
    }
}

/// One note of REDbot's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) level: Level,
    /// The name of its class in REDbot's or httplint's source.
    pub(super) id: String,
    pub(super) summary: String,
}

/// The answer of one address, and the notes about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) status: u64,
    pub(super) notes: Vec<Note>,
}

/// Reads REDbot's output.
///
/// # Errors
/// The text is not a report about one answer, or has a level that is not known here.
pub(super) fn understand(text: &str) -> Result<Report, String> {
    let har: Value =
        serde_json::from_str(text).map_err(|error| format!("REDbot's output is not JSON: {error}"))?;
    if let Some(error) = har["log"]["_red_error"].as_str() {
        return Err(format!("REDbot says: {error}"));
    }
    let [entry] = har["log"]["entries"].as_array().map_or(&[][..], Vec::as_slice) else {
        return Err("REDbot got no complete answer".into());
    };
    let status = entry["response"]["status"].as_u64().ok_or("the answer has no status")?;
    let mut report = Report { status, notes: Vec::new() };
    collect(&entry["_red_messages"], &mut report.notes)?;
    Ok(report)
}

/// Collects notes and the notes below them, which count like any other.
fn collect(messages: &Value, notes: &mut Vec<Note>) -> Result<(), String> {
    for message in messages.as_array().ok_or("the notes are not a list")? {
        let text = |key: &str| message[key].as_str().ok_or_else(|| format!("a note without {key}"));
        let level = match text("level")? {
            "GOOD" => Level::Good,
            "INFO" => Level::Info,
            "WARN" => Level::Warn,
            "BAD" => Level::Bad,
            other => return Err(format!("level {other} is not known")),
        };
        notes.push(Note { level, id: text("note_id")?.into(), summary: text("summary")?.into() });
        if !message["subnotes"].is_null() {
            collect(&message["subnotes"], notes)?;
        }
    }
    Ok(())
}

/// Returns an exception's place in the list and its reason.
pub(super) fn exception(path: &str, id: &str) -> Option<(usize, &'static str)> {
    let mut all = EXCEPTIONS.iter().enumerate();
    all.find(|(_, (paths, note, _))| *note == id && paths.contains(&path))
        .map(|(place, (_, _, reason))| (place, *reason))
}

/// Returns the notes of the exceptions whose place is not among `used`.
pub(super) fn unused(used: &BTreeSet<usize>) -> Vec<&'static str> {
    let all = EXCEPTIONS.iter().enumerate();
    all.filter(|(place, _)| !used.contains(place)).map(|(_, (_, note, _))| *note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn har(messages: &str) -> String {
        format!(
            r#"{{"log": {{"entries": [{{"_red_messages": {messages}, "response": {{"status": 404}}}}]}}}}"#
        )
    }

    #[test]
    fn notes_and_their_notes_are_read() {
        let text = har(
            r#"[{"note_id": "A", "level": "GOOD", "summary": "Fine.", "subject": "x", "category": "GENERAL"},
                {"note_id": "B", "level": "INFO", "summary": "Well.", "subnotes": [
                    {"note_id": "C", "level": "BAD", "summary": "No."}]},
                {"note_id": "D", "level": "WARN", "summary": "Hm."}]"#,
        );
        let note = |level, id: &str, summary: &str| Note { level, id: id.into(), summary: summary.into() };
        let notes = vec![
            note(Level::Good, "A", "Fine."),
            note(Level::Info, "B", "Well."),
            note(Level::Bad, "C", "No."),
            note(Level::Warn, "D", "Hm."),
        ];
        assert_eq!(understand(&text), Ok(Report { status: 404, notes }));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(understand("Traceback").is_err());
        assert_eq!(understand(r#"{"log": {"entries": []}}"#), Err("REDbot got no complete answer".into()));
        assert_eq!(
            understand(r#"{"log": {"entries": [], "_red_error": "Connection refused"}}"#),
            Err("REDbot says: Connection refused".into())
        );
        let unknown = har(r#"[{"note_id": "A", "level": "WORSE", "summary": "Oh."}]"#);
        assert_eq!(understand(&unknown), Err("level WORSE is not known".into()));
        assert_eq!(understand(&har("[{}]")), Err("a note without level".into()));
        assert_eq!(understand(&har("null")), Err("the notes are not a list".into()));
    }

    #[test]
    fn an_exception_is_for_its_address_only() {
        assert!(exception("/app.3f2a91bc.js", "STORE_PUBLIC_UNNECESSARY").is_some());
        assert!(exception("/", "STORE_PUBLIC_UNNECESSARY").is_none());
        assert_eq!(unused(&BTreeSet::new()), ["STORE_PUBLIC_UNNECESSARY"]);
        assert_eq!(unused(&BTreeSet::from([0])), [""; 0]);
    }
}
