//! Messages to the operator about changes: when, which site, what is served now, and what was
//! refused.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use sitar_site::{OpenError, Site, Version};
use time::OffsetDateTime;

use crate::error::printable;
use crate::events::Level;

/// At most one message in this time about changes that went well.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// Warnings that are repeated for a changed site.
const WARNINGS_MAX: usize = 5;

/// Callback for one line.
type Say<'s> = &'s dyn Fn(Level, &str);

/// Messages about changes. It remembers what was said, so that nothing is said again and again.
pub(super) struct Reporter {
    path: PathBuf,
    /// The site that is served; `None`: none could be opened yet.
    live: Option<Live>,
    failure: Option<String>,
    warnings: Vec<String>,
    last: Option<Instant>,
    unsaid: u32,
}

/// A site that is served.
pub(super) struct Live {
    files: usize,
    /// Not known of a site that nothing watches.
    version: Option<Version>,
    warnings: Vec<String>,
}

impl Reporter {
    /// Nothing is served from the path yet.
    pub(super) fn new(path: &Path) -> Reporter {
        Reporter {
            path: path.to_owned(),
            live: None,
            failure: None,
            warnings: Vec::new(),
            last: None,
            unsaid: 0,
        }
    }

    /// `site` is served from the start, which has said so.
    pub(super) fn start_with(&mut self, site: &Site, version: Option<Version>) {
        self.live = Some(Live { files: site.len(), version, warnings: Vec::new() });
        self.warnings = warnings(site);
    }

    /// The site could not be opened at the start, which has said why.
    pub(super) fn start_without(&mut self, error: &OpenError) {
        self.failure = Some(error.to_string());
    }

    /// Returns the facts to report about a site when it is served.
    pub(super) fn prepare(&self, site: &Site) -> Live {
        Live { files: site.len(), version: Some(site.version()), warnings: warnings(site) }
    }

    /// Tells that a site is served now, or leaves that to [`catch_up`](Reporter::catch_up).
    pub(super) fn tell(&mut self, mut live: Live, asked: bool, say: Say<'_>) {
        let warnings = std::mem::take(&mut live.warnings);
        let is_first = self.live.replace(live).is_none();
        let had_failed = self.failure.take().is_some();
        self.unsaid += 1;
        if is_first {
            self.announce("the site can be served now", say);
        } else if asked {
            self.announce("the site was read again", say);
        } else if had_failed {
            self.announce_changes(say);
        } else {
            self.catch_up(say);
        }
        let new = warnings.iter().filter(|warning| !self.warnings.contains(warning));
        for warning in new.take(WARNINGS_MAX) {
            say(Level::Warning, warning);
        }
        self.warnings = warnings;
    }

    /// Returns when there is something to [catch up](Reporter::catch_up) with.
    pub(super) fn due(&self) -> Option<Instant> {
        self.last.filter(|_| self.unsaid > 0).map(|last| last + SAY_EVERY)
    }

    /// Reports changes that came too soon after others. The last message then names what is
    /// served.
    pub(super) fn catch_up(&mut self, say: Say<'_>) {
        if self.unsaid > 0 && self.due().is_none_or(|due| Instant::now() >= due) {
            self.announce_changes(say);
        }
    }

    fn announce_changes(&mut self, say: Say<'_>) {
        let times = match self.unsaid {
            1 => "the site has changed".to_owned(),
            times => format!("the site has changed {times} times"),
        };
        self.announce(&times, say);
    }

    fn announce(&mut self, what: &str, say: Say<'_>) {
        let number = self.live.as_ref().map_or(0, |live| live.files);
        say(Level::Info, &format!("{what}: {} now ({})", files(number), self.stamp("")));
        (self.unsaid, self.last) = (0, Some(Instant::now()));
    }

    /// Whether a failure has been said, and nothing has been served since.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Says once why the site cannot be replaced, and again only when the reason is another.
    pub(super) fn complain(&mut self, why: String, asked: bool, say: Say<'_>) {
        if asked || self.failure.as_ref() != Some(&why) {
            let line = match &self.live {
                Some(live) => format!(
                    "the site as it is now cannot be served, the one before still is: {why} ({}, {})",
                    self.stamp("still "),
                    files(live.files)
                ),
                None => format!("the site still cannot be served: {why} ({})", self.stamp("")),
            };
            say(Level::Error, &line);
            self.failure = Some(why);
            // That named what is served.
            self.unsaid = 0;
        }
    }

    /// The time, the path, and what is served.
    fn stamp(&self, still: &str) -> String {
        let path = printable(&self.path);
        let time = rfc_3339(SystemTime::now());
        match &self.live {
            Some(Live { version: Some(version), .. }) => format!("{time}, {path}, {still}{version}"),
            Some(_) => format!("{time}, {path}, {still}as at the start"),
            None => format!("{time}, {path}"),
        }
    }
}

fn files(number: usize) -> String {
    if number == 1 { "1 file".to_owned() } else { format!("{number} files") }
}

fn warnings(site: &Site) -> Vec<String> {
    site.warnings().iter().map(ToString::to_string).collect()
}

/// UTC, to the second.
pub(super) fn rfc_3339(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    format!("{}T{:02}:{:02}:{:02}Z", time.date(), time.hour(), time.minute(), time.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_in_logs() {
        let at = |seconds| rfc_3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(1_709_210_096), "2024-02-29T12:34:56Z");
    }
}
