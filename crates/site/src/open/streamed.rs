//! Files that bodies are sent from, piece by piece, and how a change of their content is noticed.

use super::place::Place;
use crate::open::origin::{Origin, Stamp};
use crate::open::tar::Map;
use rustix::fs::{AtFlags, Stat, StatxFlags};
use rustix::io::Errno;
use sitar_io::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::Arc;

/// The state of a file when it was opened.
#[derive(Debug)]
struct Look {
    origin: Origin,
    traits: Traits,
    /// The name by which the kernel knew it; `None` where there is no /proc.
    name: Option<PathBuf>,
}

/// The attributes besides the content whose change alters the change time.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Traits {
    links: u64,
    mode: u32,
    owner: u32,
    group: u32,
}

impl Traits {
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the fields' widths differ between targets"
    )]
    fn of(stat: &Stat) -> Traits {
        Traits {
            links: stat.st_nlink as u64,
            mode: stat.st_mode as u32,
            owner: stat.st_uid,
            group: stat.st_gid,
        }
    }
}

/// A file that bodies are sent from, and what it was like when it was opened.
#[derive(Clone, Debug)]
pub struct Streamed {
    file: File,
    look: Arc<Look>,
    /// The map of its parts, of a sparse member of an archive.
    map: Option<Arc<Map>>,
    own: bool,
}

impl Streamed {
    /// Keeps `stat`, which was asked of `file` after it was opened.
    pub(crate) fn new(file: File, stat: &Stat, own: bool) -> Streamed {
        let look = Look { origin: Origin::of(stat), traits: Traits::of(stat), name: name(&file) };
        Streamed { file, look: Arc::new(look), map: None, own }
    }

    /// The sparse file that lies in this archive in pieces.
    pub(crate) fn sparse(&self, map: &Arc<Map>) -> Streamed {
        Streamed { map: Some(Arc::clone(map)), ..self.clone() }
    }

    /// Whether it was opened for one representation, and is not the archive that all of a site
    /// share.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.look.origin
    }

    /// Whether what has been read from it until now is all of one version: ask after reading,
    /// before sending. A system call that does not block. What is written through a memory mapping
    /// is noticed when the kernel writes it back.
    ///
    /// Size and modification time tell, and where these are as they were, as after `cp --preserve`
    /// or `rsync --inplace`, the change time, which cannot be set. It changes with a file's names,
    /// mode and owner too, and those leave the content alone.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        // What the kernel knows without asking a remote server, so that this does not wait for a
        // network.
        self.is_as_opened(AtFlags::STATX_DONT_SYNC)
    }

    /// The same for a thread that may wait: a remote server is asked.
    pub(crate) fn is_unchanged_by_now(&self) -> bool {
        self.is_as_opened(AtFlags::empty())
    }

    fn is_as_opened(&self, flags: AtFlags) -> bool {
        let flags = AtFlags::EMPTY_PATH | flags;
        let wanted = StatxFlags::SIZE
            | StatxFlags::MTIME
            | StatxFlags::CTIME
            | StatxFlags::NLINK
            | StatxFlags::MODE
            | StatxFlags::UID
            | StatxFlags::GID;
        let (stamp, changed, traits) = match rustix::fs::statx(&self.file, c"", flags, wanted) {
            Ok(now) => {
                let stamp = Stamp::at(now.stx_size, (now.stx_mtime.tv_sec, now.stx_mtime.tv_nsec));
                let traits = Traits {
                    links: u64::from(now.stx_nlink),
                    mode: u32::from(now.stx_mode),
                    owner: now.stx_uid,
                    group: now.stx_gid,
                };
                (stamp, (now.stx_ctime.tv_sec, now.stx_ctime.tv_nsec), traits)
            }
            // Before Linux 4.11, or refused by a seccomp filter.
            Err(Errno::NOSYS | Errno::PERM) => {
                let Ok(now) = rustix::fs::fstat(&self.file) else { return false };
                let origin = Origin::of(&now);
                (origin.stamp(), origin.changed(), Traits::of(&now))
            }
            Err(_) => return false,
        };
        let look = &*self.look;
        stamp == look.origin.stamp()
            && (changed == look.origin.changed() || traits != look.traits || name(&self.file) != look.name)
    }

    /// Returns the place of the first bytes of a part of a body. The part is one of
    /// [`Body::File`](crate::Body::File), or what is left of it, and not empty.
    #[must_use]
    pub fn place(&self, part: &Range<u64>) -> Place {
        match &self.map {
            None => Place::File { offset: part.start, len: part.end.saturating_sub(part.start) },
            Some(map) => map.place(part),
        }
    }

    /// A range that no other body in this file has, as long as the body: where it lies, or where a
    /// sparse one begins.
    pub(crate) fn lies_at(&self, body: &Range<u64>) -> Range<u64> {
        let Some(map) = &self.map else { return body.clone() };
        let start = map.extents().first().map_or(0, |extent| extent.offset);
        start..start.saturating_add(body.end.saturating_sub(body.start))
    }

    /// Fills `buf` with the bytes of a body from `at` on; offsets as in [`place`](Streamed::place).
    pub(crate) fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        match &self.map {
            None => self.file.read_exact_at(buf, at),
            Some(map) => map.read(buf, at, |buf, offset| self.file.read_exact_at(buf, offset)),
        }
    }
}

impl Deref for Streamed {
    type Target = File;
    fn deref(&self) -> &File {
        &self.file
    }
}

/// The name of an open file. A rename changes it, and so does the removal of that name.
fn name(file: &File) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())).ok()
}
