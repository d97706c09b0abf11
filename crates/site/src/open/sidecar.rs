//! Sidecars: compressed forms that lie beside a file, such as `app.js.gz` beside `app.js`.
//!
//! A sidecar is only said to hold the file. It goes wrong when the file is edited and the sidecar
//! is not made again. Its time shows that for nothing, at each start ([`is_outdated`]); its content
//! shows it for certain, and sitar-publish compares that when it packs and checks.

use sitar_http::semantics::Coding;

/// Returns the name of the file that a sidecar of this name encodes, and the coding; `None` for a
/// name that is no sidecar's.
#[must_use]
pub fn sidecar(name: &[u8]) -> Option<(&[u8], Coding)> {
    let (original, coding) = match name {
        [original @ .., b'.', b'b', b'r'] => (original, Coding::Br),
        [original @ .., b'.', b'z', b's', b't'] => (original, Coding::Zstd),
        [original @ .., b'.', b'g', b'z'] => (original, Coding::Gzip),
        _ => return None,
    };
    // An encoding of what is encoded already would be labelled as one of the two.
    let is_name = original.last().is_some_and(|&byte| byte != b'/');
    (is_name && stored_coding(original) == Coding::Identity).then_some((original, coding))
}

/// Returns the coding that files of this name are stored in, whatever the rules say.
///
/// An `svgz` is an SVG image in gzip, which browsers show only with Content-Encoding. nginx sends
/// the type alone; Apache needs `AddEncoding gzip svgz`.
#[must_use]
pub fn stored_coding(name: &[u8]) -> Coding {
    match name {
        [.., b'.', s, v, g, z] if [*s, *v, *g, *z].eq_ignore_ascii_case(b"svgz") => Coding::Gzip,
        _ => Coding::Identity,
    }
}

/// Returns whether a sidecar is clearly older than its file, by their times in seconds.
///
/// Equal times are those of a build with `SOURCE_DATE_EPOCH`; a copy or a checkout gives times that
/// differ by as long as it takes.
#[must_use]
pub fn is_outdated(original: Option<u64>, sidecar: Option<u64>) -> bool {
    matches!((original, sidecar), (Some(original), Some(sidecar)) if sidecar.saturating_add(GRAIN) < original)
}

/// Seconds: the grain of the coarsest times in use, those of FAT and zip.
const GRAIN: u64 = 2;

#[cfg(test)]
mod tests;
