use super::*;
use crate::answer::reply::{Body, Scratch};
use crate::{Budget, Options, Route, Site};
use sitar_http::h1;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whatever stands for an encoding: nothing here decodes it.
fn encoded(coding: &str, content: &[u8]) -> Vec<u8> {
    [coding.as_bytes(), b" ", content].concat()
}

fn gz(content: &[u8]) -> Vec<u8> {
    encoded("gzip", content)
}

fn br(content: &[u8]) -> Vec<u8> {
    encoded("br", content)
}

fn zst(content: &[u8]) -> Vec<u8> {
    encoded("zstd", content)
}

#[test]
fn only_what_is_clearly_older_is_outdated() {
    for (original, sidecar, expected) in [
        (Some(1000), Some(1000), false),
        (Some(1000), Some(1001), false),
        (Some(1000), Some(999), false),
        (Some(1000), Some(998), false),
        (Some(1000), Some(997), true),
        (Some(1000), Some(0), true),
        (Some(u64::MAX), Some(u64::MAX), false),
        (Some(0), Some(u64::MAX), false),
        (None, Some(0), false),
        (Some(1000), None, false),
    ] {
        assert_eq!(is_outdated(original, sidecar), expected, "{original:?} {sidecar:?}");
    }
}

/// Writes a file whose time is that many seconds after the first of January 2024.
fn write(folder: &Path, name: &str, bytes: &[u8], seconds: u64) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(1_704_067_200 + seconds);
    std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
}

/// The coding and the body that a client gets which takes every coding.
fn ask(site: &Site, path: &str) -> (u16, Option<Coding>, Vec<u8>) {
    let text = format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip, br, zstd\r\n\r\n");
    let head = h1::parse(text.as_bytes(), &h1::Limits::default()).unwrap().unwrap();
    let mut scratch = Scratch::new();
    let Route::File(found) = site.route(&head.request, &mut scratch) else { return (0, None, Vec::new()) };
    let file = found.file();
    let loaded = site.load(file, &Budget::new(1 << 20, 1 << 20), SystemTime::now()).unwrap();
    let reply = loaded.respond(&head.request, found);
    let Body::Memory { region, range } = &reply.body else { panic!("it fits") };
    let coding = site.index.source(file).map(|(_, coding)| coding);
    (reply.status.code(), coding.filter(|coding| *coding != Coding::Identity), region[range.clone()].to_vec())
}

/// A site in which some encodings are older than their files.
fn edited(folder: &Path) {
    write(folder, "index.html", b"new start", 100);
    write(folder, "index.html.gz", &gz(b"old start"), 97);
    write(folder, "app.js", b"new script", 86_400);
    write(folder, "app.js.gz", &gz(b"old script"), 0);
    write(folder, "app.js.br", &br(b"new script"), 86_400);
    write(folder, "d/404.html", b"new missing", 100);
    write(folder, "d/404.html.zst", &zst(b"old missing"), 50);
    // What a build or a copy gives: the same time, or a little before it.
    write(folder, "built.css", b"style", 100);
    write(folder, "built.css.gz", &gz(b"style"), 100);
    write(folder, "copied.css", b"style", 100);
    write(folder, "copied.css.gz", &gz(b"style"), 98);
    // No original, and an original that is a sidecar itself.
    write(folder, "only.js.gz", &gz(b"only"), 0);
    write(folder, "twice.js", b"twice", 0);
    write(folder, "twice.js.gz", &gz(b"twice"), 100);
    write(folder, "twice.js.gz.br", &br(&gz(b"old twice")), 0);
    // A link has the time of what it leads to.
    write(folder, "linked.js", b"new link", 100);
    write(folder, "store/linked", &gz(b"old link"), 0);
    std::os::unix::fs::symlink("store/linked", folder.join("linked.js.gz")).unwrap();
}

#[test]
fn encodings_that_are_older_than_their_file_are_not_sent_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("site");
    edited(&root);
    let archive = folder.path().join("site.tar");
    for (format, path) in [("", &root), ("gnu", &archive), ("posix", &archive)] {
        if !format.is_empty() {
            let mut tar = std::process::Command::new("tar");
            let tar =
                tar.arg(format!("--format={format}")).arg("-cf").arg(path).arg("-C").arg(&root).arg(".");
            assert!(tar.status().unwrap().success());
        }
        let site = Site::open(path, &Options::default()).unwrap();
        for (path, status, coding, body) in [
            ("/", 200, None, b"new start".to_vec()),
            ("/index.html.gz", 200, None, gz(b"old start")),
            ("/app.js", 200, Some(Coding::Br), br(b"new script")),
            ("/app.js.gz", 200, None, gz(b"old script")),
            ("/d/nothing", 404, None, b"new missing".to_vec()),
            ("/built.css", 200, Some(Coding::Gzip), gz(b"style")),
            ("/copied.css", 200, Some(Coding::Gzip), gz(b"style")),
            ("/only.js", 200, Some(Coding::Gzip), gz(b"only")),
            ("/only.js.gz", 200, None, gz(b"only")),
            ("/twice.js", 200, Some(Coding::Gzip), gz(b"twice")),
            ("/twice.js.gz", 200, None, gz(b"twice")),
            ("/linked.js", 200, None, b"new link".to_vec()),
        ] {
            assert_eq!(ask(&site, path), (status, coding, body), "{format} {path}");
        }
        assert_eq!(
            site.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "5 encodings are older than their files and are not sent for them: 'app.js.gz', 'd/404.html.zst', \
              'index.html.gz' and 2 more; make them again, or use sitar pack, which does"
            ],
            "{format}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "index.html", b"", 0);
    write(folder.path(), "a.js", b"new", 100);
    write(folder.path(), "a.js.gz", &gz(b"old"), 0);
    let site = Site::open(folder.path(), &Options::default()).unwrap();
    assert_eq!(
        site.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["1 encoding is older than its file and is not sent for it: 'a.js.gz'; \
          make it again, or use sitar pack, which does"]
    );
}
