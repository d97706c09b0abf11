//! Opening what lies below a directory without openat2(2): one name at a time.
//!
//! For kernels before 5.6 and for places where a seccomp filter refuses the call, as old container
//! runtimes and systemd-nspawn do. The promise is that of `RESOLVE_BENEATH` and
//! `RESOLVE_NO_MAGICLINKS`: each name is opened with `O_NOFOLLOW` in the directory that the names
//! before it led to, links are read and resolved here, and `..` is never given to the kernel. A
//! directory that is exchanged for a link meanwhile therefore leads nowhere.
//!
//! Beyond what openat2 can do, a link may name the root itself by an absolute path
//! ([`Bounds::names`]): `/srv/site/x`, or `../site/x` in `/srv/site`. Such a path is compared as
//! text until it has arrived at the root, and looked up from there.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

/// The places that links may lead to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds<'b> {
    /// The root's own absolute paths, first the one without links and `..`. Without any, no link
    /// leads back to the root.
    pub names: &'b [Box<[u8]>],
    /// Links may lead anywhere. Then the first of `names` is needed for links that climb out of the
    /// root.
    pub leave: bool,
}

/// Something that links lead through. A path leads elsewhere when one of these has changed.
#[derive(Debug)]
pub enum Step<'s> {
    /// A directory on the way.
    Folder(BorrowedFd<'s>),
    /// A name in that directory which is a link, or which is missing.
    Name(BorrowedFd<'s>, &'s [u8]),
}

/// Opens `path`, which is relative, below `root`; links are followed as far as `bounds` allow.
/// `seen` is shown what links lead through; the names up to and including the first link are those
/// of `path` itself, and not shown.
///
/// Takes one descriptor at a time, and 4,096 lookups at most.
///
/// # Errors
/// `EXDEV` for a path that leaves the bounds, or that takes a link of `/proc`; `ELOOP` for more
/// than 40 links; `EAGAIN` when directories are renamed all the while; those of openat(2).
pub fn open(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    bounds: Bounds<'_>,
    seen: &mut dyn FnMut(Step<'_>),
) -> Result<OwnedFd, Errno> {
    for _ in 0..ATTEMPTS {
        let walk = Walk { root, bounds, seen, at: Place::default(), links: 0, lookups: 0 };
        match walk.open(path, flags) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

/// The part of a path that is still to be looked up: all of it from this byte on.
struct Ahead {
    path: Vec<u8>,
    from: Option<usize>,
}

impl Ahead {
    fn new(path: Vec<u8>) -> Ahead {
        Ahead { path, from: Some(0) }
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = self.path.get(self.from?..)?;
        let slash = rest.iter().position(|&byte| byte == b'/');
        let name = rest[..slash.unwrap_or(rest.len())].to_vec();
        self.from = slash.and_then(|slash| Some(self.from? + slash + 1));
        Some(name)
    }
}

/// A directory, by the names that lead to it, none of which is a link.
#[derive(Default)]
struct Place {
    /// Whether the names begin at `/` and not at the root.
    is_outside: bool,
    names: Vec<Vec<u8>>,
    /// Open, unless it has not been needed yet, or is the place that the names are counted from.
    fd: Option<OwnedFd>,
}

impl Place {
    /// The directory of an absolute path.
    fn outside(path: &[u8]) -> Place {
        let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        Place { is_outside: true, names: names.map(<[u8]>::to_vec).collect(), fd: None }
    }

    /// Whether `path`, which is absolute, is this directory's or leads on from it.
    fn is_prefix_of(&self, path: &[u8]) -> bool {
        Place::outside(path).names.starts_with(&self.names)
    }

    fn is(&self, path: &[u8]) -> bool {
        Place::outside(path).names == self.names
    }
}

struct Walk<'w> {
    root: BorrowedFd<'w>,
    bounds: Bounds<'w>,
    seen: &'w mut dyn FnMut(Step<'_>),
    at: Place,
    links: u32,
    lookups: u32,
}

impl Walk<'_> {
    fn open(mut self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        match path.first() {
            None => return Err(Errno::NOENT),
            Some(_) if path.len() >= PATH_MAX => return Err(Errno::NAMETOOLONG),
            Some(b'/') => return Err(Errno::XDEV),
            Some(_) => {}
        }
        // The innermost link's last.
        let mut ahead = vec![Ahead::new(path.to_vec())];
        while let Some(path) = ahead.last_mut() {
            let Some(name) = path.next() else {
                ahead.pop();
                continue;
            };
            self.count()?;
            let is_last = ahead.iter().all(|path| path.from.is_none());
            match &*name {
                b"" | b"." => {}
                b".." => self.up()?,
                _ if self.is_text() => {
                    self.at.names.push(name);
                    self.arrive()?;
                }
                _ => match self.down(&name, is_last.then_some(flags))? {
                    Found::Here => {}
                    Found::Link(target) => ahead.push(Ahead::new(target)),
                    Found::Opened(fd) => return Ok(fd),
                },
            }
        }
        // A directory.
        if self.is_text() {
            return Err(Errno::XDEV);
        }
        let folder = self.folder()?;
        rustix::fs::openat(folder, c".", flags | OFlags::NOFOLLOW, Mode::empty())
    }

    fn count(&mut self) -> Result<(), Errno> {
        self.lookups += 1;
        if self.lookups > LOOKUPS_MAX { Err(Errno::LOOP) } else { Ok(()) }
    }

    /// Outside of the root where nothing may be looked up: only the text of the path counts.
    fn is_text(&self) -> bool {
        self.at.is_outside && !self.bounds.leave
    }

    /// After a step outside: may it be there, and is it the root by another name?
    fn arrive(&mut self) -> Result<(), Errno> {
        if self.bounds.names.iter().any(|name| self.at.is(name)) {
            self.at = Place::default();
            return Ok(());
        }
        let leads_to_root = self.bounds.names.iter().any(|name| self.at.is_prefix_of(name));
        if self.bounds.leave || leads_to_root { Ok(()) } else { Err(Errno::XDEV) }
    }

    fn up(&mut self) -> Result<(), Errno> {
        let own = self.bounds.names.first();
        if self.is_text() && !own.is_some_and(|own| self.at.is_prefix_of(own)) {
            // A name of the root's that has links in it: what is above such a one is not known
            // without looking.
            return Err(Errno::XDEV);
        }
        if self.at.names.is_empty() && !self.at.is_outside {
            self.at = Place::outside(own.ok_or(Errno::XDEV)?);
        }
        self.at.names.pop();
        self.at.fd = None;
        if self.at.is_outside { self.arrive() } else { Ok(()) }
    }

    /// Looks up a name in the directory; `flags`: it is the last of the path.
    fn down(&mut self, name: &[u8], flags: Option<OFlags>) -> Result<Found, Errno> {
        let is_seen = self.links > 0;
        let wanted = flags.unwrap_or(OFlags::PATH | OFlags::DIRECTORY);
        let folder = self.folder()?;
        let opened = rustix::fs::openat(folder, name, wanted | SAFE, Mode::empty());
        let link = match opened {
            // Without O_PATH a link is not opened.
            Ok(fd) if !wanted.contains(OFlags::PATH) => return Ok(Found::Opened(fd)),
            Ok(fd) if flags.is_some() => {
                if !is_link(&fd)? {
                    return Ok(Found::Opened(fd));
                }
                fd
            }
            Ok(fd) => {
                if is_seen {
                    (self.seen)(Step::Folder(fd.as_fd()));
                }
                self.at.names.push(name.to_vec());
                self.at.fd = Some(fd);
                return Ok(Found::Here);
            }
            // A link, or what cannot have a name below it.
            Err(errno @ (Errno::LOOP | Errno::NOTDIR)) => {
                let fd = rustix::fs::openat(folder, name, OFlags::PATH | SAFE, Mode::empty())?;
                match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
                    FileType::Symlink => fd,
                    // It has been exchanged between the two calls.
                    FileType::Directory => return Err(Errno::AGAIN),
                    _ if errno == Errno::LOOP => return Err(Errno::AGAIN),
                    _ => return Err(errno),
                }
            }
            Err(errno) => {
                if is_seen && errno == Errno::NOENT {
                    self.show_name(name);
                }
                return Err(errno);
            }
        };
        if is_seen {
            self.show_name(name);
        }
        self.follow(&link).map(Found::Link)
    }

    /// Returns where a link leads. An absolute one leads there from `/`.
    fn follow(&mut self, link: &OwnedFd) -> Result<Vec<u8>, Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        // Such a link may lead to what has no name, and its text to another file than itself.
        if rustix::fs::fstatfs(link)?.f_type == rustix::fs::PROC_SUPER_MAGIC {
            return Err(Errno::XDEV);
        }
        let target = rustix::fs::readlinkat(link, c"", Vec::new())?.into_bytes();
        if target.is_empty() {
            return Err(Errno::NOENT);
        }
        if target.first() == Some(&b'/') {
            self.at = Place::outside(b"");
            self.arrive()?;
        }
        Ok(target)
    }

    fn show_name(&mut self, name: &[u8]) {
        if let Some(fd) = &self.at.fd {
            (self.seen)(Step::Name(fd.as_fd(), name));
        } else if !self.at.is_outside {
            (self.seen)(Step::Name(self.root, name));
        }
    }

    /// The directory, opened. Its names are looked up once more where `..` has led to it.
    fn folder(&mut self) -> Result<BorrowedFd<'_>, Errno> {
        if self.at.fd.is_none() && (self.at.is_outside || !self.at.names.is_empty()) {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let mut fd = match self.at.is_outside {
                true => Some(rustix::fs::openat(CWD, c"/", flags | SAFE, Mode::empty())?),
                false => None,
            };
            for at in 0..self.at.names.len() {
                self.count()?;
                let folder = fd.as_ref().map_or(self.root, AsFd::as_fd);
                let next = rustix::fs::openat(folder, &*self.at.names[at], flags | SAFE, Mode::empty());
                // None of the names was a link when it was looked up first.
                fd = Some(next.map_err(|errno| match errno {
                    Errno::NOTDIR | Errno::LOOP => Errno::AGAIN,
                    other => other,
                })?);
            }
            self.at.fd = fd;
        }
        Ok(self.at.fd.as_ref().map_or(self.root, AsFd::as_fd))
    }
}

/// The result of looking up a name.
enum Found {
    /// A directory, which is where the walk is now.
    Here,
    /// A link, with its target.
    Link(Vec<u8>),
    /// The end of the path.
    Opened(OwnedFd),
}

fn is_link(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Symlink)
}

/// With every name: what is there itself, and not what it may lead to.
const SAFE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
/// Bytes of a path with the zero behind it, as the kernel takes it.
const PATH_MAX: usize = 4096;
/// Links in a row, as the kernel counts them.
const LINKS_MAX: u32 = 40;
/// Lookups in one walk: more than any honest path takes.
const LOOKUPS_MAX: u32 = 4096;
/// Number of tries of a walk that a rename got in the way of.
const ATTEMPTS: u32 = 16;

#[cfg(test)]
mod tests;
