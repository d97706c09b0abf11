//! Changes of files as the kernel tells them: an inotify instance and what it watches.
//!
//! A folder is watched before it is listed, by the descriptor that it is listed through: nothing
//! that happens after the listing is missed, and a link that is put in a folder's place meanwhile
//! leads the watch nowhere.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use sitar_io::walk::Step;
use sitar_site::Seen;

use super::path_chain::path_chain;

/// Events of the site's own folders and files.
const CONTENT: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);
/// Events of a folder that the path leads through: that it has gone from there. Nothing of
/// its other names, which may come and go all the time (`/tmp`).
const TRAIL: WatchFlags = WatchFlags::MOVE_SELF
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);
/// Events of a folder that a link of the site leads through.
const WAY: WatchFlags = WatchFlags::MOVE_SELF.union(WatchFlags::DELETE_SELF).union(WatchFlags::ONLYDIR);
/// Events of a folder in which the path takes a name that is no folder (a link, an archive,
/// or nothing yet) or is the site's own.
const NAMES: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVE).union(WatchFlags::ONLYDIR);
/// The events of a folder that has gone from its path.
const GONE: ReadFlags = ReadFlags::MOVE_SELF.union(ReadFlags::DELETE_SELF);
/// The events of a name that leads elsewhere.
const NAMED: ReadFlags =
    ReadFlags::CREATE.union(ReadFlags::DELETE).union(ReadFlags::MOVED_FROM).union(ReadFlags::MOVED_TO);
/// Bytes of events read at once.
const BATCH: usize = 64 << 10;
/// Batches read in one go: about what the kernel's queue holds. What is left waits for the next
/// time.
const BATCHES_MAX: usize = 16;

/// The reason that the kernel does not report changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchRefusal {
    /// This user has as many watches as allowed.
    Watches,
    /// This user has as many inotify instances as allowed.
    Instances,
    /// Something else.
    Other(Errno),
}

impl fmt::Display for WatchRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchRefusal::Watches => f.write_str(
                "this user has used up inotify's watches (one for each folder); to raise that: \
                 sysctl fs.inotify.max_user_watches=1048576",
            ),
            WatchRefusal::Instances => f.write_str(
                "this user has used up inotify's instances; to raise that: sysctl fs.inotify.max_user_instances=1024",
            ),
            WatchRefusal::Other(errno) => {
                write!(f, "inotify cannot be used here ({})", io::Error::from(*errno))
            }
        }
    }
}

/// The events since the last time, summed up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    /// The site may be another now.
    pub(crate) changed: bool,
    /// Its path, or a part of it, leads elsewhere.
    pub(crate) replaced: bool,
    /// A file of the site has been written to (`Some(true)`), or a writer has closed it
    /// (`Some(false)`), whichever was last.
    pub(crate) writing: Option<bool>,
}

/// Watches of one site.
pub(crate) struct Notify {
    fd: OwnedFd,
    roles: HashMap<i32, Role>,
}

/// The uses of a watch: one of these or more.
#[derive(Debug, Default)]
struct Role {
    /// It is of the site: whatever happens there counts.
    content: bool,
    /// The path leads through it.
    path_chain: bool,
    /// The path takes these names in it.
    names: Vec<OsString>,
    /// A link of the site leads through it.
    way: bool,
    /// A link of the site takes these names in it.
    links: HashSet<OsString>,
}

impl Notify {
    pub(crate) fn new() -> Result<Notify, WatchRefusal> {
        match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(fd) => Ok(Notify { fd, roles: HashMap::new() }),
            Err(Errno::MFILE) => Err(WatchRefusal::Instances),
            Err(errno) => Err(WatchRefusal::Other(errno)),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Watches what `walk` reports, which lists the site, and all that `path` leads through; then
    /// nothing else any more.
    pub(crate) fn follow<T>(
        &mut self,
        path: &Path,
        walk: impl FnOnce(&mut dyn FnMut(Seen<'_>)) -> T,
    ) -> (T, Result<(), WatchRefusal>) {
        let mut next = HashMap::new();
        // The path first: what it leads to may be exchanged while it is listed.
        let mut outcome = self.follow_path(path, &mut next);
        let walked = walk(&mut |seen| {
            if outcome.is_ok() {
                outcome = self.add(&seen, &mut next);
            }
        });
        for watch in self.roles.keys().filter(|watch| !next.contains_key(*watch)) {
            // It may have gone with its folder.
            let _ = inotify::remove_watch(&self.fd, *watch);
        }
        self.roles = next;
        (walked, outcome)
    }

    fn follow_path(&self, path: &Path, next: &mut HashMap<i32, Role>) -> Result<(), WatchRefusal> {
        let steps = path_chain(path);
        let last = steps.last().map(|(folder, name)| folder.join(name));
        let is_missing = last.as_ref().is_some_and(|last| last.symlink_metadata().is_err());
        for (folder, name) in steps {
            let at = folder.join(&name);
            let is_folder = match inotify::add_watch(&self.fd, &at, TRAIL | WatchFlags::MASK_ADD) {
                Ok(watch) => {
                    next.entry(watch).or_default().path_chain = true;
                    true
                }
                Err(Errno::NOSPC) => return Err(WatchRefusal::Watches),
                // No folder, or one that this user may not look into.
                Err(_) => false,
            };
            // A folder that is removed tells so itself only when no process holds it open, as
            // the site that is still served does with its own, and with it with all above. Those
            // have something in them, though, so first something else goes.
            if is_folder && !is_missing && Some(&at) != last.as_ref() {
                continue;
            }
            match inotify::add_watch(&self.fd, &folder, NAMES | WatchFlags::MASK_ADD) {
                Ok(watch) => next.entry(watch).or_default().names.push(name),
                Err(errno) => refused(errno)?,
            }
        }
        Ok(())
    }

    fn add(&self, seen: &Seen<'_>, next: &mut HashMap<i32, Role>) -> Result<(), WatchRefusal> {
        let (fd, flags) = match seen {
            Seen::Content(fd) => (fd, CONTENT),
            Seen::Step(Step::Folder(fd)) => (fd, WAY),
            Seen::Step(Step::Name(fd, _)) => (fd, NAMES),
        };
        // There is no call that takes a descriptor; this path is the descriptor.
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        match inotify::add_watch(&self.fd, path, flags | WatchFlags::MASK_ADD) {
            Ok(watch) => {
                let role = next.entry(watch).or_default();
                match seen {
                    Seen::Content(_) => role.content = true,
                    Seen::Step(Step::Folder(_)) => role.way = true,
                    Seen::Step(Step::Name(_, name)) => {
                        role.links.insert(OsStr::from_bytes(name).to_owned());
                    }
                }
                Ok(())
            }
            // Without /proc nothing of the site would be watched.
            Err(Errno::NOENT) => Err(WatchRefusal::Other(Errno::NOENT)),
            Err(errno) => refused(errno),
        }
    }

    /// Reads what has happened, without waiting.
    pub(crate) fn read(&mut self) -> News {
        let mut news = News::default();
        let mut buf = [MaybeUninit::uninit(); BATCH];
        let mut reader = Reader::new(&self.fd, &mut buf);
        let mut batches = 0;
        loop {
            if reader.is_buffer_empty() {
                batches += 1;
                if batches > BATCHES_MAX {
                    return news;
                }
            }
            match reader.next() {
                Ok(event) => {
                    let (what, name) = (event.events(), event.file_name().map(|name| name.to_bytes()));
                    if what.intersects(ReadFlags::QUEUE_OVERFLOW | ReadFlags::UNMOUNT) {
                        // Something was lost: everything is looked at.
                        news.changed = true;
                    }
                    if let Some(role) = self.roles.get(&event.wd()) {
                        role.tell(what, name, &mut news);
                    }
                }
                Err(Errno::INTR) => {}
                // None left; or the instance is broken, which a look at everything makes up for.
                Err(Errno::AGAIN) => return news,
                Err(_) => return News { changed: true, ..news },
            }
        }
    }
}

impl Role {
    fn tell(&self, what: ReadFlags, name: Option<&[u8]>, news: &mut News) {
        let is_named = || self.names.iter().any(|known| Some(known.as_bytes()) == name);
        if (self.path_chain && what.intersects(GONE)) || (what.intersects(NAMED) && is_named()) {
            (news.changed, news.replaced) = (true, true);
        }
        let is_link = || name.is_some_and(|name| self.links.contains(OsStr::from_bytes(name)));
        if (self.way && what.intersects(GONE)) || (what.intersects(NAMED) && is_link()) {
            news.changed = true;
        }
        if !self.content || what.contains(ReadFlags::IGNORED) || name.is_some_and(is_never_served) {
            return;
        }
        news.changed = true;
        if what.contains(ReadFlags::MODIFY) {
            news.writing = Some(true);
        } else if what.contains(ReadFlags::CLOSE_WRITE) {
            news.writing = Some(false);
        }
    }
}

/// Editors' and tools' own files (`.x.swp`, `.git`): a site does not change by them.
fn is_never_served(name: &[u8]) -> bool {
    name.starts_with(b".") && OsStr::from_bytes(name) != ".well-known"
}

/// Refusals without harm: a folder that has gone meanwhile, or that this user may not
/// look into.
fn refused(errno: Errno) -> Result<(), WatchRefusal> {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::NAMETOOLONG => Ok(()),
        Errno::NOSPC => Err(WatchRefusal::Watches),
        other => Err(WatchRefusal::Other(other)),
    }
}
