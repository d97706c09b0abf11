//! The access log: what is written for each answer, and where to.
//!
//! | module | what it does |
//! |---|---|
//! | [`format`] | makes the line of one record |
//! | `sink` | writes lines to a file, a stream or the journal, and never waits |
//! | `writer` | the thread between the shards' records and the sinks |
//! | `complaint` | when the operator hears that records are dropped |

#![cfg_attr(not(test), expect(dead_code, reason = "no worker makes records yet"))]

mod complaint;
pub mod format;
mod sink;
#[cfg(test)]
mod tests;
mod writer;
