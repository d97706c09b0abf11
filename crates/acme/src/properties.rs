//! Properties that hold for any input, for fuzzing and the replay of its corpus; not part of the
//! interface.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::check::{certificate_id, check, serial};
use crate::client::Directory;
use crate::http::{Url, read};
use crate::identifier::Identifier;
use crate::json::Json;
use crate::order::alternates;
use crate::problem::{Document, printable};
use crate::time::{retry_after, rfc3339, utc};

/// A year beyond which no time is taken for one.
const FAR: Duration = Duration::from_secs(400 * 366 * 24 * 60 * 60);

/// Any bytes as what an authority sends: an answer over HTTP, JSON, problems, times, links and
/// chains.
///
/// # Panics
/// If something that was taken is not what it has to be.
pub fn acme_answer(data: &[u8]) {
    let (first, mut rest) = data.split_at(data.len().min(1));
    if let Ok((response, _)) = read(first, &mut rest, false) {
        for url in alternates(response.fields("link")) {
            assert!(Url::parse(&url).is_ok());
        }
        content(&response.body);
    }
    content(data);
    certificates(data);
}

fn content(data: &[u8]) {
    let now = SystemTime::UNIX_EPOCH + FAR / 8;
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        if let Ok(directory) = Directory::read(&value) {
            assert!(Url::parse(&directory.new_order).is_ok());
        }
        let identifier = Json::new(&value).identifier();
        let failure = Document::read(Json::new(&value))
            .failure(identifier.as_ref().map(|identifier| (identifier, None)), Some(now));
        assert!(failure.what.chars().count() < 2000 && !failure.what.contains(char::is_control));
    }
    let text = String::from_utf8_lossy(data);
    let shown = printable(&text);
    assert!(shown.chars().count() <= 401 && !shown.contains(char::is_control));
    if let Some(until) = retry_after(&text, now) {
        assert!(until >= now && until < now + FAR);
        assert!(utc(until).ends_with("(UTC)"));
    }
    if let Some(time) = rfc3339(&text) {
        assert!(time >= SystemTime::UNIX_EPOCH);
    }
    if let Ok(url) = Url::parse(&text) {
        assert!(!url.host.is_empty() && url.port > 0 && url.authority.contains(url.host));
    }
}

fn certificates(data: &[u8]) {
    let names = [Identifier::Dns("a.example".to_owned())];
    assert!(check(data, b"", &names, SystemTime::UNIX_EPOCH).is_err());
    let _ = (serial(data), certificate_id(data));
}
