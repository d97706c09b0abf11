//! Fits connections into the limit on open files (RLIMIT_NOFILE).
//!
//! With io_uring connections are no descriptors of the process, but entries of their ring's table,
//! which the kernel holds against the same limit by itself (`io_sqe_files_register`). With epoll
//! they are descriptors, of all shards together.
//!
//! A body that is too large for memory is sent from a descriptor of its own, unless the site is one
//! archive. The shards count those, and requests wait when there are as many as may be open, so
//! they get what is left. No connection is refused for them: most sites need none.

use std::num::{NonZeroU16, NonZeroU32};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sitar_server::{Limits, Passing};

use crate::error::Error;
use crate::worker::{DESCRIPTORS_MAX, ROUTERS_MAX};

/// Descriptors of the process: standard streams, signals, the site and its watch, and files that
/// the loader has open until it knows whether their bodies go into memory.
const PROCESS: u64 = 32;
/// Descriptors of each shard: its ring (with epoll also its timer) and its waker.
const SHARD: u64 = 3;
/// Descriptors of each listening socket of a shard: the shard's, the worker's, and one while the
/// engine is chosen.
const LISTENER: u64 = 3;
/// Descriptors of each socket on which connections are passed: routers, what a message may have,
/// the socket and the thread's.
const RECEIVER: u64 = ROUTERS_MAX as u64 + DESCRIPTORS_MAX as u64 + 2;
/// Connections that have been passed and wait for a shard, for each shard.
const PASSED: u64 = Passing::WAITING_MAX as u64;
/// The least number of files for each shard that are too large for memory, kept open or being
/// sent.
const FILES_MIN: u64 = 8;
/// Fewer connections than this in each shard are no server.
const CONNECTIONS_MIN: u64 = 8;
/// The ways to raise the limit.
const RAISE: &str =
    "raise that limit by LimitNOFILE= in a systemd unit, `ulimit -Hn`, or docker run --ulimit nofile=";

/// The uses of the descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) shards: u16,
    /// Listening sockets of each shard.
    pub(crate) addresses: usize,
    /// Sites and access logs that are open: a descriptor each, and another one while all are opened
    /// again.
    pub(crate) sites: usize,
    /// Connections are descriptors of the process, as with epoll.
    pub(crate) shared: bool,
    /// Sockets on which other processes pass connections.
    pub(crate) passed: usize,
}

/// The outcome of a start. `sitar serve` acts on it, and `sitar doctor` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DescriptorsFit {
    /// It gets all that it wants.
    Whole,
    /// It keeps fewer large files open.
    FewerFiles { closing: u32, files_open: usize },
    /// It also takes fewer connections in each shard than it would by default.
    FewerConnections { connections: u32, closing: u32, files_open: usize },
    /// It fails: the operator asked for more connections than these in each shard.
    TooManyConnections { fit: u32 },
    /// It fails: this limit is the least.
    TooLow { least: u64 },
}

/// The part that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    /// All that is wanted.
    All,
    /// At most this in each shard.
    Less { connections: u32, closing: u32, files_open: usize },
    /// Nothing useful; this much is the least.
    Nothing { least: u64 },
}

impl Needs {
    fn fixed(self) -> u64 {
        // One is among those of the process.
        let sites = 2 * (self.sites as u64).saturating_sub(1);
        let shards = u64::from(self.shards);
        let waiting = if self.passed > 0 { PASSED * shards } else { 0 };
        let passed = RECEIVER * self.passed as u64 + waiting;
        PROCESS + sites + passed + shards * (SHARD + LISTENER * self.addresses as u64)
    }

    /// Returns the number of descriptors that shards with these limits want: with fewer, some files
    /// are closed earlier, or there is room for fewer connections. More are used, up to
    /// [`most`](Needs::most).
    pub(crate) fn wanted(self, limits: &Limits) -> u64 {
        self.sum(limits, limits.files_spare)
    }

    /// Returns the number of descriptors that shards with these limits can have open at a time.
    pub(crate) fn most(self, limits: &Limits) -> u64 {
        self.sum(limits, limits.files_sent)
    }

    fn sum(self, limits: &Limits, files_sent: usize) -> u64 {
        let (shards, table) = (u64::from(self.shards), u64::from(limits.ring().connections));
        let files = (limits.files_open + files_sent) as u64 * shards;
        if self.shared { self.fixed() + files + table * shards } else { (self.fixed() + files).max(table) }
    }

    /// Returns how many files each shard may have open because they are being sent: what `allowed`
    /// descriptors leave.
    fn files_sent(self, limits: &Limits, allowed: u64) -> usize {
        let table = if self.shared { u64::from(limits.ring().connections) } else { 0 };
        let each = allowed.saturating_sub(self.fixed()) / u64::from(self.shards);
        let left = each.saturating_sub(table + limits.files_open as u64);
        limits.files_sent.min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Returns the least limit with which a server is worth its start.
    fn least(self) -> u64 {
        let each = if self.shared { FILES_MIN + 2 * CONNECTIONS_MIN } else { FILES_MIN };
        self.fixed() + u64::from(self.shards) * each
    }

    /// Returns the outcome of a start with these limits where `allowed` descriptors may be open.
    /// `is_explicit`: the operator named the number of connections, so none is left out in silence.
    pub(crate) fn outcome(self, limits: &Limits, is_explicit: bool, allowed: u64) -> DescriptorsFit {
        match self.fit(limits, allowed) {
            Fit::All => DescriptorsFit::Whole,
            Fit::Nothing { least } => DescriptorsFit::TooLow { least },
            Fit::Less { connections, closing, files_open } if limits.connections <= connections => {
                DescriptorsFit::FewerFiles { closing, files_open }
            }
            Fit::Less { connections, .. } if is_explicit => {
                DescriptorsFit::TooManyConnections { fit: connections }
            }
            Fit::Less { connections, closing, files_open } => {
                DescriptorsFit::FewerConnections { connections, closing, files_open }
            }
        }
    }

    /// Fits shards with these limits into `allowed` descriptors.
    pub(crate) fn fit(self, limits: &Limits, allowed: u64) -> Fit {
        if allowed >= self.wanted(limits) {
            return Fit::All;
        }
        if allowed < self.least() {
            return Fit::Nothing { least: self.least() };
        }
        let each = (allowed - self.fixed()) / u64::from(self.shards);
        // Half of what is there for files is for those that are being sent.
        let both = (each / 4).min(2 * limits.files_open as u64);
        let (files, table) = if self.shared { (both / 2, each - both) } else { (each / 2, allowed) };
        let files = files.max(FILES_MIN / 4);
        let closing = (table / 8).min(u64::from(limits.closing)).max(CONNECTIONS_MIN / 2);
        Fit::Less {
            connections: u32::try_from(table - closing).unwrap_or(u32::MAX),
            closing: u32::try_from(closing).unwrap_or(u32::MAX),
            files_open: limits.files_open.min(usize::try_from(files).unwrap_or(usize::MAX)),
        }
    }
}

/// Returns the limits that each shard has where descriptors are not short. `connections` is what
/// the operator asked for, all shards together.
pub(crate) fn wanted(connections: Option<NonZeroU32>, shards: NonZeroU16) -> Limits {
    let defaults = Limits::default();
    let connections =
        connections.map_or(defaults.connections, |all| all.get().div_ceil(u32::from(shards.get())));
    // One for each connection, and the spare ones.
    let files_sent = (connections as usize).saturating_add(defaults.files_spare);
    Limits { connections, held_max: Limits::held_for(connections), files_sent, ..defaults }
}

/// Raises the soft limit as far as needed and allowed, and fits the limits of each shard into the
/// hard one. `explicit` is what the operator asked for, all shards together. Also returns what the
/// operator should know.
///
/// # Errors
/// Not even the least fits, or not what the operator asked for.
pub(crate) fn fit(
    mut limits: Limits,
    needs: Needs,
    explicit: Option<NonZeroU32>,
) -> Result<(Limits, Option<String>), Error> {
    let now = getrlimit(Resource::Nofile);
    let allowed = now.maximum.unwrap_or(u64::MAX);
    let most = needs.most(&limits);
    if now.current.is_some_and(|current| current < most) {
        let raised = Rlimit { current: Some(most.min(allowed)), maximum: now.maximum };
        setrlimit(Resource::Nofile, raised)
            .map_err(|error| Error::new("cannot raise the limit on open files").cause(error.to_string()))?;
    }
    let note = apply(&mut limits, needs, explicit, allowed)?;
    Ok((limits, note))
}

/// Changes the limits as [`Needs::outcome`] says. What it leaves is for files that are being sent.
pub(crate) fn apply(
    limits: &mut Limits,
    needs: Needs,
    explicit: Option<NonZeroU32>,
    allowed: u64,
) -> Result<Option<String>, Error> {
    let note = fit_tables(limits, needs, explicit, allowed)?;
    limits.files_sent = needs.files_sent(limits, allowed);
    limits.files_spare = limits.files_spare.min(limits.files_sent / 2);
    Ok(note)
}

/// Fits what is there for the whole time.
fn fit_tables(
    limits: &mut Limits,
    needs: Needs,
    explicit: Option<NonZeroU32>,
    allowed: u64,
) -> Result<Option<String>, Error> {
    let connections = match needs.outcome(limits, explicit.is_some(), allowed) {
        DescriptorsFit::Whole => return Ok(None),
        DescriptorsFit::FewerFiles { closing, files_open } => {
            (limits.closing, limits.files_open) = (closing, files_open);
            return Ok(None);
        }
        DescriptorsFit::FewerConnections { connections, closing, files_open } => {
            (limits.closing, limits.files_open) = (closing, files_open);
            connections
        }
        DescriptorsFit::TooManyConnections { fit } => {
            let all = u64::from(fit) * u64::from(needs.shards);
            let explicit = explicit.map_or(0, NonZeroU32::get);
            return Err(Error::new(format!(
                "the limit on open files is {allowed}: too low for {explicit} connections"
            ))
            .cause(format!("at most {all} fit, {fit} in each shard"))
            .hint(format!("{RAISE}, or lower --connections")));
        }
        DescriptorsFit::TooLow { least } => {
            return Err(Error::new(format!(
                "the limit on open files is {allowed}, and {} at least {least}",
                shards_need(needs.shards)
            ))
            .hint(format!("{RAISE}, or start fewer shards: --shards")));
        }
    };
    let wanted = std::mem::replace(&mut limits.connections, connections);
    Ok(Some(format!(
        "at most {connections} connections in each shard instead of {wanted}, because no more than {allowed} files may be \
         open: {RAISE}"
    )))
}

fn shards_need(count: u16) -> String {
    if count == 1 { "1 shard needs".to_owned() } else { format!("{count} shards need") }
}

#[cfg(test)]
mod tests;
