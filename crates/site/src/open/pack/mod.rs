//! Packs, as they are read: a plain tar of a site with its encodings and an index, opened without
//! reading bodies. sitar-publish writes them.
//!
//! | module | contents |
//! |---|---|
//! | [`mod@format`] | the bytes of an index, for reader and writer |
//! | [`read`] | opening an index, which may come from anyone |
//!
//! `docs/pack-format.md` describes the format.

pub mod format;
pub(crate) mod read;

use crate::rules;
pub(crate) use format::{INDEX_NAME, LINES_COUNT_MAX, LINES_MAX, Record, Records};

/// Files that rule the site: they travel in the pack and are never served.
pub const RULE_FILES: [&[u8]; 2] = [rules::HEADERS.as_bytes(), rules::REDIRECTS.as_bytes()];
