//! JSON with the names of Caddy's access log.

use std::time::Duration;

use crate::log::Record;
use crate::numbers::HttpVersion;

use super::{Addresses, client, decimal, first_special, hexadecimal, peer, seconds, version};

/// Appends an object and a line feed.
pub(super) fn write(addresses: Addresses, record: &Record<'_>, time: Duration, out: &mut Vec<u8>) {
    let level: &[u8] = if record.status.code() >= 500 { b"error" } else { b"info" };
    out.extend_from_slice(b"{\"level\":\"");
    out.extend_from_slice(level);
    out.extend_from_slice(b"\",\"ts\":");
    seconds(time, out);
    out.extend_from_slice(
        b",\"logger\":\"http.log.access\",\"msg\":\"handled request\",\"request\":{\"remote_ip\":\"",
    );
    peer(addresses, record.peer, out);
    out.extend_from_slice(b"\",\"client_ip\":\"");
    peer(addresses, client(record), out);
    out.extend_from_slice(b"\",\"proto\":\"");
    out.extend_from_slice(version(record.version));
    for (name, bytes) in [
        (&b"\",\"method\":\""[..], record.method),
        (b"\",\"host\":\"", record.host),
        (b"\",\"uri\":\"", record.target),
    ] {
        out.extend_from_slice(name);
        escaped(bytes, out);
    }
    out.extend_from_slice(b"\",\"headers\":{");
    headers(record, out);
    out.push(b'}');
    tls(record, out);
    out.extend_from_slice(b"},\"bytes_read\":0,\"user_id\":\"\",\"duration\":");
    seconds(record.duration, out);
    out.extend_from_slice(b",\"size\":");
    decimal(record.length, out);
    out.extend_from_slice(b",\"status\":");
    decimal(record.status.code().into(), out);
    out.extend_from_slice(b",\"resp_headers\":{}");
    if let Some(cut) = record.cut {
        out.extend_from_slice(b",\"cut\":\"");
        escaped(cut.as_bytes(), out);
        out.push(b'"');
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the fields of the request that a log gets.
fn headers(record: &Record<'_>, out: &mut Vec<u8>) {
    let fields = [(&b"\"User-Agent\":[\""[..], record.user_agent), (b"\"Referer\":[\"", record.referer)];
    let mut is_first = true;
    for (name, value) in fields {
        let Some(value) = value else { continue };
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        out.extend_from_slice(name);
        escaped(value, out);
        out.extend_from_slice(b"\"]");
    }
}

/// Appends what a handshake has agreed on; nothing for plain HTTP.
fn tls(record: &Record<'_>, out: &mut Vec<u8>) {
    let Some(tls) = &record.tls else { return };
    out.extend_from_slice(b",\"tls\":{\"resumed\":");
    out.extend_from_slice(if tls.resumed { b"true" } else { b"false" });
    out.extend_from_slice(b",\"version\":");
    decimal(tls.version.into(), out);
    out.extend_from_slice(b",\"cipher_suite\":");
    decimal(tls.cipher_suite.into(), out);
    out.extend_from_slice(b",\"proto\":\"");
    out.extend_from_slice(match record.version {
        HttpVersion::Http2 => b"h2",
        HttpVersion::Http10 | HttpVersion::Http11 => b"http/1.1",
    });
    out.extend_from_slice(b"\"}");
}

/// Appends the inside of a string. What is no UTF-8 becomes U+FFFD, everything else stays what it
/// is.
///
/// RFC 8259 §7 asks for escapes of quotes, backslashes and control characters below U+0020 only.
/// Others that a terminal or a reader of lines obeys are escaped as well: DEL, the C1 controls,
/// the separators of lines and paragraphs, and those that change the direction of a text.
fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let Some(at) = first_special(bytes) else { return out.extend_from_slice(bytes) };
    let (plain, rest) = bytes.split_at(at);
    out.extend_from_slice(plain);
    for chunk in rest.utf8_chunks() {
        let (valid, mut from) = (chunk.valid(), 0);
        for (at, character) in valid.char_indices().filter(|(_, character)| is_escaped(*character)) {
            out.extend_from_slice(valid.get(from..at).unwrap_or_default().as_bytes());
            escape(character, out);
            from = at + character.len_utf8();
        }
        out.extend_from_slice(valid.get(from..).unwrap_or_default().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn is_escaped(character: char) -> bool {
    matches!(
        character,
        '"' | '\\'
            | '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

/// Appends the escape of a character, which has four digits at most.
fn escape(character: char, out: &mut Vec<u8>) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u");
            for byte in (character as u32 as u16).to_be_bytes() {
                out.extend_from_slice(&hexadecimal(byte));
            }
        }
    }
}
