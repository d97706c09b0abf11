use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sitar_http::Status;
use sitar_server::{HttpVersion, LogId, LogTls, Peer, Record};

use super::*;

fn record() -> Record<'static> {
    Record {
        log: LogId(3),
        traces: [0; 4],
        start: Instant::now(),
        duration: Duration::from_micros(1_000_345),
        peer: Some(Peer::Ip("198.51.100.78".parse().unwrap())),
        client: None,
        version: HttpVersion::Http2,
        method: b"GET",
        host: b"example.com:8443",
        target: b"/a?b=\"c\"",
        status: Status::OK,
        length: 2326,
        tls: Some(LogTls { version: 0x0304, cipher_suite: 0x1301, resumed: true }),
        referer: Some(b"https://example.org/"),
        user_agent: Some("Mozilla \\ \u{e4}\u{7}\u{85}".as_bytes()),
        cut: None,
    }
}

/// 10 October 2000, 13:55:36.000789 UTC.
const TIME: Duration = Duration::from_micros(971_186_136_000_789);

fn line(format: Format, addresses: Addresses, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    write(format, addresses, record, TIME, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_has_the_names_of_caddy() {
    assert_eq!(
        line(Format::Json, Addresses::Full, &record()),
        "{\"level\":\"info\",\"ts\":971186136.000789,\"logger\":\"http.log.access\",\
         \"msg\":\"handled request\",\"request\":{\"remote_ip\":\"198.51.100.78\",\
         \"client_ip\":\"198.51.100.78\",\"proto\":\"HTTP/2.0\",\"method\":\"GET\",\
         \"host\":\"example.com:8443\",\"uri\":\"/a?b=\\\"c\\\"\",\"headers\":{\
         \"User-Agent\":[\"Mozilla \\\\ ä\\u0007\\u0085\"],\"Referer\":[\"https://example.org/\"]},\
         \"tls\":{\"resumed\":true,\"version\":772,\"cipher_suite\":4865,\"proto\":\"h2\"}},\
         \"bytes_read\":0,\"user_id\":\"\",\"duration\":1.000345,\"size\":2326,\"status\":200,\
         \"resp_headers\":{}}\n"
    );
}

#[test]
fn json_of_an_answer_that_was_given_up_says_why() {
    let record = Record {
        client: Some("2001:db8:1:2::3".parse().unwrap()),
        version: HttpVersion::Http11,
        status: Status::from_code(503).unwrap(),
        duration: Duration::ZERO,
        method: b"",
        host: b"",
        target: b"a\xff\xf0\x9f\x98\x80\xe2\x80\xa8\xc3",
        tls: None,
        referer: None,
        user_agent: None,
        cut: Some("slow_readers"),
        ..record()
    };
    assert_eq!(
        line(Format::Json, Addresses::Truncated, &record),
        "{\"level\":\"error\",\"ts\":971186136.000789,\"logger\":\"http.log.access\",\
         \"msg\":\"handled request\",\"request\":{\"remote_ip\":\"198.51.100.0\",\
         \"client_ip\":\"2001:db8:1::\",\"proto\":\"HTTP/1.1\",\"method\":\"\",\"host\":\"\",\
         \"uri\":\"a\\ufffd😀\\u2028\\ufffd\",\"headers\":{}},\"bytes_read\":0,\"user_id\":\"\",\
         \"duration\":0.000000,\"size\":2326,\"status\":503,\"resp_headers\":{},\
         \"cut\":\"slow_readers\"}\n"
    );
}

#[test]
fn combined_and_common_are_those_of_nginx() {
    let start = "198.51.100.78 - - [10/Oct/2000:13:55:36 +0000] \"GET /a?b=\\x22c\\x22 HTTP/2.0\" 200 2326";
    assert_eq!(line(Format::Common, Addresses::Full, &record()), format!("{start}\n"));
    let rest = " \"https://example.org/\" \"Mozilla \\x5C \\xC3\\xA4\\x07\\xC2\\x85\"\n";
    assert_eq!(line(Format::Combined, Addresses::Full, &record()), format!("{start}{rest}"));
    for (method, target, user_agent, request, agent) in [
        (&b""[..], &b""[..], None, "-", "-"),
        (b"", b"\x16\x03\x01", Some(&b""[..]), "\\x16\\x03\\x01", "-"),
        (b"GET", b"/a b HTTP/1.1", Some(b"-"), "GET /a b HTTP/1.1", "-"),
        (b"GET", b"/\x7f", Some(b"a\nb"), "GET /\\x7F HTTP/2.0", "a\\x0Ab"),
    ] {
        let record = Record { method, target, user_agent, referer: None, ..record() };
        let expected = format!(
            "198.51.100.78 - - [10/Oct/2000:13:55:36 +0000] \"{request}\" 200 2326 \"-\" \"{agent}\"\n"
        );
        assert_eq!(line(Format::Combined, Addresses::Full, &record), expected);
    }
}

#[test]
fn addresses_are_whole_or_cut_or_missing() {
    let client = |peer, client: Option<&str>, addresses| {
        let client = client.map(|address| address.parse().unwrap());
        let line = line(Format::Common, addresses, &Record { peer, client, ..record() });
        line.split(' ').next().unwrap().to_owned()
    };
    let ip = |text: &str| Some(Peer::Ip(text.parse().unwrap()));
    for (peer, proxied, full, truncated) in [
        (ip("192.0.2.255"), None, "192.0.2.255", "192.0.2.0"),
        (ip("10.0.0.1"), Some("203.0.113.9"), "203.0.113.9", "203.0.113.0"),
        (ip("10.0.0.1"), Some("::ffff:203.0.113.9"), "203.0.113.9", "203.0.113.0"),
        (ip("2001:db8:ffff:ffff::1"), None, "2001:db8:ffff:ffff::1", "2001:db8:ffff::"),
        (Some(Peer::Unix), None, "unix:", "unix:"),
        (None, None, "-", "-"),
    ] {
        assert_eq!(client(peer, proxied, Addresses::Full), full);
        assert_eq!(client(peer, proxied, Addresses::Truncated), truncated);
        assert_eq!(client(peer, proxied, Addresses::None), "-");
    }
    let json = line(Format::Json, Addresses::None, &record());
    assert!(json.contains("{\"remote_ip\":\"\",\"client_ip\":\"\",\"proto\""), "{json}");
}

/// What ends or begins something in a format, among any bytes.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            &b"\""[..],
            b"\\",
            b"\n",
            b"\r\n",
            b"\\x22",
            b"\\u0022",
            b"\",\"status\":200",
            b"\" 200 1 \"-\" \"-\"\n192.0.2.1 - - [",
            b"\0",
            b"\x1b[2K",
            b"\xe2\x80\xa8",
            b"\xc2\x9b",
            b"\xf0\x9f",
            b"-",
            b" ",
        ])
        .prop_map(<[u8]>::to_vec),
        "[a-z/]{1,9}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_record_is_one_line_that_is_read_as_the_same(
        parts in prop::array::uniform5(bytes()),
        (peer, client) in (any::<Option<IpAddr>>(), any::<Option<Ipv6Addr>>()),
        (length, micros, time) in (any::<u64>(), 0..1_u64 << 40, 0..1_u64 << 50),
        has in 0..16_u8,
        version in prop::sample::select(vec![HttpVersion::Http10, HttpVersion::Http11, HttpVersion::Http2]),
    ) {
        let [method, host, target, referer, user_agent] = &parts;
        let record = Record {
            duration: Duration::from_micros(micros),
            peer: peer.map(Peer::Ip),
            client: client.map(|client| IpAddr::V6(client).to_canonical()),
            version,
            method,
            host,
            target,
            length,
            tls: record().tls.filter(|_| has & 1 > 0),
            referer: (has & 2 > 0).then_some(referer),
            user_agent: (has & 4 > 0).then_some(user_agent),
            cut: (has & 8 > 0).then_some("stream_reset"),
            ..record()
        };
        properties::lines(&record, Duration::from_micros(time));
    }
}
