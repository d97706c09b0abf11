use super::*;
use crate::answer::reply::{Body, Scratch};
use crate::answer::route::{Route, Target};
use crate::open::index::FileId;
use crate::open::tar::tests::{archive, member};
use crate::{Budget, FieldBuf, Representation};
use sitar_http::{Status, h1};
use std::os::unix::fs::symlink;
use std::path::PathBuf;

crate::open::directory::tests::walking_too! {
    a_directory_is_never_left
    a_directory_that_changes_behind_our_back
    a_prefix_of_a_directory_is_its_root
    last_modified_comes_from_the_file
}

fn assert_shared<T: Send + Sync>() {}

#[test]
fn sites_are_shared_by_threads() {
    assert_shared::<Site>();
    assert_shared::<Representation>();
    assert_shared::<Budget>();
}

fn embedded() -> Site {
    Site::embedded(&[
        ("index.html", b"root"),
        ("docs/index.html", b"docs"),
        ("docs/a b.html", b"spaced"),
        ("empty/file", b""),
        ("caf\u{e9}/index.html", b"utf-8"),
        ("evil.example/index.html", b"host"),
        ("app.js", b"js"),
        ("app.js.gz", b"gz"),
        ("only.css.br", b"br"),
    ])
    .unwrap()
}

/// Status, header lines and body of a request, through routing, loading and responding.
pub(crate) fn ask(site: &Site, line: &str, fields: &str) -> (u16, String, String) {
    let text = format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let head = h1::parse(text.as_bytes(), &h1::Limits::default()).unwrap().unwrap();
    let loaded;
    let mut scratch = Scratch::new();
    let reply = match site.route(&head.request, &mut scratch) {
        Route::Reply(reply) => reply,
        Route::File(found) => {
            assert!(found.file().index() < site.files());
            loaded = site.load(found.file(), &Budget::new(1 << 20, 1 << 20), SystemTime::now()).unwrap();
            loaded.respond(&head.request, found)
        }
    };
    let body = match &reply.body {
        Body::Empty => Vec::new(),
        Body::Static(bytes) => bytes.to_vec(),
        Body::Memory { region, range } => region[range.clone()].to_vec(),
        Body::Multipart(parts) => {
            let (content, plan) = match parts {
                crate::Multipart::Static(bytes, plan) => (*bytes, plan),
                crate::Multipart::Memory(region, plan) => (&region[..], plan),
            };
            let mut text = FieldBuf::new();
            let bytes = (0..).map_while(|number| {
                Some(match plan.piece(number, &mut text)? {
                    crate::Piece::Text(text) => text.to_vec(),
                    crate::Piece::Bytes(range) => content[range].to_vec(),
                })
            });
            bytes.collect::<Vec<_>>().concat()
        }
        Body::File { file, range } => {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut bytes, range.start).unwrap();
            bytes
        }
    };
    if let Some(length) = reply.content_length
        && !line.starts_with("HEAD")
    {
        assert_eq!(length, body.len() as u64, "{line}");
    }
    let fields = reply.pieces(|pieces| pieces.concat());
    assert!(fields.is_empty() || fields.ends_with(b"\r\n"));
    (reply.status.code(), String::from_utf8(fields).unwrap(), String::from_utf8_lossy(&body).into_owned())
}

fn body(site: &Site, path: &str) -> (u16, String) {
    let (status, _, body) = ask(site, &format!("GET {path}"), "");
    (status, body)
}

fn location(site: &Site, path: &str) -> String {
    let (status, fields, _) = ask(site, &format!("GET {path}"), "");
    assert_eq!(status, 301, "{path}");
    fields.split("\r\n").find_map(|line| line.strip_prefix("Location: ")).unwrap().to_owned()
}

#[test]
fn files_and_folders() {
    let site = embedded();
    for (path, content) in [
        ("/", "root"),
        ("/index.html", "root"),
        ("//", "root"),
        ("/?q", "root"),
        ("/..", "root"),
        ("/docs/", "docs"),
        ("/docs/index.html", "docs"),
        ("/docs/a%20b.html", "spaced"),
        ("/docs/../app.js", "js"),
        ("//app.js", "js"),
        ("/app.js.gz", "gz"),
        ("/caf%c3%a9/", "utf-8"),
    ] {
        assert_eq!(body(&site, path), (200, content.to_owned()), "{path}");
    }
    for path in [
        "/nothing",
        "/empty/",
        "/index.html/",
        "/Docs/",
        "/docs%2findex.html",
        "/docs/a%2520b.html",
        "/only.css",
    ] {
        assert_eq!(body(&site, path).0, 404, "{path}");
    }
    for path in ["/%", "/%zz", "/a%00b"] {
        assert_eq!(body(&site, path), (400, "400 Bad Request: the path is malformed\n".to_owned()), "{path}");
    }
    assert_eq!((site.len(), site.files(), site.warnings()), (9, 11, &[][..]));
}

#[test]
fn redirects_keep_the_host_and_the_query() {
    let site = embedded();
    assert_eq!(location(&site, "/docs"), "/docs/");
    assert_eq!(location(&site, "//docs"), "/docs/");
    assert_eq!(location(&site, "/x/../docs?a=1&b=%20"), "/docs/?a=1&b=%20");
    assert_eq!(location(&site, "/docs?"), "/docs/?");
    assert_eq!(location(&site, "/empty"), "/empty/");
    assert_eq!(location(&site, "//evil.example"), "/evil.example/");
    assert_eq!(location(&site, "///evil.example?x"), "/evil.example/?x");
    assert_eq!(location(&site, "/caf%C3%A9"), "/caf%C3%A9/");
    assert_eq!(location(&site, "/docs?a={b}`\\"), "/docs/?a=%7Bb%7D%60%5C");
    let (status, fields, text) = ask(&site, "HEAD /docs", "");
    assert_eq!((status, text.as_str()), (301, ""));
    // Not for ever: a page may take the folder's place.
    let lines = "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n";
    assert_eq!(fields, format!("Location: /docs/\r\n{lines}"));
    let (_, fields, _) = ask(&site, "GET /docs?a", "");
    assert_eq!(fields, format!("{lines}Location: /docs/?a\r\n"));
    let long = format!("GET /docs?{}", "q".repeat(2000));
    assert_eq!(ask(&site, &long, "").0, 414);
}

#[test]
fn methods() {
    let site = embedded();
    assert_eq!(ask(&site, "OPTIONS /", ""), (204, "Allow: GET, HEAD, OPTIONS\r\n".to_owned(), String::new()));
    assert_eq!(ask(&site, "OPTIONS *", "").0, 204);
    for method in ["POST", "PUT", "DELETE", "TRACE", "PATCH"] {
        let (status, fields, _) = ask(&site, &format!("{method} /"), "Content-Length: 0\r\n");
        assert_eq!(status, 405, "{method}");
        assert!(fields.starts_with("Allow: GET, HEAD, OPTIONS\r\n"), "{fields}");
    }
    assert_eq!(ask(&site, "BREW /", "").0, 501);
}

#[test]
fn encodings() {
    let site = embedded();
    let (_, fields, text) = ask(&site, "GET /app.js", "Accept-Encoding: gzip\r\n");
    assert_eq!(text, "gz");
    assert!(fields.contains("Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"), "{fields}");
    assert!(fields.contains("Content-Type: text/javascript; charset=utf-8\r\n"), "{fields}");
    let (_, fields, text) = ask(&site, "GET /app.js", "");
    assert_eq!(text, "js");
    assert!(fields.contains("Vary: Accept-Encoding\r\n") && !fields.contains("Content-Encoding"), "{fields}");
    assert_eq!(ask(&site, "GET /only.css", "Accept-Encoding: br\r\n").2, "br");
    let (status, fields, _) = ask(&site, "GET /only.css", "");
    assert_eq!(status, 404);
    assert!(fields.contains("Vary: Accept-Encoding\r\n"), "{fields}");
}

#[test]
fn compiled_in_names_are_checked() {
    static BAD: [&[(&str, &[u8])]; 6] = [
        &[("/a", b"")],
        &[("a/../b", b"")],
        &[("", b"")],
        &[("a", b""), ("a", b"")],
        &[("a", b""), ("a/b", b"")],
        &[("a/b", b""), ("a", b"")],
    ];
    for files in BAD {
        assert!(Site::embedded(files).is_err());
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn refusal(path: &Path, options: &Options) -> String {
    let message = Site::open(path, options).map(|site| site.len()).unwrap_err().to_string();
    message.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
}

#[test]
fn an_archive_is_served_from_its_own_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = archive(&[member("index.html", b'0', b"hello"), member("d/large", b'0', &[b'x'; 3000])]);
    let path = write(folder.path(), "site.tar", &bytes);
    let site = Site::open(&path, &Options::default()).unwrap();
    assert_eq!(body(&site, "/"), (200, "hello".to_owned()));
    assert_eq!(body(&site, "/d/large"), (200, "x".repeat(3000)));
    // Ids follow the names' order. Too large for the budget: from the archive, at its place in it.
    let large = site.load(FileId(0), &Budget::new(10_000, 2999), SystemTime::now()).unwrap();
    let head =
        h1::parse(b"GET /d/large HTTP/1.1\r\nHost: h\r\n\r\n", &h1::Limits::default()).unwrap().unwrap();
    assert!(
        matches!(large.respond(&head.request, Target::plain(FileId(0), &mut Scratch::new())).body, Body::File { range, .. } if range == (1536..4536))
    );
    // Does not fit any more: the same; and the budget is whole again afterwards.
    let budget = Budget::new(3000, 3000);
    let resident = site.load(FileId(0), &budget, SystemTime::now()).unwrap();
    assert!(resident.resident_bytes() > 3000);
    let second = site.load(FileId(1), &budget, SystemTime::now()).unwrap();
    assert!(matches!(
        second.respond(&head.request, Target::plain(FileId(1), &mut Scratch::new())).body,
        Body::File { .. }
    ));
    drop(resident);
    assert_eq!(budget.left(), 3000);
    assert!(site.load(FileId(99), &budget, SystemTime::now()).is_err());
}

#[test]
fn an_archive_changed_in_place_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "site.tar", &archive(&[member("a", b'0', b"one")]));
    let site = Site::open(&path, &Options::default()).unwrap();
    let other =
        write(folder.path(), "new.tar", &archive(&[member("a", b'0', b"two"), member("b", b'0', b"")]));
    std::fs::rename(&other, &path).unwrap();
    // Replaced by renaming: the old one is still what is open.
    assert_eq!(body(&site, "/a"), (200, "one".to_owned()));
    let site = Site::open(&path, &Options::default()).unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(600).unwrap();
    assert!(site.load(FileId(0), &Budget::new(100, 100), SystemTime::now()).is_err());
}

#[test]
fn what_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::default();
    let missing = folder.path().join("missing.tar");
    assert_eq!(refusal(&missing, &options), "cannot open it: No such file or directory (os error 2)");
    let empty = write(folder.path(), "empty.tar", b"");
    assert_eq!(refusal(&empty, &options), "the file is empty; a site is a tar archive or a directory");
    let packed = write(folder.path(), "site.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0");
    assert_eq!(
        refusal(&packed, &options),
        format!("this archive is compressed with gzip; unpack it first: gunzip -k {}", packed.display())
    );
    let device = refusal(Path::new("/dev/null"), &options);
    assert_eq!(device, "is neither a regular file nor a directory");
    let good = write(folder.path(), "good.tar", &archive(&[member("html/a", b'0', b"")]));
    let prefix = Options { prefix: Some("htm".to_owned()), ..Options::default() };
    assert_eq!(refusal(&good, &prefix), "there is no folder 'htm' in it; there is: html");
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    assert_eq!(refusal(folder.path(), &prefix), "there is no folder 'htm' in it; there is: sub");
}

#[test]
fn one_top_folder_is_probably_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        "a.tar",
        &archive(&[member("html/index.html", b'0', b""), member("html/x", b'0', b"")]),
    );
    let site = Site::open(&path, &Options::default()).unwrap();
    assert_eq!(site.warnings(), [Warning::OneTopFolder { prefix: "html".to_owned() }]);
    let site = Site::open(&path, &Options { prefix: Some("html".to_owned()), ..Options::default() }).unwrap();
    assert_eq!((site.warnings(), site.len()), (&[][..], 2));
    let path = write(
        folder.path(),
        "b.tar",
        &archive(&[member("html/index.html", b'0', b""), member("x", b'0', b"")]),
    );
    assert_eq!(Site::open(&path, &Options::default()).unwrap().warnings(), [Warning::NoIndex]);
    let path = write(folder.path(), "c.tar", &[0; 1024]);
    assert_eq!(Site::open(&path, &Options::default()).unwrap().warnings(), [Warning::NoFiles]);
}

#[test]
fn a_directory_is_never_left() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    write(folder.path(), "secret", b"secret");
    write(&root, "index.html", b"root");
    write(&root, "d/page.html", b"page");
    write(&root, ".git/config", b"hidden");
    write(&root, ".well-known/x", b"known");
    symlink("../secret", root.join("out")).unwrap();
    symlink(folder.path(), root.join("absolute")).unwrap();
    symlink("../..", root.join("d/up")).unwrap();
    symlink("nothing", root.join("dangling")).unwrap();
    symlink("self", root.join("self")).unwrap();
    symlink(".", root.join("d/loop")).unwrap();
    symlink("d/page.html", root.join("alias.html")).unwrap();
    symlink("d", root.join("again")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    let site = Site::open(&root, &Options::default()).unwrap();
    for (path, content) in [
        ("/", "root"),
        ("/d/page.html", "page"),
        ("/alias.html", "page"),
        ("/again/page.html", "page"),
        ("/.well-known/x", "known"),
    ] {
        assert_eq!(body(&site, path), (200, content.to_owned()), "{path}");
    }
    for path in [
        "/out",
        "/absolute/secret",
        "/../secret",
        "/d/up/secret",
        "/dangling",
        "/.git/config",
        "/pipe",
        "/d/loop/page.html",
    ] {
        assert_eq!(body(&site, path).0, 404, "{path}");
    }
    assert_eq!(site.len(), 5);
    let warnings: Vec<_> = site.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "'absolute' is left out: it is a link that leads out of the site (--follow-links)",
            "'again/loop' is left out: it is a link to a folder that contains it",
            "'again/up' is left out: it is a link that leads out of the site (--follow-links)",
            "'d/loop' is left out: it is a link to a folder that contains it",
            "'d/up' is left out: it is a link that leads out of the site (--follow-links)",
            "'dangling' is left out: it is a link to something that is not there",
            "'out' is left out: it is a link that leads out of the site (--follow-links)",
            "'pipe' is left out: it is a device, a socket or a named pipe",
            "'self' is left out: it is a link that leads to itself",
        ]
    );
}

#[test]
fn a_directory_that_changes_behind_our_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    write(folder.path(), "secret", b"secret");
    let page = write(&root, "d/page.html", b"page");
    write(&root, "a", b"a");
    let site = Site::open(&root, &Options::default()).unwrap();
    let budget = Budget::new(100, 100);
    // Content as it is now, not as it was listed.
    std::fs::write(&page, b"changed").unwrap();
    assert_eq!(body(&site, "/d/page.html"), (200, "changed".to_owned()));
    // The file becomes a link that leads out, then a pipe; then its folder becomes a link that
    // leads out.
    let file = FileId(1);
    std::fs::remove_file(&page).unwrap();
    assert_eq!(site.load(file, &budget, SystemTime::now()).unwrap_err().kind(), io::ErrorKind::NotFound);
    symlink("../../secret", &page).unwrap();
    assert!(site.load(file, &budget, SystemTime::now()).is_err());
    std::fs::remove_file(&page).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &page, FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    assert_eq!(site.load(file, &budget, SystemTime::now()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    std::fs::remove_dir_all(root.join("d")).unwrap();
    write(folder.path(), "elsewhere/page.html", b"secret");
    symlink("../elsewhere", root.join("d")).unwrap();
    assert!(site.load(file, &budget, SystemTime::now()).is_err());
    assert_eq!(budget.left(), 100);
}

#[test]
fn a_prefix_of_a_directory_is_its_root() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "html/index.html", b"i");
    write(folder.path(), "outside", b"o");
    symlink("../outside", folder.path().join("html/out")).unwrap();
    for prefix in ["html", "html/", "/html", "./html"] {
        let site =
            Site::open(folder.path(), &Options { prefix: Some(prefix.to_owned()), ..Options::default() })
                .unwrap();
        assert_eq!(body(&site, "/"), (200, "i".to_owned()), "{prefix}");
        assert_eq!(site.len(), 1, "{prefix}");
    }
    for prefix in ["../x", "..", "html/../..", "outside", "nothing"] {
        let refused =
            Site::open(folder.path(), &Options { prefix: Some(prefix.to_owned()), ..Options::default() });
        assert!(
            matches!(refused.map(|site| site.len()).unwrap_err().fault(), OpenFault::NoSuchPrefix { .. }),
            "{prefix}"
        );
    }
}

#[test]
fn last_modified_comes_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.txt", b"a");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
    let site = Site::open(folder.path(), &Options::default()).unwrap();
    assert!(ask(&site, "GET /a.txt", "").1.contains("Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT\r\n"));
    std::fs::File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(!ask(&site, "GET /a.txt", "").1.contains("Last-Modified"));
    assert_eq!(
        ask(&site, "GET /a.txt", "If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\n").0,
        Status::OK.code()
    );
}
