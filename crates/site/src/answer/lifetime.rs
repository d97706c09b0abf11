//! The time for which a cache may use a file without asking, by the file's name.
//!
//! Build tools put a digest of the content into the name of what they emit, so that a changed file
//! is another file. Such a name may be kept for ever; any other must be asked about, because
//! browsers otherwise guess a lifetime from `Last-Modified` (RFC 9111 §4.2.2) and show one half of
//! a site old and the other new after a deployment. Asking costs a 304.
//!
//! A name taken for fingerprinted by mistake would be stuck in browsers for a year, one that is
//! missed costs a 304. So every doubt is decided against the fingerprint.

/// The value of `Cache-Control` for a file.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// May be stored, and must be asked about before each use.
    Revalidate,
    /// The name carries the content's fingerprint (RFC 8246).
    Immutable,
    /// The same, of a site that only some may ask for.
    PrivateImmutable,
}

impl Lifetime {
    /// The value of `Cache-Control` (RFC 9111 §5.2.2).
    pub(crate) fn cache_control(self) -> &'static [u8] {
        match self {
            Lifetime::Revalidate => b"no-cache",
            // A year stands for "for ever"; RFC 9111 §1.2.2 lets caches stop counting somewhere.
            Lifetime::Immutable => b"public, max-age=31536000, immutable",
            Lifetime::PrivateImmutable => b"private, max-age=31536000, immutable",
        }
    }

    /// The lifetime of the same file where only some may ask for the site. What is to be asked
    /// about before each use needs no other: without `public`, no shared cache stores the answer to
    /// a request with credentials (RFC 9111 §3.5).
    pub(crate) fn within(self, is_private: bool) -> Lifetime {
        match self {
            Lifetime::Immutable if is_private => Lifetime::PrivateImmutable,
            other => other,
        }
    }
}

/// The lifetime of the file with this key.
pub(crate) fn of(name: &[u8]) -> Lifetime {
    if is_fingerprinted(name) { Lifetime::Immutable } else { Lifetime::Revalidate }
}

/// Whether the name carries a fingerprint, in one of the forms that are in use:
///
/// | form | written by |
/// |---|---|
/// | `app.3f2a1b9c.js`, `main.0123…cdef.min.css` | webpack, Docusaurus, Hugo, Parcel |
/// | `app-3f2a1b9c.js`, `image_hu_0123456789abcdef.jpg` | Sprockets, Hugo |
/// | `index-BxJ3k9aZ.js`, `main-5XKQW2ZB.js` | Vite and Rollup, esbuild, Angular |
/// | `chunks/0123456789abcdef.js` | Next.js |
#[must_use]
pub fn is_fingerprinted(name: &[u8]) -> bool {
    let (folders, file) = match name.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (&b""[..], name),
    };
    // A sidecar, or a source map, is as fixed as the file that it belongs to.
    let file = crate::open::sidecar::sidecar(file).map_or(file, |(original, _)| original);
    let file = file.strip_suffix(b".map").unwrap_or(file);
    let Some(dot) = file.iter().rposition(|&byte| byte == b'.') else { return false };
    let (stem, extension) = (&file[..dot], &file[dot + 1..]);
    // A page is where visitors enter: whatever its name looks like, it must be able to change.
    if PAGES.iter().any(|page| extension.eq_ignore_ascii_case(page)) {
        return false;
    }
    let built = CODE.iter().any(|code| extension.eq_ignore_ascii_case(code))
        || folders
            .split(|&byte| byte == b'/')
            .any(|folder| BUILD_FOLDERS.iter().any(|known| folder.eq_ignore_ascii_case(known)));
    let mut parts = stem.split(|&byte| byte == b'.');
    // The first part is a name of its own; only its end may be a fingerprint, unless it is one
    // altogether.
    let first = parts.next().unwrap_or(stem);
    ends_in_fingerprint(first, built)
        || parts.any(|part| is_hex(part, built) || ends_in_fingerprint(part, built))
}

/// `name-FINGERPRINT`, `name_FINGERPRINT` or, when it is long, `FINGERPRINT`.
fn ends_in_fingerprint(part: &[u8], built: bool) -> bool {
    if is_uuid(part) {
        return false;
    }
    let last = part.rsplit(|&byte| byte == b'-' || byte == b'_').next().unwrap_or(part);
    if is_hex(last, built && last.len() < part.len()) {
        return true;
    }
    // Its alphabet contains the separators, so it is counted from the end.
    let Some((rest, tail)) = part.split_last_chunk::<BASE64_LENGTH>() else { return false };
    built && rest.len() > 1 && rest.ends_with(b"-") && is_base64(tail)
}

/// Lower-case hexadecimal digits, figures and letters among them: not a word, a date or a number.
/// Short ones only where a build tool has been at work.
fn is_hex(part: &[u8], built: bool) -> bool {
    let least = if built { HEX_SHORT } else { HEX_LONG };
    (least..=HEX_MAX).contains(&part.len())
        && part.len().is_multiple_of(2)
        && part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && part.iter().any(u8::is_ascii_digit)
        && part.iter().any(u8::is_ascii_lowercase)
}

/// Eight characters of base64url or base32 that no person would write: a figure stands before a
/// letter (so not `iPhone15` or `Version2`), and there are capitals.
fn is_base64(tail: &[u8; BASE64_LENGTH]) -> bool {
    let figure = tail.iter().position(u8::is_ascii_digit);
    let letter = tail.iter().rposition(u8::is_ascii_alphabetic);
    tail.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && tail.iter().any(u8::is_ascii_uppercase)
        && matches!((figure, letter), (Some(figure), Some(letter)) if figure < letter)
}

/// Ends in 8-4-4-4-12 hexadecimal digits: identifies a thing, not its content.
fn is_uuid(part: &[u8]) -> bool {
    let Some((_, tail)) = part.split_last_chunk::<36>() else { return false };
    tail.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// Extensions of pages.
const PAGES: &[&[u8]] = &[b"html", b"htm", b"xhtml"];
/// Extensions of what comes out of build tools.
const CODE: &[&[u8]] = &[b"js", b"mjs", b"cjs", b"css", b"wasm", b"woff2", b"woff"];
/// Folders that build tools emit into.
const BUILD_FOLDERS: &[&[u8]] = &[
    b"assets",
    b"static",
    b"_next",
    b"_astro",
    b"_app",
    b"_nuxt",
    b"chunks",
    b"immutable",
    b"build",
    b"dist",
];
/// Digits of a short digest: webpack's and Docusaurus' eight.
const HEX_SHORT: usize = 8;
/// Digits that are a digest wherever they stand.
const HEX_LONG: usize = 16;
/// Digits of SHA-512.
const HEX_MAX: usize = 128;
/// Characters of Rollup's and esbuild's digests.
const BASE64_LENGTH: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_build_tools_write() {
        for name in [
            "app.3f2a1b9c.js",
            "app.3f2a1b9c.js.br",
            "app.3f2a1b9c.js.map",
            "app.3f2a1b9c.js.map.gz",
            "css/main.min.2f7d8a1be2a1bb15fd0bd4ae5f3a8e6f0b6a8f4ac9f4bbd41fd4f1ab0f0f1a2b.css",
            "style.0a1b2c3d.min.css",
            "assets/js/17896441.f8d9e0ab.js",
            "assets/images/banner-a60f7593abca1e3eef26a9afa244e4fb.jpeg",
            "static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg",
            "static/media/logo.6ce24c58.svg",
            "application-7e3a2b1c0d9f8e7a.css",
            "photo_hu_1a2b3c4d5e6f7890.jpg",
            "assets/index-BxJ3k9aZ.js",
            "assets/logo-Dh2_x-Kq.png",
            "main-5XKQW2ZB.js",
            "_next/static/chunks/0d1c2b3a4f5e6789.js",
            "_next/static/chunks/main-app-0d1c2b3a4f5e6789.js",
            "fonts/inter-C3kTqB9x.woff2",
        ] {
            assert_eq!(of(name.as_bytes()), Lifetime::Immutable, "{name}");
        }
    }

    #[test]
    fn names_that_people_write() {
        for name in [
            "index.html",
            "app.js",
            "sw.js",
            "jquery-3.7.1.min.js",
            "report-20241125.pdf",
            "assets/report-20241125.pdf",
            "static/20241125.js",
            "my-software.js",
            "deadbeef.js",
            "effaced0.js",
            "face2face.js",
            "defaced-decade.css",
            "assets/iPhone15.png",
            "assets/screenshot-iPhone15.png",
            "release-Version2.js",
            "the-McDonald.js",
            "page.3f2a1b9c.html",
            "page-5XKQW2ZB.html",
            "5XKQW2ZB.js",
            "-5XKQW2ZB.js",
            "logo.3f2a1b9c.svg",
            "photo-1234567a.jpg",
            "assets/550e8400-e29b-41d4-a716-44665544abcd.jpg",
            "assets/photo-550e8400-e29b-41d4-a716-44665544abcd.jpg",
            "3f2a1b9c3f2a1b9c",
            "app.3F2A1B9C.js",
            "assets.3f2a1b9c/logo.png",
            "data-12345678.js",
            "a.br",
            "",
            ".",
        ] {
            assert_eq!(of(name.as_bytes()), Lifetime::Revalidate, "{name}");
        }
    }
}
