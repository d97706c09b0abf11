use super::*;
use crate::limits::Limits;
use crate::snapshot::{Hosts, Listener, Role};
use sitar_site::Site;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

fn site(folder: &Path, files: &[(&str, &str)]) -> Arc<Site> {
    std::fs::create_dir_all(folder).unwrap();
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    Arc::new(Site::open(folder, &sitar_site::Options::default()).unwrap())
}

/// The id of a name: names are sorted.
fn id(site: &Arc<Site>, position: usize) -> FileKey {
    let text = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", ["a", "b", "c"][position]);
    let head = sitar_http::h1::parse(text.as_bytes(), &sitar_http::h1::Limits::default()).unwrap().unwrap();
    let mut scratch = sitar_site::Scratch::new();
    let sitar_site::Route::File(found) = site.route(&head.request, &mut scratch) else {
        panic!("no such file")
    };
    FileKey { host: Hosts::one(Arc::clone(site)).find(None).unwrap(), file: found.file() }
}

/// A snapshot of one site.
fn snapshot(site: &Arc<Site>) -> Snapshot {
    let socket = std::fs::File::open("/dev/null").unwrap().into();
    let listener = Listener::new(Role::Http, vec![socket]);
    Snapshot::new(Hosts::one(Arc::clone(site)), vec![listener], None, Limits::default())
}

fn loader_worker(
    site: &Arc<Site>,
    shards: usize,
) -> (Loader, LoaderWorker, Vec<Inbox>, LatestSnapshot, Budget) {
    reporting_worker(site, shards, Arc::new(|incident| panic!("{incident}")))
}

fn reporting_worker(
    site: &Arc<Site>,
    shards: usize,
    report: Report,
) -> (Loader, LoaderWorker, Vec<Inbox>, LatestSnapshot, Budget) {
    let inboxes: Vec<_> = (0..shards).map(|_| Inbox::default()).collect();
    let (latest, budget) = (LatestSnapshot::new(snapshot(site)), Budget::new(1000, 500));
    let (loader, loader_worker) = Loader::new(
        latest.clone(),
        budget.clone(),
        inboxes.clone(),
        Arc::new(std::time::SystemTime::now),
        report,
    );
    (loader, loader_worker, inboxes, latest, budget)
}

fn site_of(snapshot: &Snapshot) -> &Arc<Site> {
    snapshot.site(snapshot.hosts.find(None).unwrap()).unwrap()
}

#[test]
fn jobs_of_an_older_generation_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let old = site(&folder.path().join("old"), &[("a", "old a"), ("b", "old b")]);
    let new = site(&folder.path().join("new"), &[("b", "new b")]);
    let (loader, mut loader_worker, inboxes, latest, _) = loader_worker(&old, 1);
    assert!(loader.ask(0, id(&old, 0), 0, Wanted::Body));
    loader.swap_to(snapshot(&new), Vec::new()).unwrap();
    assert!(loader.ask(0, id(&old, 1), 0, Wanted::Body) && loader.ask(1, id(&new, 1), 0, Wanted::Body));
    while loader_worker.work_once() {}
    let messages = inboxes[0].take();
    assert!(matches!(messages[0], Message::Loaded { snapshot: 0, file, .. } if file == id(&old, 0)));
    assert!(matches!(&messages[1], Message::Swap(next, _) if next.number == 1));
    assert!(matches!(messages[2], Message::Loaded { snapshot: 1, file, .. } if file == id(&new, 1)));
    assert_eq!(messages.len(), 3, "no message for the one in between");
    assert_eq!(latest.get().number, 1);
}

#[test]
fn a_shard_that_does_not_look_gets_the_newest_site_only() {
    let folder = tempfile::tempdir().unwrap();
    let first = site(&folder.path().join("0"), &[("a", "0")]);
    let (loader, mut loader_worker, inboxes, _, _) = loader_worker(&first, 2);
    let mut sites = Vec::new();
    for turn in 1..=50 {
        let next = site(&folder.path().join(turn.to_string()), &[("a", "x")]);
        sites.push(Arc::downgrade(&next));
        loader.swap_to(snapshot(&next), Vec::new()).unwrap();
        while loader_worker.work_once() {}
    }
    assert_eq!(sites.iter().filter(|site| site.upgrade().is_some()).count(), 1);
    for inbox in inboxes {
        let messages = inbox.take();
        assert!(matches!(&messages[..], [Message::Swap(next, _)] if next.number == 50));
    }
}

#[test]
fn what_is_unchanged_goes_over_and_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let old = site(folder.path(), &[("a", "unchanged"), ("b", "old")]);
    thread::sleep(Duration::from_millis(120));
    let (loader, mut loader_worker, inboxes, _, budget) = loader_worker(&old, 1);
    for position in [0, 1] {
        assert!(loader.ask(0, id(&old, position), 0, Wanted::Body));
        assert!(loader_worker.work_once());
    }
    let held = inboxes[0].take();
    assert_eq!(budget.left(), 1000 - 9 - 3);
    let new = site(folder.path(), &[("b", "new, and longer")]);
    // The change of site as it is asked for, while the worker goes on working.
    let asking = thread::spawn(move || {
        loader.swap(|next| next.hosts = Hosts::one(new)).unwrap();
        loader
    });
    while !asking.is_finished() {
        if !loader_worker.work_once() {
            thread::yield_now();
        }
    }
    let loader = asking.join().unwrap();
    while loader_worker.work_once() {}
    let [Message::Swap(next, table)] = &inboxes[0].take()[..] else { panic!("a swap, and nothing else") };
    assert_eq!(next.number, 1);
    let loaded = |file| table.loaded(file).is_some();
    assert!(loaded(id(site_of(next), 0)) && !loaded(id(site_of(next), 1)));
    assert_eq!(budget.left(), 1000 - 9 - 3, "the former site is still in use");
    drop(held);
    assert_eq!(budget.left(), 1000 - 9);
    // Asked for by another shard, it is not read again.
    assert!(loader.ask(1, id(site_of(next), 0), 0, Wanted::Body) && loader_worker.work_once());
    assert!(matches!(&inboxes[0].take()[..], [Message::Loaded { snapshot: 1, result: Ok(_), .. }]));
    assert_eq!(budget.left(), 1000 - 9);
}

/// A change that leaves the site alone keeps bodies in memory, as one of the site does. What is
/// sent from a file is asked for again: a shard counts the files that it holds open from there on,
/// and what only had no room may have some.
#[test]
fn what_is_sent_from_a_file_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let large = "x".repeat(501);
    let same = site(folder.path(), &[("a", "small"), ("b", &large)]);
    thread::sleep(Duration::from_millis(120));
    let (loader, mut loader_worker, inboxes, _, _) = loader_worker(&same, 1);
    for position in [0, 1] {
        assert!(loader.ask(0, id(&same, position), 0, Wanted::Body) && loader_worker.work_once());
    }
    let held = inboxes[0].take();
    let is_open = |message: &Message| matches!(message, Message::Loaded { result: Ok(arrival), .. } if arrival.loaded.is_open());
    assert_eq!(held.iter().map(is_open).collect::<Vec<_>>(), [false, true]);
    let asking = thread::spawn(move || {
        loader.swap(|next| next.limits.idle = Duration::from_secs(7)).unwrap();
    });
    while !asking.is_finished() {
        if !loader_worker.work_once() {
            thread::yield_now();
        }
    }
    asking.join().unwrap();
    while loader_worker.work_once() {}
    let [Message::Swap(next, table)] = &inboxes[0].take()[..] else { panic!("a swap, and nothing else") };
    assert_eq!((next.number, next.limits.idle), (1, Duration::from_secs(7)));
    assert!(table.loaded(id(&same, 0)).is_some(), "a body in memory");
    assert!(table.loaded(id(&same, 1)).is_none(), "a file that is open");
}

#[test]
fn a_file_that_cannot_be_read_is_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), &[("a", "a"), ("b", "b")]);
    let said = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&said);
    let report: Report = Arc::new(move |incident: Incident| hear.lock().unwrap().push(incident.to_string()));
    let (loader, mut loader_worker, inboxes, _, _) = reporting_worker(&site, 1, report);
    // Out of the site.
    std::fs::remove_file(folder.path().join("a")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("a")).unwrap();
    // This one has gone, which is no fault.
    std::fs::remove_file(folder.path().join("b")).unwrap();
    for file in [id(&site, 0), id(&site, 1), id(&site, 0)] {
        assert!(loader.ask(0, file, 0, Wanted::Body) && loader_worker.work_once());
    }
    assert!(inboxes[0].take().iter().all(|news| matches!(news, Message::Loaded { result: Err(_), .. })));
    let said = said.lock().unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("'a' cannot be read and is answered with 500: "), "{said:?}");
}

/// The files that have come, and whether they could be loaded.
fn loaded(inbox: &Inbox) -> Vec<(FileKey, bool)> {
    let messages = inbox.take().into_iter();
    let loaded = messages.filter_map(|message| match message {
        Message::Loaded { file, result, .. } => Some((file, result.is_ok())),
        Message::Evict(_)
        | Message::FilesWanted
        | Message::Swap(..)
        | Message::Verified { .. }
        | Message::Passed(_)
        | Message::Traces => None,
    });
    loaded.collect()
}

#[test]
fn small_files_come_before_large_ones_and_less_large_ones_before_others() {
    let folder = tempfile::tempdir().unwrap();
    let (large, larger) = ("x".repeat(300), "x".repeat(400));
    let site = site(folder.path(), &[("a", &larger), ("b", &large), ("c", "small")]);
    let (loader, mut loader_worker, inboxes, _, budget) = loader_worker(&site, 2);
    loader_worker.set_large_above(100);
    let [a, b, c] = [0, 1, 2].map(|position| id(&site, position));
    for (file, shard) in [(a, 0), (b, 0), (a, 1), (c, 0), (c, 1)] {
        assert!(loader.ask(0, file, shard, Wanted::Body));
    }
    while loader_worker.work_once() {}
    assert_eq!(loaded(&inboxes[0]), [(c, true), (b, true), (a, true)]);
    // A file that two shards have asked for is read once, though the second asked meanwhile.
    assert_eq!(loaded(&inboxes[1]), [(c, true), (a, true)]);
    assert_eq!(budget.left(), 1000, "of what was taken all has gone with the messages");
    // Small ones are done while a large one is on its way.
    assert!(loader.ask(0, a, 0, Wanted::Body) && loader_worker.work_once());
    assert!(loader.ask(0, c, 0, Wanted::Body) && loader_worker.work_once());
    assert_eq!(loaded(&inboxes[0]), [(c, true)]);
    while loader_worker.work_once() {}
    assert_eq!(loaded(&inboxes[0]), [(a, true)]);
}

#[test]
fn a_large_file_of_an_older_generation_is_dropped_and_read_for_the_newer() {
    let folder = tempfile::tempdir().unwrap();
    let (large, larger) = ("x".repeat(300), "x".repeat(400));
    let old = site(&folder.path().join("old"), &[("a", &larger)]);
    let new = site(&folder.path().join("new"), &[("a", &large)]);
    let (loader, mut loader_worker, inboxes, _, budget) = loader_worker(&old, 1);
    loader_worker.set_large_above(100);
    let file = id(&old, 0);
    assert!(loader.ask(0, file, 0, Wanted::Body) && loader_worker.work_once());
    loader.swap_to(snapshot(&new), Vec::new()).unwrap();
    // The shard asks again, before the old one has come back.
    assert!(loader.ask(1, id(&new, 0), 0, Wanted::Body));
    // It is read while the change comes, and is too late.
    assert!(loader_worker.large_worker.as_mut().unwrap().work_once());
    assert!(budget.left() < 1000);
    while loader_worker.work_once() {}
    let messages = inboxes[0].take();
    assert!(matches!(&messages[..], [Message::Swap(..), Message::Loaded { snapshot: 1, result: Ok(_), .. }]));
    assert_eq!(budget.left(), 1000 - 300, "the older one has gone");

    // One that has not been begun is not read at all.
    assert!(loader.ask(1, id(&new, 0), 0, Wanted::Body));
    drop(messages);
    assert!(loader_worker.work_once());
    loader.swap_to(snapshot(&old), Vec::new()).unwrap();
    while loader_worker.work_once() {}
    assert!(matches!(&inboxes[0].take()[..], [Message::Swap(..)]));
    assert_eq!((budget.left(), loader_worker.under_way.len()), (1000, 0));
}

#[test]
fn a_large_file_that_cannot_be_read_is_told_of_too() {
    let folder = tempfile::tempdir().unwrap();
    let large = "x".repeat(300);
    let site = site(folder.path(), &[("a", &large), ("b", "b")]);
    let said = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&said);
    let report: Report = Arc::new(move |incident: Incident| hear.lock().unwrap().push(incident.to_string()));
    let (loader, mut loader_worker, inboxes, _, budget) = reporting_worker(&site, 2, report);
    loader_worker.set_large_above(100);
    let file = id(&site, 0);
    assert!(loader.ask(0, file, 0, Wanted::Body) && loader.ask(0, file, 1, Wanted::Head));
    assert!(loader_worker.work_once() && loader_worker.work_once());
    // Out of the site, when the other thread has been told to read it.
    std::fs::remove_file(folder.path().join("a")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("a")).unwrap();
    while loader_worker.work_once() {}
    for inbox in &inboxes {
        assert_eq!(loaded(inbox), [(file, false)]);
    }
    assert_eq!((said.lock().unwrap().len(), budget.left()), (1, 1000));
    // The next one is loaded all the same.
    assert!(loader.ask(0, id(&site, 1), 0, Wanted::Body) && loader_worker.work_once());
    assert_eq!(loaded(&inboxes[0]), [(id(&site, 1), true)]);
}

/// A panic in either thread's part is a failure of the file.
#[test]
fn a_panic_while_loading_is_a_failure_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), &[("a", "a")]);
    let (_, loader_worker, _, latest, _) = loader_worker(&site, 1);
    let failed =
        loader_worker.reader.with(&latest.get(), id(&site, 0), |_| -> io::Result<()> { panic!("a bug") });
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::Other);
}

#[test]
fn the_threads_load_large_and_small_files_and_end_with_the_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let large = "x".repeat(2 << 20);
    let site = site(folder.path(), &[("a", &large), ("b", "small")]);
    let budget = Budget::new(8 << 20, 4 << 20);
    let inbox = Inbox::default();
    let latest = LatestSnapshot::new(snapshot(&site));
    let report: Report = Arc::new(|incident| panic!("{incident}"));
    let alive = Arc::downgrade(&report);
    let clock = Arc::new(std::time::SystemTime::now);
    let loader = Loader::start(latest, budget, vec![inbox.clone()], clock, report).unwrap();
    let [a, b] = [0, 1].map(|position| id(&site, position));
    assert!(loader.ask(0, a, 0, Wanted::Body) && loader.ask(0, b, 0, Wanted::Body));
    // What has been handed on is still done.
    drop(loader);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let mut files = Vec::new();
    while files.len() < 2 || alive.upgrade().is_some() {
        files.extend(loaded(&inbox));
        assert!(std::time::Instant::now() < deadline, "{} files", files.len());
        thread::sleep(Duration::from_millis(1));
    }
    files.sort_by_key(|(file, _)| file.file);
    assert_eq!(files, [(a, true), (b, true)]);
}

#[test]
fn other_shards_are_told_once_that_no_file_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let site = site(folder.path(), &[("a", &"a".repeat(900)), ("b", &"b".repeat(900))]);
    let inboxes: Vec<_> = (0..3).map(|_| Inbox::default()).collect();
    let (loader, mut loader_worker) = Loader::new(
        LatestSnapshot::new(snapshot(&site)),
        Budget::new(1000, 500).with_files(0),
        inboxes.clone(),
        Arc::new(std::time::SystemTime::now),
        Arc::new(|incident| panic!("{incident}")),
    );
    for position in 0..2 {
        assert!(loader.ask(0, id(&site, position), 1, Wanted::Body));
        assert!(loader_worker.work_once());
    }
    let told =
        |inbox: &Inbox| inbox.take().iter().filter(|message| matches!(message, Message::FilesWanted)).count();
    assert_eq!(inboxes.iter().map(told).collect::<Vec<_>>(), [1, 0, 1]);
}

/// The file of a request with these lines behind the first one.
fn id_of(site: &Arc<Site>, path: &str, lines: &str) -> FileKey {
    let text = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let head = sitar_http::h1::parse(text.as_bytes(), &sitar_http::h1::Limits::default()).unwrap().unwrap();
    let mut scratch = sitar_site::Scratch::new();
    let sitar_site::Route::File(found) = site.route(&head.request, &mut scratch) else {
        panic!("no such file")
    };
    FileKey { host: Hosts::one(Arc::clone(site)).find(None).unwrap(), file: found.file() }
}

/// A listing is made on the thread for large bodies, is bounded, and gives way when there is no
/// room for another one.
#[test]
fn listings_take_turns() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    for number in 0..25_000 {
        let name = [format!("{number:05}").as_bytes(), &[0xff; 250]].concat();
        std::fs::write(folder.path().join(std::ffi::OsStr::from_bytes(&name)), "").unwrap();
    }
    let options = sitar_site::Options { listing: true, ..sitar_site::Options::default() };
    let site = Arc::new(Site::open(folder.path(), &options).unwrap());
    let (loader, mut loader_worker, inboxes, _, budget) = loader_worker(&site, 2);
    let [page, object] = ["", "Accept: application/json\r\n"].map(|lines| id_of(&site, "/", lines));
    assert!(loader.ask(0, page, 0, Wanted::Body) && loader_worker.work_once());
    assert!(inboxes[0].take().is_empty(), "it is for the other thread");
    assert!(loader_worker.work_once() && loader_worker.work_once());
    let held = inboxes[0].take();
    let [Message::Loaded { file, result: Ok(arrival), .. }] = &held[..] else { panic!() };
    assert_eq!((*file, budget.left()), (page, 1000));
    let bytes = arrival.loaded.resident_bytes();
    assert!((32 << 20..33 << 20).contains(&bytes), "{bytes} bytes");
    let ask = |worker: &mut LoaderWorker| {
        assert!(loader.ask(0, object, 1, Wanted::Head));
        while worker.work_once() {}
    };
    ask(&mut loader_worker);
    assert!(matches!(&inboxes[0].take()[..], [Message::Evict(_)]));
    let [Message::Evict(_), Message::Loaded { result: Err(kind), .. }] = &inboxes[1].take()[..] else {
        panic!()
    };
    assert_eq!(*kind, io::ErrorKind::StorageFull);
    drop(held);
    ask(&mut loader_worker);
    assert!(matches!(&inboxes[1].take()[..], [Message::Loaded { result: Ok(_), .. }]));
}

/// Gives the file `a` an encoding that lies outside of the site.
fn encode_a(site: &mut Site) {
    use sitar_site::raw::encodings::{Encoding, Footer, Original};
    use sitar_site::raw::sha256;
    let (name, file) = site.names().find(|(name, _)| *name == b"a").unwrap();
    let read = site.read_unencoded(file, 1000).unwrap();
    let mut bytes = b"BR".to_vec();
    let (version, hash, size) = (read.version, read.hash, read.content.len() as u64);
    let original = Original { version, hash, size, is_best: true, encodings: 1 };
    original.write(name.len() as u16, &mut bytes);
    let coding = sitar_http::semantics::Coding::Br;
    Encoding { coding, offset: 0, size: 2, hash: sha256(b"BR") }.write(&mut bytes);
    bytes.extend_from_slice(name);
    let (encoders, hash) = (Vec::new(), [0; 32]);
    Footer { version: 1, offset: 2, originals: 1, encodings: 1, names: 1, encoders, hash }.write(&mut bytes);
    let hash = sha256(&bytes[2..]);
    bytes.extend_from_slice(&hash);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    site.attach(Arc::new(sitar_site::Encodings::open(file.into()).unwrap()));
}

#[test]
fn an_outdated_encoding_is_no_incident_and_the_file_is_asked_for_instead() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "the first content").unwrap();
    thread::sleep(Duration::from_millis(120));
    let mut site = Site::open(folder.path(), &sitar_site::Options::default()).unwrap();
    encode_a(&mut site);
    let site = Arc::new(site);
    let routed = || {
        let text = b"GET /a HTTP/1.1\r\nHost: h\r\nAccept-Encoding: br\r\n\r\n";
        let head = sitar_http::h1::parse(text, &sitar_http::h1::Limits::default()).unwrap().unwrap();
        let mut scratch = sitar_site::Scratch::new();
        match site.route(&head.request, &mut scratch) {
            sitar_site::Route::File(found) => FileKey { file: found.file(), ..id(&site, 0) },
            sitar_site::Route::Reply(_) => panic!("no such file"),
        }
    };
    // A report of an incident would panic.
    let (loader, mut loader_worker, inboxes, ..) = loader_worker(&site, 1);
    let encoded = routed();
    assert_ne!(encoded, id(&site, 0));
    std::fs::write(folder.path().join("a"), "another content").unwrap();
    assert!(loader.ask(0, encoded, 0, Wanted::Body));
    while loader_worker.work_once() {}
    let messages = inboxes[0].take();
    assert!(matches!(&messages[..], [Message::Loaded { file, result: Err(_), .. }] if *file == encoded));
    assert_eq!(routed(), id(&site, 0));
}
