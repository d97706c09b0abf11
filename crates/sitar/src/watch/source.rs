//! A site's path, which is opened again for each change, and the way in which changes are noticed.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sitar_site::{OpenError, Options, Seen, Site};

use super::file_system::{Events, FileSystem};
use super::notify::{News, Notify, WatchRefusal};

/// The shortest time between two polls where changes come without events.
const LOOK: Duration = Duration::from_secs(2);
/// The same where changes may come without events.
const LOOK_IN_DOUBT: Duration = Duration::from_secs(10);
/// Polls take at most one part of the time in this number.
const LOOK_SHARE: u32 = 20;
const LOOK_SHARE_IN_DOUBT: u32 = 200;

/// The operator's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watch {
    /// Events of the kernel, and looks where those cannot be relied on.
    #[default]
    Auto,
    /// Looks only, this far apart: `--poll`.
    Poll(Duration),
    /// Nothing: `--no-watch`.
    Off,
}

/// The way in which changes are noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watching {
    /// By the kernel's events.
    Events,
    /// By events, and by looking as well.
    Both {
        /// Time between two looks, or more.
        every: Duration,
        /// The reason that events are not enough.
        why: String,
    },
    /// By looking.
    Polls {
        /// Time between two looks, or more.
        every: Duration,
        /// The reason that it is not by events.
        why: String,
    },
    /// Not at all: `--no-watch`.
    Off,
}

/// The reason for polling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Asked(Duration),
    Refused(WatchRefusal),
    Events(Events),
    /// A change had no event.
    Missed(FileSystem),
}

/// The frequency of polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rhythm {
    pub(super) every: Duration,
    /// Polls take at most one part of the time in this number.
    pub(super) share: u32,
}

/// A site's path, and how it is watched.
pub struct SiteSource {
    pub(super) path: PathBuf,
    options: Options,
    pub(super) notify: Option<Notify>,
    why: Option<Why>,
    /// The fingerprint of what was opened last, where the site is polled.
    pub(super) opened: u64,
    /// Taken in place of the file system's reliability in a test, where that is better.
    #[cfg(test)]
    pub(super) doubt: Option<Events>,
}

impl SiteSource {
    /// Watches `path`, or does not.
    #[must_use]
    pub fn new(path: &Path, options: &Options, watch: Watch) -> SiteSource {
        let (notify, why) = match watch {
            Watch::Off => (None, None),
            Watch::Poll(every) => (None, Some(Why::Asked(every))),
            Watch::Auto => match Notify::new() {
                Ok(notify) => (Some(notify), None),
                Err(refusal) => (None, Some(Why::Refused(refusal))),
            },
        };
        SiteSource {
            path: path.to_owned(),
            options: options.clone(),
            notify,
            why,
            opened: 0,
            #[cfg(test)]
            doubt: None,
        }
    }

    /// Returns the way in which changes are noticed; known after the first
    /// [`open`](SiteSource::open).
    #[must_use]
    pub fn watching(&self) -> Watching {
        match (&self.notify, self.why, self.rhythm()) {
            (Some(_), Some(why), Some(Rhythm { every, .. })) => {
                Watching::Both { every, why: why.to_string() }
            }
            (None, Some(why), Some(Rhythm { every, .. })) => Watching::Polls { every, why: why.to_string() },
            (Some(_), ..) => Watching::Events,
            (None, ..) => Watching::Off,
        }
    }

    /// Returns the frequency of polls; `None` where there are none.
    pub(super) fn rhythm(&self) -> Option<Rhythm> {
        let often = |every| Some(Rhythm { every, share: LOOK_SHARE });
        match self.why? {
            Why::Asked(every) => often(every),
            Why::Refused(_) | Why::Missed(_) | Why::Events(Events::Own(_)) => often(LOOK),
            Why::Events(Events::Perhaps(_)) => {
                Some(Rhythm { every: LOOK_IN_DOUBT, share: LOOK_SHARE_IN_DOUBT })
            }
            Why::Events(Events::All) => None,
        }
    }

    /// Notes that a look has found a change that no event reported.
    pub(super) fn has_missed(&mut self) {
        if let Some(Why::Events(Events::Perhaps(kind))) = self.why {
            self.why = Some(Why::Missed(kind));
        }
    }

    /// Opens what lies at the path now. From here on its changes are noticed.
    ///
    /// # Errors
    /// The errors of [`Site::open`].
    pub fn open(&mut self) -> Result<Site, OpenError> {
        let Some(notify) = &mut self.notify else {
            let site = Site::open(&self.path, &self.options)?;
            return Ok(self.note(site));
        };
        let prefix = self.options.prefix.as_deref().unwrap_or_default().trim_start_matches('/');
        let mut events = None;
        let (site, outcome) = notify.follow(&self.path.join(prefix), |show| {
            Site::open_seen(&self.path, &self.options, &mut |seen| {
                if let Seen::Content(fd) = &seen {
                    events = events.max(Some(Events::of(*fd)));
                }
                show(seen);
            })
        });
        match outcome {
            Err(refusal) => self.refuse(refusal),
            Ok(()) => self.settle(events, site.is_ok()),
        }
        let site = site?;
        Ok(self.note(site))
    }

    /// Changes over to polls, because the kernel refuses to report changes.
    pub(super) fn refuse(&mut self, refusal: WatchRefusal) {
        (self.notify, self.why) = (None, Some(Why::Refused(refusal)));
    }

    /// Decides after a walk how changes are noticed. `events` is the worst of the file systems that
    /// were seen; with `is_whole` all of them were.
    fn settle(&mut self, events: Option<Events>, is_whole: bool) {
        #[cfg(test)]
        let events = events.max(self.doubt);
        let before = match self.why {
            Some(Why::Events(before)) if !is_whole => Some(before),
            _ => None,
        };
        let Some(events) = events.max(before) else { return };
        match (self.why, events) {
            // A change was missed once: what is seen of the file system does not show why.
            (Some(Why::Missed(_)), Events::All | Events::Perhaps(_)) => {}
            _ => self.why = Some(Why::Events(events)),
        }
    }

    fn note(&mut self, site: Site) -> Site {
        if self.rhythm().is_some() {
            // Before anything of it is loaded: what changes after this shows at the next look.
            self.opened = site.fingerprint();
        }
        site
    }

    pub(super) fn events(&self) -> Option<BorrowedFd<'_>> {
        self.notify.as_ref().map(Notify::fd)
    }

    pub(super) fn news(&mut self) -> News {
        self.notify.as_mut().map(Notify::read).unwrap_or_default()
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Asked(_) => f.write_str("--poll says so"),
            Why::Refused(refusal) => refusal.fmt(f),
            Why::Events(Events::All) => f.write_str("nothing speaks against it"),
            Why::Events(Events::Perhaps(kind)) => write!(f, "{kind} may not tell all of it"),
            Why::Events(Events::Own(kind)) => {
                write!(f, "{kind} does not tell what is changed from elsewhere")
            }
            Why::Missed(kind) => write!(f, "{kind} did not report a change"),
        }
    }
}
