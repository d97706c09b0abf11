//! Files by their names.

use std::ffi::CString;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use sitar_io::{Busy, Errno, Event, File, FileKind, FileStat, Key, ReadBuf, leaked_rings};

use crate::conformance::bench::{Bench, SMALL, Setup};

/// A directory of this test's own, which goes when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sitar-io-names-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) {
        std::fs::File::create(self.0.join(name)).unwrap().write_all(bytes).unwrap();
    }

    fn handle(&self) -> File {
        File::directory(&self.0).unwrap()
    }

    /// Descriptors of this process that lead into it.
    fn held(&self) -> usize {
        let links = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| entry.ok()?.path().read_link().ok());
        links.filter(|to: &PathBuf| to.starts_with(&self.0)).count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn opened<E: Setup>(b: &mut Bench<E>, dir: &File, path: &str) -> Result<File, Errno> {
    b.ring.open_at(dir, name(path), Key(8)).unwrap();
    match b.event() {
        Event::Opened { key: Key(8), path: back, result } => {
            assert_eq!(back, name(path));
            result
        }
        other => panic!("{other:?}"),
    }
}

fn stat<E: Setup>(b: &mut Bench<E>, dir: &File, path: &str) -> Result<FileStat, Errno> {
    b.ring.stat_at(dir, name(path), Key(9)).unwrap();
    match b.event() {
        Event::Stat { key: Key(9), path: back, result } => {
            assert_eq!(back, name(path));
            result
        }
        other => panic!("{other:?}"),
    }
}

fn content<E: Setup>(b: &mut Bench<E>, file: &File) -> Vec<u8> {
    let tx = b.ring.take_tx().unwrap();
    b.ring.read(file, 0, ReadBuf::Tx(tx, 0..100), Key(1)).unwrap();
    match b.event() {
        Event::Read { buf: ReadBuf::Tx(tx, _), result: Ok(count), .. } => tx[..count].to_vec(),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn files_are_found_by_name_below_a_directory_only<E: Setup>() {
    let folder = Folder::new();
    std::fs::create_dir(folder.0.join("sub")).unwrap();
    folder.file("a", b"0123456789");
    folder.file("sub/b", b"bee");
    symlink("sub/b", folder.0.join("in")).unwrap();
    symlink("/proc/version", folder.0.join("out")).unwrap();
    symlink("../..", folder.0.join("up")).unwrap();
    let dir = folder.handle();
    let mut b = Bench::<E>::new(SMALL);

    let file = opened(&mut b, &dir, "a").unwrap();
    assert_eq!(content(&mut b, &file), b"0123456789");
    let file = opened(&mut b, &dir, "in").unwrap();
    assert_eq!(content(&mut b, &file), b"bee");
    let sub = opened(&mut b, &dir, "sub").unwrap();
    let file = opened(&mut b, &sub, "./b").unwrap();
    assert_eq!(content(&mut b, &file), b"bee");

    let found = stat(&mut b, &dir, "a").unwrap();
    assert_eq!((found.kind(), found.len(), found.links()), (FileKind::Regular, 10, 1));
    let age = SystemTime::now().duration_since(found.modified().unwrap()).unwrap_or_default();
    assert!(age < Duration::from_secs(3600), "{age:?}");
    assert_eq!(stat(&mut b, &dir, "sub").unwrap().kind(), FileKind::Directory);
    assert_eq!(stat(&mut b, &dir, "in").unwrap().kind(), FileKind::Symlink);
    assert_eq!(stat(&mut b, &dir, "").unwrap().kind(), FileKind::Directory);
    let itself = stat(&mut b, &file, "").unwrap();
    assert_eq!((itself.kind(), itself.len()), (FileKind::Regular, 3));
    assert_eq!(itself, stat(&mut b, &dir, "sub/b").unwrap());

    for path in ["out", "up", "up/etc", "../x", "sub/../../x", "/proc/version"] {
        assert_eq!(opened(&mut b, &dir, path).err(), Some(Errno::XDEV), "{path}");
    }
    for path in ["../x", "sub/..", "..", "/", "/proc/version"] {
        assert_eq!(stat(&mut b, &dir, path), Err(Errno::XDEV), "{path}");
    }
    assert_eq!(opened(&mut b, &dir, "none").err(), Some(Errno::NOENT));
    assert_eq!(stat(&mut b, &dir, "none"), Err(Errno::NOENT));
    assert_eq!(opened(&mut b, &dir, "").err(), Some(Errno::NOENT));
    assert_eq!(opened(&mut b, &file, "x").err(), Some(Errno::NOTDIR));
    let long = "x/".repeat(3000);
    assert_eq!(opened(&mut b, &dir, &long).err(), Some(Errno::NAMETOOLONG));
    assert_eq!(stat(&mut b, &dir, &long), Err(Errno::NAMETOOLONG));
    assert_eq!(b.ring.stats().ops, 2, "accept and waker");
}

/// Files are opened and looked at all at once, as many as the table takes: each answer is that of
/// its own path.
pub(crate) fn many_files_are_opened_and_looked_at_at_once<E: Setup>() {
    let folder = Folder::new();
    for number in 0..50_usize {
        folder.file(&number.to_string(), &vec![7; number]);
    }
    let dir = folder.handle();
    let mut b = Bench::<E>::new(SMALL);
    let mut queued = 0;
    let refused = loop {
        let path = name(&(queued % 50).to_string());
        let done = match queued % 2 {
            0 => b.ring.stat_at(&dir, path, Key(queued)),
            _ => b.ring.open_at(&dir, path, Key(queued)),
        };
        match done {
            Ok(_) => queued += 1,
            Err(Busy(path)) => break path,
        }
        assert!(queued < 1 << 20, "the table is bounded");
    };
    assert_eq!(refused, name(&(queued % 50).to_string()));
    let mut seen = vec![false; queued as usize];
    for _ in 0..queued {
        let (key, path, len) = match b.event() {
            Event::Stat { key, path, result } => (key, path, result.unwrap().len()),
            Event::Opened { key, path, result } => {
                // The file's own word, by a plain call.
                let found = rustix::fs::fstat(result.unwrap()).unwrap();
                (key, path, u64::try_from(found.st_size).unwrap())
            }
            other => panic!("{other:?}"),
        };
        assert!(!std::mem::replace(&mut seen[key.0 as usize], true));
        assert_eq!((path, len), (name(&(key.0 % 50).to_string()), key.0 % 50));
    }
    assert_eq!(folder.held(), 1, "the directory");
}

/// I6: a program that does not want a file any more need not do anything.
pub(crate) fn opened_files_that_nobody_takes_are_closed<E: Setup>() {
    let folder = Folder::new();
    folder.file("a", b"a");
    let dir = folder.handle();
    let mut b = Bench::<E>::new(SMALL);
    for _ in 0..20 {
        b.ring.open_at(&dir, name("a"), Key(0)).unwrap();
    }
    for _ in 0..20 {
        assert!(matches!(b.event(), Event::Opened { result: Ok(_), .. }));
    }
    assert_eq!(folder.held(), 1, "the directory");
    let ops: Vec<_> = (0..20).map(|_| b.ring.open_at(&dir, name("a"), Key(0)).unwrap()).collect();
    b.ring.wait(Some(Instant::now())).unwrap();
    ops.into_iter().for_each(|op| b.ring.cancel(op));
    for _ in 0..20 {
        match b.event() {
            Event::Opened { result: Ok(_) | Err(Errno::CANCELED | Errno::INTR), .. } => {}
            other => panic!("{other:?}"),
        }
    }
    for _ in 0..20 {
        b.ring.open_at(&dir, name("a"), Key(0)).unwrap();
        b.ring.stat_at(&dir, name("a"), Key(0)).unwrap();
    }
    b.ring.wait(Some(Instant::now())).unwrap();
    drop((b, dir));
    assert_eq!(leaked_rings(), 0, "drained, not leaked");
    assert_eq!(folder.held(), 0);
}

/// An open that waits for another process can be cancelled, and does not keep a ring.
pub(crate) fn a_pipe_without_a_writer_holds_nothing_up<E: Setup>() {
    let folder = Folder::new();
    let dir = folder.handle();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(&dir, "pipe", rustix::fs::FileType::Fifo, mode, 0).unwrap();
    folder.file("a", b"a");
    let mut b = Bench::<E>::new(SMALL);
    let op = b.ring.open_at(&dir, name("pipe"), Key(1)).unwrap();
    b.ring.wait(Some(Instant::now())).unwrap();
    b.ring.cancel(op);
    match b.event() {
        Event::Opened { result: Ok(_) | Err(Errno::CANCELED | Errno::INTR), .. } => {}
        other => panic!("{other:?}"),
    }
    b.ring.open_at(&dir, name("pipe"), Key(1)).unwrap();
    assert!(opened_among(&mut b, &dir, "a"));
    drop(b);
    assert_eq!(leaked_rings(), 0, "drained, not leaked");
    assert_eq!(folder.held(), 1, "the directory");
}

fn opened_among<E: Setup>(b: &mut Bench<E>, dir: &File, path: &str) -> bool {
    b.ring.open_at(dir, name(path), Key(2)).unwrap();
    for _ in 0..2 {
        if let Event::Opened { key: Key(2), result: Ok(_), .. } = b.event() {
            return true;
        }
    }
    false
}
