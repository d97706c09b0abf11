//! The table of requirements in `semantics.txt`, and the site that it is about. sitar-site's tests
//! run it in memory, and sitar-server's through a server.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::path::Path;
use std::time::{Duration, SystemTime};

/// One requirement: bytes sent and bytes expected.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) request: Vec<u8>,
    /// With [`DATE`] as the date.
    pub(crate) answer: Vec<u8>,
}

/// Stands for the date.
pub(crate) const DATE: &[u8; 29] = b"-----------------------------";

/// Reads the table: `#` a requirement's section and what it says, `>` lines sent and `<` lines
/// expected, both without CR LF; the empty line that ends a head is implied. `=` content as it is,
/// with Rust's escapes.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("../semantics.txt").lines() {
        let Some((mark, text)) = line.split_at_checked(2) else { continue };
        if mark == "# " {
            cases.push(Case { name: text.to_owned(), request: Vec::new(), answer: Vec::new() });
            continue;
        }
        let case = cases.last_mut().unwrap();
        match mark {
            "> " => case.request.extend_from_slice(format!("{text}\r\n").as_bytes()),
            "< " => case.answer.extend_from_slice(format!("{text}\r\n").as_bytes()),
            "= " => {
                case.answer.extend_from_slice(b"\r\n");
                case.answer.extend_from_slice(&unescape(text));
            }
            _ => panic!("{line}"),
        }
    }
    for case in &mut cases {
        case.request.extend_from_slice(b"\r\n");
        assert!(case.answer.starts_with(b"HTTP/1.1 "), "{}", case.name);
        if !case.answer.windows(4).any(|four| four == b"\r\n\r\n") {
            case.answer.extend_from_slice(b"\r\n");
        }
    }
    cases
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, if byte == b'\\' { rest.next() } else { None }) {
            (b'\\', Some(b'r')) => b'\r',
            (b'\\', Some(b'n')) => b'\n',
            (b'\\', Some(b'x')) => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            (b'\\', Some(escaped)) => escaped,
            (byte, _) => byte,
        });
    }
    bytes
}

/// Puts [`DATE`] in place of the date.
pub(crate) fn mask(answer: &mut [u8]) {
    let name = b"\r\nDate: ";
    let at = answer.windows(name.len()).position(|window| window == name).expect("every answer has a date");
    answer[at + name.len()..][..DATE.len()].copy_from_slice(DATE);
}

/// The time at which the table was written: Fri, 15 Jan 2027 08:00:00 GMT.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Writes the site.
pub(crate) fn build(root: &Path) {
    let digits = b"0123456789".repeat(100);
    let files: [(&str, &[u8]); 17] = [
        ("hello.txt", b"hello\n"),
        ("pixel.png", b"\x89PNG"),
        ("LICENSE", b"free\n"),
        ("app.js", b"let a = 1;\n"),
        ("app.js.br", b"brotli"),
        ("app.js.gz", b"gzip"),
        ("only.css.br", b"br"),
        ("future.txt", b"later\n"),
        ("undated.txt", b"later\n"),
        ("digits.txt", &digits),
        ("docs/index.html", b"<p>docs\n"),
        ("docs/404.html", b"<p>nothing\n"),
        ("assets/app.1a2b3c4d5e.css", b"a{}\n"),
        ("ruled.txt", b"ruled\n"),
        ("expires.txt", b"old\n"),
        ("_redirects", b"/r302 /to 302\n/r303 /to 303\n/r307 /to 307\n/r308 https://other.example/ 308\n"),
        ("_headers", b"/ruled.txt\n  Cache-Control: max-age=60\n/expires.txt\n  Expires: Sun, 06 Nov 1994 08:49:37 GMT\n"),
    ];
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (name, bytes) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let time = match name {
            "future.txt" => modified + Duration::from_secs(3_000_000_000),
            // What archives write that know no time.
            "undated.txt" => SystemTime::UNIX_EPOCH,
            _ => modified,
        };
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
}
