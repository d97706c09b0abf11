use super::*;
use crate::content::inbox::{Inbox, Message};
use crate::content::table::PAUSE;
use crate::limits::Limits;
use crate::snapshot::{Hosts, LatestSnapshot};
use sitar_site::{Budget, Options, Site};
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A shard's table, and the loader's side, which loads what the table asks for.
struct Pair {
    cache: Cache,
    loader_worker: crate::content::loader::LoaderWorker,
    inbox: Inbox,
    site: Arc<Site>,
    /// Seconds since the beginning.
    seconds: Arc<AtomicU64>,
}

impl Pair {
    /// Asks for the body of a file, as [`ask`](Pair::ask) does.
    fn fetch(&mut self, file: FileKey) -> bool {
        self.ask(file, Wanted::Body)
    }

    /// Asks for a file, for a connection that waits for it; what comes of it is settled. Returns
    /// whether the connection had to wait.
    fn ask(&mut self, file: FileKey, wanted: Wanted) -> bool {
        let key = Key(1);
        let waits = !matches!(self.cache.get(file, key, |_| wanted), Lookup::Ready(_));
        let mut waiting = waits;
        while self.loader_worker.work_once() {}
        for message in self.inbox.take() {
            match message {
                Message::Loaded { file, result, .. } => {
                    self.cache.arrived(file, result);
                    assert_eq!(self.cache.next_waiting(file).is_some(), waiting);
                    waiting = false;
                    assert!(
                        matches!(self.cache.get(file, key, |_| wanted), Lookup::Ready(_)),
                        "a connection that waits for it gets it"
                    );
                    self.cache.settled(file);
                }
                Message::Evict(bytes) => self.cache.evict(bytes),
                Message::FilesWanted => panic!("no file can be opened"),
                Message::Swap(..) => panic!("a swap"),
                Message::Verified { .. } => panic!("a verdict"),
                Message::Passed(_) => panic!("a connection"),
                Message::Traces => panic!("traces"),
            }
        }
        assert!(!waiting);
        waits
    }

    fn is_resident(&self, file: FileKey) -> bool {
        self.cache.table.loaded(file).is_some_and(|loaded| loaded.resident_bytes() as u64 > LEN)
    }

    fn pause(&self) {
        self.seconds.fetch_add(u64::from(PAUSE), Ordering::Relaxed);
    }
}

fn pair(folder: &std::path::Path, memory: Budget, open_max: usize) -> (Pair, Vec<FileKey>) {
    let site = Arc::new(Site::open(folder, &Options::default()).unwrap());
    let hosts = Hosts::one(Arc::clone(&site));
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = format!("GET /{name} HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = sitar_http::h1::parse(text.as_bytes(), &sitar_http::h1::Limits::default());
        let head = head.unwrap().unwrap();
        let mut scratch = sitar_site::Scratch::new();
        let sitar_site::Route::File(found) = site.route(&head.request, &mut scratch) else {
            panic!("no such file")
        };
        FileKey { host: hosts.find(None).unwrap(), file: found.file() }
    });
    let files = files.collect();
    let latest = LatestSnapshot::new(Snapshot::new(hosts.clone(), Vec::new(), None, Limits::default()));
    let inbox = Inbox::default();
    // Stands still, and lies ahead, so that the files are older than the grain of their times.
    let (start, seconds) = (SystemTime::now() + Duration::from_secs(1000), Arc::new(AtomicU64::new(0)));
    let passed = Arc::clone(&seconds);
    let (loader, loader_worker) = Loader::new(
        latest.clone(),
        memory,
        vec![inbox.clone()],
        Arc::new(move || start + Duration::from_secs(passed.load(Ordering::Relaxed))),
        Arc::new(|incident| panic!("{incident}")),
    );
    let cache = Cache::new(&latest.get(), open_max, loader, 0);
    (Pair { cache, loader_worker, inbox, site, seconds }, files)
}

fn folder(files: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..files {
        std::fs::write(folder.path().join(file.to_string()), "content").unwrap();
    }
    folder
}

/// This process's descriptors for files below `folder`.
fn descriptors(folder: &std::path::Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter_map(|link| std::fs::read_link(link.ok()?.path()).ok())
        .filter(|to| to.starts_with(folder) && to != folder)
        .count()
}

#[test]
fn few_files_are_kept_open_however_many_are_too_large_for_memory() {
    let folder = folder(40);
    // No file fits.
    let (mut pair, files) = pair(folder.path(), Budget::new(0, 0), 4);
    for round in 0..3 {
        for (number, file) in files.iter().enumerate() {
            pair.fetch(*file);
            assert!(descriptors(folder.path()) <= 4, "round {round}, file {number}");
        }
    }
    // A file that is asked for all the time stays open.
    let loads = (0..20).filter(|_| pair.fetch(files[0])).count();
    assert_eq!(loads, 1);
    assert!(descriptors(folder.path()) > 0);
}

#[test]
fn a_file_that_is_loaded_each_time_takes_one_place_only() {
    let folder = folder(2);
    // Each fits, but there is never room: it is asked for after each pause.
    let memory = Budget::new(6, 100);
    let (mut pair, files) = pair(folder.path(), memory, 4);
    assert!(pair.fetch(files[0]) && pair.fetch(files[1]));
    for _ in 0..100 {
        pair.pause();
        assert!(!pair.fetch(files[0]) && !pair.fetch(files[1]), "sent from their files meanwhile");
    }
    assert!(pair.cache.open.len() <= 4 && pair.cache.waiting.is_empty());
    assert_eq!(descriptors(folder.path()), 2);
}

/// The length of a file of [`long_files`].
const LEN: u64 = 100_000;

fn long_files(files: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..files {
        std::fs::write(folder.path().join(file.to_string()), vec![file as u8; LEN as usize]).unwrap();
    }
    folder
}

/// Bytes that this thread has read from files.
fn bytes_read() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn files_beyond_memory_are_not_read_in_turn_and_come_when_others_are_cold() {
    let folder = long_files(20);
    let (mut pair, files) = pair(folder.path(), Budget::new(10 * LEN, 10 * LEN), 64);
    let (first, rest) = files.split_at(10);
    for round in 0..6 {
        let before = bytes_read();
        for _ in 0..20 {
            files.iter().for_each(|file| {
                pair.fetch(*file);
            });
        }
        let read = bytes_read() - before;
        // Each is read once, some of them for the ETag only.
        let allowed = if round == 0 { 21 * LEN } else { LEN / 2 };
        assert!(read < allowed, "round {round}: {read} bytes");
        assert!(first.iter().all(|file| pair.is_resident(*file)), "what is used stays");
        pair.pause();
    }
    // Five are not used any more; two passes find that, and the next try finds room.
    let (hot, cold) = first.split_at(5);
    for round in 0..5 {
        let before = bytes_read();
        for _ in 0..20 {
            hot.iter().chain(rest).for_each(|file| {
                pair.fetch(*file);
            });
        }
        assert!(bytes_read() - before < 11 * LEN, "round {round}");
        pair.pause();
    }
    assert!(hot.iter().all(|file| pair.is_resident(*file)));
    assert!(!cold.iter().any(|file| pair.is_resident(*file)));
    assert_eq!(rest.iter().filter(|file| pair.is_resident(**file)).count(), 5);
}

#[test]
fn heads_take_no_memory_from_others_and_read_a_file_once() {
    let folder = long_files(6);
    let memory = Budget::new(3 * LEN, 3 * LEN);
    let (mut pair, files) = pair(folder.path(), memory.clone(), 1);
    let (bodies, heads) = files.split_at(3);
    assert!(bodies.iter().all(|file| pair.fetch(*file)));
    assert!(heads.iter().all(|file| pair.ask(*file, Wanted::Head)));
    let before = bytes_read();
    for round in 0..50 {
        // Only one is kept open: the others are opened again.
        assert!(heads.iter().all(|file| pair.ask(*file, Wanted::Head)), "round {round}");
        assert!(descriptors(folder.path()) <= 1);
        pair.pause();
    }
    assert!(bytes_read() - before < LEN / 2, "read again");
    assert_eq!((memory.left(), pair.cache.passed), (0, None), "nothing was evicted");
    assert!(bodies.iter().all(|file| pair.is_resident(*file)));
}

#[test]
fn a_body_comes_into_memory_after_its_head() {
    let folder = long_files(1);
    let memory = Budget::new(3 * LEN, 3 * LEN);
    let (mut pair, files) = pair(folder.path(), memory.clone(), 1);
    assert!(pair.ask(files[0], Wanted::Head) && !pair.ask(files[0], Wanted::Head));
    assert_eq!(memory.left(), 3 * LEN);
    assert!(pair.fetch(files[0]) && !pair.fetch(files[0]), "it is waited for");
    assert_eq!(memory.left(), 2 * LEN);
    assert_eq!(descriptors(folder.path()), 0);
    assert!(!pair.ask(files[0], Wanted::Head), "the body has a head");
}

#[test]
fn a_body_that_is_asked_for_while_the_head_is_read_is_loaded_after_it() {
    let folder = long_files(1);
    let (mut pair, files) = pair(folder.path(), Budget::new(3 * LEN, 3 * LEN), 1);
    let (head, body) = (Key(1), Key(2));
    assert!(matches!(pair.cache.get(files[0], head, |_| Wanted::Head), Lookup::Later));
    assert!(matches!(pair.cache.get(files[0], body, |_| Wanted::Body), Lookup::Later));
    let came = |pair: &mut Pair| {
        while pair.loader_worker.work_once() {}
        let mut messages = pair.inbox.take();
        let Some(Message::Loaded { file, result, .. }) = messages.pop() else { panic!("no file") };
        pair.cache.arrived(file, result);
        let waiting = std::iter::from_fn(|| pair.cache.next_waiting(file));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|key| key.0);
        waiting
    };
    assert_eq!(came(&mut pair), [head, body]);
    assert!(matches!(pair.cache.get(files[0], head, |_| Wanted::Head), Lookup::Ready(_)));
    assert!(matches!(pair.cache.get(files[0], body, |_| Wanted::Body), Lookup::Later));
    // Known by now, body or not.
    assert!(matches!(pair.cache.get(files[0], head, |_| Wanted::Head), Lookup::Ready(_)));
    assert_eq!(came(&mut pair), [body]);
    assert!(matches!(pair.cache.get(files[0], body, |_| Wanted::Body), Lookup::Ready(_)));
    assert!(pair.is_resident(files[0]));
}

#[test]
fn a_condition_is_answered_from_what_is_known() {
    let folder = long_files(2);
    let memory = Budget::new(3 * LEN, 3 * LEN);
    let (mut pair, files) = pair(folder.path(), memory.clone(), 1);
    assert!(pair.ask(files[0], Wanted::Condition));
    assert_eq!(memory.left(), 2 * LEN, "it had to be read, and stays");
    // Read, and closed for another file.
    assert!(pair.ask(files[1], Wanted::Head));
    pair.cache.table.slot(files[1]).unwrap().vacate();
    let before = bytes_read();
    assert!(pair.ask(files[1], Wanted::Condition));
    assert!(bytes_read() - before < LEN / 2, "read for nothing");
    assert_eq!(memory.left(), 2 * LEN);
    // The condition turns out to want the body.
    assert!(pair.fetch(files[1]) && pair.is_resident(files[1]));
}

#[test]
fn what_was_written_to_is_opened_again() {
    let folder = folder(1);
    let (mut pair, files) = pair(folder.path(), Budget::new(0, 0), 4);
    assert!(pair.fetch(files[0]) && !pair.fetch(files[0]));
    File::options().write(true).open(folder.path().join("0")).unwrap().set_len(3).unwrap();
    assert!(pair.fetch(files[0]), "its length is another now");
    let Lookup::Ready(loaded) = pair.cache.get(files[0], Key(1), |_| Wanted::Body) else { panic!("loaded") };
    let head =
        sitar_http::h1::parse(b"GET /0 HTTP/1.1\r\nHost: h\r\n\r\n", &sitar_http::h1::Limits::default());
    let request = head.unwrap().unwrap().request;
    let mut scratch = sitar_site::Scratch::new();
    let sitar_site::Route::File(found) = pair.site.route(&request, &mut scratch) else {
        panic!("no such file")
    };
    assert_eq!(loaded.respond(&request, found).content_length, Some(3));
}
