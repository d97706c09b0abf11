//! Media types by file name.
//!
//! The table is `mime_guess`'s, corrected where browsers or registries have moved on. A name without an
//! extension, or with one that nobody knows, is `application/octet-stream`: with `nosniff` a wrong guess
//! would be worse than a download.

/// The value of `Content-Type` for a file of this name, as the type alone and whether UTF-8 should be declared.
pub(crate) fn of(name: &[u8]) -> Media {
    let essence = essence(name);
    Media { essence, utf8: is_text(essence) }
}

/// A media type (RFC 9110 §8.3.1) and whether `; charset=utf-8` belongs behind it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Media {
    pub(crate) essence: &'static str,
    pub(crate) utf8: bool,
}

fn essence(name: &[u8]) -> &'static str {
    let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
    let Some(dot) = file.iter().rposition(|&byte| byte == b'.') else { return UNKNOWN };
    let Ok(extension) = std::str::from_utf8(&file[dot + 1..]) else { return UNKNOWN };
    for &(ours, essence) in CORRECTIONS {
        if extension.eq_ignore_ascii_case(ours) {
            return essence;
        }
    }
    mime_guess::from_ext(extension).first_raw().unwrap_or(UNKNOWN)
}

fn is_text(essence: &str) -> bool {
    essence.starts_with("text/")
        || matches!(
            essence,
            "application/json" | "application/xml" | "application/javascript" | "application/manifest+json"
        )
        || essence.ends_with("+xml")
        || essence.ends_with("+json")
}

const UNKNOWN: &str = "application/octet-stream";

/// Where the table is behind: RFC 9239 (JavaScript), RFC 8081 (fonts), ECMA-426 (source maps), HLS segments.
const CORRECTIONS: &[(&str, &str)] = &[
    ("js", "text/javascript"),
    ("mjs", "text/javascript"),
    ("cjs", "text/javascript"),
    ("map", "application/json"),
    ("xml", "application/xml"),
    ("md", "text/markdown"),
    ("otf", "font/otf"),
    ("ts", "video/mp2t"),
    ("br", UNKNOWN),
    ("zst", "application/zstd"),
    ("gz", "application/gzip"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_that_a_site_lives_on() {
        for (name, essence, utf8) in [
            ("index.html", "text/html", true),
            ("a/b.css", "text/css", true),
            ("app.js", "text/javascript", true),
            ("APP.JS", "text/javascript", true),
            ("app.mjs", "text/javascript", true),
            ("app.js.map", "application/json", true),
            ("data.json", "application/json", true),
            ("app.webmanifest", "application/manifest+json", true),
            ("logo.svg", "image/svg+xml", true),
            ("feed.xml", "application/xml", true),
            ("feed.atom", "application/atom+xml", true),
            ("notes.txt", "text/plain", true),
            ("notes.md", "text/markdown", true),
            ("code.wasm", "application/wasm", false),
            ("font.woff2", "font/woff2", false),
            ("font.otf", "font/otf", false),
            ("photo.avif", "image/avif", false),
            ("photo.webp", "image/webp", false),
            ("photo.png", "image/png", false),
            ("favicon.ico", "image/x-icon", false),
            ("paper.pdf", "application/pdf", false),
            ("film.mp4", "video/mp4", false),
            ("segment.ts", "video/mp2t", false),
            ("archive.tar.gz", "application/gzip", false),
            ("app.js.br", "application/octet-stream", false),
            ("app.js.zst", "application/zstd", false),
            ("LICENSE", "application/octet-stream", false),
            ("folder.html/LICENSE", "application/octet-stream", false),
            ("strange.qqqq", "application/octet-stream", false),
            ("ends.", "application/octet-stream", false),
        ] {
            assert_eq!(of(name.as_bytes()), Media { essence, utf8 }, "{name}");
        }
        assert_eq!(of(b"a.\xff").essence, "application/octet-stream");
    }
}
