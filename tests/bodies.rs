//! Real documentation, byte for byte: every file fetched over HTTPS equals the original, from a
//! folder and from an archive, over one connection and over 32, by HTTP/1.1 and HTTP/2, by every
//! engine. The exception are dotfiles, which are not served at all.
//!
//! A sample of 500 files of each tree by default, and of fewer with `SITAR_SAMPLE`; with
//! `SITAR_DOCS_ALL=1` in the environment, all of them.

use crate::common::client::{Client, Response, config};
use crate::common::h2;
use crate::common::site::{Site, encoded};
use crate::common::{self, Server, have, run, skip};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const SAMPLE: usize = 500;
const CONNECTIONS: usize = 32;
/// Connections of HTTP/2, files asked for at a time on each, and the windows of those.
const STREAMS: [(usize, usize, u32); 2] = [(1, 100, 65_535), (CONNECTIONS, 8, h2::WINDOW_MAX)];
/// Each engine and how its line in the start report begins.
const ENGINES: [(&str, &str); 3] = [
    ("uring", "engine   io_uring (batched"),
    ("sqpoll", "engine   io_uring with a polling thread"),
    ("epoll", "engine   epoll"),
];

#[test]
fn python_documentation() {
    let root = Path::new("/usr/share/doc/python3-doc/html");
    if !root.join("index.html").exists() {
        skip("no python3-doc on this machine; `cargo xtask setup` installs it");
    } else if have(&["tar"]) {
        compare(root);
    }
}

#[test]
fn rust_documentation() {
    let sysroot = run("rustc", ["--print", "sysroot"]).ok().text();
    let root = Path::new(sysroot.trim()).join("share/doc/rust/html");
    if !root.join("index.html").exists() {
        skip("the toolchain has no documentation; `rustup component add rust-docs` installs it");
    } else if have(&["tar"]) {
        compare(&root);
    }
}

fn compare(root: &Path) {
    let originals = files(root);
    assert!(originals.len() > SAMPLE, "{} has only {} files", root.display(), originals.len());
    let all = std::env::var_os("SITAR_DOCS_ALL").is_some_and(|value| value == OsStr::new("1"));
    let chosen = if all { originals } else { sample(root, &originals) };

    let site = Site::new();
    for path in &chosen {
        let copy = site.path().join(path);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        // Follows links, as `cp -L` does.
        std::fs::copy(root.join(path), copy).unwrap();
    }
    let beside = TempDir::new().unwrap();
    let archive = site.tar(&beside);
    for (engine, said) in ENGINES {
        if engine == "sqpoll" && std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
            skip("the polling engine needs two cores");
            continue;
        }
        for served in [site.path(), &archive] {
            let server = Server::start_with([served], &[("SITAR_ENGINE", engine)]);
            assert!(server.said().contains(said), "not on {engine}:\n{}", server.said());
            fetch(&server, site.path(), &chosen, 1);
            fetch(&server, site.path(), &chosen, CONNECTIONS);
            for (connections, streams, window) in STREAMS {
                fetch_by_streams(&server, site.path(), &chosen, connections, streams, window);
            }
        }
    }
}

/// Fetches all files over that many connections, each kept for its share.
fn fetch(server: &Server, originals: &Path, paths: &[PathBuf], connections: usize) {
    let config = config(server);
    std::thread::scope(|scope| {
        for number in 0..connections {
            let config = &config;
            scope.spawn(move || {
                let mut client = Client::open(config, server.address()).unwrap();
                for path in paths.iter().skip(number).step_by(connections) {
                    let target = encoded(path.to_str().unwrap());
                    let got = client.get(&target).unwrap_or_else(|error| panic!("{target}: {error}"));
                    check(&target, path, originals, &got);
                }
            });
        }
    });
}

/// The same by HTTP/2, `streams` files at a time on each connection.
fn fetch_by_streams(
    server: &Server,
    originals: &Path,
    paths: &[PathBuf],
    connections: usize,
    streams: usize,
    window: u32,
) {
    let config = h2::config(server);
    std::thread::scope(|scope| {
        for number in 0..connections {
            let config = &config;
            scope.spawn(move || {
                let mut client = h2::Client::open(config, server.address(), window).unwrap();
                let own: Vec<&PathBuf> = paths.iter().skip(number).step_by(connections).collect();
                for some in own.chunks(streams) {
                    let targets: Vec<String> =
                        some.iter().map(|path| encoded(path.to_str().unwrap())).collect();
                    let asked: Vec<&str> = targets.iter().map(String::as_str).collect();
                    let answers = client.get_all(&asked, &[]);
                    let answers = answers.unwrap_or_else(|error| panic!("{asked:?}: {error}"));
                    for ((target, path), got) in targets.iter().zip(some).zip(&answers) {
                        check(target, path, originals, got);
                    }
                }
            });
        }
    });
}

fn check(target: &str, path: &Path, originals: &Path, got: &Response) {
    if is_hidden(path) {
        assert_eq!(got.status, 404, "{target}");
        return;
    }
    assert_eq!(got.status, 200, "{target}");
    let original = std::fs::read(originals.join(path)).unwrap();
    assert!(got.body == original, "{target}: {} bytes, not {}", got.body.len(), original.len());
    assert_eq!(got.field("content-length"), Some(original.len().to_string().as_str()), "{target}");
    assert_eq!(got.field("content-encoding"), None, "{target}: none was asked for");
}

/// Dotfiles are never served (`.buildinfo` and `.nojekyll` in these trees), so that no `.git` ever
/// is.
fn is_hidden(path: &Path) -> bool {
    path.iter().any(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Evenly spread over the sorted names, and the largest file.
fn sample(root: &Path, sorted: &[PathBuf]) -> Vec<PathBuf> {
    let count = SAMPLE / (common::sample() / 2).max(1) - 1;
    let mut chosen: Vec<PathBuf> = (0..count).map(|i| sorted[i * sorted.len() / count].clone()).collect();
    let size = |path: &&PathBuf| root.join(path).metadata().unwrap().len();
    let largest = sorted.iter().max_by_key(size).unwrap();
    if !chosen.contains(largest) {
        chosen.push(largest.clone());
    }
    chosen
}

/// Every file below `root` with links followed, relative and sorted. Dangling links and names that
/// are not UTF-8 are left out.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        // A link to a folder above would never end.
        assert!(depth < 32, "{}", folder.display());
        for entry in std::fs::read_dir(root.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            match root.join(&path).metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push((path, depth + 1)),
                Ok(metadata) if metadata.is_file() && path.to_str().is_some() => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}
