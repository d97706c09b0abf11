//! The kind of a file by its first bytes, compared with what its name says.
//!
//! Only signatures that leave no doubt; with `nosniff`, a wrong name means that browsers refuse the
//! file.

use sitar_site::raw::{StoredCoding, is_html};
use std::io::Read;

/// Returns what is wrong with sending these bytes as this type, if anything.
pub(super) fn contradiction(essence: &str, bytes: &[u8]) -> Option<String> {
    let (found, allowed) = signature(bytes)?;
    let fits = allowed.iter().any(|allowed| match allowed.strip_suffix('*') {
        Some(prefix) => essence.starts_with(prefix),
        None => essence == *allowed,
    });
    (!fits).then(|| format!("is {found}, but its name says {essence}"))
}

/// Whether bytes are of a coding, as far as their beginning says. `is_all`: no more follow.
pub(super) fn is_encoded(stored: StoredCoding, bytes: &[u8], is_all: bool) -> bool {
    match stored {
        StoredCoding::Gzip => bytes.starts_with(b"\x1f\x8b"),
        // RFC 8878 §3.1: a frame, or one to be skipped.
        StoredCoding::Zstd => {
            bytes.starts_with(b"\x28\xb5\x2f\xfd") || bytes.get(1..4) == Some(b"\x2a\x4d\x18".as_slice())
        }
        // It has no signature. A beginning may decode to nothing yet.
        StoredCoding::Br => !is_all || sitar_brotli::Decoder::new(bytes).read(&mut [0; 256]).is_ok(),
        // Browsers take it with zlib's header and without any.
        StoredCoding::Deflate => true,
    }
}

/// A name for what bytes are, and the types that they may be sent as; `*` at the end stands for
/// anything.
fn signature(bytes: &[u8]) -> Option<(&'static str, &'static [&'static str])> {
    let starts = |start: &[u8]| bytes.starts_with(start);
    let at = |offset: usize, what: &[u8]| bytes.get(offset..).is_some_and(|rest| rest.starts_with(what));
    Some(match () {
        () if starts(b"\x89PNG\r\n\x1a\n") => ("a PNG image", &["image/png", "image/apng", "image/x-icon"]),
        () if starts(b"\xff\xd8\xff") => ("a JPEG image", &["image/jpeg", "image/pjpeg"]),
        () if starts(b"GIF87a") || starts(b"GIF89a") => ("a GIF image", &["image/gif"]),
        () if starts(b"RIFF") && at(8, b"WEBP") => ("a WebP image", &["image/webp"]),
        () if at(4, b"ftypavif") => ("an AVIF image", &["image/avif"]),
        () if starts(b"%PDF-") => ("a PDF document", &["application/pdf"]),
        () if starts(b"wOFF") => ("a WOFF font", &["font/woff", "application/font-woff"]),
        () if starts(b"wOF2") => ("a WOFF2 font", &["font/woff2"]),
        () if starts(b"\0asm") => ("a WebAssembly module", &["application/wasm"]),
        // Many formats are zip archives inside.
        () if starts(b"PK\x03\x04") => ("a zip archive", &["application/*", "model/*"]),
        () if starts(b"\x1f\x8b\x08") => ("gzip data", &["application/*", "model/*"]),
        () if is_html(bytes) => {
            ("an HTML page", &["text/html", "application/xhtml+xml", "text/plain", "text/markdown"])
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents() {
        let cases: &[(&str, &[u8], Option<&str>)] = &[
            ("image/png", b"\x89PNG\r\n\x1a\n\0\0", None),
            ("image/jpeg", b"\x89PNG\r\n\x1a\n\0\0", Some("is a PNG image, but its name says image/jpeg")),
            ("image/png", b"\xff\xd8\xff\xe0", Some("is a JPEG image, but its name says image/png")),
            ("image/webp", b"RIFF\x10\0\0\0WEBPVP8 ", None),
            ("image/gif", b"RIFF\x10\0\0\0WEBPVP8 ", Some("is a WebP image, but its name says image/gif")),
            (
                "text/javascript",
                b"<!DOCTYPE html>\n<html>",
                Some("is an HTML page, but its name says text/javascript"),
            ),
            (
                "application/octet-stream",
                b" <!-- a --> <HTML lang=x>",
                Some("is an HTML page, but its name says application/octet-stream"),
            ),
            ("text/html", b"<!doctype html>", None),
            ("image/svg+xml", b"<svg xmlns='x'>", None),
            ("image/svg+xml", b"\x1f\x8b\x08\0", Some("is gzip data, but its name says image/svg+xml")),
            ("text/javascript", b"const a = '<html>';", None),
            ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK\x03\x04", None),
            ("text/css", b"\x1f\x8b\x08\0", Some("is gzip data, but its name says text/css")),
            ("application/json", b"", None),
        ];
        for (essence, bytes, wrong) in cases {
            assert_eq!(
                contradiction(essence, bytes).as_deref(),
                *wrong,
                "{essence} {}",
                bytes.escape_ascii()
            );
        }
    }
}
