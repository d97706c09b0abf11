use super::*;
use proptest::prelude::*;
use sitar_http::h1;
use sitar_site::raw::format::{Flags, Footer, LINES_MAX, Record, VERSION};
use sitar_site::raw::{PackProbe, encode as encode_path, find, is_public, sha256, sidecar};
use sitar_site::{Body, Budget, OpenFault, Options, Route, Site, Warning};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: usize) {}
    fn advance(&self, _: usize, _: u64) {}
}

fn options(threads: usize, newest: Option<u64>, earlier: Option<&Path>) -> PackOptions {
    let earlier = earlier.map(|path| std::fs::File::open(path).unwrap());
    PackOptions {
        threads: NonZeroUsize::new(threads).unwrap(),
        newest,
        level: Level::Best,
        earlier,
        follow_links: false,
        config_files: false,
    }
}

fn packed(folder: &Path) -> (Vec<u8>, Packed) {
    let mut bytes = Vec::new();
    let done = pack(folder, &mut bytes, options(2, Some(NOVEMBER), None), &Quiet).unwrap();
    (bytes, done)
}

/// 14 November 2023: later than nothing that tests write, so every time is this one.
const NOVEMBER: u64 = 1_700_000_000;

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A text for which all three encodings are kept: binary numbers are of the few things that
/// Zstandard makes notably smaller than brotli does.
fn text(seed: &str) -> Vec<u8> {
    let numbers = (0..400).map(|number| format!("<p>{number:016b}</p>\n"));
    format!("<p>{seed}</p>\n").into_bytes().into_iter().chain(numbers.flat_map(String::into_bytes)).collect()
}

/// The style in a coding that the packer would not make.
fn taken_over() -> Vec<u8> {
    sitar_brotli::compress(&text("style"), 1).unwrap()
}

/// A site with a bit of everything.
fn site(folder: &Path) {
    write(folder, "index.html", &text("start"));
    write(folder, "docs/index.html", &text("docs"));
    write(folder, "app.3f2a1b9c.js", &text("script"));
    write(folder, "style.css", &text("style"));
    write(folder, "style.css.br", &taken_over());
    write(folder, "only.txt.gz", b"without its original");
    write(folder, "logo.png", &text("a picture by its name"));
    write(folder, "tiny.txt", b"tiny");
    write(folder, "empty", b"");
    write(folder, "LICENSE", &text("licence"));
    write(folder, "_headers", b"/*\n  X-A: b\n/style.css\n  Cache-Control: max-age=60\n");
    write(folder, "_redirects", b"/old/* /docs/:splat 301\n/away https://example.com/ 302\n");
    write(folder, "404.html", &text("missing"));
    write(folder, "docs/page.html", &text("clean address"));
    write(folder, ".git/config", b"hidden");
    write(folder, ".well-known/security.txt", &text("contact"));
    write(folder, &format!("long/{}/{}.html", "d".repeat(120), "n".repeat(200)), &text("long").repeat(2));
}

/// Status, header lines and body.
fn ask(site: &Site, path: &str, accept: &str) -> (u16, String, Vec<u8>) {
    let text = format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {accept}\r\n\r\n");
    let head = h1::parse(text.as_bytes(), &h1::Limits::default()).unwrap().unwrap();
    let loaded;
    let reply = match site.route(&head.request) {
        Route::Reply(reply) => reply,
        Route::File(found) => {
            loaded = site
                .load(found.file(), &Budget::new(1 << 30, 1 << 30), std::time::SystemTime::now())
                .unwrap();
            loaded.respond(&head.request, &found)
        }
    };
    let body = match &reply.body {
        // No request here asks for several ranges.
        Body::Multipart(_) => unreachable!(),
        Body::Empty => Vec::new(),
        Body::Static(bytes) => bytes.to_vec(),
        Body::Memory { region, range } => region[range.clone()].to_vec(),
        Body::File { .. } => unreachable!("everything fits"),
    };
    (reply.status.code(), String::from_utf8(reply.pieces(|pieces| pieces.concat())).unwrap(), body)
}

fn open(path: &Path) -> Site {
    Site::open(path, &Options::default()).unwrap()
}

/// The files that a program unpacks.
fn unpack(program: &[&str], archive: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (command, rest) = program.split_first().unwrap();
    let output =
        Command::new(command).args(rest).arg("-xf").arg(archive).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    folder
}

fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(folder).unwrap().to_owned();
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

#[test]
fn what_is_in_a_pack() {
    let folder = tempfile::tempdir().unwrap();
    site(folder.path());
    let (bytes, done) = packed(folder.path());
    let PackProbe::Pack(found) = find(&bytes.as_slice()).unwrap() else { panic!("no index") };
    let names: Vec<_> =
        found.members().map(|(name, _)| std::str::from_utf8(name).unwrap().to_owned()).collect();
    let long = format!("long/{}/{}.html", "d".repeat(120), "n".repeat(200));
    assert_eq!(
        names,
        [
            ".well-known/security.txt",
            ".well-known/security.txt.br",
            ".well-known/security.txt.gz",
            ".well-known/security.txt.zst",
            "404.html",
            "404.html.br",
            "404.html.gz",
            "404.html.zst",
            "LICENSE",
            "LICENSE.br",
            "LICENSE.gz",
            "LICENSE.zst",
            "_headers",
            "_redirects",
            "app.3f2a1b9c.js",
            "app.3f2a1b9c.js.br",
            "app.3f2a1b9c.js.gz",
            "app.3f2a1b9c.js.zst",
            "docs/index.html",
            "docs/index.html.br",
            "docs/index.html.gz",
            "docs/index.html.zst",
            "docs/page.html",
            "docs/page.html.br",
            "docs/page.html.gz",
            "docs/page.html.zst",
            "empty",
            "index.html",
            "index.html.br",
            "index.html.gz",
            "index.html.zst",
            "logo.png",
            &long,
            &format!("{long}.br"),
            &format!("{long}.gz"),
            &format!("{long}.zst"),
            "only.txt.gz",
            "style.css",
            "style.css.gz",
            "style.css.zst",
            "style.css.br",
            "tiny.txt",
        ]
        .map(ToOwned::to_owned)
    );
    assert_eq!((done.files, done.taken_over, done.fingerprinted, done.reused), (16, 2, 1, 0));
    assert_eq!(done.archive, bytes.len() as u64);
    assert_eq!(
        done.encodings.iter().map(|sum| (sum.suffix, sum.files)).collect::<Vec<_>>(),
        [("br", 8), ("gz", 9), ("zst", 9)]
    );
    // Header lines are kept once for all files of a kind.
    let of = |wanted: &str| {
        let at = names.iter().position(|name| name == wanted).unwrap();
        let record = found.members().nth(at).unwrap().1;
        (record.own, record.encoded)
    };
    assert_eq!(of("index.html"), of("docs/index.html"));
    assert_eq!(of("index.html.br"), of("docs/index.html.br"));
    let lines = &found.blocks()[usize::from(of("docs/index.html.br").1)];
    assert_eq!(
        std::str::from_utf8(&lines.content).unwrap(),
        "Content-Type: text/html; charset=utf-8\r\n\
         X-Content-Type-Options: nosniff\r\n\
         Content-Encoding: br\r\n\
         Vary: Accept-Encoding\r\n\
         Cache-Control: no-cache\r\n\
         Accept-Ranges: bytes\r\n"
    );
    assert_eq!(&*lines.not_modified, b"Vary: Accept-Encoding\r\nCache-Control: no-cache\r\n");
}

#[test]
fn every_tar_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    site(folder.path());
    let (bytes, _) = packed(folder.path());
    let archive = write(folder.path(), ".out.tar", &bytes);
    let mut programs = vec![vec!["tar"]];
    for program in ["busybox", "bsdtar"] {
        let found = Command::new(program).arg("--help").output().is_ok();
        if found {
            programs.push(if program == "busybox" { vec!["busybox", "tar"] } else { vec![program] });
        } else {
            println!("skipped: {program} is not installed");
        }
    }
    for program in programs {
        let unpacked = unpack(&program, &archive);
        let files = tree(unpacked.path());
        for (name, content) in tree(folder.path()) {
            if name.starts_with(".git") || name.starts_with(".out.tar") {
                assert!(!files.contains_key(&name), "{program:?} {}", name.display());
            } else {
                assert_eq!(files.get(&name), Some(&content), "{program:?} {}", name.display());
            }
        }
        assert!(files.contains_key(Path::new(".sitar/index")), "{program:?}");
        let modified = std::fs::metadata(unpacked.path().join("tiny.txt")).unwrap().modified().unwrap();
        assert_eq!(modified, UNIX_EPOCH + Duration::from_secs(NOVEMBER), "{program:?}");
    }
}

/// A pack, the plain tar that it is without its index, and the directory that comes out of it are one site: the same
/// bytes and the same header lines for each name and each `Accept-Encoding`.
fn assert_same_site(folder: &Path) {
    let (bytes, _) = packed(folder);
    let out = tempfile::tempdir().unwrap();
    let archive = write(out.path(), "site.tar", &bytes);
    let unpacked = unpack(&["tar"], &archive);
    // Something is appended, so the index counts no longer.
    let plain = write(out.path(), "plain.tar", &[&bytes[..], &[0; 512]].concat());
    let (pack, plain, directory) = (open(&archive), open(&plain), open(unpacked.path()));
    assert!(
        matches!(pack.warnings(), [] | [Warning::OneTopFolder { .. } | Warning::NoIndex | Warning::NoPages]),
        "{:?}",
        pack.warnings()
    );
    assert!(matches!(plain.warnings()[0], Warning::IndexUnused { .. }));
    assert_eq!((pack.len(), pack.files()), (directory.len(), directory.files()));
    for (name, content) in tree(folder) {
        let name = name.to_str().unwrap();
        let mut path = vec![b'/'];
        encode_path(name.as_bytes(), &mut path);
        let path = String::from_utf8(path).unwrap();
        let parent = path.rsplit_once("/").unwrap().0;
        for accept in ["identity", "br", "gzip", "zstd", "gzip, br;q=0.5, zstd;q=0.1", "deflate"] {
            let parents = [format!("/{}", parent.trim_start_matches('/')), format!("{parent}/")];
            for path in [&*path, &parents[0], &parents[1], "/old/x", "/away", "/nothing", "/docs/page"] {
                let expected = ask(&directory, path, accept);
                assert_eq!(ask(&pack, path, accept), expected, "{path} {accept}");
                assert_eq!(ask(&plain, path, accept), expected, "{path} {accept}");
            }
        }
        let is_sidecar = sidecar(name.as_bytes()).is_some_and(|(original, _)| {
            tree(folder).contains_key(Path::new(std::str::from_utf8(original).unwrap()))
        });
        // One that is not its file encoded may be left out.
        if is_public(name.as_bytes()) && !is_sidecar {
            let (status, fields, body) = ask(&pack, &path, "identity");
            assert_eq!((status, &body), (200, &content), "{name}");
            assert!(fields.contains("Cache-Control: ") && fields.contains("ETag: \""), "{fields}");
        }
    }
}

#[test]
fn a_pack_answers_like_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    site(folder.path());
    assert_same_site(folder.path());
    let (bytes, _) = packed(folder.path());
    let archive = write(folder.path(), ".out.tar", &bytes);
    let pack = open(&archive);
    let (_, fields, body) = ask(&pack, "/", "br");
    assert!(body.len() < 600);
    assert!(
        fields.contains("Content-Encoding: br\r\nVary: Accept-Encoding\r\nCache-Control: no-cache\r\n"),
        "{fields}"
    );
    let (_, fields, _) = ask(&pack, "/app.3f2a1b9c.js", "gzip");
    assert!(fields.contains("Cache-Control: public, max-age=31536000, immutable\r\n"), "{fields}");
    assert_eq!(ask(&pack, "/style.css", "br").2, taken_over());
    assert_eq!(ask(&pack, "/only.txt", "gzip").2, b"without its original");
    assert_eq!(ask(&pack, "/only.txt", "br").0, 404);
    // The rules travel along.
    let (_, fields, _) = ask(&pack, "/style.css", "gzip");
    assert!(fields.contains("Cache-Control: max-age=60\r\n") && fields.contains("X-A: b\r\n"), "{fields}");
    let (status, fields, _) = ask(&pack, "/old/page", "");
    assert!(status == 301 && fields.contains("Location: /docs/page\r\n"), "{fields}");
    assert_eq!(ask(&pack, "/docs/page", "").2, text("clean address"));
    let (status, fields, body) = ask(&pack, "/nothing", "gzip");
    assert!(status == 404 && body.len() < 900 && fields.contains("Content-Encoding: gzip\r\n"), "{fields}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn any_site_packs_and_answers_the_same(
        files in proptest::collection::btree_map(
            "[a-c%é ]{1,3}(/[a-c]{1,2}){0,2}(\\.(html|js|png|3f2a1b9c\\.css))?(\\.(br|gz|zst))?",
            (0_usize..4, any::<u8>()),
            1..12,
        )
    ) {
        let folder = tempfile::tempdir().unwrap();
        for (name, (kind, seed)) in &files {
            let content = match kind {
                0 => Vec::new(),
                1 => vec![*seed; 40],
                2 => text(&seed.to_string()),
                _ => (0..2000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect(),
            };
            // A name may be a folder of another: then it stays out.
            let path = folder.path().join(name);
            if std::fs::create_dir_all(path.parent().unwrap()).is_ok() {
                let _ = std::fs::write(path, content);
            }
        }
        assert_same_site(folder.path());
    }
}

#[test]
fn the_same_site_gives_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    site(one.path());
    // The other way round, with other times and modes.
    for (name, content) in tree(one.path()).into_iter().rev() {
        let path = write(two.path(), name.to_str().unwrap(), &content);
        let later = UNIX_EPOCH + Duration::from_secs(NOVEMBER + 99_999);
        std::fs::File::open(&path).unwrap().set_modified(later).unwrap();
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    pack(one.path(), &mut first, options(1, Some(NOVEMBER), None), &Quiet).unwrap();
    pack(two.path(), &mut second, options(4, Some(NOVEMBER), None), &Quiet).unwrap();
    assert!(first == second);
    // Without a newest time they keep their own, which is part of the site.
    pack(two.path(), &mut second, options(4, None, None), &Quiet).unwrap();
    let archive = write(one.path(), ".out.tar", &second[first.len()..]);
    let (_, fields, _) = ask(&open(&archive), "/tiny.txt", "");
    assert!(fields.contains("Last-Modified: Thu, 16 Nov 2023 01:59:59 GMT\r\n"), "{fields}");
}

#[test]
fn packing_again_takes_over_what_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    site(folder.path());
    let (first, _) = packed(folder.path());
    let earlier = write(folder.path(), ".out.tar", &first);
    write(folder.path(), "docs/index.html", &text("changed"));
    write(folder.path(), "copied.html", &text("start"));
    std::fs::rename(folder.path().join("LICENSE"), folder.path().join("COPYING")).unwrap();
    std::fs::remove_file(folder.path().join("style.css.br")).unwrap();
    let (full, _) = packed(folder.path());
    let mut again = Vec::new();
    let done = pack(folder.path(), &mut again, options(2, Some(NOVEMBER), Some(&earlier)), &Quiet).unwrap();
    assert!(again == full);
    // Start, its copy, the script, the contact, the licence under its new name, the long one; not the changed one, nor
    // the style, for which brotli was undecided.
    // Beside them what is missing and the page with a clean address.
    assert_eq!(done.reused, 8);
    // An archive that is no pack, or a damaged one, helps nothing and harms nothing.
    for (name, bytes) in [
        ("plain", &first[..first.len() - 512]),
        ("damaged", &{
            let mut bytes = first.clone();
            let at = bytes.len() - 3000;
            bytes[at] ^= 1;
            bytes
        }),
    ] {
        let earlier = write(folder.path(), ".other.tar", bytes);
        let mut again = Vec::new();
        let done =
            pack(folder.path(), &mut again, options(2, Some(NOVEMBER), Some(&earlier)), &Quiet).unwrap();
        assert!(again == full && done.reused == 0, "{name}");
    }
}

#[test]
fn a_wrong_encoding_in_the_earlier_pack_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.html", &text("right"));
    let (full, _) = packed(folder.path());
    // The encodings of another content, under the right hash: the index of a liar.
    let other = tempfile::tempdir().unwrap();
    write(other.path(), "a.html", &text("wrong"));
    let (lie, _) = packed(other.path());
    let PackProbe::Pack(truth) = find(&full.as_slice()).unwrap() else { panic!("no index") };
    let lie = reindexed(&lie, |members| members[0].1.hash = truth.members().next().unwrap().1.hash);
    let earlier = write(folder.path(), ".out.tar", &lie);
    let mut again = Vec::new();
    let done = pack(folder.path(), &mut again, options(1, Some(NOVEMBER), Some(&earlier)), &Quiet).unwrap();
    assert!(again == full && done.reused == 0);
}

#[test]
fn links_are_resolved_and_those_that_leave_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    write(folder.path(), "secret", b"secret");
    write(&root, "d/page.html", b"page");
    symlink("d/page.html", root.join("alias.html")).unwrap();
    symlink("d", root.join("again")).unwrap();
    std::fs::hard_link(root.join("d/page.html"), root.join("hard.html")).unwrap();
    symlink("../secret", root.join("out.html")).unwrap();
    let (bytes, done) = packed(&root);
    let archive = write(folder.path(), "site.tar", &bytes);
    let site = open(&archive);
    for path in ["/d/page.html", "/alias.html", "/again/page.html", "/hard.html"] {
        assert_eq!(ask(&site, path, "").2, b"page", "{path}");
    }
    assert_eq!(ask(&site, "/out.html", "").0, 404);
    assert_eq!(
        done.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["'out.html' is left out: it is a link that leads out of the site (--follow-links)"]
    );
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
}

#[test]
fn a_sidecar_never_takes_the_place_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.html", &text("a"));
    write(folder.path(), "a.html.br/x", b"x");
    assert_same_site(folder.path());
    let (bytes, done) = packed(folder.path());
    assert_eq!(done.encodings.iter().map(|sum| sum.files).collect::<Vec<_>>(), [0, 1, 1]);
    assert_eq!(ask(&open(&write(folder.path(), ".t", &bytes)), "/a.html.br/x", "").2, b"x");
}

#[test]
fn large_files_are_copied_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..6_000_000_u32).map(|n| (n >> 3) as u8).collect();
    write(folder.path(), "film.mp4", &content);
    assert_same_site(folder.path());
}

#[test]
fn a_folder_of_a_pack_is_its_root() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "html/index.html", &text("root"));
    write(folder.path(), "html2/x", b"x");
    let archive = write(folder.path(), ".t", &packed(folder.path()).0);
    for prefix in ["html", "/html/", "./html"] {
        let site =
            Site::open(&archive, &Options { prefix: Some(prefix.to_owned()), ..Options::default() }).unwrap();
        assert_eq!((site.len(), ask(&site, "/", "br").0), (4, 200), "{prefix}");
    }
    for prefix in ["htm", "../x", "html/index.html"] {
        let refused =
            Site::open(&archive, &Options { prefix: Some(prefix.to_owned()), ..Options::default() });
        assert_eq!(
            refused.map(|site| site.len()).unwrap_err().fault().to_string(),
            format!("there is no folder '{prefix}' in it; there is: html, html2")
        );
    }
}

#[test]
fn damage_is_noticed_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.html", &text("a"));
    write(folder.path(), "b.bin", b"binary");
    let (good, _) = packed(folder.path());
    let PackProbe::Pack(found) = find(&good.as_slice()).unwrap() else { panic!("no index") };
    let index = good.len() - 1024 - 512 - 512;
    // A body: a request for it gets an error, others get their files.
    let mut bytes = good.clone();
    bytes[found.members().nth(4).unwrap().1.offset as usize] ^= 1;
    let archive = write(folder.path(), ".t", &bytes);
    let site = open(&archive);
    let budget = Budget::new(1 << 20, 1 << 20);
    let results: Vec<_> =
        site.file_ids().map(|file| site.load(file, &budget, std::time::SystemTime::now())).collect();
    let failed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].to_string(), "it is not what was packed; copy the archive again, or pack it again");
    // The rules: refused, as they decide about everything.
    write(folder.path(), "_headers", b"/*\n  X-A: b\n");
    let (mut bytes, _) = packed(folder.path());
    let at = bytes.windows(6).position(|window| window == b"X-A: b").unwrap();
    bytes[at + 5] = b'c';
    let opened = Site::open(&write(folder.path(), ".t", &bytes), &Options::default());
    let error = opened.map(|site| site.len()).unwrap_err().to_string();
    assert!(error.contains("its rules do not have the hash that the index says"), "{error}");
    // The index: refused, whichever byte it is.
    for at in (index..good.len() - 1024).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        match find(&bytes.as_slice()) {
            Err(OpenFault::DamagedPack { .. }) => {}
            Ok(PackProbe::Plain) => assert!((good.len() - 1536..good.len() - 1520).contains(&at), "{at}"),
            Ok(PackProbe::Newer) => assert!((good.len() - 1520..good.len() - 1516).contains(&at), "{at}"),
            other => panic!("{at}: {other:?}"),
        }
    }
    // Cut short: no index there, and no archive either.
    for cut in [1, 512, 1024, 2000] {
        let archive = write(folder.path(), ".t", &good[..good.len() - cut]);
        let opened = Site::open(&archive, &Options::default());
        assert!(matches!(opened.map(|site| site.len()), Err(_) | Ok(5)), "{cut}");
    }
}

type Members = Vec<(Box<[u8]>, Record)>;
type Change = fn(&mut Members);

/// The same archive with another index, well sealed.
fn reindexed(archive: &[u8], change: impl FnOnce(&mut Members)) -> Vec<u8> {
    rewritten(archive, change, |_| {}, |_| {})
}

fn rewritten(
    archive: &[u8],
    members: impl FnOnce(&mut Members),
    lines: impl FnOnce(&mut Vec<u8>),
    footer: impl FnOnce(&mut Footer),
) -> Vec<u8> {
    let PackProbe::Pack(found) = find(&archive).unwrap() else { panic!("no index") };
    let mut all: Members = found.members().map(|(name, record)| (name.into(), record)).collect();
    // Of header lines there is one pair.
    for (_, record) in &mut all {
        (record.own, record.encoded) = (0, 0);
    }
    members(&mut all);
    let (mut bytes, mut names, mut block) = (Vec::new(), Vec::new(), b"A: b\r\n".to_vec());
    lines(&mut block);
    for (name, record) in &all {
        record.write(name.len() as u16, &mut bytes);
        names.extend_from_slice(name);
    }
    bytes.extend_from_slice(&(block.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&block);
    bytes.extend_from_slice(&names);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    let old = Footer::parse(archive[archive.len() - 1536..][..512].try_into().unwrap()).unwrap();
    let size = (bytes.len() + 512) as u64;
    let mut new = Footer {
        archive: old.offset + size + 1024,
        size,
        members: all.len() as u32,
        pairs: 1,
        lines: block.len() as u32,
        names: names.len() as u32,
        ..old.clone()
    };
    footer(&mut new);
    new.write(&mut bytes);
    let hash = sha256(&bytes);
    let whole = [&archive[..old.offset as usize], &bytes, &hash, &[0; 1024]];
    whole.concat()
}

#[test]
fn an_index_by_an_enemy() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.html", b"a page");
    write(folder.path(), "b.html", b"another page");
    let (good, _) = packed(folder.path());
    let refusal = |bytes: &[u8]| {
        let archive = write(folder.path(), ".t", bytes);
        match Site::open(&archive, &Options::default()) {
            Ok(site) => format!("opened with {} files", site.len()),
            Err(error) => match error.fault() {
                OpenFault::DamagedPack { what, .. } => (*what).to_owned(),
                other => other.to_string(),
            },
        }
    };
    assert_eq!(refusal(&reindexed(&good, |_| {})), "opened with 2 files");
    let lies = "the index has a body that lies outside of the archive or in another";
    let changes: [(Change, &str); 18] = [
        (|members| members[1].1.offset = members[0].1.offset, lies),
        (|members| members[1].1.offset += 1, lies),
        (|members| members[1].1.offset += 512, lies),
        (|members| members[1].1.offset = u64::MAX - 511, lies),
        (|members| members[0].1.offset = 0, lies),
        (|members| members[0].1.size = 513, lies),
        (|members| members[1].1.size = u64::MAX, lies),
        (|members| members[1].1.size = 600, lies),
        (|members| members[0].0 = (*b"../a").into(), "the index has a name that cannot be served"),
        (|members| members[0].0 = (*b"/a").into(), "the index has a name that cannot be served"),
        (|members| members[0].0 = (*b"a\0").into(), "the index has a name that cannot be served"),
        (|members| members[0].0 = (*b"").into(), "the index has a name that cannot be served"),
        (|members| members[0].0 = (*b".git/x").into(), "the index has a name that cannot be served"),
        (
            |members| members[0].0 = members[1].0.clone(),
            "the index has a name twice, or as a file and a folder",
        ),
        (
            |members| members[0].0 = (*b"b.html/x").into(),
            "the index has a name twice, or as a file and a folder",
        ),
        (|members| members[0].1.own = 1, "the index names header lines that it does not have"),
        (|members| members[1].1.encoded = 0xfffe, "the index names header lines that it does not have"),
        (|members| members[0].1.flags = Flags(16), "the index has flags of another version"),
    ];
    for (change, expected) in changes {
        assert_eq!(refusal(&reindexed(&good, change)), expected);
    }
    for lines in [
        &b"A: b\r\n\r\n<script>"[..],
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"A: b\rB: c\r\n",
        &[b'x'; LINES_MAX + 1],
        &[&b"A: "[..], &[b'x'; 2044], b"\r\n"].concat(),
        &b"A: b\r\n".repeat(15),
    ] {
        let bytes = rewritten(&good, |_| {}, |block| *block = lines.to_vec(), |_| {});
        assert_eq!(refusal(&bytes), "the index has header lines that may not stand in an answer");
    }
    for lines in [[&b"A: "[..], &[b'x'; 2043], b"\r\n"].concat(), b"A: b\r\n".repeat(14)] {
        let bytes = rewritten(&good, |_| {}, |block| block.clone_from(&lines), |_| {});
        assert_eq!(refusal(&bytes), "opened with 2 files");
    }
    let contradicts: [fn(&mut Footer); 9] = [
        |footer| footer.members += 16,
        |footer| footer.members = u32::MAX,
        |footer| footer.pairs = u32::MAX,
        |footer| footer.lines = u32::MAX,
        |footer| footer.names = u32::MAX,
        |footer| footer.size = u64::MAX - 511,
        |footer| footer.offset = 0,
        |footer| footer.archive += 512,
        |footer| footer.size = 0,
    ];
    for change in contradicts {
        let bytes = rewritten(&good, |_| {}, |_| {}, change);
        assert_eq!(refusal(&bytes), "the index's footer contradicts itself");
    }
    let newer = rewritten(&good, |_| {}, |_| {}, |footer| footer.version = VERSION + 1);
    let site = open(&write(folder.path(), ".t", &newer));
    assert_eq!(
        site.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "its index is not used, because it was made by a newer sitar: it is served like a plain tar",
            "there is no index.html at the top, and no rule for /: a visitor of / gets 404"
        ]
    );
    assert_eq!(ask(&site, "/b.html", "").2, b"another page");
}

#[test]
fn what_cannot_be_packed() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = pack(&missing, Vec::new(), options(1, None, None), &Quiet).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}: cannot open the directory: No such file or directory (os error 2)", missing.display())
    );
    let (_, done) = packed(folder.path());
    assert_eq!(done.warnings, [Warning::NoFiles]);
    // Rules that would not work.
    write(folder.path(), "_redirects", b"/fine /there\n/a https://api.example/:splat 200\n");
    let error = pack(folder.path(), Vec::new(), options(1, None, None), &Quiet).unwrap_err().to_string();
    assert!(error.contains("_redirects:2"), "{error}");
    std::fs::remove_file(folder.path().join("_redirects")).unwrap();
    // A full disk.
    write(folder.path(), "a.html", &text("a"));
    let full = std::fs::File::create("/dev/full").unwrap();
    let error = pack(folder.path(), full, options(2, None, None), &Quiet).unwrap_err();
    assert_eq!(error.to_string(), "cannot write the archive: No space left on device (os error 28)");
}

#[test]
fn what_is_stored_encoded_is_not_encoded_again() {
    let folder = tempfile::tempdir().unwrap();
    let gz = |name: &str, content: &[u8]| {
        // Stored in gzip without compressing it: an encoder would find much to save.
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::new(0).unwrap());
        let mut out = vec![0; compressor.gzip_compress_bound(content.len())];
        let length = compressor.gzip_compress(content, &mut out).unwrap();
        write(folder.path(), name, &out[..length]);
        out[..length].to_vec()
    };
    let script = gz("app.js", &text("script"));
    let picture = gz("logo.svgz", &text("picture"));
    let game = gz("game.data.unityweb", &text("game"));
    write(folder.path(), "other.js", &text("script"));
    write(
        folder.path(),
        "_headers",
        b"/app.js\n  Content-Encoding: gzip\n/*.unityweb\n  Content-Encoding: gzip\n",
    );
    let (bytes, done) = packed(folder.path());
    let archive = write(folder.path(), "../pack.tar", &bytes);
    // Of other.js alone.
    assert_eq!(done.encodings.iter().map(|coding| coding.files).collect::<Vec<_>>(), [1, 1, 1]);
    for site in [open(&archive), open(folder.path())] {
        for (path, media, body) in [
            ("/app.js", "text/javascript; charset=utf-8", &script),
            ("/logo.svgz", "image/svg+xml; charset=utf-8", &picture),
            ("/game.data.unityweb", "application/octet-stream", &game),
        ] {
            for accept in ["br, zstd, gzip", "identity"] {
                let (status, fields, got) = ask(&site, path, accept);
                assert_eq!((status, &got), (200, body), "{path} {accept}");
                assert_eq!(fields.matches("Content-Encoding: gzip\r\n").count(), 1, "{path} {fields}");
                assert_eq!(fields.matches("Content-Encoding").count(), 1, "{path} {fields}");
                assert!(fields.contains(&format!("Content-Type: {media}\r\n")), "{path} {fields}");
                assert!(!fields.contains("Vary"), "{path} {fields}");
            }
        }
    }
    std::fs::remove_file(archive).unwrap();
}

mod levels;
mod sidecars;
mod sizes;
