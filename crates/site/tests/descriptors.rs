//! A process that has no descriptors left: what cannot be looked at for the moment is looked at
//! again. Alone in its process, whose limit on open files it lowers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this file is a test")]
#![cfg(not(miri))]

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sitar_http::semantics::Coding;
use sitar_site::raw::encodings::{Encoding, Footer, Original, VERSION};
use sitar_site::raw::sha256;
use sitar_site::{Budget, Encodings, FileId, Options, OutdatedEncoding, Route, Scratch, Site};
use std::fs::{self, File};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Gives the file `a` an encoding that lies outside of the site.
fn encode_a(site: &mut Site) {
    let (_, file) = site.names().find(|(name, _)| *name == b"a").unwrap();
    let read = site.read_unencoded(file, 1000).unwrap();
    let mut bytes = b"BR".to_vec();
    let size = read.content.len() as u64;
    Original { version: read.version, hash: read.hash, size, is_best: true, encodings: 1 }
        .write(1, &mut bytes);
    Encoding { coding: Coding::Br, offset: 0, size: 2, hash: sha256(b"BR") }.write(&mut bytes);
    bytes.push(b'a');
    let (encoders, hash) = (Vec::new(), [0; 32]);
    Footer { version: VERSION, offset: 2, originals: 1, encodings: 1, names: 1, encoders, hash }
        .write(&mut bytes);
    let hash = sha256(&bytes[2..]);
    bytes.extend_from_slice(&hash);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    site.attach(Arc::new(Encodings::open(file.into()).unwrap()));
}

fn routed(site: &Site) -> FileId {
    let text = b"GET /a HTTP/1.1\r\nHost: h\r\nAccept-Encoding: br\r\n\r\n";
    let head = sitar_http::h1::parse(text, &Default::default()).unwrap().unwrap();
    let mut scratch = Scratch::new();
    let Route::File(found) = site.route(&head.request, &mut scratch) else { panic!("no such file") };
    found.file()
}

#[test]
fn an_encoding_is_used_again_when_there_are_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "the content").unwrap();
    std::thread::sleep(Duration::from_millis(120));
    let mut site = Site::open(folder.path(), &Options::default()).unwrap();
    encode_a(&mut site);
    let (encoded, budget) = (routed(&site), Budget::new(1000, 1000));
    let load = || site.load(encoded, &budget, SystemTime::now());

    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: limit.maximum }).unwrap();
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
    }
    let error = load().unwrap_err();
    assert!(!OutdatedEncoding::is(&error), "{error}");
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
    drop(held);
    assert_eq!(routed(&site), encoded);
    assert_eq!(load().unwrap().beginning(10).unwrap(), (b"BR".to_vec(), 2));
}
