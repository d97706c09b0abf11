//! The access log, as far as shards make it: a [`Record`] of each answer, in a bounded queue of its
//! shard. A thread of the worker's owner reads, formats and writes.

mod record;

pub use self::record::{FIELD_MAX, HOST_MAX, LogId, LogTls, LogVersion, Record, TARGET_MAX};
