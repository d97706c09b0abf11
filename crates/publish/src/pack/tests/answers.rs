//! A pack answers as the directory does that it was made of.

use super::*;
use proptest::prelude::*;
use sitar_site::raw::{encode as encode_path, is_public, sidecar};
use sitar_site::{Options, Site, Warning};
use std::path::Path;

/// A pack, the plain tar that it is without its index, and the directory that comes out of it are
/// one site: the same bytes and the same header lines for each name and each `Accept-Encoding`.
pub(super) fn assert_same_site(folder: &Path) {
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

/// The header lines that a pack brings are made without the policy, which is added where it is
/// served.
#[test]
fn a_pack_carries_hsts_where_it_is_opened_with_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "index.html", &text("root"));
    write(folder.path(), "docs/index.html", b"docs");
    write(folder.path(), "404.html", b"lost");
    write(folder.path(), "own/a.txt", b"a");
    write(folder.path(), "none/a.txt", b"a");
    let rules = b"/own/*\n  Strict-Transport-Security: max-age=60\n/none/*\n  ! Strict-Transport-Security\n";
    write(folder.path(), "_headers", rules);
    let archive = write(folder.path(), ".out.tar", &packed(folder.path()).0);
    let hsts = sitar_site::Hsts::parse("max-age=31536000").unwrap();
    let pack = Site::open(&archive, &Options { hsts: Some(hsts), ..Options::default() }).unwrap();
    let plain = open(&archive);
    assert!(pack.is_pack());
    for (path, status, values) in [
        ("/", 200, &["max-age=31536000"][..]),
        ("/x", 404, &["max-age=31536000"]),
        ("/docs", 301, &["max-age=31536000"]),
        ("/own/a.txt", 200, &["max-age=60"]),
        ("/own/x", 404, &["max-age=60"]),
        ("/none/a.txt", 200, &[]),
        ("/none/x", 404, &[]),
    ] {
        for accept in ["identity", "br"] {
            let (got, fields, body) = ask(&pack, path, accept);
            let lines = fields.lines().filter_map(|line| line.strip_prefix("Strict-Transport-Security: "));
            assert_eq!((got, &lines.collect::<Vec<_>>()[..]), (status, values), "{path} {accept}: {fields}");
            let fields = fields.replacen("Strict-Transport-Security: max-age=31536000\r\n", "", 1);
            assert_eq!((got, fields, body), ask(&plain, path, accept), "{path} {accept}");
        }
    }
}
