//! Sites to serve, in temporary folders, and the same as archives.

use super::run;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder that goes away with the value. It has one above it to itself: what comes and goes
/// beside a site wakes its watcher, and that is a few system calls each time.
pub(crate) struct Site {
    path: PathBuf,
    _above: TempDir,
}

impl Site {
    pub(crate) fn new() -> Site {
        let above = TempDir::new().unwrap();
        let path = above.path().join("site");
        std::fs::create_dir(&path).unwrap();
        Site { path, _above: above }
    }

    /// A site of every kind of file that the tests ask for.
    pub(crate) fn small() -> Site {
        let site = Site::new();
        site.add("index.html", INDEX.as_bytes());
        site.add("style.css", b"body { margin: 2em }\n");
        site.add("1k.txt", &pattern(1024));
        site.add("16k.bin", &pattern(16 * 1024));
        site.add("1m.bin", &pattern(1024 * 1024));
        site.add("empty.txt", b"");
        site.add("docs/index.html", b"<!doctype html><title>Docs</title><p><a href=\"page.html\">page</a>\n");
        site.add("docs/page.html", b"<!doctype html><title>Page</title><p><a href=\"../\">up</a>\n");
        site.add("with space/\u{fc}ber.txt", b"umlaut\n");
        site
    }

    pub(crate) fn add(&self, path: &str, bytes: &[u8]) {
        write(self.path(), path, bytes);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Packs the folder into `site.tar` in `beside`, as `tar` does it by default.
    pub(crate) fn tar(&self, beside: &TempDir) -> PathBuf {
        let archive = beside.path().join("site.tar");
        run("tar", [Path::new("-cf"), &archive, Path::new("-C"), self.path(), Path::new(".")]).ok();
        archive
    }
}

/// Writes a file, and the folders that lead to it.
pub(crate) fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Bytes that repeat with no period that fits a buffer's size, so that a misplaced piece shows.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    // They repeat after this. Without optimisation, as tests are compiled, copying them is
    // a hundred times faster than computing them.
    let period = 251 * 251;
    let byte = |at: usize| u8::try_from((at * 31 + at / 251) % 251).unwrap();
    let mut bytes: Vec<u8> = (0..len.min(period)).map(byte).collect();
    while bytes.len() < len {
        bytes.extend_from_within(..bytes.len().min(len - bytes.len()));
    }
    bytes
}

/// Returns it as a path in a request line: everything but unreserved characters and slashes is
/// percent-encoded (RFC 3986 §2.3).
pub(crate) fn encoded(path: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::from("/");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
    }
    out
}

const INDEX: &str = "<!doctype html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>A small site</title><link rel=\"stylesheet\" href=\"style.css\"></head>
<body><h1>A small site</h1><p><a href=\"1k.txt\">1k</a> <a href=\"docs/\">docs</a> <a href=\"1m.bin\">1m</a></p></body></html>
";
