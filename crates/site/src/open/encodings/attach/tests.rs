use super::*;
use crate::open::encodings::format::Original;
use crate::open::encodings::read::tests::Parts;
use crate::open::opening::tests::ask;
use crate::{Options, Route, Scratch};
use sitar_http::h1;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Older than any grain of time stamps.
const SETTLED: Duration = Duration::from_millis(120);

/// Returns encodings of files of a site, as they are now. The bodies are no encodings; nothing here
/// decodes them.
fn encodings(site: &Site, all: &[(&'static str, &[(Coding, &str)])]) -> Arc<Encodings> {
    encodings_with(site, all, |_| ())
}

fn encodings_with(
    site: &Site,
    all: &[(&'static str, &[(Coding, &str)])],
    change: impl FnOnce(&mut Parts),
) -> Arc<Encodings> {
    let mut parts = Parts { bodies: Vec::new(), originals: Vec::new(), encodings: Vec::new() };
    for (name, encoded) in all {
        let file = site.index.file(name.as_bytes()).unwrap();
        let read = site.read_unencoded(file, 1 << 20).unwrap();
        assert_eq!(site.version_of(file), Some((read.version, read.content.len() as u64)));
        let original = Original {
            version: read.version,
            hash: read.hash,
            size: read.content.len() as u64,
            is_best: false,
            encodings: encoded.len() as u8,
        };
        parts.originals.push((name.as_bytes(), original));
        for (coding, body) in *encoded {
            let (offset, size) = (parts.bodies.len() as u64, body.len() as u64);
            let hash = sha256(body.as_bytes());
            parts.encodings.push(Encoding { coding: *coding, offset, size, hash });
            parts.bodies.extend_from_slice(body.as_bytes());
        }
    }
    change(&mut parts);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), parts.bytes()).unwrap();
    Arc::new(Encodings::open(fs::File::open(file.path()).unwrap().into()).unwrap())
}

const ALL: &str = "Accept-Encoding: br, zstd, gzip\r\n";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    std::thread::sleep(SETTLED);
    folder
}

fn open(path: &Path) -> Site {
    Site::open(path, &Options::default()).unwrap()
}

/// Returns the body of an answer, and whether it is encoded in that coding.
fn body(site: &Site, path: &str, accepted: &str) -> (String, Option<String>) {
    let (status, fields, body) = ask(site, &format!("GET {path}"), accepted);
    assert_eq!(status, 200, "{path}");
    let coding = fields.lines().find_map(|line| line.strip_prefix("Content-Encoding: ")).map(str::to_owned);
    (body, coding)
}

fn plain(text: &str) -> (String, Option<String>) {
    (text.to_owned(), None)
}

fn coded(text: &str, coding: &str) -> (String, Option<String>) {
    (text.to_owned(), Some(coding.to_owned()))
}

/// Loads a file by its number, as a shard does that was routed to it before.
fn load(site: &Site, file: FileId) -> io::Result<Representation> {
    site.load(file, &Budget::new(1 << 20, 1 << 20), SystemTime::now())
}

fn routed(site: &Site, path: &str, accepted: &str) -> FileId {
    let text = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{accepted}\r\n");
    let head = h1::parse(text.as_bytes(), &h1::Limits::default()).unwrap().unwrap();
    let mut scratch = Scratch::new();
    let Route::File(found) = site.route(&head.request, &mut scratch) else { panic!("{path} is no file") };
    found.file()
}

#[test]
fn encodings_are_sent_as_if_they_lay_beside_the_file() {
    let folder = folder(&[("index.html", "the start page"), ("a/x.js", "some script"), ("b.css", "colours")]);
    let mut site = open(folder.path());
    let before = site.files();
    let made = encodings(
        &site,
        &[
            ("index.html", &[(Coding::Br, "BR"), (Coding::Gzip, "GZIP"), (Coding::Zstd, "ZSTD")]),
            ("a/x.js", &[(Coding::Gzip, "GZ")]),
            ("b.css", &[]),
        ],
    );
    site.attach(made);
    assert_eq!(site.files(), before + 4);
    assert_eq!(site.gain(), Gain { files: 2, bytes: 14 + 11, encoded: 2 + 2 });
    assert_eq!(body(&site, "/", ALL), coded("BR", "br"));
    assert_eq!(body(&site, "/index.html", "Accept-Encoding: gzip\r\n"), coded("GZIP", "gzip"));
    assert_eq!(body(&site, "/", "Accept-Encoding: zstd\r\n"), coded("ZSTD", "zstd"));
    assert_eq!(body(&site, "/", ""), plain("the start page"));
    assert_eq!(body(&site, "/a/x.js", ALL), coded("GZ", "gzip"));
    assert_eq!(body(&site, "/b.css", ALL), plain("colours"));
    // Never under a name of their own.
    assert_eq!(ask(&site, "GET /a/x.js.gz", ALL).0, 404);
    let (_, fields, _) = ask(&site, "GET /a/x.js", ALL);
    assert!(fields.contains("Vary: Accept-Encoding\r\n"), "{fields}");
    assert!(fields.contains("Content-Type: text/javascript; charset=utf-8\r\n"), "{fields}");
    let (_, other, _) = ask(&site, "GET /a/x.js", "");
    let etag = |fields: &str| fields.lines().find(|line| line.starts_with("ETag: ")).unwrap().to_owned();
    assert!(other.contains("Vary: Accept-Encoding\r\n"), "{other}");
    assert_ne!(etag(&fields), etag(&other));
    let condition = format!("{ALL}If-None-Match: {}\r\n", &etag(&fields)[6..]);
    assert_eq!(ask(&site, "GET /a/x.js", &condition).0, 304);
    let (status, fields, body) = ask(&site, "GET /", &format!("{ALL}Range: bytes=1-\r\n"));
    assert_eq!((status, &*body), (206, "R"), "{fields}");
}

#[test]
fn an_encoding_beside_the_file_wins() {
    let folder = folder(&[("x.js", "some script"), ("x.js.br", "own"), ("y.js", "other")]);
    let mut site = open(folder.path());
    let made = encodings(&site, &[("x.js", &[(Coding::Br, "made"), (Coding::Gzip, "gz")])]);
    site.attach(Arc::clone(&made));
    assert_eq!(body(&site, "/x.js", ALL), coded("own", "br"));
    assert_eq!(body(&site, "/x.js", "Accept-Encoding: gzip\r\n"), coded("gz", "gzip"));
    // A second file is not attached.
    let (files, gain) = (site.files(), site.gain());
    site.attach(made);
    assert_eq!((site.files(), site.gain()), (files, gain));
}

#[test]
fn an_encoding_of_another_version_is_not_attached() {
    let folder = folder(&[("x.js", "some script"), ("y.js", "other script"), ("z.js", "third")]);
    let site = open(folder.path());
    let encoded: &[(Coding, &str)] = &[(Coding::Br, "BR")];
    let made = encodings(&site, &[("x.js", encoded), ("y.js", encoded), ("z.js", encoded)]);
    // The same length and the same time.
    let path = folder.path().join("x.js");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "SOME SCRIPT").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    fs::remove_file(folder.path().join("z.js")).unwrap();
    let mut site = open(folder.path());
    site.attach(made);
    assert_eq!(body(&site, "/x.js", ALL), plain("SOME SCRIPT"));
    assert_eq!(body(&site, "/y.js", ALL), coded("BR", "br"));
    assert_eq!(ask(&site, "GET /z.js", ALL).0, 404);
    assert_eq!(site.gain().files, 1);
}

#[test]
fn a_file_that_changes_later_is_sent_as_it_is() {
    let folder = folder(&[("x.js", "some script"), ("y.js", "other script")]);
    let mut site = open(folder.path());
    let encoded: &[(Coding, &str)] = &[(Coding::Br, "BR")];
    site.attach(encodings(&site, &[("x.js", encoded), ("y.js", encoded)]));
    // The encoding has been routed to, and was not loaded when the file changes.
    let file = routed(&site, "/x.js", ALL);
    fs::write(folder.path().join("x.js"), "new").unwrap();
    let error = load(&site, file).unwrap_err();
    assert!(OutdatedEncoding::is(&error), "{error}");
    assert_ne!(routed(&site, "/x.js", ALL), file);
    assert_eq!(body(&site, "/x.js", ALL), plain("new"));
    assert_eq!(body(&site, "/y.js", ALL), coded("BR", "br"));
}

#[test]
fn a_loaded_encoding_is_not_routed_to_after_a_newer_file_was_loaded() {
    let folder = folder(&[("x.js", "some script")]);
    let mut site = open(folder.path());
    let made = encodings(&site, &[("x.js", &[(Coding::Br, "BR")])]);
    site.attach(Arc::clone(&made));
    let file = routed(&site, "/x.js", ALL);
    load(&site, file).unwrap();
    fs::write(folder.path().join("x.js"), "new").unwrap();
    // Still the older one for all, as it would be without encodings.
    assert_eq!(routed(&site, "/x.js", ALL), file);
    // As soon as the newer one is loaded, it is that for all, also by another site that has the
    // same encodings.
    let other = open(folder.path());
    load(&site, routed(&site, "/x.js", "")).unwrap();
    assert_eq!(body(&site, "/x.js", ALL), plain("new"));
    let mut other = other;
    other.attach(made);
    assert_eq!(body(&other, "/x.js", ALL), plain("new"));
}

#[test]
fn damaged_bodies_are_not_sent() {
    let folder = folder(&[("x.js", "some script"), ("y.js", "other script")]);
    let mut site = open(folder.path());
    let encoded: &[(Coding, &str)] = &[(Coding::Br, "BR")];
    let damage = |parts: &mut Parts| parts.bodies[0] = b'X';
    site.attach(encodings_with(&site, &[("x.js", encoded), ("y.js", encoded)], damage));
    for budget in [Budget::new(1 << 20, 1 << 20), Budget::new(0, 0)] {
        let now = SystemTime::now();
        let error = site.load(routed(&site, "/x.js", ALL), &budget, now);
        assert!(error.map_or_else(|error| OutdatedEncoding::is(&error), |_| true));
        assert_eq!(body(&site, "/x.js", ALL), plain("some script"));
        // From memory, and from the file.
        site.load(routed(&site, "/y.js", ALL), &budget, now).unwrap();
    }
    assert_eq!(body(&site, "/y.js", ALL), coded("BR", "br"));
}

#[test]
fn members_of_an_archive_have_encodings_as_files_do() {
    let folder = folder(&[("x.js", "some script"), ("y.js", "other script")]);
    let archive = tempfile::NamedTempFile::new().unwrap();
    let tar = |file: &Path| {
        let mut tar = std::process::Command::new("tar");
        let done = tar.arg("-cf").arg(file).arg("-C").arg(folder.path()).args(["x.js", "y.js"]).status();
        assert!(done.unwrap().success());
        std::thread::sleep(SETTLED);
    };
    tar(archive.path());
    let mut site = open(archive.path());
    let encoded: &[(Coding, &str)] = &[(Coding::Zstd, "ZSTD")];
    let made = encodings(&site, &[("y.js", encoded)]);
    site.attach(Arc::clone(&made));
    assert_eq!(body(&site, "/y.js", ALL), coded("ZSTD", "zstd"));
    assert_eq!(body(&site, "/x.js", ALL), plain("some script"));
    // Another archive with the same content is another version.
    let path = archive.path().with_extension("new");
    tar(&path);
    fs::rename(&path, archive.path()).unwrap();
    let mut site = open(archive.path());
    site.attach(made);
    assert_eq!(site.gain(), Gain::default());
    assert_eq!(body(&site, "/y.js", ALL), plain("other script"));
}

#[test]
fn what_was_changed_a_moment_ago_is_not_encoded_yet() {
    let folder = folder(&[("x.js", "some script")]);
    let site = open(folder.path());
    let file = site.index.file(b"x.js").unwrap();
    assert_eq!(site.read_unencoded(file, 11).unwrap().content, b"some script");
    assert_eq!(site.read_unencoded(file, 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    // A moment may pass between the two on a busy machine.
    let is_refused = (0..100).any(|_| {
        fs::write(folder.path().join("x.js"), "other").unwrap();
        site.read_unencoded(file, 11).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    });
    assert!(is_refused);
    std::thread::sleep(SETTLED);
    assert_eq!(site.read_unencoded(file, 11).unwrap().content, b"other");
}

#[test]
fn another_site_takes_over_what_is_loaded_of_the_same_encodings() {
    let folder = folder(&[("x.js", "some script"), ("y.js", "other script")]);
    let mut older = open(folder.path());
    let encoded: &[(Coding, &str)] = &[(Coding::Br, "BR")];
    let made = encodings(&older, &[("x.js", encoded), ("y.js", encoded)]);
    older.attach(Arc::clone(&made));
    let loaded = ["/x.js", "/y.js"].map(|path| {
        let file = routed(&older, path, ALL);
        (file, Arc::new(load(&older, file).unwrap()))
    });
    fs::write(folder.path().join("x.js"), "new").unwrap();
    let mut site = open(folder.path());
    site.attach(made);
    let kept: Vec<_> = site.inherit(&older, loaded.clone(), SystemTime::now());
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].0, routed(&site, "/y.js", ALL));
    // Of another encodings file, although it has the same body.
    let mut site = open(folder.path());
    let same = encodings(&site_settled(folder.path()), &[("y.js", encoded)]);
    site.attach(same);
    assert_eq!(site.inherit(&older, loaded, SystemTime::now()).len(), 0);
}

#[test]
fn an_encoding_of_a_file_that_has_changed_since_is_not_taken_over() {
    let folder = folder(&[("x.js", "some script")]);
    let mut older = open(folder.path());
    let made = encodings(&older, &[("x.js", &[(Coding::Br, "BR")])]);
    older.attach(Arc::clone(&made));
    let file = routed(&older, "/x.js", ALL);
    let loaded = [(file, Arc::new(load(&older, file).unwrap()))];
    let mut site = open(folder.path());
    site.attach(made);
    assert_eq!(site.inherit(&older, loaded.clone(), SystemTime::now()).len(), 1);
    // It would be sent with the time of the new content, and so count as that in every cache.
    fs::write(folder.path().join("x.js"), "new").unwrap();
    assert_eq!(site.inherit(&older, loaded, SystemTime::now()).len(), 0);
}

#[test]
fn a_file_that_is_named_twice_has_the_encodings_of_one_of_them() {
    let folder = folder(&[("x.js", "some script")]);
    let mut site = open(folder.path());
    let twice = encodings(
        &site,
        &[("x.js", &[(Coding::Br, "BR")]), ("x.js", &[(Coding::Gzip, "GZ"), (Coding::Zstd, "ZSTD")])],
    );
    site.attach(twice);
    for coding in ["br", "gzip", "zstd"] {
        load(&site, routed(&site, "/x.js", &format!("Accept-Encoding: {coding}\r\n"))).unwrap();
    }
    fs::write(folder.path().join("x.js"), "new").unwrap();
    load(&site, routed(&site, "/x.js", "")).unwrap();
    // All of them are found to be older by now.
    for coding in ["br", "gzip", "zstd"] {
        assert_eq!(body(&site, "/x.js", &format!("Accept-Encoding: {coding}\r\n")), plain("new"), "{coding}");
    }
}

fn site_settled(path: &Path) -> Site {
    std::thread::sleep(SETTLED);
    open(path)
}
