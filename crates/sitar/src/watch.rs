//! Keeps what is served the same as what lies at the site's path, without a restart.
//!
//! Changes are told by the kernel (`notify`). A little after the last of them (`pace`) the site is opened anew, as at the
//! start, and takes the old one's place as a whole. A site that cannot be opened, an archive that is only half there for
//! example, changes nothing but what is said. Where the kernel refuses to tell, the site is looked at now and then.

mod notify;
mod pace;
mod trail;

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use sitar_site::{OpenError, Options, Site};

use self::notify::{News, Notify, Refusal};
use self::pace::Pace;

/// Without events: how often to look, at the most.
const LOOK: Duration = Duration::from_secs(2);
/// The same, while something is changing.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Without events: a look takes at most one part in so many of the time.
const LOOK_SHARE: u32 = 20;
/// Without events: how many looks at a site that goes on changing, before it is taken as it is.
const LOOKS_MAX: u32 = 5;
/// After a batch of events, so that a storm of them costs little: the rest comes together with what it brings.
const GATHER: Duration = Duration::from_millis(10);
/// At most one message in so much time about changes that went well.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// Warnings that are repeated for a changed site.
const WARNINGS_MAX: usize = 5;

/// How changes are noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watching {
    /// By the kernel's events.
    Events,
    /// By looking now and then, and why not by events.
    Looks(String),
    /// Not at all: `--no-watch`.
    Off,
}

enum Means {
    Events(Notify),
    Looks(Refusal),
    Off,
}

/// A site's path, and how it is watched.
pub struct Eye {
    path: PathBuf,
    options: Options,
    means: Means,
    /// Without events: the fingerprint of what was opened last.
    opened: u64,
}

impl Eye {
    /// Watches `path`, or does not.
    #[must_use]
    pub fn new(path: &Path, options: &Options, watch: bool) -> Eye {
        let means = match watch.then(Notify::new) {
            None => Means::Off,
            Some(Ok(notify)) => Means::Events(notify),
            Some(Err(refusal)) => Means::Looks(refusal),
        };
        Eye { path: path.to_owned(), options: options.clone(), means, opened: 0 }
    }

    /// How changes are noticed; known after the first [`open`](Eye::open).
    #[must_use]
    pub fn watching(&self) -> Watching {
        match &self.means {
            Means::Events(_) => Watching::Events,
            Means::Looks(refusal) => Watching::Looks(refusal.to_string()),
            Means::Off => Watching::Off,
        }
    }

    /// Opens what lies at the path now. From here on its changes are noticed.
    ///
    /// # Errors
    /// Those of [`Site::open`].
    pub fn open(&mut self) -> Result<Site, OpenError> {
        let site = match &mut self.means {
            Means::Events(notify) => {
                let prefix = self.options.prefix.as_deref().unwrap_or_default().trim_start_matches('/');
                let (site, outcome) = notify
                    .follow(&self.path.join(prefix), |seen| Site::open_seen(&self.path, &self.options, seen));
                if let Err(refusal) = outcome {
                    self.means = Means::Looks(refusal);
                }
                site?
            }
            Means::Looks(_) | Means::Off => Site::open(&self.path, &self.options)?,
        };
        if let Means::Looks(_) = self.means {
            // Before anything of it is loaded: what changes after this shows at the next look.
            self.opened = site.fingerprint();
        }
        Ok(site)
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        match &self.means {
            Means::Events(notify) => Some(notify.fd()),
            Means::Looks(_) | Means::Off => None,
        }
    }

    fn news(&mut self) -> News {
        match &mut self.means {
            Means::Events(notify) => notify.read(),
            Means::Looks(_) | Means::Off => News::default(),
        }
    }
}

/// Asks a watcher's thread for something, from any other.
#[derive(Debug)]
pub struct Call {
    fd: OwnedFd,
    asked: AtomicU8,
}

const READ_AGAIN: u8 = 1;
const STOP: u8 = 2;

impl Call {
    /// A call that nobody has made yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Call> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Call { fd, asked: AtomicU8::new(0) })
    }

    /// Has the site read again now.
    pub fn read_again(&self) {
        self.ask(READ_AGAIN);
    }

    /// Ends the watcher.
    pub fn stop(&self) {
        self.ask(STOP);
    }

    fn ask(&self, what: u8) {
        self.asked.fetch_or(what, Ordering::SeqCst);
        // It fails only when the counter is full, and then the thread is being woken already.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    fn take(&self) -> u8 {
        let _ = rustix::io::read(&self.fd, &mut [0; 8]);
        self.asked.swap(0, Ordering::SeqCst)
    }
}

/// Watches a site, on a thread of its own.
pub struct Watcher<'w> {
    eye: Eye,
    call: &'w Call,
    /// Has a site served.
    serve: &'w dyn Fn(Site),
    say: &'w dyn Fn(&str),
    pace: Pace,
    /// A writer is in the midst of a file.
    writing: bool,
    /// An archive is one file, of which half is nothing.
    is_archive: bool,
    looks: Looks,
    speech: Speech,
}

/// What looking without events needs to remember.
struct Looks {
    at: Instant,
    served: u64,
    /// What was found last and is not served yet, and how often something else was found before it.
    candidate: Option<(u64, u32)>,
}

/// What has been said, so that it is not said again and again.
struct Speech {
    failure: Option<String>,
    warnings: Vec<String>,
    last: Option<Instant>,
    unsaid: u32,
}

impl<'w> Watcher<'w> {
    /// `eye` has opened `site`, which is served. `say` is for the operator.
    pub fn new(
        eye: Eye,
        site: &Site,
        call: &'w Call,
        serve: &'w dyn Fn(Site),
        say: &'w dyn Fn(&str),
    ) -> Watcher<'w> {
        let served = eye.opened;
        Watcher {
            is_archive: site.is_archive(),
            eye,
            call,
            serve,
            say,
            pace: Pace::default(),
            writing: false,
            looks: Looks { at: Instant::now() + LOOK, served, candidate: None },
            speech: Speech { failure: None, warnings: warnings(site), last: None, unsaid: 0 },
        }
    }

    /// Returns when it has been [asked to](Call::stop).
    pub fn run(mut self) {
        loop {
            let due = match self.eye.means {
                Means::Looks(_) => Some(self.looks.at),
                Means::Events(_) | Means::Off => self.pace.due(self.is_held()),
            };
            let is_news = self.wait(due);
            let asked = self.call.take();
            if asked & STOP != 0 {
                return;
            }
            if is_news || asked != 0 {
                self.note_news();
            }
            if asked & READ_AGAIN != 0 {
                if self.is_held() {
                    (self.say)("the archive is being written; it is read when its writer has closed it");
                    self.pace.changed(Instant::now());
                } else {
                    self.look(true);
                }
                continue;
            }
            if is_news {
                std::thread::sleep(GATHER);
            }
            if due.is_some_and(|due| Instant::now() >= due) {
                match self.eye.means {
                    Means::Looks(_) => self.look_around(),
                    // What has just come may have put it off.
                    _ if self
                        .pace
                        .due(self.writing && self.is_archive)
                        .is_some_and(|due| Instant::now() >= due) =>
                    {
                        self.look(false);
                    }
                    _ => {}
                }
            }
        }
    }

    fn note_news(&mut self) {
        let news = self.eye.news();
        if news.changed {
            self.pace.changed(Instant::now());
        }
        if news.replaced {
            self.writing = false;
        } else if let Some(writing) = news.writing {
            self.writing = writing;
        }
    }

    /// Whether a writer is in the midst of the archive, and only its end counts.
    fn is_held(&self) -> bool {
        self.writing && self.is_archive
    }

    /// Waits for a call, for events, or for `due`. Whether there are events.
    fn wait(&self, due: Option<Instant>) -> bool {
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        // Too long for the type is for ever.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let call = PollFd::new(&self.call.fd, PollFlags::IN);
        match self.eye.events() {
            Some(events) => {
                let mut fds = [call, PollFd::from_borrowed_fd(events, PollFlags::IN)];
                // Interrupted: once more around the loop.
                let _ = poll(&mut fds, timeout.as_ref());
                !fds[1].revents().is_empty()
            }
            None => {
                let _ = poll(&mut [call], timeout.as_ref());
                false
            }
        }
    }

    /// Opens the site and has it served, if that is possible.
    fn look(&mut self, asked: bool) {
        let from = Instant::now();
        let was = self.eye.watching();
        let opened = self.eye.open();
        if let (Watching::Looks(why), true) = (self.eye.watching(), was == Watching::Events) {
            (self.say)(&format!(
                "changes are looked for every {} s at the most from now on, because {why}",
                LOOK.as_secs()
            ));
        }
        let well = match opened {
            Ok(site) => {
                self.take(site, asked);
                true
            }
            Err(error) => {
                self.complain(&error, asked);
                false
            }
        };
        let until = Instant::now();
        // Without watching nothing is done unasked.
        self.pace.looked(from, until, well || matches!(self.eye.means, Means::Off));
        self.looks.at = until + LOOK.max((until - from) * LOOK_SHARE);
    }

    /// Without events: opens the site, and has it served when it is another one and the same as the last time.
    fn look_around(&mut self) {
        let from = Instant::now();
        let mut pause = LOOK;
        match self.eye.open() {
            Ok(site) => {
                let found = self.eye.opened;
                let changes = self.looks.candidate.map_or(0, |(_, changes)| changes);
                let is_calm = self.looks.candidate.is_some_and(|(last, _)| last == found);
                if found == self.looks.served {
                    self.looks.candidate = None;
                } else if is_calm || (changes >= LOOKS_MAX && !self.is_archive) {
                    self.take(site, false);
                } else {
                    self.looks.candidate = Some((found, changes + 1));
                    pause = LOOK_AGAIN;
                }
            }
            Err(error) => self.complain(&error, false),
        }
        let until = Instant::now();
        self.looks.at = until + pause.max((until - from) * LOOK_SHARE);
    }

    fn take(&mut self, site: Site, asked: bool) {
        if let Means::Looks(_) = self.eye.means {
            self.looks = Looks { served: self.eye.opened, candidate: None, ..self.looks };
        }
        self.is_archive = site.is_archive();
        let (files, warnings) = (site.len(), warnings(&site));
        (self.serve)(site);
        let speech = &mut self.speech;
        let had_failed = speech.failure.take().is_some();
        let now = Instant::now();
        speech.unsaid += 1;
        if asked || had_failed || speech.last.is_none_or(|last| now - last >= SAY_EVERY) {
            let times = match std::mem::take(&mut speech.unsaid) {
                _ if asked => "the site was read again".to_owned(),
                1 => "the site has changed".to_owned(),
                times => format!("the site has changed {times} times"),
            };
            (self.say)(&format!("{times}: {files} {} now", if files == 1 { "file" } else { "files" }));
            speech.last = Some(now);
        }
        let new = warnings.iter().filter(|warning| !speech.warnings.contains(warning));
        for warning in new.take(WARNINGS_MAX) {
            (self.say)(&format!("warning: {warning}"));
        }
        speech.warnings = warnings;
    }

    /// Says once why the site cannot be replaced, and again only when the reason is another.
    fn complain(&mut self, error: &OpenError, asked: bool) {
        let why = error.to_string();
        if asked || self.speech.failure.as_ref() != Some(&why) {
            (self.say)(&format!(
                "error: the site as it is now cannot be served, the one before still is: {why}"
            ));
            self.speech.failure = Some(why);
        }
    }
}

fn warnings(site: &Site) -> Vec<String> {
    site.warnings().iter().map(ToString::to_string).collect()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Watches => f.write_str(
                "this user has used up inotify's watches (one for each folder); to raise that: \
                 sysctl fs.inotify.max_user_watches=1048576",
            ),
            Refusal::Instances => f.write_str(
                "this user has used up inotify's instances; to raise that: sysctl fs.inotify.max_user_instances=1024",
            ),
            Refusal::Other(errno) => {
                write!(f, "inotify cannot be used here ({})", io::Error::from(*errno))
            }
        }
    }
}

#[cfg(test)]
mod tests;
