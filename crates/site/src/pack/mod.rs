//! Packs: a plain tar of a site with its encodings and an index, made once and opened without reading bodies.
//!
//! | module | what it does |
//! |---|---|
//! | [`mod@write`] | directory → archive: reproducible |
//! | [`plant`] | the threads that read and encode |
//! | [`encode`] | which files are encoded, and how |
//! | [`sift`] | the directory's own sidecars, compared with their files |
//! | [`mod@estimate`] | what packing would save, for a site that is no pack |
//! | [`reuse`] | encodings out of an earlier pack |
//! | [`members`] | headers of tar |
//! | [`index`] | the index over what was written |
//! | [`mod@format`] | its bytes |
//! | [`read`] | opening an index that anybody may have written |
//!
//! `docs/pack-format.md` describes the format.

mod encode;
mod estimate;
mod format;
mod index;
mod members;
mod plant;
pub(crate) mod read;
mod reuse;
mod sift;
mod write;

use crate::rules;
pub use encode::Level;
pub use estimate::{Unencoded, estimate};
pub(crate) use format::{INDEX_NAME, LINES_COUNT_MAX, LINES_MAX, Record, Records};
pub use write::{Encodings, PackError, PackFault, PackOptions, Packed, Progress, pack};

/// Files that rule the site: they travel in the pack and are never served.
const RULES: [&[u8]; 2] = [rules::HEADERS.as_bytes(), rules::REDIRECTS.as_bytes()];

#[cfg(test)]
mod tests;
