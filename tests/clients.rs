//! Real clients against the real program: each must be content, without one error.

use crate::common::client::{Client, roots};
use crate::common::site::{Site, pattern};
use crate::common::{Finished, Server, have, run, run_with, sitar};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

fn curl(server: &Server, args: &[&str], path: &str) -> Finished {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(server.ca());
    run_with(command.args(args).arg(server.url(path)), b"").ok()
}

/// The value of a field in `curl --include` output.
fn field<'a>(output: &'a str, name: &str) -> Option<&'a str> {
    output.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// curl's option, the name that is negotiated (ALPN), and how curl begins a status line.
const PROTOCOLS: [(&str, &str, &str); 2] =
    [("--http1.1", "http/1.1", "HTTP/1.1"), ("--http2", "h2", "HTTP/2")];

#[test]
fn curl_speaks_tls_1_2_and_1_3() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    for version in ["1.2", "1.3"] {
        for (protocol, name, status) in PROTOCOLS {
            let got = curl(&server, &["--verbose", "--tls-max", version, protocol], "/1m.bin");
            let said = |text: &str| assert!(got.stderr.contains(text), "no {text:?}: {}", got.stderr);
            said(&format!("SSL connection using TLSv{version}"));
            said(&format!("ALPN: server accepted {name}"));
            said(&format!("< {status} 200"));
            assert_eq!(got.stdout, pattern(1024 * 1024), "TLS {version}");
        }
    }
}

/// `curl --http1.0` offers `http/1.0` and nothing else.
#[test]
fn curl_speaks_http_1_0() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::small();
    let (site, no_http2) = (site.path(), Path::new("--no-http2"));
    for server in [Server::start([site]), Server::start([site, no_http2])] {
        for version in ["1.2", "1.3"] {
            let got = curl(&server, &["--verbose", "--tls-max", version, "--http1.0"], "/1m.bin");
            let said = |text: &str| assert!(got.stderr.contains(text), "no {text:?}: {}", got.stderr);
            said(&format!("SSL connection using TLSv{version}"));
            said("ALPN: server accepted http/1.0");
            said("> GET /1m.bin HTTP/1.0");
            // RFC 9110 §2.5: an answer has the server's version.
            said("< HTTP/1.1 200");
            assert_eq!(got.stdout, pattern(1024 * 1024), "TLS {version}");
        }
    }
}

/// RFC 7301 §3.2: the server's order counts, and a list without a name that it knows is refused.
#[test]
fn the_application_protocol_is_agreed_on() {
    use rustls::version::{TLS12, TLS13};
    let site = Site::small();
    let server = Server::start([site.path()]);
    let no_http2 = Server::start([site.path(), Path::new("--no-http2")]);
    let old_http = "GET /1k.txt HTTP/1.0\r\n\r\n";
    let http = "GET /1k.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (versions, name) in [([&TLS12], "1.2"), ([&TLS13], "1.3")] {
        let open = |server: &Server, offered: &[&str]| {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = rustls::ClientConfig::builder_with_provider(provider);
            let builder = builder.with_protocol_versions(&versions).unwrap();
            let mut config = builder.with_root_certificates(roots(server)).with_no_client_auth();
            config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            Client::open(&Arc::new(config), server.address())
        };
        for (offered, agreed, without_http2) in [
            (&["http/1.0"][..], Some("http/1.0"), Some("http/1.0")),
            (&["http/1.0", "http/1.1", "h2"], Some("h2"), Some("http/1.1")),
            (&["http/1.0", "http/1.1"], Some("http/1.1"), Some("http/1.1")),
            (&["http/1.0", "h2"], Some("h2"), Some("http/1.0")),
            (&["http/0.9", "http/1.0", "spdy/3"], Some("http/1.0"), Some("http/1.0")),
            // No list at all.
            (&[], None, None),
        ] {
            for (server, agreed) in [(&server, agreed), (&no_http2, without_http2)] {
                let client = open(server, offered).unwrap_or_else(|error| panic!("{offered:?}: {error}"));
                let mut stream = client.into_stream();
                let got = stream.conn.alpn_protocol().map(|name| std::str::from_utf8(name).unwrap());
                assert_eq!(got, agreed, "{offered:?}, TLS {name}");
                if agreed == Some("h2") {
                    continue;
                }
                stream
                    .write_all(if agreed == Some("http/1.0") { old_http } else { http }.as_bytes())
                    .unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{offered:?}, TLS {name}");
                assert!(answer.ends_with(&pattern(1024)), "{offered:?}, TLS {name}");
            }
        }
        let refused = |server: &Server, offered: &[&str]| {
            let error = open(server, offered).err().unwrap_or_else(|| panic!("{offered:?} is accepted"));
            assert!(error.to_string().ends_with("NoApplicationProtocol"), "{offered:?}, TLS {name}: {error}");
        };
        for offered in
            [&["http/0.9"][..], &["h2c"], &["acme-tls/1"], &["spdy/3", "spdy/1"], &["HTTP/1.0"], &["http/1."]]
        {
            refused(&server, offered);
            refused(&no_http2, offered);
        }
        refused(&no_http2, &["h2"]);
    }
}

#[test]
fn curl_gets_heads_ranges_and_conditionals() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    for (protocol, _, version) in PROTOCOLS {
        heads_ranges_and_conditionals(&server, protocol, version);
    }
}

fn heads_ranges_and_conditionals(server: &Server, protocol: &str, version: &str) {
    let curl = |args: &[&str], path: &str| curl(server, &[&[protocol], args].concat(), path);
    let status = |answer: &str, code: u16| {
        // HTTP/2 has no reason phrase; curl leaves its place empty.
        assert!(answer.starts_with(&format!("{version} {code} ")), "{protocol}, not {code}: {answer}");
    };

    let get = curl(&["--include"], "/1k.txt").text();
    status(&get, 200);
    assert_eq!(field(&get, "content-length"), Some("1024"));
    assert!(field(&get, "content-type").unwrap().starts_with("text/plain"), "{get}");
    assert!(field(&get, "date").unwrap().ends_with(" GMT"), "{get}");
    assert!(field(&get, "last-modified").unwrap().ends_with(" GMT"), "{get}");
    let etag = field(&get, "etag").unwrap();

    let head = curl(&["--head"], "/1k.txt").text();
    status(&head, 200);
    assert_eq!(field(&head, "content-length"), Some("1024"));
    assert!(head.ends_with("\r\n\r\n"), "a HEAD answer has no body: {head}");

    let range = curl(&["--include", "--range", "5-9"], "/1k.txt");
    status(&range.text(), 206);
    assert_eq!(field(&range.text(), "content-range"), Some("bytes 5-9/1024"));
    assert!(range.stdout.ends_with(&pattern(1024)[5..10]));
    let beyond = curl(&["--include", "--range", "1024-"], "/1k.txt").text();
    status(&beyond, 416);
    assert_eq!(field(&beyond, "content-range"), Some("bytes */1024"));

    let condition = format!("If-None-Match: {etag}");
    let fresh = curl(&["--include", "--header", &condition], "/1k.txt").text();
    status(&fresh, 304);
    assert_eq!(field(&fresh, "etag"), Some(etag));
    assert!(fresh.ends_with("\r\n\r\n"), "{fresh}");

    let missing = curl(&["--include"], "/no/such/file").text();
    status(&missing, 404);
    let folder = curl(&["--include"], "/docs").text();
    status(&folder, 301);
    assert!(field(&folder, "location").unwrap().ends_with("/docs/"), "{folder}");
    let followed = curl(&["--location"], "/docs").text();
    assert!(followed.contains("<title>Docs</title>"), "{followed}");
    assert_eq!(curl(&[], "/with%20space/%C3%BCber.txt").text(), "umlaut\n");
    assert_eq!(curl(&["--include"], "/empty.txt").text().split_once("\r\n\r\n").unwrap().1, "");

    let post = curl(&["--include", "--data", "a=b"], "/1k.txt").text();
    status(&post, 405);
    assert!(field(&post, "allow").unwrap().contains("GET"), "{post}");
}

#[test]
fn the_handbook_is_served_without_a_path_and_a_tar_like_its_folder() {
    if !have(&["curl", "tar"]) {
        return;
    }
    let handbook = Server::start([""; 0]);
    let page = curl(&handbook, &[], "/").text();
    assert!(page.contains("sitar") && page.contains("</html>"), "{page}");

    let (site, beside) = (Site::small(), TempDir::new().unwrap());
    let server = Server::start([site.tar(&beside)]);
    assert_eq!(curl(&server, &[], "/1m.bin").stdout, pattern(1024 * 1024));
    assert!(curl(&server, &[], "/").text().contains("<h1>A small site</h1>"));
    assert_eq!(curl(&server, &[], "/with%20space/%C3%BCber.txt").text(), "umlaut\n");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    if !have(&["openssl"]) {
        return;
    }
    let site = Site::new();
    for name in ["a", "b", "c"] {
        site.add(&format!("{name}.txt"), format!("this is {name}\n").as_bytes());
    }
    let server = Server::start([site.path()]);
    let requests = b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n\
        HEAD /b.txt HTTP/1.1\r\nHost: localhost\r\n\r\n\
        GET /b.txt HTTP/1.1\r\nHost: localhost\r\n\r\n\
        GET /c.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let got = s_client(&server, &["-quiet", "-alpn", "http/1.1"], requests).text();
    assert_eq!(got.matches("HTTP/1.1 200 OK\r\n").count(), 4, "{got}");
    assert_eq!(got.matches("this is ").count(), 3, "{got}");
    let at = |text: &str| got.find(text).unwrap();
    assert!(at("this is a\n") < at("this is b\n") && at("this is b\n") < at("this is c\n"), "{got}");
}

fn s_client(server: &Server, args: &[&str], input: &[u8]) -> Finished {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &server.address().to_string(), "-verify_return_error", "-ign_eof"]);
    run_with(command.arg("-CAfile").arg(server.ca()).args(args), input).ok()
}

#[test]
fn openssl_resumes_sessions() {
    if !have(&["openssl"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    let last = b"GET /1k.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    // `-reconnect` resumes five times, then goes on with the request.
    let got = s_client(&server, &["-tls1_2", "-reconnect"], last).text();
    assert_eq!(got.matches("Reused, TLSv1.2").count(), 5, "{got}");
    assert_eq!(got.matches("New, TLSv1.2").count(), 1, "{got}");

    // A TLS 1.3 ticket arrives after the handshake, so it is taken from one connection to the next
    // by a file.
    let folder = TempDir::new().unwrap();
    let ticket = folder.path().join("ticket.pem");
    let ticket = ticket.to_str().unwrap();
    let first = s_client(&server, &["-tls1_3", "-sess_out", ticket], last).text();
    assert!(first.contains("New, TLSv1.3"), "{first}");
    let second = s_client(&server, &["-tls1_3", "-sess_in", ticket], last).text();
    assert!(second.contains("Reused, TLSv1.3"), "{second}");
    assert!(second.contains("HTTP/1.1 200 OK"), "{second}");
}

#[test]
fn python_keeps_a_connection() {
    if !have(&["python3"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    let script = "
import http.client, ssl, sys
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
connection = http.client.HTTPSConnection('127.0.0.1', port, context=context, timeout=30)
connection.connect()
first = connection.sock
for path, length in [('/1k.txt', 1024), ('/empty.txt', 0), ('/1m.bin', 1048576), ('/1k.txt', 1024)]:
    connection.request('GET', path)
    response = connection.getresponse()
    body = response.read()
    assert (response.status, len(body)) == (200, length), (path, response.status, len(body))
    assert connection.sock is first, 'the connection was closed after ' + path
connection.request('GET', '/nothing')
response = connection.getresponse()
response.read()
assert response.status == 404, response.status
print('content')
";
    let mut command = Command::new("python3");
    command.args(["-c", script, &server.address().port().to_string()]).arg(server.ca());
    assert_eq!(run_with(&mut command, b"").ok().text(), "content\n");
}

#[test]
fn wget_copies_a_site() {
    if !have(&["wget"]) {
        return;
    }
    let (site, copy) = (Site::small(), TempDir::new().unwrap());
    let server = Server::start([site.path()]);
    let mut command = Command::new("wget");
    command.args(["--no-verbose", "--recursive", "--no-host-directories", "-e", "robots=off", "--tries=1"]);
    command.arg("--no-config").arg("--directory-prefix").arg(copy.path());
    command.arg(format!("--ca-certificate={}", server.ca().display())).arg(server.url("/"));
    run_with(&mut command, b"").ok();
    for path in ["index.html", "style.css", "1k.txt", "1m.bin", "docs/index.html", "docs/page.html"] {
        let original = std::fs::read(site.path().join(path)).unwrap();
        assert_eq!(std::fs::read(copy.path().join(path)).unwrap(), original, "{path}");
    }
}

#[test]
fn wrk_sees_no_error() {
    if !have(&["wrk"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    let got = run("wrk", ["-t2", "-c16", "-d2s", &server.url("/16k.bin")]).ok().text();
    assert!(got.contains("requests in"), "{got}");
    assert!(!got.contains("\n  0 requests in"), "{got}");
    assert!(!got.contains("Socket errors") && !got.contains("Non-2xx"), "{got}");
}

#[test]
fn h2load_sees_no_error() {
    if !have(&["h2load"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    let got =
        run("h2load", ["--h1", "-n", "4000", "-c", "16", "-t", "2", &server.url("/1k.txt")]).ok().text();
    let counts = "4000 total, 4000 started, 4000 done, 4000 succeeded, 0 failed, 0 errored, 0 timeout";
    assert!(got.contains(counts), "{got}");
    assert!(got.contains("status codes: 4000 2xx"), "{got}");
}

#[test]
fn plain_http_is_told_to_use_https() {
    let site = Site::small();
    let server = Server::start([site.path()]);
    let mut socket = crate::common::client::socket(server.address()).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("https"), "{answer}");
}

#[test]
fn tls_can_be_switched_off() {
    let site = Site::small();
    let server = Server::start([site.path(), Path::new("--tls"), Path::new("off")]);
    let mut socket = crate::common::client::socket(server.address()).unwrap();
    socket.write_all(b"GET /1k.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
    assert!(answer.ends_with(&pattern(1024)));
}

#[test]
fn sigterm_lets_answers_finish() {
    let site = Site::new();
    site.add("big.bin", &pattern(16 * 1024 * 1024));
    let mut server = Server::start([site.path()]);
    let mut idle = Client::connect(&server);
    assert_eq!(idle.request("HEAD", "/big.bin", &[]).unwrap().status, 200);
    let mut busy = Client::connect(&server);
    // Far more than socket buffers hold, so that most of it is still the server's when the signal
    // comes.
    busy.send(b"GET /big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = vec![0; 4096];
    let first = busy.read_some(&mut answer).unwrap();
    answer.truncate(first);
    server.terminate();
    let mut more = [0; 64 * 1024];
    let head = loop {
        if let Some(at) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let read = busy.read_some(&mut more).unwrap();
        answer.extend_from_slice(&more[..read]);
    };
    while answer.len() < head + 16 * 1024 * 1024 {
        let read = busy.read_some(&mut more).unwrap();
        assert!(read > 0, "cut off after {} bytes", answer.len());
        answer.extend_from_slice(&more[..read]);
    }
    assert!(answer[head..] == pattern(16 * 1024 * 1024)[..], "the body differs");
    assert_eq!(idle.read_some(&mut more).unwrap(), 0, "an idle connection ends with close_notify");
    assert!(server.wait().success(), "{}", server.said());
    assert!(crate::common::client::socket(server.address()).is_err(), "the port still answers");
}

/// Runs `sitar` with what must make it refuse, and gives back its one line.
fn refused(args: &[&Path], code: i32) -> String {
    let home = TempDir::new().unwrap();
    let got = run_with(sitar(home.path()).args(args), b"");
    assert_eq!(got.status.code(), Some(code), "{args:?}: {}", got.stderr);
    assert!(!got.stderr.contains("panicked"), "{}", got.stderr);
    assert_eq!(got.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{}", got.stderr);
    got.stderr
}

#[test]
fn what_cannot_start_says_why_and_what_to_do() {
    let site = Site::small();
    let beside = TempDir::new().unwrap();
    let [serve, listen, any] = ["serve", "--listen", "127.0.0.1:0"].map(Path::new);
    let hinted = |said: &str, names: &str| {
        assert!(said.contains("hint: "), "{said}");
        assert!(said.contains(names), "{said}");
    };

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let said = refused(&[serve, site.path(), listen, Path::new(&address.to_string())], 1);
    hinted(&said, &address.port().to_string());
    assert!(said.contains("ss -ltnp") && said.contains("--listen"), "{said}");

    let missing = beside.path().join("missing.tar");
    hinted(&refused(&[serve, &missing, listen, any], 1), "missing.tar");

    let archive = site.tar(&beside);
    let whole = std::fs::read(&archive).unwrap();
    let cut = beside.path().join("cut.tar");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    hinted(&refused(&[serve, &cut, listen, any], 1), "cut.tar");
    let noise = beside.path().join("noise.tar");
    std::fs::write(&noise, pattern(10_240)).unwrap();
    hinted(&refused(&[serve, &noise, listen, any], 1), "noise.tar");
}

#[test]
fn a_key_that_does_not_match_is_refused() {
    if !have(&["openssl"]) {
        return;
    }
    let (site, folder) = (Site::small(), TempDir::new().unwrap());
    let (one, one_key) = certificate(&folder, "one", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let (_, other_key) = certificate(&folder, "other", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let [serve, cert, key, listen, any] =
        ["serve", "--tls-cert", "--tls-key", "--listen", "127.0.0.1:0"].map(Path::new);
    let said = refused(&[serve, site.path(), listen, any, cert, &one, key, &other_key], 1);
    assert!(said.contains("other.key") && said.contains("hint: "), "{said}");
    let said =
        refused(&[serve, site.path(), listen, any, cert, &folder.path().join("no.pem"), key, &one_key], 1);
    assert!(said.contains("no.pem"), "{said}");
}

#[test]
fn certificates_that_clients_refuse_are_served_with_a_warning() {
    if !have(&["curl", "openssl"]) {
        return;
    }
    let (site, folder) = (Site::small(), TempDir::new().unwrap());
    let (good, good_key) = certificate(&folder, "good", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    // As an editor of Windows leaves them.
    for file in [&good, &good_key] {
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let mut old = rcgen::CertificateParams::new(Vec::new()).unwrap();
    (old.not_before, old.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 2, 3));
    let (chain, chain_key) = (folder.path().join("old.pem"), folder.path().join("old.key"));
    std::fs::write(&chain, old.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&chain_key, key.serialize_pem()).unwrap();
    let [with_cert, with_key] = ["--tls-cert", "--tls-key"].map(Path::new);
    let mut server = Server::start([
        site.path(),
        with_cert,
        &good,
        with_key,
        &good_key,
        with_cert,
        &chain,
        with_key,
        &chain_key,
    ]);
    server.terminate();
    assert!(server.wait().success());
    let said = server.said();
    let path = chain.display();
    for warning in [
        format!("warning  the certificate {path} expired on 2002-02-03, and clients refuse it; renew it"),
        format!("warning  the certificate {path} names no host (no DNS name or IP address in subjectAltName), and its common name"),
        "warning  the certificate is good for good.test, not for localhost: clients refuse https://localhost:".to_owned(),
    ] {
        assert!(said.contains(&warning), "{warning}\n{said}");
    }
    // The line that the last warning proposes works.
    let server = Server::start([site.path(), with_cert, &good, with_key, &good_key]);
    let port = server.address().port();
    let line = format!("curl --connect-to '::127.0.0.1:' https://good.test:{port}/\n");
    let mut proposed = None;
    crate::common::eventually("the proposed line", || {
        let said = server.said();
        let rest = said.split_once("try it by name: ").map(|(_, rest)| rest);
        proposed = rest.and_then(|rest| rest.split_inclusive('\n').next()).map(str::to_owned);
        proposed.is_some()
    });
    assert_eq!(proposed.unwrap(), line);
    let line = line.replace("/\n", "/1k.txt --fail --silent --show-error --max-time 30 --cacert");
    let pem = std::fs::read_to_string(&good).unwrap();
    let clean = folder.path().join("clean.pem");
    std::fs::write(&clean, pem.trim_start_matches('\u{feff}')).unwrap();
    let done = run("sh", ["-c", &format!("{line} {}", clean.display())]).ok();
    assert_eq!(done.stdout, pattern(1024));
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [&["serve", "--no-such-flag"][..], &["no-such-verb"], &["serve", "--tls", "maybe"]] {
        refused(&args.iter().map(Path::new).collect::<Vec<_>>(), 2);
    }
    let one_sided = ["serve", "--tls-cert", "a.pem"].map(Path::new);
    refused(&one_sided, 2);
}

#[test]
fn a_wrong_variable_is_named() {
    let home = TempDir::new().unwrap();
    let said = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = sitar(home.path());
        let done = run_with(command.arg("serve").args(args).envs(variables.iter().copied()), b"");
        assert_eq!(done.status.code(), Some(2), "{variables:?}: {done:?}");
        done.stderr
    };
    for (variables, expected) in [
        (
            &[("SITAR_LISTEN", "nonsense")][..],
            "error: invalid value 'nonsense' for 'SITAR_LISTEN': expected a port",
        ),
        (&[("SITAR_LISTEN", "8443,")], "error: invalid value '' for 'SITAR_LISTEN': "),
        (&[("SITAR_SHARDS", "0")], "error: invalid value '0' for 'SITAR_SHARDS': "),
        (
            &[("SITAR_TLS", "maybe")],
            "error: invalid value 'maybe' for 'SITAR_TLS'\n  [possible values: auto, ",
        ),
        (&[("SITAR_MEMORY", "1G")], "error: invalid value '1G' for 'SITAR_MEMORY': "),
        (
            &[("SITAR_TLS_CERT", "a,b"), ("SITAR_TLS_KEY", "a")],
            "error: each SITAR_TLS_CERT needs its SITAR_TLS_KEY, in the same order: 2 certificate(s) but 1 key(s) given",
        ),
        (
            &[("SITAR_TLS_CERT", "a,"), ("SITAR_TLS_KEY", "a")],
            "error: SITAR_TLS_CERT has a comma without a file",
        ),
        (
            &[("SITAR_TLS", "off"), ("SITAR_TLS_CERT", "a"), ("SITAR_TLS_KEY", "a")],
            "error: SITAR_TLS off cannot be used with SITAR_TLS_CERT",
        ),
        // An empty one is none: the port of the default address is looked at.
        (
            &[("SITAR_LISTEN", ""), ("PORT", "x")],
            "error: the environment variable PORT is \"x\", not a number",
        ),
        (
            &[("SITAR_LISTEN", " \t"), ("SITAR_TLS_CERT", " "), ("PORT", "x")],
            "error: the environment variable PORT is \"x\", not a number",
        ),
        (
            &[("SITAR_POLL", "2s"), ("SITAR_NO_WATCH", "1")],
            "error: SITAR_POLL cannot be used with SITAR_NO_WATCH",
        ),
    ] {
        assert!(said(variables, &[]).starts_with(expected), "{}", said(variables, &[]));
    }
    assert!(said(&[("SITAR_SHARDS", "0")], &[]).contains("printenv SITAR_SHARDS"));
    let mut command = sitar(home.path());
    let command = command.arg("serve").env("SITAR_LISTEN", OsStr::from_bytes(b"\xff"));
    let text = run_with(command.env("SITAR_TLS_CERT", OsStr::from_bytes(b"a\xff")), b"").stderr;
    assert!(
        text.contains("the variable SITAR_LISTEN is not UTF-8; see what it holds: printenv SITAR_LISTEN"),
        "{text}"
    );
    // The flag has won, and it is wrong.
    let text = said(&[("SITAR_SHARDS", "4")], &["--shards", "0"]);
    assert!(text.starts_with("error: invalid value '0' for '--shards <N>'"), "{text}");
    let text = said(&[("SITAR_TLS_CERT", "a")], &["--tls-key", "a", "--tls-key", "b"]);
    assert!(text.starts_with("error: each SITAR_TLS_CERT needs its --tls-key"), "{text}");
}

#[test]
fn variables_may_list_and_empty_ones_are_none() {
    if !have(&["openssl"]) {
        return;
    }
    let (site, folder) = (Site::small(), TempDir::new().unwrap());
    let (one, one_key) = certificate(&folder, "one", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let (two, two_key) = certificate(&folder, "two", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let list = |one: &Path, two: &Path| format!("{}, {}", one.display(), two.display());
    let (chains, keys) = (list(&one, &two), list(&one_key, &two_key));
    let mut all = vec![("SITAR_TLS_CERT", chains.as_str()), ("SITAR_TLS_KEY", &keys), ("SITAR_PORT", "443")];
    for empty in [
        "LISTEN",
        "TLS",
        "MIN_TLS",
        "NO_HTTP2",
        "ENGINE",
        "SPIN",
        "SHARDS",
        "PREFIX",
        "NO_WATCH",
        "CONNECTIONS",
        "MEMORY",
        "HANDSHAKE_SECONDS",
        "HEAD_SECONDS",
        "IDLE_SECONDS",
        "SEND_SECONDS",
    ] {
        all.push((format!("SITAR_{empty}").leak(), ""));
    }
    let mut server = Server::start_with([site.path()], &all);
    server.terminate();
    assert!(server.wait().success());
    let said = server.said();
    for line in [
        format!("  cert     {} (one.test)\n", one.display()),
        format!("  cert     {} (two.test)\n", two.display()),
        "sitar: the variable SITAR_PORT means nothing to sitar; perhaps SITAR_LISTEN, which takes a port alone, was \
         meant\n"
            .to_owned(),
    ] {
        assert!(said.contains(&line), "{line}\n{said}");
    }
    // Flags that are variables too may be switched on in any common way.
    let out = folder.path().join("out.tar");
    let mut pack = sitar(folder.path());
    pack.arg("pack").arg(site.path()).arg("-o").arg(&out).env("SITAR_JSON", "1").env("SITAR_NO_REUSE", "yes");
    let said = run_with(pack.env("SITAR_FAST", "on"), b"").ok().text();
    assert!(said.starts_with('{') && said.contains("\"level\":\"fast\""), "{said}");
}

#[test]
fn certificates_are_chosen_by_name_and_rsa_works() {
    if !have(&["openssl", "curl"]) {
        return;
    }
    let (site, folder) = (Site::small(), TempDir::new().unwrap());
    let (ec, ec_key) = certificate(&folder, "ec", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let (rsa, rsa_key) = certificate(&folder, "rsa", &["rsa:2048"]);
    let [cert, key] = ["--tls-cert", "--tls-key"].map(Path::new);
    let server = Server::start([site.path(), cert, &ec, key, &ec_key, cert, &rsa, key, &rsa_key]);
    for (name, certificate) in [("ec", &ec), ("rsa", &rsa)] {
        for version in ["1.2", "1.3"] {
            let mut command = Command::new("curl");
            command.args(["--silent", "--show-error", "--max-time", "30", "--tls-max", version, "--cacert"]);
            command
                .arg(certificate)
                .args(["--resolve", &format!("{name}.test:{}:127.0.0.1", server.address().port())]);
            command.arg(format!("https://{name}.test:{}/1k.txt", server.address().port()));
            assert_eq!(run_with(&mut command, b"").ok().stdout, pattern(1024), "{name}, TLS {version}");
        }
    }
}

/// A self-signed certificate for `NAME.test`, and its key.
fn certificate(folder: &TempDir, name: &str, key: &[&str]) -> (PathBuf, PathBuf) {
    let (pem, secret) =
        (folder.path().join(format!("{name}.pem")), folder.path().join(format!("{name}.key")));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-nodes", "-days", "30", "-subj", &format!("/CN={name}.test")]);
    command.args(["-addext", &format!("subjectAltName=DNS:{name}.test"), "-newkey"]).args(key);
    run_with(command.arg("-keyout").arg(&secret).arg("-out").arg(&pem), b"").ok();
    (pem, secret)
}
