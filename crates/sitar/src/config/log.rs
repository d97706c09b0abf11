//! `[log]`, and `access_log` of sites.

use std::path::PathBuf;

use super::document::folder_of_paths;
use super::nearest::nearest;
use super::problems::{Problems, quoted};
use super::section::Section;
use super::{LogConfig, LogTarget, Place, SiteConfig, Target};
use crate::events;
use crate::log::{LOGS_MAX, Sample, Style};
use crate::settings::values;

/// Words in the place of a path.
const WORDS: [&str; 3] = ["stdout", "journal", "off"];

/// Reads `[log]`.
pub(super) fn read(section: &Section, problems: &mut Problems) -> LogConfig {
    let target = target(section, "access", problems);
    let word = |name: &str| section.text(name).map(|(text, _)| text).unwrap_or_default();
    let mut sample = Sample::default();
    if let Some(table) = section.table("sample") {
        for (every, name) in sample.0.iter_mut().zip(["1xx", "2xx", "3xx", "4xx", "5xx"]) {
            let number = table.text(name).and_then(|(text, _)| text.parse().ok());
            *every = number.unwrap_or_default();
        }
    }
    LogConfig {
        target: target.unwrap_or_else(|| LogTarget { target: Target::Off, place: section.place.clone() }),
        style: Style {
            format: values::word(word("format")).unwrap_or_default(),
            addresses: values::word(word("addresses")).unwrap_or_default(),
            sample,
        },
        events: events(section),
    }
}

/// Reads the form of the event log.
pub(super) fn events(section: &Section) -> events::Form {
    section.text("events").and_then(|(text, _)| values::word(text).ok()).unwrap_or_default()
}

/// Reads where the records of a site go, if it says so.
pub(super) fn of_site(section: &Section, problems: &mut Problems) -> Option<LogTarget> {
    target(section, "access_log", problems)
}

fn target(section: &Section, name: &str, problems: &mut Problems) -> Option<LogTarget> {
    let (text, place) = section.text(name)?;
    let (text, place) = (text.to_owned(), place.clone());
    let why = match &*text {
        "off" => return Some(LogTarget { target: Target::Off, place }),
        "stdout" => return Some(LogTarget { target: Target::Stdout, place }),
        "journal" => return Some(LogTarget { target: Target::Journal, place }),
        _ if text.contains('\0') => "a path has no NUL",
        _ if text.ends_with('/') => "a folder is no file",
        _ if text.contains('/') => {
            // "./a" is "a" there.
            let path: PathBuf = folder_of_paths(&place.file).join(&text).components().collect();
            return Some(LogTarget { target: Target::File(path), place });
        }
        _ => "expected a path with a slash, or one of stdout, journal, off",
    };
    let hint = match nearest(&text, WORDS) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => format!("for example: {name} = \"/var/log/sitar/access.log\""),
    };
    problems.add_with(&place, format!("invalid value {} for '{name}': {why}", quoted(&text)), hint);
    None
}

/// Refuses more logs than there may be.
pub(super) fn check(log: &LogConfig, sites: &[SiteConfig], problems: &mut Problems) {
    let targets = log.targets(sites);
    if let Some(one) = targets.get(LOGS_MAX) {
        let place: &Place = &one.place;
        problems.add(place, format!("more than {LOGS_MAX} access logs"));
    }
}
