//! Keeps what is served the same as what lies at the site's path, without a restart.
//!
//! The kernel reports changes (`notify`). A little after the last of them (`debounce`) the site is
//! opened again, as at the start, and takes the old one's place as a whole. A site that cannot be
//! opened, such as an archive that is only half there, is reported and changes nothing. Where the
//! kernel reports nothing, or cannot know what others change (`file_system`), the site is polled.

mod debounce;
mod file_system;
mod notify;
mod path_chain;
mod reporter;
mod source;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use sitar_site::Site;

use self::debounce::Debounce;
use self::reporter::Reporter;
pub use self::source::{SiteSource, Watch, Watching};

/// A look that has found a change is followed by another within this time.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Without events: the number of polls of a site that goes on changing, before it is served as it
/// is.
const LOOKS_MAX: u32 = 5;
/// The pause after a batch of events, so that a storm of them costs little: further events gather
/// meanwhile.
const GATHER: Duration = Duration::from_millis(10);

/// Asks a watcher for something, from any thread.
#[derive(Debug)]
pub struct Control {
    fd: OwnedFd,
    asked: AtomicU8,
}

const READ_AGAIN: u8 = 1;
const STOP: u8 = 2;

impl Control {
    /// Returns a control by which nothing has been asked yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Control> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Control { fd, asked: AtomicU8::new(0) })
    }

    /// Asks for the site to be read again now.
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
    source: SiteSource,
    control: &'w Control,
    /// Puts a site into service.
    serve: &'w dyn Fn(Site),
    say: &'w dyn Fn(&str),
    debounce: Debounce,
    /// A writer is in the midst of a file.
    writing: bool,
    /// The site is an archive, a single file, of which a half is of no use.
    is_archive: bool,
    polls: Polls,
    reporter: Reporter,
}

/// The state of polling.
struct Polls {
    /// The time to look next; `None`: no looks are taken.
    at: Option<Instant>,
    served: u64,
    /// The fingerprint that was found last and is not served yet, and the number of others before
    /// it.
    candidate: Option<(u64, u32)>,
}

impl<'w> Watcher<'w> {
    /// `source` has opened `site`, which is served. `say` is for the operator.
    pub fn new(
        source: SiteSource,
        site: &Site,
        control: &'w Control,
        serve: &'w dyn Fn(Site),
        say: &'w dyn Fn(&str),
    ) -> Watcher<'w> {
        let served = source.opened;
        let first = source.rhythm().map(|rhythm| Instant::now() + rhythm.every);
        // With nothing to watch for, nothing is looked at unasked.
        let version = (source.watching() != Watching::Off).then(|| site.version());
        Watcher {
            is_archive: site.is_archive(),
            reporter: Reporter::new(&source.path, site, version),
            source,
            control,
            serve,
            say,
            debounce: Debounce::default(),
            writing: false,
            polls: Polls { at: first, served, candidate: None },
        }
    }

    /// Returns when it has been [asked to](Control::stop).
    pub fn run(mut self) {
        loop {
            let due = [self.change_due(), self.polls.at, self.reporter.due()].into_iter().flatten().min();
            let is_news = self.wait(due);
            let asked = self.control.take();
            if asked & STOP != 0 {
                return;
            }
            if is_news || asked != 0 {
                self.note_news();
            }
            if asked & READ_AGAIN != 0 {
                if self.is_held() {
                    (self.say)("the archive is being written; it is read when its writer has closed it");
                    self.debounce.changed(Instant::now());
                } else {
                    self.reload(true);
                }
                continue;
            }
            if is_news {
                std::thread::sleep(GATHER);
            }
            self.reporter.catch_up(self.say);
            let now = Instant::now();
            // An event that has just come may have put it off.
            if self.change_due().is_some_and(|due| now >= due) {
                self.reload(false);
            } else if self.polls.at.is_some_and(|at| now >= at) {
                self.poll_site();
            }
        }
    }

    /// Returns when to open the site because an event said that it has changed, or because it could
    /// not be opened.
    fn change_due(&self) -> Option<Instant> {
        let Watching::Polls { .. } = self.source.watching() else { return self.debounce.due(self.is_held()) };
        None
    }

    fn note_news(&mut self) {
        let news = self.source.news();
        if news.changed {
            self.debounce.changed(Instant::now());
        }
        if news.replaced {
            self.writing = false;
        } else if let Some(writing) = news.writing {
            self.writing = writing;
        }
    }

    /// Whether a writer is in the midst of the archive, and only its end counts, which an event
    /// will report.
    fn is_held(&self) -> bool {
        self.writing && self.is_archive && self.source.notify.is_some()
    }

    /// Waits for a request, for events, or for `due`. Returns whether there are events.
    fn wait(&self, due: Option<Instant>) -> bool {
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        // Too long for the type is for ever.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let control = PollFd::new(&self.control.fd, PollFlags::IN);
        match self.source.events() {
            Some(events) => {
                let mut fds = [control, PollFd::from_borrowed_fd(events, PollFlags::IN)];
                // Interrupted: once more around the loop.
                let _ = poll(&mut fds, timeout.as_ref());
                !fds[1].revents().is_empty()
            }
            None => {
                let _ = poll(&mut [control], timeout.as_ref());
                false
            }
        }
    }

    /// Opens the site and puts it into service, if that is possible.
    fn reload(&mut self, asked: bool) {
        let from = Instant::now();
        let was = self.source.watching();
        let opened = self.source.open();
        self.say_watching(&was);
        let well = match opened {
            Ok(site) => {
                self.take(site, asked);
                true
            }
            Err(error) => {
                self.reporter.complain(&error, asked, self.say);
                false
            }
        };
        let until = Instant::now();
        // Without watching nothing is done unasked.
        self.debounce.reloaded(from, until, well || self.source.watching() == Watching::Off);
        self.rest(from, until, Duration::MAX);
    }

    /// Opens the site without an event, and puts it into service when it is another one, and the
    /// same as at the last poll.
    fn poll_site(&mut self) {
        let from = Instant::now();
        let mut pause = Duration::MAX;
        // A change that an event has reported is waited for as always; so is the end of an
        // archive's writer.
        if self.change_due().is_none() && !self.is_held() {
            let was = self.source.watching();
            let opened = self.source.open();
            self.note_news();
            self.say_watching(&was);
            match opened {
                Ok(_) if self.source.notify.is_some() && self.debounce.due(false).is_some() => {}
                Ok(site) => pause = self.compare(site),
                Err(error) => self.reporter.complain(&error, false, self.say),
            }
        }
        self.rest(from, Instant::now(), pause);
    }

    /// Takes up the result of a poll. Returns the longest wait until the next.
    fn compare(&mut self, site: Site) -> Duration {
        let found = self.source.opened;
        let changes = self.polls.candidate.map_or(0, |(_, changes)| changes);
        let is_calm = self.polls.candidate.is_some_and(|(last, _)| last == found);
        if found == self.polls.served {
            self.polls.candidate = None;
        } else if is_calm || (changes >= LOOKS_MAX && !self.is_archive) {
            let was = self.source.watching();
            self.source.has_missed();
            self.say_watching(&was);
            self.take(site, false);
        } else {
            self.polls.candidate = Some((found, changes + 1));
            return LOOK_AGAIN;
        }
        Duration::MAX
    }

    /// Sets the time of the next look: after what the rhythm says or `pause`, if that is less, and
    /// never too soon.
    fn rest(&mut self, from: Instant, until: Instant, pause: Duration) {
        let rhythm = self.source.rhythm();
        self.polls.at = rhythm
            .map(|rhythm| until + rhythm.every.min(pause).max((until - from).saturating_mul(rhythm.share)));
    }

    fn take(&mut self, site: Site, asked: bool) {
        if self.source.rhythm().is_some() {
            self.polls = Polls { served: self.source.opened, candidate: None, ..self.polls };
        }
        self.is_archive = site.is_archive();
        let told = self.reporter.prepare(&site);
        (self.serve)(site);
        self.reporter.tell(told, asked, self.say);
    }

    fn say_watching(&self, was: &Watching) {
        let is = self.source.watching();
        if is != *was {
            (self.say)(&format!("the watch is now {is}"));
        }
    }
}

#[cfg(test)]
mod tests;
