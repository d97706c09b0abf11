//! Rings that fit into the memory that this user may lock, and patience for those of the process
//! before.
//!
//! Linux counts the memory of rings since 6.14, per user and over all processes, against
//! RLIMIT_MEMLOCK of the process that makes one. It gives that of a ring back some time after the
//! ring was closed. So a process that is started again finds the rings of the one before still
//! counted: each start uses half of the limit, where its rings fit into that, and waits a moment
//! where they do not.

use std::fmt;
use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use sitar_io::{Config, Queues, Unavailable};

/// Pauses between attempts, with rings of the planned size and then of the smallest.
const PAUSES_MS: [u64; 12] = [10, 20, 40, 80, 160, 320, 10, 20, 40, 80, 160, 320];
/// Attempts with the planned size.
const ATTEMPTS_PLANNED: usize = 6;

/// The memory that a process may lock for rings, and the number of rings that it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that this user may lock; `None`: rings are not counted here.
    pub limit: Option<u64>,
    /// Number of rings.
    pub shards: u16,
}

/// The outcome for a start's rings. `sitar serve` acts on it, and `sitar doctor` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingsFit {
    /// They are as large as they would be without a limit.
    Whole,
    /// They are smaller, so that they fit.
    Smaller,
    /// Even the smallest do not fit.
    TooLow,
}

impl Memory {
    /// Raises the soft limit to the hard one, and asks what it is.
    #[must_use]
    pub fn of_this_process(shards: u16) -> Memory {
        let now = getrlimit(Resource::Memlock);
        // Forbidden at most where the limit changes meanwhile; then the old one holds.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: now.maximum, maximum: now.maximum });
        let counted = Queues::are_locked_here() && !is_exempt();
        Memory { limit: getrlimit(Resource::Memlock).current.filter(|_| counted), shards }
    }

    /// Returns the sizes of each shard's queues.
    #[must_use]
    pub fn queues(&self, config: &Config) -> Queues {
        match self.limit {
            None => Queues::new(config),
            // The other half is for the rings of the process before, or of one that takes over.
            Some(limit) => Queues::within(config, limit / 2 / u64::from(self.shards.max(1))),
        }
    }

    /// Returns the bytes that the smallest rings lock, all together.
    #[must_use]
    pub fn least(&self, config: &Config) -> u64 {
        Queues::within(config, 0).locked(config) * u64::from(self.shards)
    }

    /// Returns a plan that makes the smallest rings from the start; `None` where this one does, or
    /// tried to: with one ring.
    ///
    /// Rings that are made at a time take what is left for them in the order in which they come,
    /// and the first of them may leave nothing for the last.
    #[must_use]
    pub fn shrunk(&self, config: &Config) -> Option<Memory> {
        let has_larger = self.limit.is_some() && self.queues(config) != Queues::within(config, 0);
        (self.shards > 1 && has_larger).then(|| Memory { limit: Some(self.least(config)), ..*self })
    }

    /// Returns the outcome of a start that makes rings with this configuration and finds no others.
    #[must_use]
    pub fn outcome(&self, config: &Config) -> RingsFit {
        match self.limit {
            Some(limit) if limit < self.least(config) => RingsFit::TooLow,
            Some(_) if self.queues(config).locked(config) < Queues::new(config).locked(config) => {
                RingsFit::Smaller
            }
            _ => RingsFit::Whole,
        }
    }

    /// Whether waiting can help: alone, the rings would fit.
    fn is_enough(&self, config: &Config) -> bool {
        self.outcome(config) != RingsFit::TooLow
    }

    /// Makes a ring, and tries again for a moment while there is no memory for it.
    ///
    /// # Errors
    /// The last error of `make`.
    pub fn make<T>(
        &self,
        config: &Config,
        make: impl Fn(Queues) -> Result<T, Unavailable>,
    ) -> Result<T, NoRing> {
        self.make_with(config, make, thread::sleep).map_err(|why| {
            match self.limit.filter(|_| why.is_out_of_memory()) {
                Some(limit) => {
                    NoRing { text: self.over(config, limit), why, is_limit: true, hides_peers: false }
                }
                None => why.into(),
            }
        })
    }

    /// Makes a ring as [`make`](Memory::make) does, with `sleep` for the pauses between attempts.
    ///
    /// # Errors
    /// The last error of `make`.
    pub fn make_with<T>(
        &self,
        config: &Config,
        make: impl Fn(Queues) -> Result<T, Unavailable>,
        mut sleep: impl FnMut(Duration),
    ) -> Result<T, Unavailable> {
        let (planned, smallest) = (self.queues(config), Queues::within(config, 0));
        let mut last = make(planned);
        for (attempt, pause) in (1..).zip(PAUSES_MS) {
            match &last {
                Err(why) if why.is_out_of_memory() && self.is_enough(config) => {}
                _ => return last,
            }
            sleep(Duration::from_millis(pause));
            last = make(if attempt < ATTEMPTS_PLANNED { planned } else { smallest });
        }
        last
    }

    /// Returns the reason that there is no memory for the rings, as the end of a sentence.
    fn over(&self, config: &Config, limit: u64) -> String {
        let (rings, need) = match self.shards {
            1 => ("a ring".to_owned(), "needs"),
            _ => (rings(self.shards), "need"),
        };
        let (limit, least) = (kib(limit), kib(self.least(config)));
        let limit = format!("this user may lock {limit} of memory (ulimit -l)");
        if self.is_enough(config) {
            format!("{limit}, and too little of it is left for {rings} of at least {least}")
        } else {
            format!("{limit}, and {rings} {need} at least {least}")
        }
    }
}

/// The reason that there is no ring.
#[derive(Debug)]
pub struct NoRing {
    /// The engine's reason.
    pub why: Unavailable,
    /// The same for the operator, as the end of a sentence.
    text: String,
    is_limit: bool,
    hides_peers: bool,
}

impl NoRing {
    /// There are rings, which do not tell the addresses of clients.
    #[must_use]
    pub fn hiding_peers() -> NoRing {
        let text =
            "this kernel's io_uring does not tell the addresses of clients, which the configuration needs"
                .into();
        NoRing { text, why: Unavailable::Missing, is_limit: false, hides_peers: true }
    }

    /// Whether rings that do not tell the addresses of clients are the reason: those before Linux
    /// 6.7.
    #[must_use]
    pub fn hides_peers(&self) -> bool {
        self.hides_peers
    }

    /// Whether the limit on locked memory is the reason.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        self.is_limit
    }
}

impl From<Unavailable> for NoRing {
    fn from(why: Unavailable) -> NoRing {
        NoRing { text: why.to_string(), why, is_limit: false, hides_peers: false }
    }
}

impl fmt::Display for NoRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The ways to raise the limit.
pub const RAISE: &str = "raise that limit by LimitMEMLOCK=infinity in a systemd unit, `ulimit -l unlimited`, or \
                         docker run --ulimit memlock=-1";

/// Returns the words for the rings of this number of shards.
#[must_use]
pub fn rings(count: u16) -> String {
    if count == 1 { "the ring of 1 shard".to_owned() } else { format!("the rings of {count} shards") }
}

/// Returns the size in KiB, rounded up, as text.
#[must_use]
pub fn kib(bytes: u64) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}

/// Removes the limit on locked memory where the kernel does not count what this process locks, also
/// for those that it starts from here on: they may lack the capability that is the reason.
pub fn pass_exemption_on() {
    if is_exempt() {
        // Forbidden without CAP_SYS_RESOURCE; then they have the limit.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    }
}

/// Whether the kernel does not count what this process locks: CAP_IPC_LOCK in the first user
/// namespace.
fn is_exempt() -> bool {
    let has = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    // Without /proc nothing is known, and what is counted is never more than what is planned for.
    has && fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_first_namespace(&map))
}

/// Only the first user namespace maps every number to itself (user_namespaces(7)).
fn is_first_namespace(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests;
