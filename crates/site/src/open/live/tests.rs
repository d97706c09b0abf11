use super::*;
use crate::answer::reply::Scratch;
use crate::answer::route::Target;
use crate::{Budget, Options};
use sitar_http::semantics::Coding;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

crate::open::directory::tests::walking_too! {
    what_did_not_change_is_inherited_and_nothing_else
    header_lines_are_those_of_the_newer_site
    a_streamed_file_tells_when_it_is_written_to
}

/// Waits until the time stamps of a file that has just been written are older than their grain.
fn settle() {
    std::thread::sleep(Duration::from_millis(120));
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn open(root: &Path) -> Site {
    Site::open(root, &Options::default()).unwrap()
}

type Loaded = Vec<(FileId, Arc<Representation>)>;

/// Everything that a site has, loaded.
fn all(site: &Site, budget: &Budget) -> Loaded {
    (0..site.files() as u32)
        .map(|id| (FileId(id), Arc::new(site.load(FileId(id), budget, SystemTime::now()).unwrap())))
        .collect()
}

/// The names that were inherited, sorted; with the coding behind a colon where there is one.
fn names(site: &Site, inherited: &Loaded) -> Vec<String> {
    let mut names: Vec<_> = inherited
        .iter()
        .map(|(file, _)| {
            let entry = site.index.entry(*file).unwrap();
            let name = site.index.source_name(entry.source).unwrap();
            let name = String::from_utf8_lossy(name);
            match entry.coding {
                Coding::Identity => name.into_owned(),
                coding => format!("{name}:{coding:?}"),
            }
        })
        .collect();
    names.sort();
    names
}

#[test]
fn what_did_not_change_is_inherited_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, bytes) in [
        ("same.txt", b"same".as_slice()),
        ("sub/same.js", b"js"),
        ("sub/same.js.gz", b"gz"),
        ("rewritten.txt", b"old"),
        ("replaced.txt", b"old"),
        ("gone.txt", b"gone"),
        ("moved.txt", b"moved"),
        ("becomes-a-folder", b"file"),
        ("large.bin", &[7; 600]),
    ] {
        write(root, name, bytes);
    }
    symlink("same.txt", root.join("link.txt")).unwrap();
    settle();
    let budget = Budget::new(10_000, 500);
    let older = open(root);
    let loaded = all(&older, &budget);
    let left = budget.left();

    // The same length, and the same modification time as before: only the change time tells.
    let before = fs::metadata(root.join("rewritten.txt")).unwrap().modified().unwrap();
    write(root, "rewritten.txt", b"new");
    fs::File::options().write(true).open(root.join("rewritten.txt")).unwrap().set_modified(before).unwrap();
    write(root, "replacement", b"old");
    fs::rename(root.join("replacement"), root.join("replaced.txt")).unwrap();
    fs::remove_file(root.join("gone.txt")).unwrap();
    fs::rename(root.join("moved.txt"), root.join("moved-away.txt")).unwrap();
    fs::remove_file(root.join("becomes-a-folder")).unwrap();
    write(root, "becomes-a-folder/index.html", b"file");
    write(root, "added.txt", b"added");

    let newer = open(root);
    let inherited = newer.inherit(&older, loaded.clone(), SystemTime::now());
    assert_eq!(
        names(&newer, &inherited),
        ["link.txt", "same.txt", "sub/same.js", "sub/same.js.gz", "sub/same.js.gz:Gzip"]
    );
    // The memory is shared, not copied; it is given back with the last reference.
    assert_eq!(budget.left(), left);
    drop((loaded, older));
    assert_eq!(budget.left(), 10_000 - 4 - 4 - 2 - 2 - 2);
    drop(inherited);
    assert_eq!(budget.left(), 10_000);
}

#[test]
fn what_has_been_hashed_is_not_read_again_for_a_newer_site() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["changed.bin", "same.bin"] {
        write(folder.path(), name, &[7; 600]);
    }
    settle();
    let budget = Budget::new(10_000, 1000);
    let older = open(folder.path());
    for id in [0, 1] {
        older.describe(FileId(id), &budget, SystemTime::now()).unwrap();
    }
    write(folder.path(), "changed.bin", &[8; 600]);
    // The ids of what follows it are others.
    write(folder.path(), "added.bin", &[7; 600]);
    settle();
    let newer = open(folder.path());
    let is_unread = || [0, 1, 2].map(|id| newer.body_size(FileId(id), &budget).unwrap().is_unread);
    assert_eq!(is_unread(), [true, true, true]);
    assert_eq!(newer.inherit(&older, Vec::new(), SystemTime::now()).len(), 0);
    assert_eq!(is_unread(), [true, true, false], "added, changed, same");
}

#[test]
fn header_lines_are_those_of_the_newer_site() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "app.js", b"js");
    // Not of this second: the date of an answer is earlier than the time at which it is made.
    let at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::options().write(true).open(folder.path().join("app.js")).unwrap().set_modified(at).unwrap();
    settle();
    let budget = Budget::new(100, 100);
    let older = open(folder.path());
    let loaded = all(&older, &budget);
    // From now on there is another encoding, which caches must be told.
    write(folder.path(), "app.js.br", b"br");
    let newer = open(folder.path());
    let inherited = newer.inherit(&older, loaded.clone(), SystemTime::now());
    assert_eq!(names(&newer, &inherited), ["app.js"]);
    let text = b"GET /app.js HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = sitar_http::h1::parse(text, &sitar_http::h1::Limits::default()).unwrap().unwrap();
    let fields = |of: &Representation| {
        let mut scratch = Scratch::new();
        let found = Target::plain(FileId(0), &mut scratch);
        String::from_utf8(of.respond(&head.request, found).fields.to_vec()).unwrap()
    };
    let (old, new) = (fields(&loaded[0].1), fields(&inherited[0].1));
    assert!(!old.contains("Vary") && new.contains("Vary: Accept-Encoding\r\n"), "{new}");
    assert_eq!(old, new.replace("Vary: Accept-Encoding\r\n", ""), "all else is as it was");
}

#[test]
fn a_streamed_file_tells_when_it_is_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    write(folder.path(), "a", &[1; 3000]);
    settle();
    let site = open(folder.path());
    let load = || site.load(FileId(0), &Budget::new(0, 0), SystemTime::now()).unwrap();
    let first = load();
    assert!(first.is_open() && !first.is_stale());
    // Another name, another mode: the same bytes.
    fs::hard_link(&path, folder.path().join("b")).unwrap();
    fs::rename(folder.path().join("b"), &path).unwrap();
    assert!(!first.is_stale());
    fs::write(&path, [2; 3000]).unwrap();
    assert!(first.is_stale() && !load().is_stale());
    let second = load();
    fs::File::options().write(true).open(&path).unwrap().set_len(2999).unwrap();
    assert!(second.is_stale());
    // Replaced, and not written to: what has been opened stays whole.
    let third = load();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"other").unwrap();
    assert!(!third.is_stale());
}

#[test]
fn a_version_is_of_names_sizes_and_times() {
    let folder = tempfile::tempdir().unwrap();
    let at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        write(folder.path(), name, text.as_bytes());
        fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    };
    let version = |name: &str| open(&folder.path().join(name)).version().to_string();
    for copy in ["a", "b"] {
        put(&format!("{copy}/index.html"), "one");
        put(&format!("{copy}/sub/x.css"), "x");
    }
    // The first digits of SHA-256 of `index.html` NUL 3 SECONDS 0, `sub/x.css` NUL 1 SECONDS 0,
    // `_headers` NUL `_redirects` NUL, numbers in 8, 8 and 4 bytes, least significant first.
    assert_eq!(version("a"), "stamps bf6c10093f79");
    assert_eq!(version("a"), version("b"));
    put("b/_headers", "");
    let with_rules = version("b");
    put("b/index.html", "three");
    assert_ne!(with_rules, version("a"));
    assert_ne!(version("b"), with_rules);
}
