//! The folder itself, and the files in it.
//!
//! It is walked to without following a link, and belongs to the user of this process alone. For
//! root each directory on the way has to be root's, too, as for other things that sitar keeps
//! (`identity::Base`). Links of the operator's on the way are resolved first.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, flock};
use rustix::io::Errno;

use super::ENDING;
use crate::identity::{Base, Rule};

/// The end of the names of files that are not whole.
const UNFINISHED: &str = ".unfinished";
/// The end of the name of the file that is locked while a server writes.
const LOCK: &str = ".lock";
/// What every file here is opened with.
const OPEN: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The folder, open.
#[derive(Debug)]
pub(crate) struct Folder {
    directory: OwnedFd,
    /// The beginning of the names of the files of one configuration.
    prefix: String,
}

impl Folder {
    pub(super) fn open(path: &Path, prefix: &str) -> io::Result<Folder> {
        let base = walk(path)?;
        if base.exists() {
            Folder::of(base.descriptor(), prefix)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    pub(super) fn make(path: &Path, prefix: &str) -> io::Result<Folder> {
        let base = walk(path)?;
        let made = base.make().map_err(|refusal| refused(refusal.with_hint()))?;
        Folder::of(&made, prefix)
    }

    /// The descriptor may be one that only walks (`O_PATH`).
    fn of(walked: &OwnedFd, prefix: &str) -> io::Result<Folder> {
        let flags = OPEN | OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = rustix::fs::openat(walked, ".", flags, Mode::empty())?;
        Ok(Folder { directory, prefix: prefix.to_owned() })
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// There is none, or it is not this user's alone, or the kernel's.
    pub(crate) fn file(&self, name: &str) -> io::Result<OwnedFd> {
        let file = rustix::fs::openat(&self.directory, name, OPEN | OFlags::RDONLY, Mode::empty())?;
        if is_own(&rustix::fs::fstat(&file)?) {
            return Ok(file);
        }
        Err(refused("others may have written it".to_owned()))
    }

    /// Locks the files of the configuration, which one server at a time writes. `None`: another
    /// one does.
    ///
    /// # Errors
    /// The kernel's, or the lock is no file of this user's alone.
    pub(crate) fn lock(self) -> io::Result<Option<Locked>> {
        let name = format!("{}{LOCK}", self.prefix);
        let flags = OPEN | OFlags::RDWR | OFlags::CREATE;
        let lock = rustix::fs::openat(&self.directory, &*name, flags, Mode::RUSR | Mode::WUSR)?;
        if !is_own(&rustix::fs::fstat(&lock)?) {
            return Err(refused(format!("others may write to its file {name}")));
        }
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        // The one before may have removed it (`clear`), and another may have the next one.
        let is_there = rustix::fs::fstat(&lock)?.st_nlink > 0;
        Ok(is_there.then_some(Locked { folder: self, _lock: lock }))
    }

    /// Returns whether it is the same folder, by whatever path.
    pub(crate) fn is_same(&self, other: &Folder) -> bool {
        let file =
            |folder: &Folder| rustix::fs::fstat(&folder.directory).map(|stat| (stat.st_dev, stat.st_ino));
        file(self).is_ok_and(|own| file(other) == Ok(own))
    }

    /// Whether a name is that of a file of this configuration.
    fn is_ours(&self, name: &str) -> bool {
        name.strip_prefix(&*self.prefix).is_some_and(|rest| rest.starts_with('-'))
    }

    fn remove(&self, name: &str) -> bool {
        rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()).is_ok()
    }
}

/// The folder, locked for one configuration until it is dropped.
#[derive(Debug)]
pub(crate) struct Locked {
    folder: Folder,
    _lock: OwnedFd,
}

impl Locked {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// Those of [`Folder::file`].
    pub(crate) fn file(&self, name: &str) -> io::Result<OwnedFd> {
        self.folder.file(name)
    }

    /// Removes files of the configuration that are not in use, not finished, or another user's.
    /// Returns the bytes that all others take but the one of that name.
    pub(crate) fn tidy(&self, used: &BTreeSet<String>, name: &str) -> u64 {
        let Ok(entries) = Dir::read_from(&self.folder.directory) else { return 0 };
        let mut taken = 0;
        for entry in entries.flatten() {
            let Ok(found) = entry.file_name().to_str() else { continue };
            let Ok(stat) = rustix::fs::statat(&self.folder.directory, found, AtFlags::SYMLINK_NOFOLLOW)
            else {
                continue;
            };
            let is_used = found.ends_with(ENDING) && used.contains(found) && is_own(&stat);
            if self.folder.is_ours(found) && !is_used && self.folder.remove(found) {
                continue;
            }
            if found.ends_with(ENDING) && found != name {
                taken += u64::try_from(stat.st_size).unwrap_or(0);
            }
        }
        taken
    }

    /// Removes all files of the configuration.
    pub(crate) fn clear(self) {
        self.tidy(&BTreeSet::new(), "");
        // The last one: who has opened it meanwhile sees that it is gone (`lock`).
        self.folder.remove(&format!("{}{LOCK}", self.folder.prefix));
    }

    /// Makes a new file beside the place of that name.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn begin(&self, name: &str) -> io::Result<Unfinished<'_>> {
        let unfinished = format!("{name}.{}{UNFINISHED}", std::process::id());
        let flags = OPEN | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = rustix::fs::openat(&self.folder.directory, &*unfinished, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Unfinished { folder: &self.folder, name: name.to_owned(), unfinished, file })
    }
}

/// A file that is being written. Unless it is [placed](Unfinished::place), it is removed.
#[derive(Debug)]
pub(crate) struct Unfinished<'f> {
    folder: &'f Folder,
    name: String,
    unfinished: String,
    pub(crate) file: OwnedFd,
}

impl Unfinished<'_> {
    /// Returns its length in bytes.
    pub(crate) fn size(&self) -> u64 {
        rustix::fs::fstat(&self.file).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Puts it in the place of the one before.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn place(self) -> io::Result<()> {
        let directory = &self.folder.directory;
        Ok(rustix::fs::renameat(directory, &*self.unfinished, directory, &*self.name)?)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // One that was placed has this name no longer.
        self.folder.remove(&self.unfinished);
    }
}

/// Returns what no two encodings files have in common: the length, and the hash at the end, which
/// covers the hashes of all bodies.
pub(crate) fn identity(file: &OwnedFd) -> Option<(u64, [u8; 32])> {
    let length = u64::try_from(rustix::fs::fstat(file).ok()?.st_size).ok()?;
    let mut hash = [0; 32];
    let read = rustix::io::pread(file, &mut hash, length.checked_sub(32)?).ok()?;
    (read == hash.len()).then_some((length, hash))
}

fn walk(path: &Path) -> io::Result<Base> {
    let path = std::path::absolute(path)?;
    Base::walk(&path, Rule::Own).map_err(|refusal| refused(refusal.with_hint()))
}

/// Whether it is a regular file of this process's user, to which no other can write.
fn is_own(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && stat.st_mode & 0o022 == 0
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut all: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    }

    fn locked(folder: &Path) -> Locked {
        Folder::make(folder, "1").unwrap().lock().unwrap().unwrap()
    }

    #[test]
    fn the_folder_is_made_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        assert_eq!(Folder::open(&path, "1").unwrap_err().kind(), io::ErrorKind::NotFound);
        Folder::make(&path, "1").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        Folder::open(&path, "1").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        for opened in [Folder::open(&path, "1"), Folder::make(&path, "1")] {
            assert!(opened.unwrap_err().to_string().contains("others can write to"));
        }
    }

    #[test]
    fn a_folder_of_another_user_or_below_one_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        fs::create_dir_all(&path).unwrap();
        for other in [&path, &place.path().join("a")] {
            std::os::unix::fs::chown(other, Some(12345), None).unwrap();
            let refused = Folder::make(&path, "1").unwrap_err().to_string();
            assert!(refused.contains("belongs to another user (uid 12345)"), "{refused}");
            std::os::unix::fs::chown(other, Some(0), None).unwrap();
        }
        Folder::make(&path, "1").unwrap();
    }

    #[test]
    fn files_that_others_may_have_written_are_not_opened_and_go() {
        let place = tempfile::tempdir().unwrap();
        let folder = locked(place.path());
        let used = ["1-a.encodings".to_owned(), "1-b.encodings".to_owned(), "1-c.encodings".to_owned()];
        for name in &used[..2] {
            fs::write(place.path().join(name), [0; 10]).unwrap();
            folder.file(name).unwrap();
        }
        let mode = fs::Permissions::from_mode(0o620);
        fs::set_permissions(place.path().join("1-b.encodings"), mode).unwrap();
        symlink("1-a.encodings", place.path().join("1-c.encodings")).unwrap();
        for name in &used[1..] {
            folder.file(name).unwrap_err();
        }
        assert_eq!(folder.tidy(&used.into(), ""), 10);
        assert_eq!(names(place.path()), ["1-a.encodings", "1.lock"]);
    }

    #[test]
    fn what_is_of_no_use_any_more_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let all = ["1-a.encodings", "1-b.encodings", "1-a.encodings.7.unfinished", "2-c.encodings", "notes"];
        for name in all {
            fs::write(place.path().join(name), [0; 10]).unwrap();
        }
        let folder = locked(place.path());
        // What another server has there is left alone, and takes its space.
        assert_eq!(folder.tidy(&["1-a.encodings".to_owned()].into(), "1-a.encodings"), 10);
        assert_eq!(names(place.path()), ["1-a.encodings", "1.lock", "2-c.encodings", "notes"]);
        folder.clear();
        assert_eq!(names(place.path()), ["2-c.encodings", "notes"]);
    }

    #[test]
    fn a_file_that_is_not_placed_goes() {
        let place = tempfile::tempdir().unwrap();
        let folder = locked(place.path());
        let file = folder.begin("1-a.encodings").unwrap();
        rustix::io::write(&file.file, &[7; 40]).unwrap();
        assert_eq!((file.size(), identity(&file.file)), (40, Some((40, [7; 32]))));
        // Not one that is there, whatever it is.
        folder.begin("1-a.encodings").unwrap_err();
        drop(file);
        assert_eq!(names(place.path()), ["1.lock"]);
        let file = folder.begin("1-a.encodings").unwrap();
        file.place().unwrap();
        assert_eq!(names(place.path()), ["1-a.encodings", "1.lock"]);
        assert_eq!(
            fs::metadata(place.path().join("1-a.encodings")).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn one_server_at_a_time_writes() {
        let place = tempfile::tempdir().unwrap();
        let open = |prefix| Folder::make(place.path(), prefix).unwrap();
        let first = open("1").lock().unwrap().unwrap();
        assert!(open("1").lock().unwrap().is_none());
        let other = open("2").lock().unwrap();
        assert!(other.is_some(), "another configuration");
        drop(first);
        open("1").lock().unwrap().unwrap();
    }
}
