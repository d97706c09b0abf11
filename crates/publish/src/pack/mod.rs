//! Packs: a plain tar of a site with its encodings and an index, made once and opened without
//! reading bodies.
//!
//! | module | contents |
//! |---|---|
//! | [`mod@write`] | directory to archive, reproducibly |
//! | [`pipeline`] | the threads that read and encode |
//! | [`encode`] | which files are encoded, and how |
//! | [`sift`] | the directory's own sidecars, compared with their files |
//! | [`mod@estimate`] | what packing would save, for a site that is no pack |
//! | [`reuse`] | encodings out of an earlier pack |
//! | [`members`] | headers of tar |
//! | [`index`] | the index over what was written |
//!
//! `docs/pack-format.md` describes the format; [`sitar_site::raw::format`] has its bytes.

pub(crate) mod encode;
mod estimate;
mod index;
mod members;
mod pipeline;
mod reuse;
mod sift;
mod write;

pub use encode::Level;
pub use estimate::{Unencoded, estimate};
pub use write::{Encodings, PackError, PackFault, PackOptions, Packed, Progress, pack};

#[cfg(test)]
mod tests;
