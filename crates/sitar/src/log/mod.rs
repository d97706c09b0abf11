//! The access log: what is written for each answer, and where to.
//!
//! | module | what it does |
//! |---|---|
//! | [`mod@format`] | the formats of a line, which sitar-server makes |
//! | `sink` | writes lines to a file, a stream or the journal, and never waits |
//! | `writer` | the thread between the shards' records and the sinks |
//! | `open` | opens what is written to |
//! | `logs` | the logs of a worker, and their numbers |
//! | `trace` | the traces of a worker, whose records are among those of the logs |
//! | `complaint` | when the operator hears that records are dropped |

mod complaint;
pub mod format;
mod logs;
pub(crate) mod open;
mod sink;
#[cfg(test)]
mod tests;
mod trace;
mod writer;

use self::format::{Addresses, Format};
pub(crate) use self::logs::{Logs, Plan};

/// Bytes that may wait for the client of a trace.
pub(crate) const WAITING_MAX: usize = sink::PENDING_MAX;

/// The most logs at a time.
pub(crate) const LOGS_MAX: usize = 1024;

/// How a log is written: what is the same for all of its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Style {
    /// The format of a line.
    pub format: Format,
    /// How much of addresses is in it.
    pub addresses: Addresses,
    /// Which records have one.
    pub sample: Sample,
}

/// For each class of status from 1xx to 5xx: one of this many records is written. 0 is as 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample(pub [u32; 5]);

/// What was counted of a log, since its worker began to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogNumbers {
    /// What messages call it.
    pub(crate) name: String,
    /// Records that were written.
    pub(crate) written: u64,
    /// Records that could not be written.
    pub(crate) failed: u64,
    /// Records that were left out on purpose.
    pub(crate) sampled: u64,
}
