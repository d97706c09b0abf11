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

pub(crate) use format::{INDEX_NAME, LINES_COUNT_MAX, LINES_MAX, Record, Records};
