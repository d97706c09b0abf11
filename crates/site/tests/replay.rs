//! Replays the fuzzers' corpus: what was found once stays found, on any toolchain. Then tries
//! mutations of it for a few seconds.

#![allow(clippy::unwrap_used, reason = "all of this file is a test, its functions too")]

use std::path::{Path, PathBuf};

#[path = "../../../fuzz/mutation.rs"]
mod mutation;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{} has lost its seeds", folder.display());
    files
}

#[test]
fn archives() {
    for (path, bytes) in corpus("tar") {
        let files = sitar_site::properties::archive(&bytes);
        let name = path.file_name().unwrap().to_str().unwrap();
        // A seed's name says what it is; what a fuzzer adds is named by its hash and may be either.
        if name.starts_with("good-") {
            assert!(files.unwrap() > 0, "{name}");
        } else if name.starts_with("bad-") {
            assert!(files.is_err(), "{name}");
        }
    }
}

#[test]
fn indexes() {
    for (path, bytes) in corpus("index") {
        let files = sitar_site::properties::index(&bytes);
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("good-") {
            assert!(files.unwrap().is_some(), "{name}");
        } else if name.starts_with("bad-") {
            assert!(files.is_err(), "{name}");
        } else if name.starts_with("none-") {
            assert_eq!(files.unwrap(), None, "{name}");
        }
    }
}

#[test]
fn encodings() {
    for (path, bytes) in corpus("encodings") {
        let originals = sitar_site::properties::encodings(&bytes);
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("good-") {
            originals.unwrap();
        } else if name.starts_with("bad-") {
            assert!(originals.is_err(), "{name}");
        }
    }
}

#[test]
fn headers() {
    for (_, bytes) in corpus("headers") {
        sitar_site::properties::headers(&bytes);
    }
}

#[test]
fn redirects() {
    for (_, bytes) in corpus("redirects") {
        sitar_site::properties::redirects(&bytes);
    }
}

#[test]
fn paths() {
    for (_, bytes) in corpus("path") {
        sitar_site::properties::path(&bytes);
    }
}

mutation::targets! {
    tar: |bytes| drop(sitar_site::properties::archive(bytes)), TAR;
    index: |bytes| drop(sitar_site::properties::index(bytes)), INDEX;
    encodings: |bytes| drop(sitar_site::properties::encodings(bytes)), ENCODINGS;
    path: sitar_site::properties::path, PATHS;
    headers: sitar_site::properties::headers, HEADERS;
    redirects: sitar_site::properties::redirects, REDIRECTS;
}

const TAR: &[&[u8]] = &[
    b"ustar\x0000",
    b"ustar  \0",
    b"././@LongLink",
    b"pax_global_header",
    b"11 path=a\n",
    b"12 size=10\n",
    b"GNU.sparse.major=1\n",
    b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n",
    b"26 GNU.sparse.realsize=11\n",
    b"22 GNU.sparse.size=11\n",
    b"26 GNU.sparse.map=0,1,3,2\n",
    b"23 GNU.sparse.offset=1\n25 GNU.sparse.numbytes=1\n",
    b"23 GNU.sparse.name=a/b\n",
    b"2\n0\n1\n4\n2\n",
    b"00000000001\x0000000000002\0",
    b"S",
    b"L",
    b"K",
    b"x",
    b"g",
    b"5",
    b"1",
    b"2",
    b"0000644\0",
    b"77777777777\0",
    b"\x80\0\0\0\0\0\0\0\0\0\0\x01",
    b"../",
    b"./",
    b"/",
    b".git/",
    b"index.html",
    b"index.html.gz",
    b"index.html.br",
    b"\0",
];

const ENCODINGS: &[&[u8]] = &[
    b"sitar encodings\0",
    b"index.html",
    b"a/b",
    b"../",
    b"/",
    b".env",
    b"\x01\0\0\0",
    b"\x02\0\0\0",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\0",
    b"\x07\0\0\0\0\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\x01",
    b"\x01\x03",
];

const INDEX: &[&[u8]] = &[
    b".sitar/index",
    b"_headers",
    b"_redirects",
    b"index.html",
    b".br",
    b".gz",
    b".zst",
    b"../",
    b"/",
    b"\0",
    b"\r\n",
    b"Content-Length: 1\r\n",
    b"X: y\r\n",
    b"ETag: ",
    b"\xff\xff\xff\xff",
];

const PATHS: &[&[u8]] = &[
    b"/", b"//", b".", b"..", b"/./", b"/../", b"%2e", b"%2E%2e", b"%2f", b"%2F", b"%5c", b"%00", b"%",
    b"%25", b"%c3%a9", b"\\", b"?", b"#", b";", b"\0", b"%0d%0a",
];

const HEADERS: &[&[u8]] = &[
    b"\n/*\n",
    b"\n/:a/*\n",
    b"\nhttps://:p.pages.dev/*\n",
    b"\n  ",
    b"\n  ! ",
    b"\r\n",
    b"\r",
    b": ",
    b":splat",
    b":a",
    b":p",
    b"*",
    b"/",
    b"#",
    b"Content-Type",
    b"Cache-Control",
    b"Content-Length: 1",
    b"Location: /x",
    b"ETag: x",
    b"Set-Cookie: a=b",
    b"X-A: b",
    b"! ETag",
    b"X-Content-Type-Options",
    b"\t",
    b"\0",
    b"%0d%0a",
    b"\x80",
];

const REDIRECTS: &[&[u8]] = &[
    b"\n/* ",
    b"\n/:a/* ",
    b"\n/x/* ",
    b"\nhttps://:p.pages.dev/* ",
    b" https://good.example",
    b" http://",
    b" https://",
    b"://",
    b"/:splat",
    b":splat",
    b":a",
    b":p",
    b"*",
    b"/",
    b"//",
    b"\\",
    b"@",
    b":",
    b":8443",
    b"[::1]",
    b".",
    b"?",
    b"?x=",
    b"#",
    b"&",
    b"=",
    b" id=:id",
    b" id=1",
    b" 200",
    b" 200!",
    b" 301",
    b" 302!",
    b" 404",
    b"!",
    b"\t",
    b"\r\n",
    b"\0",
    b"%5C",
    b"%2F",
    b"%0d%0a",
    b"..",
    b"/index.html",
];
