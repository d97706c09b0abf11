//! Replays the fuzzers' corpus: what was found once stays found, on any toolchain.

#![allow(clippy::unwrap_used, reason = "all of this file is a test, its functions too")]

use std::path::{Path, PathBuf};

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
        let files = sitar_site::checks::archive(&bytes);
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
        let files = sitar_site::checks::index(&bytes);
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
fn headers() {
    for (_, bytes) in corpus("headers") {
        sitar_site::checks::headers(&bytes);
    }
}

#[test]
fn redirects() {
    for (_, bytes) in corpus("redirects") {
        sitar_site::checks::redirects(&bytes);
    }
}

#[test]
fn paths() {
    for (_, bytes) in corpus("path") {
        sitar_site::checks::path(&bytes);
    }
}
