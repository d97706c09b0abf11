//! Sidecars that the directory brings.

use super::answers::assert_same_site;
use super::*;
use crate::sidecar::tests::{br, gz, zst};
use crate::sidecar::{Comparison, compare};
use sitar_http::semantics::Coding;
use sitar_site::raw::format::Record;
use sitar_site::raw::{PackProbe, find};
use std::os::unix::fs::symlink;
use std::time::{Duration, UNIX_EPOCH};

/// Names and contents of a pack without its index.
fn members(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let PackProbe::Pack(found) = find(&bytes).unwrap() else { panic!("no index") };
    let member = |(name, record): (&[u8], Record)| {
        let body = &bytes[record.offset as usize..][..record.size as usize];
        (std::str::from_utf8(name).unwrap().to_owned(), body.to_vec())
    };
    found.members().map(member).collect()
}

#[test]
fn what_is_not_its_file_encoded_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (new, old) = (text("new"), text("old"));
    for (name, bytes) in [
        // Another content, in each coding.
        ("a.js", &new),
        ("a.js.gz", &gz(&old)),
        ("b.js", &new),
        ("b.js.br", &br(&old)),
        ("b.js.gz", &gz(&new)),
        ("b.js.zst", &zst(&old)),
        // No coding at all, cut short, empty, two members, and a bomb.
        ("c.js", &new),
        ("c.js.br", &b"\xff no brotli".to_vec()),
        ("c.js.gz", &gz(&new)[..60].to_vec()),
        ("c.js.zst", &Vec::new()),
        ("d.js", &new),
        ("d.js.gz", &[gz(&new[..100]), gz(&new[100..])].concat()),
        ("d.js.br", &br(&vec![0; 4 << 20])),
        // Of a type that is not encoded, and of a file too short for it: nothing takes its place.
        ("e.png", &new),
        ("e.png.gz", &gz(&old)),
        ("f.txt", &b"new".to_vec()),
        ("f.txt.gz", &gz(b"old")),
        // As it should be, although larger; and without an original.
        ("g.txt", &b"same".to_vec()),
        ("g.txt.gz", &gz(b"same")),
        ("only.js.gz", &b"no original".to_vec()),
    ] {
        write(folder.path(), name, bytes);
    }
    symlink("a.js", folder.path().join("a.js.zst")).unwrap();
    std::fs::hard_link(folder.path().join("a.js"), folder.path().join("a.js.br")).unwrap();
    let (bytes, done) = packed(folder.path());
    let packed = members(&bytes);
    for name in ["a.js", "b.js", "c.js", "d.js"] {
        for (coding, suffix) in [(Coding::Br, "br"), (Coding::Gzip, "gz"), (Coding::Zstd, "zst")] {
            let encoded = &packed[&format!("{name}.{suffix}")];
            assert_eq!(compare(coding, encoded, &new), Comparison::Same, "{name}.{suffix}");
        }
    }
    assert_eq!(packed["b.js.gz"], gz(&new));
    assert_eq!(packed["g.txt.gz"], gz(b"same"));
    assert_eq!(packed["only.js.gz"], b"no original");
    let others: Vec<_> = packed.keys().filter(|name| !name.contains(".js")).collect();
    assert_eq!(others, ["e.png", "f.txt", "g.txt", "g.txt.gz"]);
    assert_eq!((done.files, done.taken_over, done.replaced), (10, 3, 12));
    let other = "it decodes to something other than its file, such as an older version; \
                 sitar encodes that where it pays";
    let broken = "browsers cannot decode it to the end; sitar encodes its file where that pays";
    let expected = [
        ("a.js.br", broken),
        ("a.js.gz", other),
        ("a.js.zst", broken),
        ("b.js.br", other),
        ("b.js.zst", other),
        ("c.js.br", broken),
        ("c.js.gz", broken),
        ("c.js.zst", broken),
        ("d.js.br", other),
        ("d.js.gz", other),
        ("e.png.gz", other),
        ("f.txt.gz", other),
    ];
    assert_eq!(
        done.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        expected.map(|(name, why)| format!("'{name}' is left out: {why}"))
    );
    assert_same_site(folder.path());
}

#[test]
fn sidecars_of_sidecars_are_those_of_what_is_packed() {
    let folder = tempfile::tempdir().unwrap();
    let (new, old) = (text("new"), text("old"));
    for (name, bytes) in [
        ("a.js", &new),
        ("a.js.gz", &gz(&old)),
        // Right, and useless with what it encodes.
        ("a.js.gz.br", &br(&gz(&old))),
        ("b.js", &new),
        ("b.js.gz", &gz(&new)),
        ("b.js.gz.br", &br(&gz(&new))),
        // Of something that is not there: nothing may be made that would be it.
        ("c.js", &new),
        ("c.js.gz.br", &br(&gz(&old))),
    ] {
        write(folder.path(), name, bytes);
    }
    let (bytes, done) = packed(folder.path());
    let packed = members(&bytes);
    assert_eq!(
        packed.keys().collect::<Vec<_>>(),
        [
            "a.js",
            "a.js.br",
            "a.js.gz",
            "a.js.zst",
            "b.js",
            "b.js.br",
            "b.js.gz",
            "b.js.gz.br",
            "b.js.zst",
            "c.js",
            "c.js.br",
            "c.js.gz.br",
            "c.js.zst"
        ]
    );
    assert_eq!(compare(Coding::Gzip, &packed["a.js.gz"], &new), Comparison::Same);
    assert_eq!(
        done.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "'a.js.gz' is left out: it decodes to something other than its file, such as an older version; \
             sitar encodes that where it pays",
            "'a.js.gz.br' is left out: it encodes a file that is left out",
        ]
    );
    assert_same_site(folder.path());
}

#[test]
fn a_right_sidecar_is_packed_as_no_older_than_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let new = text("new");
    for (name, bytes, time) in [
        ("a.js", &new, NOVEMBER - 10),
        ("a.js.gz", &gz(&new), NOVEMBER - 1000),
        ("a.js.gz.br", &br(&gz(&new)), NOVEMBER - 2000),
        ("a.js.zst", &zst(&new), NOVEMBER - 5),
    ] {
        let path = write(folder.path(), name, bytes);
        let time = UNIX_EPOCH + Duration::from_secs(time);
        std::fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
    let mut bytes = Vec::new();
    pack(folder.path(), &mut bytes, options(2, None, None), &Quiet).unwrap();
    let PackProbe::Pack(found) = find(&bytes.as_slice()).unwrap() else { panic!("no index") };
    let times: Vec<_> = found
        .members()
        .map(|(name, record)| (String::from_utf8(name.to_vec()).unwrap(), record.mtime.unwrap()))
        .collect();
    assert_eq!(
        times,
        [
            ("a.js".to_owned(), NOVEMBER - 10),
            ("a.js.br".to_owned(), NOVEMBER - 10),
            ("a.js.gz".to_owned(), NOVEMBER - 10),
            ("a.js.gz.br".to_owned(), NOVEMBER - 10),
            ("a.js.zst".to_owned(), NOVEMBER - 5),
        ]
    );
    // As it would be in the directory, it is not sent from there; from the pack and whatever comes
    // of it, it is.
    let archive = write(folder.path(), ".site.tar", &bytes);
    let plain = write(folder.path(), ".plain.tar", &[&bytes[..], &[0; 512]].concat());
    let unpacked = unpack(&["tar"], &archive);
    for path in [&archive, &plain, unpacked.path()] {
        let (_, fields, body) = ask(&open(path), "/a.js", "gzip");
        assert!(
            fields.contains("Content-Encoding: gzip\r\n") && body == gz(&new),
            "{}: {fields}",
            path.display()
        );
    }
    assert_eq!(ask(&open(folder.path()), "/a.js", "gzip").2, new);
}
