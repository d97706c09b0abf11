//! The archive itself: its members, for sitar and for other programs.

use super::answers::assert_same_site;
use super::*;
use sitar_site::Warning;
use sitar_site::raw::{PackProbe, find};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

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
