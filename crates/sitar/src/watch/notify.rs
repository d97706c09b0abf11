//! Changes of files as the kernel tells them: an inotify instance and what it watches.
//!
//! A folder is watched before it is listed, by the descriptor that it is listed through: nothing
//! that happens after the listing is missed, and a link that is put in a folder's place meanwhile
//! leads the watch nowhere.

use std::collections::{BTreeMap, HashMap, HashSet};
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

use super::SourceId;
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

/// The events of one owner since the last time, summed up.
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

/// An owner of watches: a source, or a part of one, that is given its own news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) source: SourceId,
    /// A number that the source has given it.
    pub(crate) part: usize,
}

/// The news of each owner that has any.
pub(crate) type NewsByOwner = BTreeMap<Owner, News>;

/// One inotify instance for any number of owners, which may watch the same folder: the kernel has
/// one watch for it then.
pub(crate) struct Notify {
    fd: OwnedFd,
    watches: HashMap<i32, Watched>,
    owned: HashMap<Owner, HashMap<i32, Role>>,
}

/// The uses that one owner has for a watch: one of these or more.
#[derive(Debug, Default)]
struct Role {
    /// What happens to the folder or file itself.
    uses: Uses,
    /// What happens to these names in the folder.
    names: HashSet<(OsString, NameUse)>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Uses {
    /// It is of the site: whatever happens there counts.
    content: bool,
    /// The path leads through it.
    path_chain: bool,
    /// A link of the site leads through it.
    way: bool,
}

/// The use of a name in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum NameUse {
    /// The path takes it.
    Path,
    /// A link of the site takes it.
    Link,
}

/// The owners of one watch. An event with a name costs no walk over those that wait for others.
#[derive(Debug, Default)]
struct Watched {
    owners: Vec<(Owner, Uses)>,
    names: HashMap<OsString, Vec<(Owner, NameUse)>>,
}

impl Notify {
    pub(crate) fn new() -> Result<Notify, WatchRefusal> {
        match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(fd) => Ok(Notify { fd, watches: HashMap::new(), owned: HashMap::new() }),
            Err(Errno::MFILE) => Err(WatchRefusal::Instances),
            Err(errno) => Err(WatchRefusal::Other(errno)),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Watches for `owner` what `walk` reports, which lists it, and all that `path` leads through;
    /// then nothing else any more.
    pub(crate) fn follow<T>(
        &mut self,
        owner: Owner,
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
        self.assign(owner, next);
        (walked, outcome)
    }

    /// Ends the watches that only this owner has.
    pub(crate) fn forget(&mut self, owner: Owner) {
        self.assign(owner, HashMap::new());
        self.owned.remove(&owner);
    }

    /// Gives an owner these watches in place of those that it had.
    fn assign(&mut self, owner: Owner, next: HashMap<i32, Role>) {
        let before = self.owned.remove(&owner).unwrap_or_default();
        for (watch, role) in &before {
            if let Some(watched) = self.watches.get_mut(watch) {
                watched.remove(owner, role);
            }
        }
        for (watch, role) in &next {
            self.watches.entry(*watch).or_default().insert(owner, role);
        }
        for watch in before.keys() {
            if self.watches.get(watch).is_some_and(|watched| watched.owners.is_empty()) {
                self.watches.remove(watch);
                // It may have gone with its folder.
                let _ = inotify::remove_watch(&self.fd, *watch);
            }
        }
        self.owned.insert(owner, next);
    }

    fn follow_path(&self, path: &Path, next: &mut HashMap<i32, Role>) -> Result<(), WatchRefusal> {
        let steps = path_chain(path);
        let last = steps.last().map(|(folder, name)| folder.join(name));
        let is_missing = last.as_ref().is_some_and(|last| last.symlink_metadata().is_err());
        for (folder, name) in steps {
            let at = folder.join(&name);
            let is_folder = match inotify::add_watch(&self.fd, &at, TRAIL | WatchFlags::MASK_ADD) {
                Ok(watch) => {
                    next.entry(watch).or_default().uses.path_chain = true;
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
                Ok(watch) => {
                    next.entry(watch).or_default().names.insert((name, NameUse::Path));
                }
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
                    Seen::Content(_) => role.uses.content = true,
                    Seen::Step(Step::Folder(_)) => role.uses.way = true,
                    Seen::Step(Step::Name(_, name)) => {
                        role.names.insert((OsStr::from_bytes(name).to_owned(), NameUse::Link));
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
    pub(crate) fn read(&mut self) -> NewsByOwner {
        let mut news = NewsByOwner::new();
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
                        self.tell_all(&mut news);
                    }
                    if let Some(watched) = self.watches.get(&event.wd()) {
                        watched.tell(what, name, &mut news);
                    }
                }
                Err(Errno::INTR) => {}
                // None left; or the instance is broken, which a look at everything makes up for.
                Err(Errno::AGAIN) => return news,
                Err(_) => {
                    self.tell_all(&mut news);
                    return news;
                }
            }
        }
    }

    fn tell_all(&self, news: &mut NewsByOwner) {
        for owner in self.owned.keys() {
            news.entry(*owner).or_default().changed = true;
        }
    }
}

impl Watched {
    fn insert(&mut self, owner: Owner, role: &Role) {
        self.owners.push((owner, role.uses));
        for (name, name_use) in &role.names {
            self.names.entry(name.clone()).or_default().push((owner, *name_use));
        }
    }

    fn remove(&mut self, owner: Owner, role: &Role) {
        self.owners.retain(|(other, _)| *other != owner);
        for (name, _) in &role.names {
            if let Some(owners) = self.names.get_mut(name) {
                owners.retain(|(other, _)| *other != owner);
                if owners.is_empty() {
                    self.names.remove(name);
                }
            }
        }
    }

    fn tell(&self, what: ReadFlags, name: Option<&[u8]>, news: &mut NewsByOwner) {
        for (owner, uses) in &self.owners {
            uses.tell(what, name, || news.entry(*owner).or_default());
        }
        let Some(name) = name.filter(|_| what.intersects(NAMED)) else { return };
        for (owner, name_use) in self.names.get(OsStr::from_bytes(name)).into_iter().flatten() {
            let news = news.entry(*owner).or_default();
            news.changed = true;
            news.replaced |= *name_use == NameUse::Path;
        }
    }
}

impl Uses {
    fn tell<'n>(self, what: ReadFlags, name: Option<&[u8]>, news: impl FnOnce() -> &'n mut News) {
        let is_gone = what.intersects(GONE);
        let (is_replaced, is_way) = (self.path_chain && is_gone, self.way && is_gone);
        let is_content =
            self.content && !what.contains(ReadFlags::IGNORED) && !name.is_some_and(is_never_served);
        if !(is_replaced || is_way || is_content) {
            return;
        }
        let news = news();
        news.changed = true;
        news.replaced |= is_replaced;
        if is_content && what.contains(ReadFlags::MODIFY) {
            news.writing = Some(true);
        } else if is_content && what.contains(ReadFlags::CLOSE_WRITE) {
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
