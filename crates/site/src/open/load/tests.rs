use super::*;
use crate::{Options, Route, Scratch};
use sitar_http::h1;
use std::collections::HashSet;
use std::fs::{self, FileTimes};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// A budget into which nothing fits, nor ever could.
fn never() -> Budget {
    Budget::new(0, 0)
}

/// Waits until the time stamps of files that have just been written are older than their grain.
fn settle() {
    std::thread::sleep(Duration::from_millis(120));
}

/// Writes a file in place, and gives it the time that all versions have.
fn write(path: &Path, bytes: &[u8]) {
    let file = fs::File::options().write(true).create(true).truncate(false).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.set_times(FileTimes::new().set_modified(source_date())).unwrap();
}

/// 1985-10-26 08:15:00: what npm gives all files.
fn source_date() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(499_162_500)
}

fn open(path: &Path) -> Site {
    Site::open(path, &Options::default()).unwrap()
}

/// The status line's code, the value of the ETag, and what the ETag's length is.
fn ask(site: &Site, budget: &Budget, path: &str, lines: &str) -> (u16, String) {
    let text = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
    let head = h1::parse(text.as_bytes(), &h1::Limits::default()).unwrap().unwrap();
    let mut scratch = Scratch::new();
    let Route::File(found) = site.route(&head.request, &mut scratch) else { panic!("{path} is no file") };
    let loaded = site.load(found.file(), budget, SystemTime::now()).unwrap();
    let reply = loaded.respond(&head.request, found);
    let fields = reply.pieces(|pieces| pieces.concat());
    let fields = String::from_utf8(fields).unwrap();
    let etag = fields.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap_or_default();
    (reply.status.code(), etag.to_owned())
}

fn etag(site: &Site, budget: &Budget, path: &str) -> String {
    let (status, etag) = ask(site, budget, path, "");
    assert_eq!((status, etag.is_empty()), (200, false), "{path}");
    assert!(etag.starts_with('"'), "a strong one: {etag}");
    etag
}

#[test]
fn each_version_of_a_file_that_is_never_hashed_has_its_own_etag() {
    let folder = tempfile::tempdir().unwrap();
    let (site, path) = (folder.path().join("site"), folder.path().join("site/a.bin"));
    fs::create_dir(&site).unwrap();
    write(&path, &[1; 3000]);
    settle();
    let first = open(&site);
    // What is changed in the tick in which a site is opened counts as being so before.
    settle();
    let before = etag(&first, &never(), "/a.bin");
    assert_eq!(etag(&first, &never(), "/a.bin"), before, "it stays");
    assert_eq!(etag(&open(&site), &never(), "/a.bin"), before, "over a start too");
    assert_eq!(ask(&first, &never(), "/a.bin", &format!("If-None-Match: {before}\r\n")).0, 304);
    let part = format!("Range: bytes=0-9\r\nIf-Range: {before}\r\n");
    assert_eq!(ask(&first, &never(), "/a.bin", &part).0, 206);

    // In place, and then by a rename: the same name, size and modification time.
    let mut seen = HashSet::from([before.clone()]);
    for (number, in_place) in [(2, true), (3, false)] {
        let content = vec![number; 3000];
        if in_place {
            write(&path, &content);
        } else {
            write(&folder.path().join("next"), &content);
            fs::rename(folder.path().join("next"), &path).unwrap();
        }
        settle();
        for site in [&first, &open(&site)] {
            let now = etag(site, &never(), "/a.bin");
            assert!(now != before, "{number}");
            seen.insert(now);
            assert_eq!(ask(site, &never(), "/a.bin", &format!("If-None-Match: {before}\r\n")).0, 200);
            assert_eq!(ask(site, &never(), "/a.bin", &format!("If-Match: {before}\r\n")).0, 412);
            assert_eq!(ask(site, &never(), "/a.bin", &part).0, 200);
            let date = "Sat, 26 Oct 1985 08:15:00 GMT";
            assert_eq!(
                ask(site, &never(), "/a.bin", &format!("Range: bytes=0-9\r\nIf-Range: {date}\r\n")).0,
                200
            );
        }
        // Of the site that was open all the while, a date alone proves nothing either.
        let since = "If-Modified-Since: Sat, 26 Oct 1985 08:15:00 GMT\r\n";
        assert_eq!(ask(&first, &never(), "/a.bin", since).0, 200);
        let until = "Range: bytes=0-9\r\nIf-Unmodified-Since: Sat, 26 Oct 1985 08:15:00 GMT\r\n";
        assert_eq!(ask(&first, &never(), "/a.bin", until).0, 412);
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn no_more_files_are_kept_open_than_the_budget_has_places_for() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.bin"), &[1; 3000]);
    write(&folder.path().join("b.bin"), &[2; 3000]);
    write(&folder.path().join("c.txt"), b"small");
    let site = open(folder.path());
    let budget = Budget::new(100, 100).with_files(1);
    let load = |file| site.load(FileId(file), &budget, SystemTime::now());
    let first = load(0).unwrap();
    assert!(first.is_open());
    assert_eq!(load(1).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    assert!(!load(2).unwrap().is_open(), "one in memory needs no place");
    assert_eq!(budget.files_left(), 0);
    drop(first);
    assert_eq!(budget.files_left(), 1);
    drop(load(1).unwrap());
    assert_eq!(budget.files_left(), 1);
}

#[test]
fn a_site_that_takes_anothers_place_vouches_for_no_date_before_that() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.txt"), b"first");
    settle();
    let since = "If-Modified-Since: Sat, 26 Oct 1985 08:15:00 GMT\r\n";
    let memory = Budget::new(100, 100);
    for budget in [&memory, &never()] {
        let site = open(folder.path());
        assert_eq!(ask(&site, budget, "/a.txt", since).0, 304, "all that this process knows of");
        site.take_over(SystemTime::now());
        assert_eq!(ask(&site, budget, "/a.txt", since).0, 200);
    }
}

#[test]
fn a_file_younger_than_the_grain_of_its_times_has_an_etag_of_its_own_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    write(&path, &[1; 3000]);
    let site = open(folder.path());
    let changed = fs::metadata(&path).unwrap();
    let changed = std::os::unix::fs::MetadataExt::ctime(&changed) as u64;
    // Before the file was changed, by a clock that is behind: nothing is settled then, however slow
    // this test is.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
    let load = |now| site.load(FileId(0), &never(), now).unwrap();
    let makeshift = [load(now), load(now), load(now)];
    assert!(makeshift.iter().all(|loaded| !loaded.is_makeshift(|| now)));
    assert!(makeshift.iter().all(|loaded| loaded.is_makeshift(|| now + Duration::from_secs(3))));
    let later = SystemTime::now() + Duration::from_secs(10);
    let settled = [load(later), load(later)];
    assert!(settled.iter().all(|loaded| !loaded.is_makeshift(|| later + Duration::from_secs(1000))));
    let tag = |loaded: &Representation| {
        let head = h1::parse(b"GET /a.bin HTTP/1.1\r\nHost: h\r\n\r\n", &h1::Limits::default());
        let head = head.unwrap().unwrap();
        let mut scratch = Scratch::new();
        let Route::File(found) = site.route(&head.request, &mut scratch) else { panic!("a file") };
        let fields = loaded.respond(&head.request, found).pieces(|pieces| pieces.concat());
        let fields = String::from_utf8(fields).unwrap();
        fields.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap().to_owned()
    };
    let tags: HashSet<String> = makeshift.iter().chain(&settled).map(tag).collect();
    assert_eq!(tags.len(), 4, "three makeshifts, and one that stays");
}

#[test]
fn for_want_of_room_the_etag_is_not_another() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.txt"), "hello").unwrap();
    settle();
    // SHA-256 of "hello" starts 2cf24dba5fb0a30e26e83b2ac5b9e29e1b16, that as base64url.
    let hello = "\"LPJNul-wow4m6DsqxbninhsW\"";
    let (room, full) = (Budget::new(5, 5), Budget::new(0, 5));
    let site = open(folder.path());
    assert_eq!(etag(&site, &full, "/a.txt"), hello);
    assert_eq!(etag(&site, &room, "/a.txt"), hello);
    assert_eq!(etag(&site, &full, "/a.txt"), hello, "known from before");
    let other = etag(&site, &never(), "/a.txt");
    assert!(other != hello, "one that is never hashed");
    // Another content of the same length and date is not taken for the one that is known.
    write(&folder.path().join("a.txt"), b"world");
    settle();
    // SHA-256 of "world" starts 486ea46224d1bb4fb680f34f7c9ad96a8f24.
    assert_eq!(etag(&site, &full, "/a.txt"), "\"SG6kYiTRu0-2gPNPfJrZao8k\"");
}

/// A tar of two files, one of which is an encoding of the other.
fn tar(path: &Path, byte: u8) {
    use crate::open::tar::tests::{archive, member};
    let bytes = archive(&[member("a.js", b'0', &[byte; 3000]), member("a.js.br", b'0', &[byte; 3000])]);
    write(path, &bytes);
}

#[test]
fn each_version_of_an_archive_has_its_own_etags() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.tar");
    let mut seen = HashSet::new();
    // The first, one in its place, and one by a rename: all of one size and time.
    for version in 1..=3 {
        if version == 3 {
            fs::rename(&path, folder.path().join("old.tar")).unwrap();
        }
        tar(&path, version);
        settle();
        let site = open(&path);
        for (path, lines, coded) in
            [("/a.js", "", false), ("/a.js", "Accept-Encoding: br\r\n", true), ("/a.js.br", "", false)]
        {
            let (status, etag) = ask(&site, &never(), path, lines);
            assert_eq!((status, etag.ends_with(".br\"")), (200, coded), "{etag}");
            assert!(seen.insert(etag), "{path} {lines} of version {version}");
        }
    }
}

#[test]
fn an_archive_that_is_renamed_or_linked_is_served_on_and_one_written_to_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.tar");
    let load =
        |site: &Site| site.load(FileId(0), &never(), SystemTime::now()).map(|loaded| loaded.is_stale());
    tar(&path, 1);
    settle();
    let site = open(&path);
    fs::hard_link(&path, folder.path().join("link.tar")).unwrap();
    assert!(!load(&site).unwrap());
    fs::remove_file(&path).unwrap();
    assert!(!load(&site).unwrap());
    fs::rename(folder.path().join("link.tar"), folder.path().join("moved.tar")).unwrap();
    assert!(!load(&site).unwrap());

    // Written to, and its time set back: the change time alone tells.
    let site = open(&folder.path().join("moved.tar"));
    let begun = site.load(FileId(0), &never(), SystemTime::now()).unwrap();
    tar(&folder.path().join("moved.tar"), 2);
    assert!(begun.is_stale());
    assert_eq!(load(&site).unwrap_err().kind(), io::ErrorKind::InvalidData);
    let room = Budget::new(1 << 20, 1 << 20);
    let read = site.load(FileId(0), &room, SystemTime::now());
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

/// Bytes that this thread has read from files.
fn bytes_read() -> u64 {
    let counts = fs::read_to_string("/proc/thread-self/io").unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn a_file_is_described_without_memory_and_read_for_it_once() {
    use crate::open::tar::tests::{archive, member};
    const LEN: u64 = 300_000;
    let folder = tempfile::tempdir().unwrap();
    let content = vec![7; LEN as usize];
    fs::create_dir(folder.path().join("site")).unwrap();
    write(&folder.path().join("site/a.bin"), &content);
    write(&folder.path().join("site.tar"), &archive(&[member("a.bin", b'0', &content)]));
    settle();
    for name in ["site", "site.tar"] {
        let site = open(&folder.path().join(name));
        let budget = Budget::new(1 << 20, 1 << 20);
        let describe = |site: &Site| site.describe(FileId(0), &budget, SystemTime::now()).unwrap();
        let is_unread = |site: &Site| {
            let size = site.body_size(FileId(0), &budget).unwrap();
            assert_eq!(size.length, LEN);
            size.is_unread
        };
        assert!(is_unread(&site));
        let described = describe(&site);
        assert_eq!((budget.left(), described.displaced(&budget)), (1 << 20, Some(LEN)));
        assert!(!is_unread(&site));
        let before = bytes_read();
        drop(describe(&site));
        assert!(bytes_read() - before < LEN / 2, "{name} is read again");
        // It says what the file itself says.
        let head = h1::parse(b"HEAD /a.bin HTTP/1.1\r\nHost: h\r\n\r\n", &h1::Limits::default());
        let request = head.unwrap().unwrap().request;
        let mut scratch = Scratch::new();
        let Route::File(found) = site.route(&request, &mut scratch) else { panic!("a file") };
        let reply = described.respond(&request, found);
        assert_eq!(reply.content_length, Some(LEN));
        let fields = String::from_utf8(reply.pieces(|pieces| pieces.concat())).unwrap();
        let loaded = etag(&site, &budget, "/a.bin");
        assert!(fields.contains(&format!("ETag: {loaded}\r\n")), "{fields}");

        // What has been in memory is known afterwards.
        let site = open(&folder.path().join(name));
        drop(site.load(FileId(0), &budget, SystemTime::now()).unwrap());
        assert!(!is_unread(&site));
        let before = bytes_read();
        drop(describe(&site));
        assert!(bytes_read() - before < LEN / 2, "{name} is read again");
    }
    // Another version of the file is not known.
    let site = open(&folder.path().join("site"));
    let budget = Budget::new(1 << 20, 1 << 20);
    let describe = || site.describe(FileId(0), &budget, SystemTime::now()).unwrap();
    let first = describe();
    write(&folder.path().join("site/a.bin"), &vec![8; LEN as usize]);
    settle();
    assert!(site.body_size(FileId(0), &budget).unwrap().is_unread);
    assert!(describe().hash != first.hash);
}
