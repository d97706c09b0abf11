//! The common and the combined format (httpd's mod_log_config), escaped as nginx does by default.

use std::time::Duration;

use crate::log::Record;
use sitar_http::date;

use super::{Addresses, client, decimal, first_special, hexadecimal, peer, version};

/// Appends a line. `is_combined`: with Referer and User-Agent.
pub(super) fn write(
    addresses: Addresses,
    record: &Record<'_>,
    time: Duration,
    is_combined: bool,
    out: &mut Vec<u8>,
) {
    if !peer(addresses, client(record), out) {
        out.push(b'-');
    }
    out.extend_from_slice(b" - - [");
    out.extend_from_slice(&when(time));
    out.extend_from_slice(b"] \"");
    request(record, out);
    out.extend_from_slice(b"\" ");
    decimal(record.status.code().into(), out);
    out.push(b' ');
    decimal(record.length, out);
    if is_combined {
        for field in [record.referer, record.user_agent] {
            out.extend_from_slice(b" \"");
            value(field.unwrap_or_default(), out);
            out.push(b'"');
        }
    }
    out.push(b'\n');
}

/// Returns a time of UTC as `10/Oct/2000:13:55:36 +0000`.
fn when(time: Duration) -> [u8; 26] {
    // Sun, 06 Nov 1994 08:49:37 GMT
    let imf = date::write_imf(time.as_secs());
    let mut out = *b"00/Jan/0000:00:00:00 +0000";
    out[0..2].copy_from_slice(&imf[5..7]);
    out[3..6].copy_from_slice(&imf[8..11]);
    out[7..11].copy_from_slice(&imf[12..16]);
    out[12..20].copy_from_slice(&imf[17..25]);
    out
}

/// Appends the request line. Of one that could not be read, that is what came of it, and `-` if
/// nothing did.
fn request(record: &Record<'_>, out: &mut Vec<u8>) {
    if record.method.is_empty() {
        return value(record.target, out);
    }
    escaped(record.method, out);
    out.push(b' ');
    escaped(record.target, out);
    // A target that was understood has no space. With one, it is the rest of the line.
    if !record.target.contains(&b' ') {
        out.push(b' ');
        out.extend_from_slice(version(record.version));
    }
}

/// Appends bytes, or `-` where there are none.
fn value(bytes: &[u8], out: &mut Vec<u8>) {
    match bytes {
        [] => out.push(b'-'),
        _ => escaped(bytes, out),
    }
}

/// Appends bytes; those that could end the value or the line, or are no ASCII, as `\xHH`.
fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = first_special(rest) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        if let [byte, after @ ..] = special {
            let [high, low] = hexadecimal(*byte);
            out.extend_from_slice(&[b'\\', b'x', high, low]);
            rest = after;
        }
    }
    out.extend_from_slice(rest);
}
