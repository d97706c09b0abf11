use super::*;
use crate::content::inbox::{Inbox, Message};
use crate::limits::Limits;
use crate::snapshot::{Hosts, LatestSnapshot};
use sitar_site::{Budget, Options, Site};
use std::fs::File;

/// A shard's table, and the loader's side, which loads what the table asks for.
struct Pair {
    cache: Cache,
    loader_worker: crate::content::loader::LoaderWorker,
    inbox: Inbox,
    site: Arc<Site>,
}

impl Pair {
    /// Asks for a file, for a connection that waits for it; what comes of it is settled.
    fn fetch(&mut self, file: FileKey) -> bool {
        let key = Key(1);
        if let Lookup::Ready(_) = self.cache.get(file, key) {
            return false;
        }
        while self.loader_worker.work_once() {}
        for message in self.inbox.take() {
            let Message::Loaded { file, result, displaced, .. } = message else { continue };
            self.cache.arrived(file, result);
            assert_eq!(self.cache.next_waiting(file), Some(key));
            assert!(
                matches!(self.cache.get(file, key), Lookup::Ready(_)),
                "a connection that waits for it gets it"
            );
            self.cache.settled(file, displaced);
        }
        true
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
    let latest = LatestSnapshot::new(Snapshot::new(hosts.clone(), None, Limits::default()));
    let inbox = Inbox::default();
    let (loader, loader_worker) = Loader::new(
        latest.clone(),
        memory,
        vec![inbox.clone()],
        Arc::new(std::time::SystemTime::now),
        Arc::new(|incident| panic!("{incident}")),
    );
    let cache = Cache::new(&latest.get(), open_max, loader, 0);
    (Pair { cache, loader_worker, inbox, site }, files)
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
    // Each fits, but there is never room: whatever is loaded is forgotten at once.
    let memory = Budget::new(6, 100);
    let (mut pair, files) = pair(folder.path(), memory, 4);
    for _ in 0..100 {
        assert!(pair.fetch(files[0]) && pair.fetch(files[1]));
    }
    assert!(pair.cache.open.len() <= 4 && pair.cache.waiting.is_empty());
    assert_eq!(descriptors(folder.path()), 0);
}

#[test]
fn what_was_written_to_is_opened_again() {
    let folder = folder(1);
    let (mut pair, files) = pair(folder.path(), Budget::new(0, 0), 4);
    assert!(pair.fetch(files[0]) && !pair.fetch(files[0]));
    File::options().write(true).open(folder.path().join("0")).unwrap().set_len(3).unwrap();
    assert!(pair.fetch(files[0]), "its length is another now");
    let Lookup::Ready(loaded) = pair.cache.get(files[0], Key(1)) else { panic!("loaded") };
    let head =
        sitar_http::h1::parse(b"GET /0 HTTP/1.1\r\nHost: h\r\n\r\n", &sitar_http::h1::Limits::default());
    let request = head.unwrap().unwrap().request;
    let mut scratch = sitar_site::Scratch::new();
    let sitar_site::Route::File(found) = pair.site.route(&request, &mut scratch) else {
        panic!("no such file")
    };
    assert_eq!(loaded.respond(&request, found).content_length, Some(3));
}
