//! The cases, one entry each.

use super::visitor::Visit;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// A crowd, and the client beside it.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Arguments of the server.
    pub(super) arguments: &'static [&'static str],
    /// The server's limit on open files, if it has one of its own.
    pub(super) descriptors: Option<u32>,
    /// Makes the site.
    pub(super) site: fn(&Path) -> io::Result<()>,
    pub(super) crowd: Crowd,
    /// The ways in which the client asks, in turn.
    pub(super) visits: &'static [Visit],
    /// Returns the path that is asked for next.
    pub(super) path: fn(u32) -> String,
    /// The time within which 99 of a hundred requests have to be answered.
    pub(super) within: Within,
}

/// What the connections of a crowd do.
#[derive(Clone, Copy)]
pub(super) enum Crowd {
    /// Connections of one address that are idle, and as many handshakes that are never finished.
    OneAddress,
    /// Streams of HTTP/2 whose windows are closed, each for a file of its own.
    StalledStreams,
    /// HEAD for one large file after another.
    Heads,
}

/// A bound on p99.
#[derive(Clone, Copy)]
pub(super) enum Within {
    /// As a multiple of what it is without the crowd.
    Ratio(f64),
    Milliseconds(f64),
    /// It is not the time that matters.
    Ever,
}

/// Connections of the crowd of one address, of either kind.
pub(super) const ONE_ADDRESS: usize = 8000;
/// Connections and streams of each.
pub(super) const STALLED: (u32, u32) = (15, 100);
/// Large files that are asked for, and clients that do.
pub(super) const HEADS: u32 = 40;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "one address",
        // The time that it takes to open them all is not known.
        arguments: &["--idle-seconds", "600"],
        descriptors: None,
        site: |site| fs::write(site.join("0.txt"), "0\n"),
        crowd: Crowd::OneAddress,
        visits: &[Visit::Fresh, Visit::Kept],
        path: |_| "/0.txt".to_owned(),
        within: Within::Ratio(2.0),
    },
    // More files than memory holds, and hardly more descriptors than there are streams.
    Case {
        name: "stalled streams",
        arguments: &["--tls", "off", "--memory", "1", "--connections", "64"],
        descriptors: Some(1480),
        site: |site| {
            (0..STALLED.0 * STALLED.1)
                .try_for_each(|nth| sparse(&site.join(format!("{nth}.bin")), 200_000))?;
            small(site)
        },
        crowd: Crowd::StalledStreams,
        visits: &[Visit::Kept],
        path: |nth| format!("/{nth}.txt"),
        within: Within::Ever,
    },
    // Five times the memory.
    Case {
        name: "cold file",
        arguments: &["--tls", "off", "--memory", "512"],
        descriptors: None,
        site: |site| {
            (0..HEADS).try_for_each(|nth| sparse(&site.join(format!("{nth}.bin")), 62_000_000))?;
            small(site)
        },
        crowd: Crowd::Heads,
        visits: &[Visit::Kept],
        path: |nth| format!("/{nth}.txt"),
        within: Within::Milliseconds(20.0),
    },
];

/// Files of two bytes, of which each is asked for once.
fn small(site: &Path) -> io::Result<()> {
    (0..10_000).try_for_each(|nth| fs::write(site.join(format!("{nth}.txt")), "0\n"))
}

fn sparse(path: &Path, len: u64) -> io::Result<()> {
    File::create(path)?.set_len(len)
}
