//! Listings of folders without a page: what they show, what they leave out, and how they are sent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this file is a test, its functions too")]

mod ask;

use ask::{Answered, get};
use sitar_site::{Budget, Options, Route, Scratch, Site};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;
use tempfile::TempDir;

const FILES: [(&str, &str); 22] = [
    ("index.html", "<p>root"),
    ("files/b.txt", "0123456789"),
    ("files/a.txt", ""),
    ("files/B.txt", "b"),
    ("files/a.txt.gz", "encoding"),
    ("files/a.txt.br", "encoding"),
    ("files/only.txt.gz", "no original"),
    ("files/.hidden", "secret"),
    ("files/.git/config", "secret"),
    ("files/zeta/deep/x.txt", "x"),
    ("files/alpha/index.html", "<p>alpha"),
    ("files/alpha/y.txt", "y"),
    ("files/alone/.secret/x", "secret"),
    ("files/drafts/plan.txt", "rules hide it"),
    ("files/plan.txt", "rules hide it"),
    ("files/moved.txt", "rules send to another address"),
    ("page.html", "<p>page"),
    ("page/inner.txt", "inner"),
    (".well-known/acme-challenge/token", "token"),
    ("CNAME", "example.com"),
    (
        "_redirects",
        "/files/drafts/* 404!\n/files/drafts 404!\n/files/plan.txt 410!\n/files/moved.txt /page 302!\n\
         /ruled/* /page 200\n",
    ),
    ("_headers", "/files/*\n  X-Rule: yes\n"),
];

const WITH: Options = Options {
    prefix: None,
    follow_links: false,
    config_files: false,
    listing: true,
    hsts: None,
    is_private: false,
};

/// A directory, and an archive of it.
fn sites(files: &[(&str, &str)]) -> (TempDir, [Site; 2]) {
    let (folder, paths) = ask::folder_and_archive(files);
    (folder, paths.map(|path| Site::open(&path, &WITH).unwrap()))
}

fn json(site: &Site, target: &str) -> Answered {
    get(site, target, "Accept: application/json\r\n")
}

#[test]
fn a_listing_has_what_is_served_in_order() {
    let (_folder, sites) = sites(&FILES);
    for site in &sites {
        let answer = json(site, "/files/");
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.body,
            "{\"path\":\"/files/\",\"entries\":[\n\
             {\"name\":\"alpha\",\"href\":\"./alpha/\",\"type\":\"folder\"},\n\
             {\"name\":\"zeta\",\"href\":\"./zeta/\",\"type\":\"folder\"},\n\
             {\"name\":\"B.txt\",\"href\":\"./B.txt\",\"type\":\"file\",\"size\":1,\
             \"modified\":\"2023-11-14T22:13:20Z\"},\n\
             {\"name\":\"a.txt\",\"href\":\"./a.txt\",\"type\":\"file\",\"size\":0,\
             \"modified\":\"2023-11-14T22:13:20Z\"},\n\
             {\"name\":\"b.txt\",\"href\":\"./b.txt\",\"type\":\"file\",\"size\":10,\
             \"modified\":\"2023-11-14T22:13:20Z\"},\n\
             {\"name\":\"moved.txt\",\"href\":\"./moved.txt\",\"type\":\"file\",\"size\":29,\
             \"modified\":\"2023-11-14T22:13:20Z\"},\n\
             {\"name\":\"only.txt.gz\",\"href\":\"./only.txt.gz\",\"type\":\"file\",\"size\":11,\
             \"modified\":\"2023-11-14T22:13:20Z\"}\n\
             ],\"omitted\":0}\n"
        );
        let page = get(site, "/files/", "Accept: text/html\r\n");
        let rows: Vec<_> = page.body.lines().filter(|line| line.starts_with("<tr><td>")).collect();
        assert_eq!(
            rows[1..4],
            [
                "<tr><td><a href=\"./zeta/\"><bdi>zeta</bdi>/</a></td><td></td><td></td></tr>",
                "<tr><td><a href=\"./B.txt\"><bdi>B.txt</bdi></a></td><td>1 B</td><td>2023-11-14 22:13</td></tr>",
                "<tr><td><a href=\"./a.txt\"><bdi>a.txt</bdi></a></td><td>0 B</td><td>2023-11-14 22:13</td></tr>",
            ]
        );
        assert_eq!(rows.len(), 7);
        for part in [
            "<html lang=\"en\">",
            "<title>Index of /files/</title>",
            "<h1>Index of <bdi>/files/</bdi></h1>",
            "<p><a href=\"../\">Parent folder</a></p>",
            "<th scope=\"col\">Name</th>",
        ] {
            assert!(page.body.contains(part), "{part}: {}", page.body);
        }
    }
}

#[test]
fn only_folders_without_a_page_have_one() {
    let (folder, sites) = sites(&FILES);
    for site in &sites {
        for (path, status, found) in [
            ("/", 200, "<p>root"),
            ("/files/alpha/", 200, "<p>alpha"),
            ("/files", 301, "301"),
            ("/files/zeta", 301, "301"),
            // A page that has the folder's name.
            ("/page/", 301, "301"),
            ("/files/zeta/", 200, "Index of <bdi>/files/zeta/</bdi>"),
            ("//files/./zeta/deep/", 200, "Index of <bdi>/files/zeta/deep/</bdi>"),
            ("/ruled/", 200, "<p>page"),
            ("/nowhere/", 404, "404"),
            ("/files/b.txt/", 404, "404"),
            // Nothing that is served lies there.
            ("/files/alone/", 404, "404"),
            ("/files/.git/", 404, "404"),
            ("/files/drafts/", 404, "404"),
            ("/.well-known/", 404, "404"),
            ("/.well-known/acme-challenge/", 404, "404"),
            ("/.well-known/acme-challenge/token", 200, "token"),
        ] {
            let answer = get(site, path, "");
            assert_eq!(answer.status, status, "{path}");
            assert!(answer.body.contains(found), "{path}: {}", answer.body);
        }
    }
    let without = Site::open(&folder.path().join("site"), &Options::default()).unwrap();
    assert_eq!(get(&without, "/files/", "").status, 404);
    assert_eq!(without.files() + 2 * 9, sites[0].files(), "two numbers for each of nine folders");
}

#[test]
fn header_lines_and_conditions_are_those_of_a_file() {
    let (_folder, sites) = sites(&FILES);
    for site in &sites {
        let (page, object) = (get(site, "/files/", ""), json(site, "/files/"));
        for (answer, kind) in
            [(&page, "text/html; charset=utf-8"), (&object, "application/json; charset=utf-8")]
        {
            assert_eq!(answer.field("Content-Type").unwrap(), kind);
            assert_eq!(answer.field("Vary").unwrap(), "Accept");
            assert_eq!(answer.field("Cache-Control").unwrap(), "no-cache");
            assert_eq!(answer.field("X-Content-Type-Options").unwrap(), "nosniff");
            assert_eq!(answer.field("X-Rule").unwrap(), "yes");
            assert_eq!(answer.field("Content-Length").unwrap(), answer.body.len().to_string());
            assert_eq!(answer.field("Last-Modified"), None);
        }
        let policy = page.field("Content-Security-Policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert_eq!(object.field("Content-Security-Policy").unwrap(), "default-src 'none'");
        let (of_page, of_object) = (page.field("ETag").unwrap(), object.field("ETag").unwrap());
        assert_ne!(of_page, of_object);
        assert_eq!(get(site, "/files/", "").field("ETag").unwrap(), of_page);
        let same = get(site, "/files/", &format!("If-None-Match: {of_page}\r\n"));
        assert_eq!((same.status, same.field("Vary").unwrap().as_str()), (304, "Accept"));
        assert_eq!(json(site, "/files/").status, 200);
        let other = get(site, "/files/", &format!("If-None-Match: {of_object}\r\n"));
        assert_eq!(other.status, 200);
        let part = get(site, "/files/", "Range: bytes=0-14\r\n");
        assert_eq!((part.status, part.body.as_str()), (206, "<!doctype html>"));
        let head = ask::ask(site, "HEAD", "/files/", "a", "");
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.field("Content-Length"), page.field("Content-Length"));
        assert_eq!(ask::ask(site, "POST", "/files/", "a", "").status, 405);
    }
}

#[test]
fn another_content_has_another_etag() {
    let (folder, [before, _]) = sites(&FILES);
    let tag = |site: &Site| get(site, "/files/", "").field("ETag").unwrap();
    let first = tag(&before);
    std::fs::write(folder.path().join("site/files/b.txt"), "longer than it was").unwrap();
    let again = Site::open(&folder.path().join("site"), &WITH).unwrap();
    let second = tag(&again);
    assert_ne!(first, second);
    std::fs::write(folder.path().join("site/files/new.txt"), "").unwrap();
    assert_ne!(second, tag(&Site::open(&folder.path().join("site"), &WITH).unwrap()));
}

/// Names that try to be something else, as bytes.
const HOSTILE: [&[u8]; 20] = [
    b"<script>alert(1)<!--.txt",
    b"\"onmouseover=\"alert(1)",
    b"'><img src=x onerror=alert(1)>",
    b"&lt;b&gt;",
    b"javascript:alert(1)",
    b"data:text",
    b"a:b",
    b"\\evil.example",
    b"what?x=y",
    b"frag#ment",
    b"%2f",
    b"%2e%2e",
    b"100%",
    b"line\nfeed\r\nSet-Cookie: a=b",
    b"tab\there",
    b"\xff\xfe.bin",
    "\u{202e}txt.exe".as_bytes(),
    "\u{2066}isolated\u{2069}".as_bytes(),
    " space ".as_bytes(),
    "Grüße 🦀".as_bytes(),
];

#[test]
fn every_link_leads_to_its_file_whatever_its_name_is() {
    let folder = tempfile::tempdir().unwrap();
    for (number, name) in HOSTILE.iter().enumerate() {
        let path = folder.path().join(OsStr::from_bytes(name));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(OsStr::from_bytes(name)), number.to_string()).unwrap();
    }
    let site = Site::open(folder.path(), &WITH).unwrap();
    let hrefs = |page: &str| -> Vec<String> {
        let parts = page.split("<td><a href=\"").skip(1);
        parts.map(|part| part.split_once('"').unwrap().0.strip_prefix("./").unwrap().to_owned()).collect()
    };
    let root = get(&site, "/", "").body;
    let mut found = Vec::new();
    for href in hrefs(&root) {
        assert!(href.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%-._~/".contains(&byte)), "{href}");
        let page = get(&site, &format!("/{href}"), "").body;
        let inner = hrefs(&page);
        assert_eq!(inner.len(), 1, "{page}");
        found.push(get(&site, &format!("/{href}{}", inner[0]), "").body.parse::<usize>().unwrap());
        // Nothing but the template's own markup, in the one and in the other.
        for page in [&root, &page] {
            for (start, _) in page.match_indices('<') {
                assert!(TAGS.iter().any(|tag| page[start + 1..].starts_with(tag)), "{}", &page[start..]);
            }
            assert!(!page.contains(['\u{202e}', '\u{2066}', '\r', '\t']), "{page}");
        }
        // JSON says the same.
        let object = json(&site, &format!("/{href}")).body;
        assert_eq!(object.lines().count(), 3, "{object}");
        assert!(!object.contains(['\u{202e}', '\u{2066}']), "{object}");
    }
    found.sort_unstable();
    assert_eq!(found, (0..HOSTILE.len()).collect::<Vec<_>>());
    for shown in
        ["<bdi><code>U+202E</code>txt.exe</bdi>", "<bdi>\u{fffd}\u{fffd}.bin</bdi>", "<bdi>Grüße 🦀</bdi>"]
    {
        assert!(root.contains(shown), "{shown}: {root}");
    }
    assert!(
        json(&site, "/")
            .body
            .contains(r#"{"name":"\u202etxt.exe","href":"./%E2%80%AEtxt.exe/","type":"folder"}"#)
    );
}

/// The tags of a page.
const TAGS: [&str; 24] = [
    "!doctype html>",
    "html lang=",
    "head>",
    "meta ",
    "title>Index of ",
    "/title>",
    "style>:root",
    "/style>",
    "/head>",
    "body>",
    "main>",
    "h1>Index of <bdi>/",
    "/h1>",
    "p><a href=\"../\">",
    "table>",
    "caption>",
    "thead>",
    "tr>",
    "t",
    "a href=\"",
    "bdi>",
    "code>U+",
    "/",
    "/body>",
];

#[test]
fn listings_have_room_beside_the_budget_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "a").unwrap();
    let site = Site::open(folder.path(), &WITH).unwrap();
    let mut scratch = Scratch::new();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = sitar_http::h1::parse(request, &Default::default()).unwrap().unwrap();
    let Route::File(found) = site.route(&head.request, &mut scratch) else { panic!() };
    let file = found.file();
    assert_eq!(site.name_of(file).unwrap(), "the listing of /");
    let budget = Budget::new(0, 0);
    let one = site.load(file, &budget, SystemTime::now()).unwrap();
    assert!(site.describe(file, &budget, SystemTime::now()).is_ok());
    let each = one.resident_bytes();
    let mut kept = vec![one];
    let error = loop {
        match site.load(file, &budget, SystemTime::now()) {
            Ok(next) => kept.push(next),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(kept.len() * each > 40 << 20 && kept.len() < (40 << 20) / 1024);
    drop(kept.pop());
    assert!(site.load(file, &budget, SystemTime::now()).is_ok());
}

/// The server reads more than 1 MiB on another thread than small files, which do not wait for it.
#[test]
fn what_looks_at_many_files_counts_as_large() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("site.tar");
    write_many(&archive, 200);
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    for number in 0..200 {
        std::fs::write(root.join(number.to_string()), "").unwrap();
    }
    let size = |path: &Path| {
        let site = Site::open(path, &WITH).unwrap();
        let mut scratch = Scratch::new();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let head = sitar_http::h1::parse(request, &Default::default()).unwrap().unwrap();
        let Route::File(found) = site.route(&head.request, &mut scratch) else { panic!() };
        site.body_size(found.file(), &Budget::new(0, 0)).unwrap().length
    };
    assert!(size(&root) > 1 << 20);
    assert!(size(&archive) < 1 << 20);
}

#[test]
fn a_hundred_thousand_files() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("site.tar");
    write_many(&archive, 100_000);
    let site = Site::open(&archive, &WITH).unwrap();
    let object = json(&site, "/");
    assert_eq!(object.body.lines().count(), 100_002);
    assert!(
        object
            .body
            .contains("{\"name\":\"file-099999.txt\",\"href\":\"./file-099999.txt\",\"type\":\"file\"")
    );
    let page = get(&site, "/", "");
    assert_eq!(page.body.matches("<tr><td>").count(), 100_000);
    assert!(page.body.len() < 16 << 20, "{}", page.body.len());
}

/// An archive of empty files.
fn write_many(archive: &Path, count: usize) {
    let mut bytes = Vec::new();
    for number in 0..count {
        let mut header = [0; 512];
        let name = format!("file-{number:06}.txt");
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(b"00000000000");
        header[136..147].copy_from_slice(b"14524657400");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes.extend_from_slice(&header);
    }
    bytes.extend_from_slice(&[0; 1024]);
    std::fs::write(archive, bytes).unwrap();
}
