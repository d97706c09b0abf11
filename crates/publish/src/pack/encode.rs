//! Encodings made at pack time: brotli, Zstandard and gzip (libdeflate), each kept only where it
//! pays ([`choose`]).
//!
//! The result depends on the bytes and the encoders, never on the machine, the order or the
//! neighbours: that is what makes packs reproducible, and encodings of an earlier pack as good as
//! new ones.

use crate::sidecar::{Comparison, compare};
use libdeflater::{CompressionLvl, Compressor};
use sitar_http::semantics::Coding;
use sitar_site::raw::{media_type, sidecar, stored_coding};

/// The codings that are made, in the order of everything that holds one thing for each of them.
pub(super) const CODINGS: [(Coding, &[u8]); 3] =
    [(Coding::Br, b".br"), (Coding::Gzip, b".gz"), (Coding::Zstd, b".zst")];

/// The effort that encoding takes.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// The smallest encodings: brotli 11, gzip 12, Zstandard 19.
    #[default]
    Best,
    /// A small part of the time, for previews: brotli 5, gzip 6, Zstandard 3.
    Fast,
}

impl Level {
    /// Names the encoders: a pack with another text is not reused, so none of its encodings is
    /// taken for one of the best. A test holds the versions against `Cargo.lock`.
    pub(crate) fn encoders(self) -> &'static str {
        match self {
            Level::Best => "brotli 9.1.1 q11, libdeflate 1.26.1 l12, zstd-sys 2.1.3+zstd.1.5.7 l19, rules 2",
            Level::Fast => "brotli 9.1.1 q5, libdeflate 1.26.1 l6, zstd-sys 2.1.3+zstd.1.5.7 l3, rules 2",
        }
    }

    /// Returns the qualities of brotli, libdeflate and zstd.
    fn qualities(self) -> (u8, i32, i32) {
        match self {
            Level::Best => (11, 12, 19),
            Level::Fast => (5, 6, 3),
        }
    }
}

/// One thing for each of [`CODINGS`].
pub(crate) type Each<T> = [T; 3];

/// Whether a file is worth trying.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Worth {
    Yes,
    /// The type does not say: a quick look at the bytes decides.
    Perhaps,
    /// Compressed already.
    No,
}

/// Whether a file of this name is worth trying. Sidecars and archives are not; nor are pictures,
/// sound, films and WOFF, which are compressed by themselves.
pub(crate) fn worth(name: &[u8]) -> Worth {
    let media = media_type(name);
    if stored_coding(name) != Coding::Identity {
        Worth::No
    } else if media.utf8 || COMPRESSIBLE.contains(&media.essence) {
        Worth::Yes
    } else if (media.essence == "application/octet-stream" || media.essence.starts_with("model/"))
        && sidecar(name).is_none()
    {
        Worth::Perhaps
    } else {
        Worth::No
    }
}

/// Returns the encodings that pay: of each, `None` when it does not.
pub(crate) fn encode(content: &[u8], worth: Worth, level: Level) -> Each<Option<Vec<u8>>> {
    let (brotli, libdeflate, zstandard) = level.qualities();
    let pays = content.len() >= SAVED_MIN
        && content.len() as u64 <= SIZE_MAX
        && match worth {
            Worth::Yes => true,
            Worth::Perhaps => looks_compressible(content),
            Worth::No => false,
        };
    if !pays {
        return [None, None, None];
    }
    let gz = gzip(content, libdeflate);
    let br = sitar_brotli::compress(content, brotli).ok();
    let zst = zstd::bulk::compress(content, zstandard).ok();
    let made = [br, gz, zst];
    let sizes = made.each_ref().map(|encoded| encoded.as_ref().map(Vec::len));
    let chosen = choose(content.len(), sizes);
    let mut chosen = chosen.into_iter();
    made.map(|encoded| encoded.filter(|_| chosen.next().unwrap_or(false)))
}

/// Returns which encodings of these sizes pay (`None`: there is none). `docs/pack-format.md` has
/// what the rules give and take.
///
/// 1. Each saves at least a TCP segment and a tenth of the file. A segment is more than the header,
///    the padding, the record and the name of an encoding take in the pack.
/// 2. A client that takes Zstandard takes brotli, and one that takes brotli takes gzip. So in the
///    order gzip, brotli, Zstandard each also saves at least a segment or a tenth of the smallest
///    encoding chosen before it.
pub(super) fn choose(content: usize, sizes: Each<Option<usize>>) -> Each<bool> {
    let mut chosen = [false; 3];
    let mut smallest: Option<usize> = None;
    for place in [GZIP, BROTLI, ZSTANDARD] {
        let Some(size) = sizes[place] else { continue };
        let saved = content.saturating_sub(size);
        let saves_enough = saved >= SAVED_MIN && saved >= content.div_ceil(SAVED_SHARE);
        let notably_smaller = smallest.is_none_or(|smallest| {
            let saved = smallest.saturating_sub(size);
            saved >= SAVED_MIN || saved >= smallest.div_ceil(SAVED_SHARE)
        });
        if saves_enough && notably_smaller {
            chosen[place] = true;
            smallest = Some(size);
        }
    }
    chosen
}

/// Whether `encoded`, in the coding at this place of [`CODINGS`], is `content`.
pub(crate) fn decodes_to(place: usize, encoded: &[u8], content: &[u8]) -> bool {
    compare(CODINGS[place].0, encoded, content) == Comparison::Same
}

/// A sample from the front, in the quickest way there is.
fn looks_compressible(content: &[u8]) -> bool {
    let sample = &content[..content.len().min(SAMPLE)];
    gzip(sample, 1).is_some_and(|gz| gz.len() < sample.len() - sample.len() / 10)
}

pub(super) fn gzip(content: &[u8], level: i32) -> Option<Vec<u8>> {
    let mut compressor = Compressor::new(CompressionLvl::new(level).ok()?);
    let mut out = vec![0; compressor.gzip_compress_bound(content.len())];
    let length = compressor.gzip_compress(content, &mut out).ok()?;
    out.truncate(length);
    Some(out)
}

/// Types that compress well, beside text.
const COMPRESSIBLE: &[&str] = &[
    "application/cbor",
    "application/json5",
    "application/n-quads",
    "application/n-triples",
    "application/postscript",
    "application/rtf",
    "application/sql",
    "application/trig",
    "application/vnd.apache.arrow.file",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/vnd.sqlite3",
    "application/wasm",
    "application/x-apple-aspen-config",
    "application/x-javascript",
    "application/x-plist",
    "application/x-sh",
    "application/x-subrip",
    "application/x-tar",
    "application/xml-dtd",
    "font/collection",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
    "model/gltf-binary",
];
/// Places in [`CODINGS`].
const BROTLI: usize = 0;
const GZIP: usize = 1;
const ZSTANDARD: usize = 2;
/// Bytes above which nothing is encoded: brotli takes minutes for it, and memory to match.
pub(crate) const SIZE_MAX: u64 = 64 << 20;
/// Bytes that an encoding must save: those of a TCP segment on Ethernet (RFC 879, without options).
pub(crate) const SAVED_MIN: usize = 1460;
/// And one part in this number.
const SAVED_SHARE: usize = 10;
/// Bytes looked at where the type is unknown.
const SAMPLE: usize = 64 << 10;

#[cfg(test)]
mod tests;
