//! Keeps what is served the same as what lies at the paths of sites and certificates, without a
//! restart.
//!
//! One thread and one inotify instance do that for all of them (`sources`). The kernel reports
//! changes (`notify`), for the sources that they concern. A little after the last of them
//! (`debounce`) a site is opened again, as at the start, and takes the old one's place as a whole.
//! A site that cannot be opened, such as an archive that is only half there, is reported and
//! changes nothing. Where the kernel reports nothing, or cannot know what others change
//! (`file_system`), the site is polled. A site that could not be opened at the start is served as
//! soon as it can. A certificate and its key (`certificate`) are such a source, too: they are
//! served when they belong together.

mod certificate;
mod complaint;
mod debounce;
mod file_system;
mod notify;
mod path_chain;
mod reporter;
mod site;
mod source;
mod sources;

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use sitar_site::{Encodings, Site};

pub use self::source::{Watch, Watching};
pub(crate) use self::sources::Sources;
use crate::certificate::Loaded;
use crate::events::Level;

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
const ATTACH: u8 = 4;

impl Control {
    /// Returns a control by which nothing has been asked yet.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Control> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Control { fd, asked: AtomicU8::new(0) })
    }

    /// Asks for everything to be read again now.
    pub fn read_again(&self) {
        self.ask(READ_AGAIN);
    }

    /// Asks for sites to be opened again that have other [`Attached`] encodings by now.
    pub(crate) fn attach(&self) {
        self.ask(ATTACH);
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

/// One source of a watcher; numbered in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SourceId(pub(crate) usize);

/// A sentence for the operator, which is true until its source is read again.
#[derive(Debug, Clone)]
pub(crate) struct Warning {
    pub(crate) source: Option<SourceId>,
    pub(crate) text: String,
}

/// The encodings file of a site, which may become another one while the site is served.
pub(crate) type Attached = Arc<Mutex<Option<Arc<Encodings>>>>;

/// Opens what lies at the path of a site, as [`sitar_site::open_root`] does.
pub(crate) type Opener = Arc<dyn Fn(&Path) -> io::Result<OwnedFd> + Send + Sync>;

/// The side that serves what a watcher finds. It is called on the watcher's thread.
pub(crate) trait Serve {
    /// Puts a site into service in place of the one before, if there was one.
    fn site(&self, id: SourceId, site: Site);

    /// Does the same with a site that has other encodings, and is the same otherwise.
    fn encoded(&self, id: SourceId, site: Site) {
        self.site(id, site);
    }

    /// Puts a certificate and its key into service in place of the pair before, for the connections
    /// that are accepted from then on.
    ///
    /// # Errors
    /// The reason that it cannot, and the pair before stays.
    fn certificate(&self, id: SourceId, loaded: Loaded) -> Result<(), String>;

    /// Notes why a source cannot be used as it is now, when that is said; what was served from it
    /// before still is. `None`: it can be used again.
    fn failing(&self, id: SourceId, why: Option<&str>) {
        let _ = (id, why);
    }

    /// Notes that the site of a source is there, and cannot be read in the sandbox of this process.
    /// Returns whether a process that can is to take over; then nothing is said of it. What was
    /// served before still is. It is noted again each time that the site is opened.
    fn out_of_reach(&self, id: SourceId) -> bool {
        let _ = id;
        false
    }

    /// Says one line to the operator.
    fn say(&self, level: Level, line: &str);
}

/// Watches all sources, on a thread of its own.
pub(crate) struct Watcher<'w> {
    sources: Sources,
    control: &'w Control,
    serve: &'w dyn Serve,
}

impl<'w> Watcher<'w> {
    /// What the sources had opened is served.
    pub(crate) fn new(sources: Sources, control: &'w Control, serve: &'w dyn Serve) -> Watcher<'w> {
        Watcher { sources, control, serve }
    }

    /// Returns when it has been [asked to](Control::stop).
    pub(crate) fn run(mut self) {
        self.sources.begin();
        loop {
            let is_news = self.wait(self.sources.next().map(|(_, due)| due));
            let asked = self.control.take();
            if asked & STOP != 0 {
                return;
            }
            if is_news || asked != 0 {
                self.sources.note_news();
            }
            if asked & ATTACH != 0 {
                self.sources.attach(self.serve);
            }
            if asked & READ_AGAIN != 0 {
                self.read_again();
                continue;
            }
            if is_news {
                std::thread::sleep(GATHER);
            }
            // An event that has just come may have put it off. One source at a time: what others
            // report meanwhile is known before they are opened.
            if let Some((id, due)) = self.sources.next()
                && Instant::now() >= due
            {
                self.sources.attend(id, self.serve);
            }
        }
    }

    fn read_again(&mut self) {
        for place in 0..self.sources.list.len() {
            self.sources.note_news();
            self.sources.read_again(SourceId(place), self.serve);
        }
    }

    /// Waits for a request, for events, or for `due`. Returns whether there are events.
    fn wait(&self, due: Option<Instant>) -> bool {
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        // Too long for the type is for ever.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let control = PollFd::new(&self.control.fd, PollFlags::IN);
        match &self.sources.notify {
            Some(notify) => {
                let mut fds = [control, PollFd::from_borrowed_fd(notify.fd(), PollFlags::IN)];
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
}

#[cfg(test)]
mod tests;
