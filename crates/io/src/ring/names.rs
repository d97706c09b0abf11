//! Files by their names.

use std::ffi::CString;

use rustix::io::Errno;

use super::{OpId, Ring};
use crate::engine::Engine;
use crate::file::File;
use crate::key::{Busy, Key};
use crate::op::Op;

impl<E: Engine> Ring<E> {
    /// Opens the file at `path` below the directory `dir` for reading;
    /// [`Event::Opened`](crate::Event::Opened) carries `key`, gives the path back, and owns the
    /// file.
    ///
    /// Nothing outside of the directory is opened, whatever the path and the links on it say
    /// (openat2(2), `RESOLVE_BENEATH`): the answer to such a path is `EXDEV`. Many opens can be in
    /// flight at once. A pipe without a writer may keep an open waiting; it can be cancelled. On a
    /// ring with a polling kernel thread, files are opened with the rights that the process had
    /// when the ring was made.
    ///
    /// # Errors
    /// [`Busy`] with the path when the op table is full.
    pub fn open_at(&mut self, dir: &File, path: CString, key: Key) -> Result<OpId, Busy<CString>> {
        let queued = self.inner.launch(Op::Open { key, dir: dir.clone(), path });
        self.inner.name(queued.map_err(|op| match op {
            Op::Open { path, .. } => path,
            _ => unreachable!("launch hands back what it was given"),
        }))
    }

    /// Looks at the file at `path` below the directory `dir` without opening it;
    /// [`Event::Stat`](crate::Event::Stat) carries `key` and gives the path back. An empty path
    /// means `dir` itself, which may be any file.
    ///
    /// A link at the path's end is not followed: it is what is looked at. A path that begins with
    /// `/` or has `..` in it is answered by `EXDEV`. Links *on the way* are followed wherever they
    /// lead, since the kernel cannot be asked otherwise here: where strangers make the links, open
    /// the file and look at that.
    ///
    /// # Errors
    /// [`Busy`] with the path when the op table is full.
    pub fn stat_at(&mut self, dir: &File, path: CString, key: Key) -> Result<OpId, Busy<CString>> {
        let leaves = path.as_bytes().first() == Some(&b'/')
            || path.as_bytes().split(|byte| *byte == b'/').any(|part| part == b"..");
        let op = Op::Stat { key, dir: dir.clone(), path };
        let queued = if leaves { self.inner.answer(op, Errno::XDEV) } else { self.inner.launch(op) };
        self.inner.name(queued.map_err(|op| match op {
            Op::Stat { path, .. } => path,
            _ => unreachable!("what was handed over comes back"),
        }))
    }
}
