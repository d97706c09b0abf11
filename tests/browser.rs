//! A real browser renders the handbook: no complaint in its console, and a picture for a person to
//! look at.

mod hosts;
mod listings;

use crate::common::site::Site;
use crate::common::{Server, have, run_with, target_folder};
use std::process::Command;
use tempfile::TempDir;

#[test]
fn chromium_renders_the_handbook() {
    if !have(&["chromium", "openssl"]) {
        return;
    }
    let server = Server::start([""; 0]);
    let folder = target_folder().join("screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    let picture = folder.join("handbook.png");
    let _ = std::fs::remove_file(&picture);

    let shot = format!("--screenshot={}", picture.display());
    let seen = chromium(&server, &["--window-size=1280,1600", &shot]);
    assert_eq!(seen.complaints(), [""; 0], "{}", seen.stderr);
    let png = std::fs::read(&picture).unwrap_or_else(|error| panic!("{error}\n{}", seen.stderr));
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    // Width and height of the IHDR chunk. An empty page of that size compresses to some 6 KiB.
    assert_eq!(png[16..24], [0, 0, 0x05, 0x00, 0, 0, 0x06, 0x40]);
    assert!(png.len() > 15_000, "{} bytes: an empty page?", png.len());

    let seen = chromium(&server, &["--dump-dom"]);
    assert_eq!(seen.complaints(), [""; 0], "{}", seen.stderr);
    let dom = seen.stdout;
    assert!(dom.contains("<h1") && dom.contains("sitar"), "{dom}");
    assert!(!dom.contains("neterror"), "{dom}");
}

/// The page says itself how it and its parts came.
#[test]
fn chromium_speaks_http_2() {
    if !have(&["chromium", "openssl"]) {
        return;
    }
    let site = Site::new();
    let images: String = (0..40).map(|at| format!("<img src='{at}.svg'>")).collect();
    for at in 0..40 {
        let picture =
            format!("<svg xmlns='http://www.w3.org/2000/svg' width='8' height='8'><!--{at}--></svg>");
        site.add(&format!("{at}.svg"), picture.as_bytes());
    }
    site.add("style.css", b"body { margin: 2em }\n");
    let page = format!(
        "<!doctype html><title>HTTP/2</title><link rel=icon href='data:,'><link rel=stylesheet href=style.css>
        <body>{images}<script>
        addEventListener('load', () => {{
            const entries = ['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind));
            const said = entries.map(entry => entry.nextHopProtocol + ' ' + entry.responseStatus);
            const sizes = [...document.images].filter(image => image.naturalWidth == 8).length;
            document.title = said.length + ' entries, ' + sizes + ' images: ' + [...new Set(said)].join(', ');
        }})</script>"
    );
    site.add("index.html", page.as_bytes());
    let server = Server::start([site.path()]);
    let seen = chromium(&server, &["--dump-dom"]);
    assert_eq!(seen.complaints(), [""; 0], "{}", seen.stderr);
    assert!(seen.stdout.contains("<title>42 entries, 40 images: h2 200</title>"), "{}", seen.stdout);
}

/// The control: what the test above looks for is seen where it is.
#[test]
fn a_broken_page_is_noticed() {
    if !have(&["chromium", "openssl"]) {
        return;
    }
    let site = Site::new();
    site.add(
        "index.html",
        b"<!doctype html><title>broken</title><link rel=icon href='data:,'><img src='missing.png'>\
          <script>console.error('a deliberate error'); undefinedFunction()</script>",
    );
    let server = Server::start([site.path()]);
    let seen = chromium(&server, &["--dump-dom"]);
    let complaints = seen.complaints().join("\n");
    assert!(complaints.contains("a deliberate error"), "{}", seen.stderr);
    assert!(complaints.contains("undefinedFunction is not defined"), "{}", seen.stderr);
    assert!(complaints.contains("HTTP/1.1 404"), "{complaints}");
}

/// The output of a browser, and its record of the network.
struct Seen {
    stdout: String,
    stderr: String,
    /// Its record of everything it sent and received.
    network: String,
}

impl Seen {
    /// Returns what the page or the server, not the browser, caused: console messages, answers that
    /// are errors, connections and certificates refused.
    fn complaints(&self) -> Vec<String> {
        let console =
            self.stderr.lines().filter(|line| line.contains("CONSOLE") || line.contains("ssl_client_socket"));
        // The console of a headless browser does not mention failed loads; the record of the
        // network does.
        let statuses = self.network.match_indices("\"HTTP/1.1 ").filter_map(|(at, _)| {
            let line = self.network[at + 1..].split('"').next()?;
            line.as_bytes().get(9).is_some_and(|class| matches!(class, b'4' | b'5')).then_some(line)
        });
        console.chain(statuses).map(String::from).collect()
    }
}

fn chromium(server: &Server, args: &[&str]) -> Seen {
    visit(&server.url("/"), &public_key_hash(server), args)
}

/// Opens a page, with the keys trusted that have these hashes, and no other.
fn visit(url: &str, keys: &str, args: &[&str]) -> Seen {
    let profile = TempDir::new().unwrap();
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--disable-dev-shm-usage", "--enable-logging=stderr", "--v=0", "--hide-scrollbars"]);
    // Lets late loads end before the page is looked at, and is as fast as they are.
    command.arg("--virtual-time-budget=5000");
    command.arg(format!("--ignore-certificate-errors-spki-list={keys}"));
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(args);
    let record = profile.path().join("network.json");
    command.arg(format!("--log-net-log={}", record.display())).env("HOME", profile.path());
    let finished = run_with(command.arg(url), b"").ok();
    let network = String::from_utf8_lossy(&std::fs::read(record).unwrap()).into_owned();
    assert!(network.contains("\"HTTP/1.1 200"), "the record of the network is empty\n{}", finished.stderr);
    Seen { stdout: finished.text(), stderr: finished.stderr, network }
}

/// Base64 of the SHA-256 of the leaf's public key, so that exactly this key is trusted and no
/// other.
fn public_key_hash(server: &Server) -> String {
    let shown = openssl(&["s_client", "-connect", &server.address().to_string()], b"");
    key_hash(&openssl(&["x509", "-pubkey", "-noout"], &shown))
}

/// The same of a public key in PEM.
fn key_hash(key: &[u8]) -> String {
    let der = openssl(&["pkey", "-pubin", "-outform", "DER"], key);
    let hash = openssl(&["dgst", "-sha256", "-binary"], &der);
    assert_eq!(hash.len(), 32);
    String::from_utf8(openssl(&["base64", "-A"], &hash)).unwrap().trim().to_string()
}

fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    run_with(Command::new("openssl").args(args), input).ok().stdout
}
