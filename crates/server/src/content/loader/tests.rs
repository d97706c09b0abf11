use super::*;
use crate::limits::Limits;
use crate::snapshot::Hosts;
use sitar_site::Site;
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
    let text = ["GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /b HTTP/1.1\r\nHost: h\r\n\r\n"][position];
    let head = sitar_http::h1::parse(text.as_bytes(), &sitar_http::h1::Limits::default()).unwrap().unwrap();
    let mut scratch = sitar_site::Scratch::new();
    let sitar_site::Route::File(found) = site.route(&head.request, &mut scratch) else {
        panic!("no such file")
    };
    FileKey { host: Hosts::one(Arc::clone(site)).find(None).unwrap(), file: found.file() }
}

/// A snapshot of one site.
fn snapshot(site: &Arc<Site>) -> Snapshot {
    Snapshot::new(Hosts::one(Arc::clone(site)), None, Limits::default())
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
    assert!(loader.ask(0, id(&old, 0), 0));
    loader.swap_to(snapshot(&new), Vec::new()).unwrap();
    assert!(loader.ask(0, id(&old, 1), 0) && loader.ask(1, id(&new, 1), 0));
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
        assert!(loader.ask(0, id(&old, position), 0));
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
    assert!(loader.ask(1, id(site_of(next), 0), 0) && loader_worker.work_once());
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
        assert!(loader.ask(0, id(&same, position), 0) && loader_worker.work_once());
    }
    let held = inboxes[0].take();
    let is_open =
        |message: &Message| matches!(message, Message::Loaded { result: Ok(loaded), .. } if loaded.is_open());
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
        assert!(loader.ask(0, file, 0) && loader_worker.work_once());
    }
    assert!(inboxes[0].take().iter().all(|news| matches!(news, Message::Loaded { result: Err(_), .. })));
    let said = said.lock().unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("'a' cannot be read and is answered with 500: "), "{said:?}");
}
