//! `[server]`: merged with flags and variables.

use super::problems::Problems;
use super::section::{Section, Value};
use super::{Pages, Place};
use crate::settings::merge::{Given, Merged, Refused, ValueOrigin, merge};

/// Merges the values of the file with those that were given otherwise, and checks the rules between
/// them.
pub(super) fn merged(server: &Section, given: &[Given], problems: &mut Problems) -> Option<Merged> {
    let mut all = given.to_vec();
    all.extend(server.entries.iter().filter_map(|entry| {
        let name = entry.key.setting?;
        let text = match entry.value.as_ref()? {
            // `http2` is `no-http2` the other way round.
            Value::Switch(on) => (!on).to_string(),
            Value::Text(text) => text.clone(),
            _ => return None,
        };
        Some(Given { name, origin: ValueOrigin::File, values: vec![text.into()] })
    }));
    let merged = match merge(&all) {
        Ok(merged) => merged,
        Err(refused) => {
            problems.add(&server.place, refused.to_string());
            return None;
        }
    };
    for refused in merged.broken_rules() {
        let place = place(&refused, server, &merged);
        let hint = match refused.settings.first() {
            Some(&"spin") => Some("write: engine = \"sqpoll\"".to_owned()),
            Some(&"min-tls") => Some("take out one of the two".to_owned()),
            _ => None,
        };
        // A value that has been refused may have been meant to keep the rule.
        let is_known = |name: &&'static str| {
            let entry = server.entries.iter().find(|entry| entry.key.setting == Some(name));
            entry.is_none_or(|entry| entry.value.is_some())
        };
        if refused.settings.iter().all(is_known) {
            problems.push(place, refused.to_string().replace("--engine sqpoll", "engine = \"sqpoll\""), hint);
        }
    }
    Some(merged)
}

/// Returns the place of the value in the file that is at fault, or that of the table.
fn place<'a>(refused: &Refused, server: &'a Section, merged: &Merged) -> &'a Place {
    let in_file = |name: &&&'static str| merged.origin(name) == ValueOrigin::File;
    let entry = |name: &&'static str| server.entries.iter().find(|entry| entry.key.setting == Some(name));
    refused.settings.iter().filter(in_file).find_map(entry).map_or(&server.place, |entry| &entry.place)
}

/// Returns the pages of a table, and those of the server for what it lacks.
pub(super) fn pages(section: &Section, server: &Pages) -> Pages {
    let pages = section.table("pages");
    let page = |name: &str| Some(pages?.path(name)?.0.to_owned());
    Pages {
        error: page("500").or_else(|| server.error.clone()),
        unavailable: page("503").or_else(|| server.unavailable.clone()),
    }
}
