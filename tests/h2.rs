//! HTTP/2 as real clients speak it: each must be content, without one error.

mod wire;

use crate::common::h2::{Client, GOAWAY, WINDOW_MAX, config};
use crate::common::site::{Site, pattern};
use crate::common::{Finished, Server, have, run, run_with, skip};
use rustls::ClientConfig;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// Debian's, which has what is installed by packages.
const PYTHON: &str = "/usr/bin/python3";

type Fields = Vec<(String, String)>;

/// A request of HTTP/1.1 as HTTP/2 would say it: method, path, fields but for Host; `None` where it
/// has content or cannot be said.
fn as_streams_say(request: &[u8]) -> Option<(String, String, Fields)> {
    let text = String::from_utf8(request.to_vec()).ok()?;
    let mut lines = text.strip_suffix("\r\n\r\n")?.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path, version) = (first.next()?, first.next()?, first.next()?);
    let fields = lines
        .map(|line| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())))
        .collect::<Option<Vec<_>>>()?;
    let only_here = ["connection", "content-length", "transfer-encoding", "expect"];
    let possible = version == "HTTP/1.1"
        && path.starts_with('/')
        && fields.iter().any(|(name, _)| name == "host")
        && !fields.iter().any(|(name, _)| only_here.contains(&&name[..]));
    let fields = fields.into_iter().filter(|(name, _)| name != "host").collect();
    possible.then(|| (method.to_owned(), path.to_owned(), fields))
}

/// The table of RFC 9110's requirements: over HTTP/2 the same status, fields and content.
#[test]
fn every_requirement_is_met_over_http_2_too() {
    let folder = TempDir::new().unwrap();
    crate::table::build(folder.path());
    let server = Server::start([folder.path(), Path::new("--tls"), Path::new("off")]);
    let mut client = Client::plain(server.address(), WINDOW_MAX).unwrap();
    let mut compared = 0;
    for case in crate::table::cases() {
        let Some((method, path, fields)) = as_streams_say(&case.request) else { continue };
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let got = client.request(&method, &path, &fields).unwrap();
        let end = case.answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(case.answer[..end].to_vec()).unwrap();
        let (status, lines) = head.split_once("\r\n").unwrap();
        assert_eq!(Some(format!("{}", got.status).as_str()), status.get(9..12), "{}", case.name);
        // The date is the server's own.
        let own = |name: &str| name != "date" && name != "connection";
        let mut wanted: Vec<_> = lines
            .split("\r\n")
            .map(|line| line.split_once(": ").unwrap_or((line.trim_end_matches(':'), "")))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .filter(|(name, _)| own(name))
            .collect();
        let mut fields: Vec<_> = got.fields().iter().filter(|(name, _)| own(name)).cloned().collect();
        wanted.sort();
        fields.sort();
        if !case.name.starts_with("8.8.2.1: a Last-Modified in the future") {
            assert_eq!(fields, wanted, "{}", case.name);
        }
        assert_eq!(got.body, case.answer[end + 4..], "{}", case.name);
        compared += 1;
    }
    assert!(compared > 100, "only {compared} rows");
}

/// Without TLS: clients know that HTTP/2 is spoken (RFC 9113 §3.3).
fn plain(site: &Site) -> Server {
    Server::start([site.path(), Path::new("--tls"), Path::new("off")])
}

fn nghttp(args: &[&str], urls: &[String]) -> Finished {
    // The certificate is a local authority's; curl and rustls look at it.
    run_with(Command::new("nghttp").args(["--no-verify-peer", "--timeout=30"]).args(args).args(urls), b"")
        .ok()
}

#[test]
fn nghttp_gets_many_at_a_time() {
    if !have(&["nghttp"]) {
        return;
    }
    let site = Site::small();
    for server in [Server::start([site.path()]), plain(&site)] {
        let urls = ["/1k.txt", "/16k.bin", "/1m.bin", "/docs/", "/empty.txt"].map(|path| server.url(path));
        let got = nghttp(&["-nv", "--multiply=8"], &urls).text();
        assert_eq!(got.matches(" :status: 200\n").count(), 40, "{got}");
        // A request's end and an answer's, for each.
        assert_eq!(got.matches("; END_STREAM").count(), 80, "{got}");
        assert!(!got.contains("recv RST_STREAM") && !got.contains("recv GOAWAY"), "{got}");

        assert_eq!(nghttp(&[], &[server.url("/1m.bin")]).stdout, pattern(1024 * 1024));
        // Windows of 1 KiB, and half a megabyte for all of them together; padding; no dynamic
        // table; no hints of priority.
        for options in [["--window-bits=10", "--connection-window-bits=19"], ["--padding=100", "--no-dep"]] {
            let options = [&options[..], &["--header-table-size=0"]].concat();
            let got = nghttp(&options, &[server.url("/1m.bin")]);
            assert!(got.stdout == pattern(1024 * 1024), "{options:?}: {} bytes", got.stdout.len());
        }
        let page = nghttp(&["-nv", "--get-assets"], &[server.url("/")]).text();
        assert_eq!(page.matches(" :status: 200\n").count(), 2, "the page and its style sheet: {page}");
    }
}

#[test]
fn nghttp_posts_and_is_told_what_is_allowed() {
    if !have(&["nghttp"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    site.add("2m.bin", &pattern(2 << 20));
    // More than a window holds, more than is let come, and nothing at all.
    for path in ["1m.bin", "2m.bin", "empty.txt"] {
        let data = format!("--data={}", site.path().join(path).display());
        let got = nghttp(&["-nv", &data, "--multiply=3"], &[server.url("/1k.txt")]).text();
        assert_eq!(got.matches(" :status: 405\n").count(), 3, "{got}");
        assert_eq!(got.matches(" allow: GET, HEAD").count(), 3, "{got}");
        // Told to stop, which is no error.
        assert!(!got.contains("recv GOAWAY"), "{got}");
        let told = got.matches("error_code=").count() - got.matches("send GOAWAY").count();
        assert_eq!(
            got.matches("error_code=NO_ERROR").count(),
            told + got.matches("send GOAWAY").count(),
            "{got}"
        );
        assert_eq!(told, if path == "2m.bin" { 3 } else { 0 }, "{got}");
    }
}

/// A reset behind an answer is a failure to this client, whatever the code says, and the answer is
/// lost.
#[test]
fn curl_posts_a_megabyte_and_reads_the_answer() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    let file = site.path().join("1m.bin");
    for option in ["--data-binary", "--upload-file"] {
        let what = if option == "--upload-file" { "" } else { "@" };
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--http2", "--include", "--cacert"]).arg(server.ca());
        curl.arg(option).arg(format!("{what}{}", file.display())).arg(server.url("/1k.txt"));
        let got = run_with(&mut curl, b"").ok().text();
        assert!(got.starts_with("HTTP/2 405 "), "{option}: {got}");
    }
}

#[test]
fn nghttp_may_send_large_heads_but_not_any() {
    if !have(&["nghttp"]) {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    // Near the limit of 16 KiB; and 24 KiB in several frames, which cost one stream (far beyond:
    // `wire`).
    let large = format!("--header=x: {}", "y".repeat(15_000));
    let got = nghttp(&["-nv", &large], &[server.url("/1k.txt")]).text();
    assert_eq!(got.matches(" :status: 200\n").count(), 1, "{got}");
    let got = nghttp(&["-nv", "--continuation"], &[server.url("/1k.txt")]).text();
    assert_eq!(got.matches(" :status: 431\n").count(), 1, "{got}");
    assert!(!got.contains("recv GOAWAY"), "{got}");
}

#[test]
fn h2load_sees_no_error() {
    if !have(&["h2load"]) {
        return;
    }
    let site = Site::small();
    for server in [Server::start([site.path()]), plain(&site)] {
        for (path, requests, length) in [("/1k.txt", 8_192, 1024), ("/16k.bin", 2_048, 16 * 1024)] {
            let number = requests.to_string();
            let got = run("h2load", ["-n", &number, "-c", "16", "-m", "32", "-t", "2", &server.url(path)]);
            let got = got.ok().text();
            assert!(got.contains("Application protocol: h2"), "{got}");
            let has = |what: &str| assert!(got.contains(what), "no {what:?}: {got}");
            has(&format!(
                "{number} total, {number} started, {number} done, {number} succeeded, 0 failed, 0 errored, 0 timeout"
            ));
            has(&format!("status codes: {number} 2xx, 0 3xx, 0 4xx, 0 5xx"));
            // Not one byte of content too many or too few.
            has(&format!("({}) data", requests * length));
        }
    }
}

#[test]
fn curl_knows_before() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::small();
    let server = plain(&site);
    // With an Upgrade (RFC 7540 §3.2, which RFC 9113 has dropped) the server goes on as it is
    // asked.
    for (option, status) in [("--http2-prior-knowledge", "HTTP/2 200"), ("--http2", "HTTP/1.1 200")] {
        // One each time: curl 7.88 stumbles over a connection of that kind that it uses again.
        let got =
            run("curl", ["--silent", "--show-error", "--include", option, &server.url("/16k.bin")]).ok();
        assert!(got.text().starts_with(status), "{option}: {}", got.text());
        assert!(got.stdout.ends_with(&pattern(16 * 1024)), "{option}");
    }
}

#[test]
fn a_large_file_arrives_whole() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    // A prime number of bytes: no buffer's size divides it.
    let large: Vec<u8> = pattern(1_000_003).into_iter().cycle().take(64 << 20).collect();
    site.add("large.bin", &large);
    // Sent from memory, and from the file.
    for memory in ["1024", "16"] {
        let server = Server::start([site.path(), Path::new("--memory"), Path::new(memory)]);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--http2", "--write-out", "%{stderr}%{http_version}"]);
        let got = run_with(curl.arg("--cacert").arg(server.ca()).arg(server.url("/large.bin")), b"").ok();
        assert_eq!(got.stderr, "2");
        assert!(got.stdout == large, "--memory {memory}: {} bytes, or wrong ones", got.stdout.len());
    }
}

/// Whether Debian's Python has these; otherwise the test is recorded as skipped and should return.
fn python_has(modules: &str) -> bool {
    let there =
        Path::new(PYTHON).exists() && run(PYTHON, ["-c", &format!("import {modules}")]).status.success();
    if !there {
        skip(&format!("no python3 with {modules} on this machine; `cargo xtask setup` installs them"));
    }
    there
}

#[test]
fn httpx_has_many_streams_on_one_connection() {
    if !python_has("httpx, h2") {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    let script = "
import asyncio, httpx, ssl, sys
url, ca, version = sys.argv[1:4]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
limits = httpx.Limits(max_connections=1)
async def main():
    async with httpx.AsyncClient(http1=False, http2=True, verify=context, timeout=30, limits=limits) as client:
        paths = [('/1k.txt', 1024), ('/16k.bin', 16384), ('/1m.bin', 1048576), ('/empty.txt', 0)] * 8
        answers = await asyncio.gather(*(client.get(url + path) for path, _ in paths))
        bodies = {}
        for (path, length), answer in zip(paths, answers):
            assert (answer.http_version, answer.status_code) == ('HTTP/2', 200), (path, answer)
            assert len(answer.content) == length == int(answer.headers['content-length']), path
            assert bodies.setdefault(path, answer.content) == answer.content, path
        fresh = await client.get(url + '/1k.txt', headers={'If-None-Match': answers[0].headers['etag']})
        assert (fresh.status_code, fresh.content) == (304, b''), fresh
        part = await client.get(url + '/1k.txt', headers={'Range': 'bytes=5-9'})
        assert (part.status_code, part.content) == (206, answers[0].content[5:10]), part
        post = await client.post(url + '/1k.txt', content=b'x' * 200000)
        assert post.status_code == 405, post
        missing = await client.get(url + '/nothing')
        assert missing.status_code == 404, missing
        print('content', len(paths))
asyncio.run(main())
";
    for version in ["TLSv1_2", "TLSv1_3"] {
        let mut command = Command::new(PYTHON);
        command.args(["-c", script, &server.url("")]).arg(server.ca()).arg(version);
        assert_eq!(run_with(&mut command, b"").ok().text(), "content 32\n", "{version}");
    }
}

/// A client that holds the protocol against its own state machine at every frame.
#[test]
fn python_h2_downloads_side_by_side_through_small_windows() {
    if !python_has("h2.connection") {
        return;
    }
    let site = Site::small();
    let server = Server::start([site.path()]);
    let script = "
import hashlib, socket, ssl, sys
from h2 import config, connection, events, settings
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
context.set_alpn_protocols(['h2'])
tls = context.wrap_socket(socket.create_connection(('127.0.0.1', port), 30), server_hostname='127.0.0.1')
assert tls.selected_alpn_protocol() == 'h2'
h2 = connection.H2Connection(config=config.H2Configuration(header_encoding='utf-8'))
h2.local_settings = settings.Settings(initial_values={settings.SettingCodes.INITIAL_WINDOW_SIZE: 3000})
h2.initiate_connection()
bodies, statuses = {}, {}
for _ in range(12):
    stream = h2.get_next_available_stream_id()
    head = [(':method', 'GET'), (':scheme', 'https'), (':authority', 'localhost'), (':path', '/1m.bin')]
    h2.send_headers(stream, head, end_stream=True)
    bodies[stream] = bytearray()
open_streams = set(bodies)
switches, last = 0, 0
while open_streams:
    tls.sendall(h2.data_to_send())
    received = tls.recv(65536)
    assert received, 'the connection ended'
    for event in h2.receive_data(received):
        if isinstance(event, events.ResponseReceived):
            statuses[event.stream_id] = dict(event.headers)[':status']
        elif isinstance(event, events.DataReceived):
            switches += event.stream_id != last
            last = event.stream_id
            bodies[event.stream_id] += event.data
            if event.flow_controlled_length:
                h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            open_streams.discard(event.stream_id)
        elif isinstance(event, (events.StreamReset, events.ConnectionTerminated)):
            raise SystemExit(str(event))
assert set(statuses.values()) == {'200'}, statuses
assert {len(body) for body in bodies.values()} == {1048576}
print(len({hashlib.sha256(body).digest() for body in bodies.values()}), hashlib.sha256(bodies[1]).hexdigest())
assert switches > 120, 'one after the other'
";
    let mut command = Command::new(PYTHON);
    command.args(["-c", script, &server.address().port().to_string()]).arg(server.ca());
    let said = run_with(&mut command, b"").ok().text();
    let hash = run("sha256sum", [site.path().join("1m.bin")]).ok().text();
    assert_eq!(said.trim(), format!("1 {}", hash.split(' ').next().unwrap()));
}

#[test]
fn a_hundred_streams_share_a_connection_whatever_their_windows() {
    let site = Site::new();
    let body = pattern(200_003);
    site.add("body.bin", &body);
    // From memory, and from a file that does not fit.
    let folder = TempDir::new().unwrap();
    let archive = site.tar(&folder);
    for served in [site.path(), &archive] {
        let server = Server::start([served, Path::new("--memory"), Path::new("1")]);
        for window in [1_000, 16_384, WINDOW_MAX] {
            let mut client = Client::open(&config(&server), server.address(), window).unwrap();
            let answers = client.get_all(&["/body.bin"; 100], &[]).unwrap();
            assert_eq!(answers.len(), 100);
            for answer in answers {
                assert_eq!(answer.status, 200);
                assert_eq!(answer.field("content-length"), Some("200003"));
                assert!(answer.body == body, "window {window}: {} bytes", answer.body.len());
            }
        }
    }
}

/// With all that RFC 9113 §9.2 asks of TLS 1.2.
#[test]
fn tls_1_2_will_do() {
    let site = Site::small();
    let server = Server::start([site.path()]);
    let roots = ClientConfig::clone(&config(&server));
    let only = |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let mut made = ClientConfig::builder_with_provider(Arc::clone(roots.crypto_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(crate::common::client::roots(&server))
            .with_no_client_auth();
        made.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(made)
    };
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = Client::open(&only(&[version]), server.address(), WINDOW_MAX).unwrap();
        assert_eq!(client.get("/1m.bin").unwrap().body, pattern(1024 * 1024), "{version:?}");
        assert!(
            client.get_all(&["/1k.txt"; 50], &[]).unwrap().iter().all(|answer| answer.body == pattern(1024))
        );
    }
}

#[test]
fn sigterm_lets_streams_finish() {
    const LEN: usize = 8 << 20;
    let site = Site::new();
    let body = pattern(LEN);
    site.add("big.bin", &body);
    let mut server = Server::start([site.path()]);
    let mut idle = Client::connect(&server);
    assert_eq!(idle.request("HEAD", "/big.bin", &[]).unwrap().status, 200);
    // The windows let a little of each body go, so that the rest is the server's when the signal
    // comes.
    let mut busy = Client::open(&config(&server), server.address(), 64 * 1024).unwrap();
    let asked: Vec<_> = (0..3).map(|_| busy.ask("GET", "/big.bin", &[])).collect();
    let streams: Vec<u32> = asked.iter().map(|(stream, _)| *stream).collect();
    busy.send(&asked.into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>()).unwrap();
    while busy.begun() < streams.len() {
        busy.go_on().unwrap();
    }
    server.terminate();
    let answers = busy.answers(&streams).unwrap();
    for stream in &streams {
        assert!(answers[stream].body == body, "{} bytes", answers[stream].body.len());
    }
    assert!(busy.left_by_server, "no GOAWAY");
    assert!(busy.is_ended().unwrap(), "an end without close_notify");
    let goaways = farewell(&mut idle);
    assert_eq!(goaways.first(), Some(&(WINDOW_MAX, 0)), "the first lets what is under way come: {goaways:?}");
    assert_eq!(goaways.last(), Some(&(1, 0)), "the last says what was answered: {goaways:?}");
    assert!(server.wait().success(), "{}", server.said());
    assert!(crate::common::client::socket(server.address()).is_err(), "the port still answers");
}

/// The last stream and the code of each GOAWAY up to the end, which must be clean.
fn farewell(client: &mut Client) -> Vec<(u32, u32)> {
    let mut goaways = Vec::new();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let ended = loop {
        match client.frame() {
            Ok(frame) if frame.kind == GOAWAY => {
                goaways.push((number(&frame.payload[..4]), number(&frame.payload[4..8])));
            }
            Ok(_) => {}
            Err(_) => break client.is_ended(),
        }
    };
    assert!(ended.unwrap(), "an end without close_notify");
    goaways
}

#[test]
fn an_idle_connection_is_told_to_go() {
    let site = Site::small();
    for tls in ["auto", "off"] {
        let args = ["--idle-seconds", "1", "--tls", tls].map(Path::new);
        let server = Server::start([&[site.path()], &args[..]].concat());
        let mut client = match tls {
            "off" => Client::plain(server.address(), WINDOW_MAX).unwrap(),
            _ => Client::connect(&server),
        };
        assert_eq!(client.get_all(&["/1k.txt", "/nothing"], &[]).unwrap()[1].status, 404);
        assert_eq!(farewell(&mut client), [(3, 0)], "{tls}");
    }
}

#[test]
fn it_can_be_switched_off() {
    let site = Site::small();
    let server = Server::start([site.path(), Path::new("--no-http2")]);
    assert!(Client::open(&config(&server), server.address(), WINDOW_MAX).is_err(), "h2 was agreed on");
    assert_eq!(crate::common::client::Client::connect(&server).get("/1k.txt").unwrap().status, 200);

    let [no_http2, tls, off] = ["--no-http2", "--tls", "off"].map(Path::new);
    let server = Server::start([site.path(), no_http2, tls, off]);
    let mut socket = crate::common::client::socket(server.address()).unwrap();
    std::io::Write::write_all(&mut socket, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut socket, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"), "{answer}");
}
