use super::*;
use sitar_http::h1;
use sitar_site::{Body, Budget, Options, Route, Scratch, Site};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    let mut scratch = Scratch::new();
    let reply = match site.route(&head.request, &mut scratch) {
        Route::Reply(reply) => reply,
        Route::File(found) => {
            loaded = site
                .load(found.file(), &Budget::new(1 << 30, 1 << 30), std::time::SystemTime::now())
                .unwrap();
            loaded.respond(&head.request, found)
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

mod answers;
mod archive;
mod index;
mod levels;
mod reuse;
mod sidecars;
mod sizes;
