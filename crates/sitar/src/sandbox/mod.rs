//! The sandbox: what this process can no longer do once it serves.
//!
//! It has layers, since none sees everything. A process without privileges keeps none and gets no
//! new ones; Landlock bounds files, TCP, signals and abstract sockets, also those of ring
//! operations, and not questions about a name (stat, readlink); rings are restricted to the
//! operations that the engine uses (`sitar_io`); seccomp refuses every system call that a worker
//! does not need, and does not see ring operations.
//!
//! The order is [`enter`], while the process has one thread; then threads and rings, which inherit
//! what was entered; then [`Entered::seal`], for all threads.

mod acme;
pub mod calls;
mod capabilities;
mod landlock;
mod layers;
mod refusals;
mod seccomp;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::set_no_new_privs;
use sitar_engines::Rings;

use self::calls::Lists;
pub(crate) use self::capabilities::keep_those_of_a_supervisor;
pub(crate) use self::landlock::{ABI_WHOLE as LANDLOCK_WHOLE, would_leave_fast_open};
pub use self::layers::Layers;
pub use self::refusals::{Refusals, refusals};
use crate::error::Error;
use crate::settings::values::Word;

/// The operator's wish for the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Every layer that this kernel has.
    #[default]
    Auto,
    /// Every layer, or no start.
    Strict,
    /// None.
    Off,
}

impl Word for Policy {
    const WORDS: &'static [(&'static str, Policy, &'static str)] = &[
        ("auto", Policy::Auto, "What this kernel has of it; the start report names what is missing"),
        ("strict", Policy::Strict, "All of it: does not start where a layer is missing"),
        ("off", Policy::Off, "None"),
    ];
}

/// What a process still has to reach from within.
#[derive(Debug)]
pub enum Reach {
    /// The process that serves without a supervisor: it reads what it is asked to read, and changes
    /// nothing.
    OneProcess,
    /// A worker or a packer, to which everything else is passed as descriptors.
    Worker {
        /// Directories that may be read, with all that lies beneath.
        roots: Vec<OwnedFd>,
        /// A site follows links out of its directory, so that reading is not bounded.
        everywhere: bool,
    },
    /// The process that speaks with certificate authorities: it resolves names, connects out, and
    /// keeps what it knows in one folder.
    Authorities {
        /// The folder.
        folder: OwnedFd,
        /// The ports of TCP that it may connect to.
        ports: Vec<u16>,
    },
}

impl Reach {
    /// Whether the process serves nothing by itself, so that it can give up everything else.
    fn is_narrow(&self) -> bool {
        !matches!(self, Reach::OneProcess)
    }
}

/// A sandbox that is not complete yet.
#[derive(Debug)]
pub struct Entered {
    policy: Policy,
    is_worker: bool,
    /// Landlock would let it connect by TCP Fast Open.
    leaves_fast_open: bool,
    layers: Layers,
}

/// Gives up what a process that becomes another user can give up only before. [`enter`] does the
/// rest.
pub(crate) fn prepare(policy: Policy) {
    if policy != Policy::Off {
        capabilities::drop_those_of_programs();
    }
}

/// Gives up privileges and has Landlock bound this process. Called once, while there is one thread:
/// others inherit it.
///
/// # Errors
/// A layer is missing and the policy is strict, or the kernel refuses what it has.
pub fn enter(policy: Policy, reach: Reach) -> Result<Entered, Error> {
    let mut layers = Layers::none();
    let is_worker = reach.is_narrow();
    if policy == Policy::Off {
        return Ok(Entered { policy, is_worker, leaves_fast_open: false, layers });
    }
    // First, since Landlock and seccomp ask for it.
    let unprivileged = set_no_new_privs(true);
    let is_bounded = matches!(&reach, Reach::Worker { everywhere: false, .. });
    let bounds = landlock::enter(reach, &mut layers);
    BOUNDS_READING.store(bounds.stand && is_bounded, Ordering::Relaxed);
    if is_worker {
        capabilities::drop_all(&mut layers);
    }
    match unprivileged {
        Ok(()) if is_worker => {}
        Ok(()) => layers.stands_last("no new privileges"),
        Err(errno) => layers.lacks("no new privileges", errno),
    }
    layers.hold(policy)?;
    Ok(Entered { policy, is_worker, leaves_fast_open: bounds.leave_fast_open, layers })
}

/// Connections that Landlock does not see; the doctor says more.
const FAST_OPEN: &str = "connecting out by TCP Fast Open (see sitar doctor)";

/// Completes the sandbox of a packer, which has no rings, for all threads.
///
/// # Errors
/// Those of [`enter`].
pub(crate) fn seal_packer(policy: Policy) -> Result<(), Error> {
    seal_without_rings(policy, &calls::LISTS)
}

/// Completes the sandbox of the process that speaks with authorities, for all threads.
///
/// # Errors
/// Those of [`enter`].
pub fn seal_acme(policy: Policy) -> Result<(), Error> {
    seal_without_rings(policy, &acme::LISTS)
}

fn seal_without_rings(policy: Policy, lists: &Lists) -> Result<(), Error> {
    let mut layers = Layers::none();
    if policy != Policy::Off {
        seccomp::seal(policy, lists, &mut layers);
    }
    layers.hold(policy)
}

/// Landlock holds this process to the directories that it was given.
static BOUNDS_READING: AtomicBool = AtomicBool::new(false);
/// No thread of this process can make a ring.
static REFUSES_RINGS: AtomicBool = AtomicBool::new(false);

/// Returns whether this process can read no more than the directories that it was given.
#[must_use]
pub fn bounds_reading() -> bool {
    BOUNDS_READING.load(Ordering::Relaxed)
}

/// Returns whether a shard that has ended cannot be started again in this process, because it could
/// make no ring.
#[must_use]
pub fn keeps_shards_from_starting() -> bool {
    REFUSES_RINGS.load(Ordering::Relaxed)
}

impl Entered {
    /// Completes the sandbox, for all threads. Called once rings and threads exist.
    ///
    /// # Errors
    /// Those of [`enter`].
    pub fn seal(mut self, rings: Rings) -> Result<Layers, Error> {
        if self.policy != Policy::Off {
            self.layers.rings(rings);
            let is_sealed = self.is_worker && seccomp::seal(self.policy, &calls::LISTS, &mut self.layers);
            // A filter sees the flags of system calls, and none of those of a ring's operations.
            if self.leaves_fast_open && !(is_sealed && rings == Rings::None) {
                self.layers.leaves_open(FAST_OPEN);
            }
            if is_sealed && rings != Rings::None {
                REFUSES_RINGS.store(true, Ordering::Relaxed);
                sitar_engines::make_no_more_rings();
            }
            self.layers.hold(self.policy)?;
        }
        Ok(self.layers)
    }
}
