//! Listings in a real browser: no script of a name runs, and every link leads to its file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::chromium;
use crate::common::site::Site;
use crate::common::{Server, have, sample};

/// Names that try to be something else. The pages of browsers know nothing of bytes that are no
/// UTF-8, so the last two differ in such a byte only.
const NAMES: [&[u8]; 22] = [
    b"<img src=x onerror=top.ran=1>",
    b"<svg onload=top.ran=1>",
    b"<script>top.ran=1<!--",
    b"\"onfocus=top.ran=1 autofocus=\"",
    b"'onfocus=top.ran=1 autofocus='",
    b"javascript:top.ran=1",
    b"data:text,x",
    b"a:b",
    b"\\\\evil.example",
    b"what?x=y",
    b"frag#ment",
    b"%2f",
    b"%2e%2e",
    b"100%",
    b"line\nfeed",
    b"tab\there",
    b" space ",
    "\u{202e}txt.exe".as_bytes(),
    "\u{2066}isolated".as_bytes(),
    "Grüße 🦀".as_bytes(),
    b"\xff",
    b"\xfe",
];

/// Opens the listing in a frame, follows each link of it, and of the folder behind it.
const CHECK: &str = "<!doctype html><title>?</title><link rel=icon href='data:,'><body><script>
const open = url => new Promise(done => {
    const frame = document.createElement('iframe');
    frame.onload = () => done(frame.contentDocument);
    frame.src = url;
    document.body.append(frame);
});
const rows = page => [...page.querySelectorAll('tbody a')];
(async () => {
    const page = await open('/hostile/');
    const style = getComputedStyle(page.querySelector('table')).borderCollapse;
    const found = [];
    for (const link of rows(page)) {
        const inner = await open(link.href);
        const file = rows(inner)[0];
        found.push(await (await fetch(file.href)).text());
    }
    const json = await (await fetch('/hostile/', { headers: { Accept: 'application/json' } })).json();
    const same = json.entries.every((entry, at) => rows(page)[at].href == new URL(entry.href, page.URL).href);
    found.sort((a, b) => a - b);
    document.title = [style, found.join(' '), same, page.querySelectorAll('img, svg, script').length,
        typeof window.ran, page.documentElement.lang].join('|');
})()</script>";

#[test]
fn every_link_of_hostile_names_leads_to_its_file() {
    if !have(&["chromium", "openssl"]) {
        return;
    }
    let site = Site::new();
    site.add("index.html", CHECK.as_bytes());
    for (number, name) in NAMES.iter().enumerate() {
        let folder = site.path().join("hostile").join(OsStr::from_bytes(name));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(OsStr::from_bytes(name)), number.to_string()).unwrap();
    }
    let server = Server::start([site.path().as_os_str(), OsStr::new("--listing")]);
    let seen = chromium(&server, &["--dump-dom"]);
    assert_eq!(seen.complaints(), [""; 0], "{}", seen.stderr);
    let all = (0..NAMES.len()).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
    let title = format!("<title>collapse|{all}|true|0|undefined|en</title>");
    assert!(seen.stdout.contains(&title), "{title}\n{}", seen.stdout);
}

/// Files of the large folder; `SITAR_SAMPLE` divides them.
const FILES: usize = 100_000;

#[test]
fn a_hundred_thousand_files_are_listed() {
    if !have(&["chromium", "openssl"]) {
        return;
    }
    let site = Site::new();
    let files = FILES / sample();
    for number in 0..files {
        std::fs::write(site.path().join(format!("file-{number:06}.txt")), "").unwrap();
    }
    let server = Server::start([site.path().as_os_str(), OsStr::new("--listing")]);
    let seen = chromium(&server, &["--dump-dom"]);
    // A browser asks for an icon of its own accord.
    let complaints = seen.complaints();
    assert!(complaints.iter().all(|line| line == "HTTP/1.1 404"), "{complaints:?}");
    assert_eq!(seen.stdout.matches("<tr><td><a href=\"./file-").count(), files);
}
