//! The requests to every server, and the bounds that sitar has set itself.

/// One kind of work.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) tls: bool,
    pub(crate) file: &'static str,
    /// Bytes of an answer's body.
    pub(crate) length: usize,
    pub(crate) status: u16,
    pub(crate) connections: u32,
    pub(crate) work: Work,
}

/// The kinds of load.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Work {
    /// By wrk: each connection sends this number of requests at once, and again when it has its
    /// answers.
    Closed { pipelined: u32, with: With },
    /// By wrk, over all files of the large site in random order.
    Random,
    /// By h2load over HTTP/2: each connection has this number of streams, and another when one
    /// ends.
    Streams(u32),
    /// By h2load: [`PACE`] requests a second, whether answers have come or not.
    Paced,
    /// By our own clients: each request on a connection of its own.
    Handshakes { resume: bool },
    /// By our own clients: [`IDLE`] connections that do nothing, or hardly anything.
    Idle,
    /// By our own clients: large answers, read a little at a time.
    Slow,
}

/// A further header field of each request. All are GETs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum With {
    Nothing,
    /// `If-None-Match` with the ETag that this server gave.
    Etag,
    Range,
}

/// The requested range: its first byte and its length.
pub(crate) const RANGE: (usize, usize) = (4096, 1024);
/// Requests a second, all connections together: well below the most of the slowest server on one
/// core.
pub(crate) const PACE: u32 = 6400;
/// Files of the large site.
pub(crate) const FILES: usize = 100_000;
/// Idle connections.
pub(crate) const IDLE: usize = 10_000;

const NONE: Work = Work::Closed { pipelined: 1, with: With::Nothing };
const BASE: Case =
    Case { name: "", tls: true, file: "k1.bin", length: 1 << 10, status: 200, connections: 64, work: NONE };

pub(crate) const CASES: &[Case] = &[
    Case { name: "h1 plain 1 KiB", tls: false, ..BASE },
    Case { name: "h1 plain 16 KiB", tls: false, file: "k16.bin", length: 16 << 10, ..BASE },
    Case { name: "h1 plain 1 MiB", tls: false, file: "m1.bin", length: 1 << 20, connections: 16, ..BASE },
    Case { name: "h1 TLS 1 KiB", ..BASE },
    Case { name: "h1 TLS 1 KiB, one connection", connections: 1, ..BASE },
    Case { name: "h1 TLS 16 KiB", file: "k16.bin", length: 16 << 10, ..BASE },
    Case { name: "h1 TLS 1 MiB", file: "m1.bin", length: 1 << 20, connections: 16, ..BASE },
    Case { name: "h1 TLS 100 MiB", file: "m100.bin", length: 100 << 20, connections: 4, ..BASE },
    Case {
        name: "h1 TLS 1 KiB, 16 pipelined",
        work: Work::Closed { pipelined: 16, with: With::Nothing },
        ..BASE
    },
    Case {
        name: "h1 TLS 304",
        status: 304,
        length: 0,
        work: Work::Closed { pipelined: 1, with: With::Etag },
        ..BASE
    },
    Case {
        name: "h1 TLS range of 1 KiB",
        status: 206,
        file: "k16.bin",
        length: RANGE.1,
        work: Work::Closed { pipelined: 1, with: With::Range },
        ..BASE
    },
    Case { name: "h1 TLS 1 KiB, random files", file: "000/000.bin", work: Work::Random, ..BASE },
    Case { name: "h2 TLS 1 KiB", connections: 16, work: Work::Streams(32), ..BASE },
    Case {
        name: "h2 TLS 16 KiB",
        file: "k16.bin",
        length: 16 << 10,
        connections: 16,
        work: Work::Streams(32),
        ..BASE
    },
    Case {
        name: "h2 TLS 1 MiB",
        file: "m1.bin",
        length: 1 << 20,
        connections: 16,
        work: Work::Streams(32),
        ..BASE
    },
    Case { name: "h2 TLS 1 KiB, one connection", connections: 1, work: Work::Streams(100), ..BASE },
    Case { name: "h1 TLS 1 KiB, paced", work: Work::Paced, ..BASE },
    Case { name: "full handshake + 1 KiB", connections: 8, work: Work::Handshakes { resume: false }, ..BASE },
    Case {
        name: "resumed handshake + 1 KiB",
        connections: 8,
        work: Work::Handshakes { resume: true },
        ..BASE
    },
    Case { name: "idle TLS connections", work: Work::Idle, ..BASE },
    Case { name: "slow readers over TLS", file: "m100.bin", length: 100 << 20, work: Work::Slow, ..BASE },
];

impl Case {
    /// Returns whether an answer is so large that a round ends in the middle of some: then bytes
    /// are counted.
    pub(crate) fn is_large(&self) -> bool {
        self.length >= 1 << 20
    }

    /// Returns the number of answers that may be under way at once.
    pub(crate) fn in_flight(&self) -> u64 {
        let each = match self.work {
            Work::Closed { pipelined: each, .. } | Work::Streams(each) => each,
            _ => 1,
        };
        u64::from(self.connections) * u64::from(each)
    }
}

/// The figure that sitar is held against.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Against {
    Floor,
    /// The best peer of the run.
    Best,
    Named(&'static str),
    /// No server: the bound is a figure.
    Nothing,
}

/// A bound that sitar has set itself. It is reported, not asserted: figures of one run on one
/// machine prove nothing.
pub(crate) struct Target {
    pub(crate) table: &'static str,
    /// The name of the figure: sitar, or sitar on another engine.
    pub(crate) who: &'static str,
    pub(crate) against: Against,
    pub(crate) most: f64,
}

const fn target(table: &'static str, against: Against, most: f64) -> Target {
    Target { table, who: crate::participants::SITAR, against, most }
}

pub(crate) const TARGETS: &[Target] = &[
    target("h1 plain 1 KiB", Against::Floor, 1.12),
    target("h1 plain 1 KiB", Against::Best, 1.0),
    target("h1 TLS 1 KiB", Against::Floor, 1.10),
    target("h1 TLS 1 KiB", Against::Best, 0.90),
    Target { who: crate::participants::SITAR_EPOLL, ..target("h1 TLS 1 KiB", Against::Best, 0.95) },
    target("h1 TLS 16 KiB", Against::Floor, 1.08),
    target("h1 TLS 16 KiB", Against::Best, 0.76),
    target("h1 TLS 1 MiB", Against::Floor, 1.05),
    target("h1 TLS 1 MiB", Against::Best, 0.80),
    target("h1 TLS 100 MiB", Against::Floor, 1.05),
    target("h1 TLS 100 MiB", Against::Best, 0.80),
    Target { who: crate::participants::SITAR_MEMORY, ..target("h1 TLS 100 MiB", Against::Floor, 1.05) },
    Target { who: crate::participants::SITAR_MEMORY, ..target("h1 TLS 100 MiB", Against::Best, 0.80) },
    target("h1 TLS 1 KiB, 16 pipelined", Against::Best, 0.50),
    target("h1 TLS 304", Against::Floor, 1.10),
    target("h1 TLS 304", Against::Best, 0.90),
    target("h2 TLS 1 KiB", Against::Best, 0.85),
    target("h2 TLS 16 KiB", Against::Best, 0.80),
    target("h2 TLS 1 MiB", Against::Best, 0.90),
    target("h2 TLS 1 KiB, one connection", Against::Best, 0.85),
    target("full handshake + 1 KiB", Against::Named("nginx"), 0.60),
    target("full handshake + 1 KiB", Against::Named("static-web-server"), 0.90),
    target("resumed handshake + 1 KiB", Against::Best, 0.70),
    target("idle TLS connections, memory", Against::Nothing, 2.0),
    target("idle on a pack of 10,000 files, memory", Against::Nothing, 12.0),
    target("stripped program", Against::Nothing, 8.0),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn cases_have_names_of_their_own() {
        let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn each_answer_can_be_checked() {
        for case in CASES {
            assert!(
                [200, 206, 304].contains(&case.status),
                "{}: its bytes are known for no {}",
                case.name,
                case.status
            );
        }
    }

    #[test]
    fn each_file_is_made_by_cases_of_one_length() {
        let mut made = BTreeMap::new();
        for case in CASES.iter().filter(|case| case.status == 200) {
            assert_eq!(*made.entry(case.file).or_insert(case.length), case.length, "{}", case.name);
        }
        for case in CASES {
            assert!(made.contains_key(case.file), "no case of status 200 makes the file of {}", case.name);
        }
    }

    #[test]
    fn a_bound_on_a_ratio_belongs_to_a_case() {
        for target in TARGETS.iter().filter(|target| target.against != Against::Nothing) {
            assert!(CASES.iter().any(|case| case.name == target.table), "{}", target.table);
        }
    }
}
