//! The properties of a line, for tests and for the fuzz target.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sitar_http::Status;
use sitar_server::{HttpVersion, LogId, LogTls, Peer, Record};

use super::{Addresses, Format, write};

/// Makes a record of any bytes, and checks its lines.
///
/// # Panics
/// As [`lines`].
pub fn access_log(bytes: &[u8]) {
    let mut input = Input(bytes);
    let numbers: [u8; 8] = std::array::from_fn(|_| input.byte());
    let [version, peer, client, status, has, tls, length, time] = numbers;
    let [method, host, target, referer, user_agent] = std::array::from_fn(|_| input.bytes());
    let statuses = [
        Status::OK,
        Status::PARTIAL_CONTENT,
        Status::BAD_REQUEST,
        Status::from_code(503).unwrap_or(Status::OK),
    ];
    let address = |byte: u8| match byte % 4 {
        0 => None,
        1 => Some(IpAddr::V4(Ipv4Addr::new(192, 0, byte, 255))),
        2 => Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, byte.into(), 7, 0, 0, 0, 1))),
        _ => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    };
    let record = Record {
        log: LogId(0),
        traces: [0; 4],
        start: Instant::now(),
        duration: Duration::from_micros(u64::from(time) << (length % 40)),
        peer: if peer == 255 { Some(Peer::Unix) } else { address(peer).map(Peer::Ip) },
        client: address(client),
        version: [HttpVersion::Http10, HttpVersion::Http11, HttpVersion::Http2][usize::from(version % 3)],
        method,
        host,
        target,
        status: statuses[usize::from(status % 4)],
        length: u64::from(length) << (time % 57),
        tls: (tls & 1 > 0).then(|| LogTls {
            version: 0x0300 | u16::from(tls),
            cipher_suite: 0x1300 | u16::from(length),
            resumed: tls & 2 > 0,
        }),
        referer: (has & 1 > 0).then_some(referer),
        user_agent: (has & 2 > 0).then_some(user_agent),
        cut: (has & 4 > 0).then_some("stream_reset"),
    };
    lines(&record, Duration::from_millis(u64::from(time) << (status % 40)));
}

/// What is left of the bytes.
struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Takes as many bytes as the next one says.
    fn bytes(&mut self) -> &'b [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}

/// Checks the lines of a record in each format.
///
/// # Panics
/// A line is none, or is not read as the record.
pub fn lines(record: &Record<'_>, time: Duration) {
    for addresses in [Addresses::Full, Addresses::Truncated, Addresses::None] {
        for format in [Format::Json, Format::Combined, Format::Common] {
            let mut out = b"before\n".to_vec();
            write(format, addresses, record, time, &mut out);
            let Some(line) = out.strip_prefix(b"before\n").and_then(|line| line.strip_suffix(b"\n")) else {
                unreachable!("{format:?}: no line: {:?}", String::from_utf8_lossy(&out))
            };
            let Ok(line) = std::str::from_utf8(line) else { unreachable!("{format:?}: {line:?}") };
            assert!(!line.chars().any(char::is_control), "{format:?}: {line:?}");
            match format {
                Format::Json => json_line(line, addresses, record, time),
                Format::Combined => plain_line(line, addresses, record, true),
                Format::Common => plain_line(line, addresses, record, false),
            }
        }
    }
}

fn address(addresses: Addresses, peer: Option<Peer>) -> Option<String> {
    Some(match (addresses, peer?) {
        (Addresses::None, _) => return None,
        (_, Peer::Unix) => "unix:".to_owned(),
        (Addresses::Full, Peer::Ip(ip)) => ip.to_string(),
        (Addresses::Truncated, Peer::Ip(IpAddr::V4(v4))) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0")
        }
        (Addresses::Truncated, Peer::Ip(IpAddr::V6(v6))) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string()
        }
    })
}

fn json_line(line: &str, addresses: Addresses, record: &Record<'_>, time: Duration) {
    let parsed: Result<Value, _> = serde_json::from_str(line);
    let Ok(parsed) = parsed else { unreachable!("{parsed:?}: {line}") };
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let client = record.client.map(Peer::Ip).or(record.peer);
    let mut headers = json!({});
    for (name, value) in [("User-Agent", record.user_agent), ("Referer", record.referer)] {
        if let Some(value) = value {
            headers[name] = json!([text(value)]);
        }
    }
    let (proto, alpn) = match record.version {
        HttpVersion::Http10 => ("HTTP/1.0", "http/1.1"),
        HttpVersion::Http11 => ("HTTP/1.1", "http/1.1"),
        HttpVersion::Http2 => ("HTTP/2.0", "h2"),
    };
    // The reader may be off by the last digit of a floating-point number.
    let number = |name: &str, time: Duration| {
        let number = parsed[name].as_f64().unwrap_or(f64::NAN);
        assert!((number - time.as_micros() as f64 / 1e6).abs() < 1e-6, "{name}: {line}");
        number
    };
    let mut expected = json!({
        "level": if record.status.code() >= 500 { "error" } else { "info" },
        "ts": number("ts", time),
        "logger": "http.log.access",
        "msg": "handled request",
        "request": {
            "remote_ip": address(addresses, record.peer).unwrap_or_default(),
            "client_ip": address(addresses, client).unwrap_or_default(),
            "proto": proto,
            "method": text(record.method),
            "host": text(record.host),
            "uri": text(record.target),
            "headers": headers,
        },
        "bytes_read": 0,
        "user_id": "",
        "duration": number("duration", record.duration),
        "size": record.length,
        "status": record.status.code(),
        "resp_headers": {},
    });
    if let Some(tls) = record.tls {
        expected["request"]["tls"] = json!({
            "resumed": tls.resumed,
            "version": tls.version,
            "cipher_suite": tls.cipher_suite,
            "proto": alpn,
        });
    }
    if let Some(cut) = record.cut {
        expected["cut"] = cut.into();
    }
    assert_eq!(parsed, expected, "{line}");
}

fn plain_line(line: &str, addresses: Addresses, record: &Record<'_>, is_combined: bool) {
    let Some((host, rest)) = line.split_once(" - - [") else { unreachable!("{line}") };
    let client = record.client.map(Peer::Ip).or(record.peer);
    assert_eq!(host, address(addresses, client).as_deref().unwrap_or("-"), "{line}");
    let Some((time, rest)) = rest.split_once("] ") else { unreachable!("{line}") };
    assert_eq!(time.len(), "10/Oct/2000:13:55:36 +0000".len(), "{line}");
    let (request, rest) = quoted(rest);
    let version = match record.version {
        HttpVersion::Http10 => "HTTP/1.0",
        HttpVersion::Http11 => "HTTP/1.1",
        HttpVersion::Http2 => "HTTP/2.0",
    };
    let expected = match (record.method, record.target) {
        (b"", b"") => Cow::Borrowed(&b"-"[..]),
        (b"", target) => target.into(),
        (method, target) if target.contains(&b' ') => [method, b" ", target].concat().into(),
        (method, target) => [method, b" ", target, b" ", version.as_bytes()].concat().into(),
    };
    assert_eq!(&request[..], &expected[..], "{line}");
    let numbers = format!(" {} {}", record.status.code(), record.length);
    let Some(mut rest) = rest.strip_prefix(&numbers) else { unreachable!("{line}") };
    for field in [record.referer, record.user_agent].into_iter().filter(|_| is_combined) {
        let Some(value) = rest.strip_prefix(' ') else { unreachable!("{line}") };
        let read;
        (read, rest) = quoted(value);
        let field = field.filter(|field| !field.is_empty());
        assert_eq!(read, field.unwrap_or(b"-"), "{line}");
    }
    assert_eq!(rest, "", "{line}");
}

/// Reads a quoted part at the front. Returns its bytes without their escapes, and what stands
/// behind it.
fn quoted(text: &str) -> (Vec<u8>, &str) {
    let Some(mut rest) = text.strip_prefix('"') else { unreachable!("no quote: {text}") };
    let mut bytes = Vec::new();
    loop {
        let mut characters = rest.chars();
        match characters.next() {
            Some('"') => return (bytes, characters.as_str()),
            Some('\\') => {
                let byte = rest.get(2..4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let (Some(byte), Some('x')) = (byte, characters.next()) else { unreachable!("{text}") };
                bytes.push(byte);
                rest = &rest[4..];
            }
            Some(plain @ ' '..='~') => {
                bytes.push(plain as u8);
                rest = characters.as_str();
            }
            _ => unreachable!("no end, or no ASCII: {text}"),
        }
    }
}
