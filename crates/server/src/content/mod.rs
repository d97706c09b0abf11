//! Content: where an answer's content comes from, and what a shard keeps in memory of it.

pub(crate) mod cache;
mod hosts;
pub(crate) mod inbox;
pub(crate) mod loader;
pub(crate) mod lookup;
pub(crate) mod multipart;
pub(crate) mod origin;
pub(crate) mod source;
pub(crate) mod stream;
pub(crate) mod table;
