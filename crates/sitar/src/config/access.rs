//! Who may ask for a site: `users`, `allow`, `deny` and `rate`.

use std::time::Duration;

use sitar_server::{Rate, Realm};

use super::problems::{Problems, quoted};
use super::section::Section;
use super::{AccessConfig, RateConfig, networks};

/// The realm of a site that names none.
const REALM: &str = "Restricted";

/// Reads the conditions of a site.
pub(super) fn read(section: &Section, problems: &mut Problems) -> AccessConfig {
    for (name, needed) in [("realm", "users"), ("burst", "rate")] {
        if let (Some(entry), false) = (section.entry(name), section.has(needed)) {
            problems.add(&entry.place, format!("'{name}' needs '{needed}'"));
        }
    }
    AccessConfig {
        users: section.path("users").map(|(path, _)| path.to_owned()),
        realm: realm(section, problems),
        allow: section.has("allow").then(|| networks::read("allow", section, problems)),
        deny: networks::read("deny", section, problems),
        rate: rate(section, problems),
    }
}

fn realm(section: &Section, problems: &mut Problems) -> String {
    let Some((text, place)) = section.text("realm") else { return REALM.to_owned() };
    if !Realm::is_name(text) {
        let why = "a realm has letters, digits, spaces and signs of ASCII, at most 200";
        let what = format!("invalid value {} for 'realm': {why}", quoted(text));
        problems.add_with(place, what, "for example: realm = \"Staff\"");
    }
    text.to_owned()
}

fn rate(section: &Section, problems: &mut Problems) -> Option<RateConfig> {
    let (text, place) = section.text("rate")?;
    let Some((count, period)) = parse_rate(text) else {
        let what = format!("invalid value {} for 'rate': it is no number before /s, /m or /h", quoted(text));
        problems.add_with(place, what, "for example: rate = \"20/s\"");
        return None;
    };
    let burst = section.text("burst").and_then(|(burst, _)| burst.parse().ok());
    let burst = burst.unwrap_or(count.saturating_mul(2).min(Rate::BURST_MAX));
    let rate = Rate::new(count, period, burst);
    if rate.is_none() && Rate::new(count, period, 1).is_some() {
        let what = format!("'burst' is more than what 'rate' allows in a year: {}", quoted(text));
        problems.add_with(place, what, "take a smaller burst, or a higher rate");
    } else if rate.is_none() {
        let what =
            format!("invalid value {} for 'rate': at least one and at most 1000 in a second", quoted(text));
        problems.add_with(place, what, "for example: rate = \"20/s\"");
    }
    Some(RateConfig { text: text.to_owned(), burst, rate: rate? })
}

/// Reads a number and the time that it is for.
fn parse_rate(text: &str) -> Option<(u32, Duration)> {
    let (count, unit) = text.split_once('/')?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return None,
    };
    let is_number = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    Some((count.parse().ok().filter(|_| is_number)?, Duration::from_secs(seconds)))
}
