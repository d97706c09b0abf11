//! The sandbox: what this process can no longer do once it serves.
//!
//! It has layers, since none sees everything. A process without privileges keeps none and gets no
//! new ones; Landlock bounds files, TCP, signals and abstract sockets, also those of ring
//! operations; rings are restricted to the operations that the engine uses (`sitar_io`); seccomp
//! refuses every system call that a worker does not need, and does not see ring operations.
//!
//! The order is [`enter`], while the process has one thread; then threads and rings, which inherit
//! what was entered; then [`Entered::seal`], for all threads.

mod landlock;
mod layers;

use std::os::fd::OwnedFd;

use rustix::thread::set_no_new_privs;

pub use self::layers::Layers;
pub(crate) use self::layers::Rings;
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
pub(crate) enum Reach {
    /// The process that serves without a supervisor: it reads what it is asked to read, and changes
    /// nothing.
    OneProcess,
    /// A worker, to which everything else is passed as descriptors.
    #[allow(dead_code, reason = "the supervisor's worker enters with it")]
    Worker {
        /// Directories that may be read, with all that lies beneath.
        roots: Vec<OwnedFd>,
        /// A site follows links out of its directory, so that reading is not bounded.
        everywhere: bool,
    },
}

/// A sandbox that is not complete yet.
#[derive(Debug)]
pub(crate) struct Entered {
    policy: Policy,
    layers: Layers,
}

/// Gives up privileges and has Landlock bound this process. Called once, while there is one thread:
/// others inherit it.
///
/// # Errors
/// A layer is missing and the policy is strict, or the kernel refuses what it has.
pub(crate) fn enter(policy: Policy, reach: &Reach) -> Result<Entered, Error> {
    let mut layers = Layers::none();
    if policy == Policy::Off {
        return Ok(Entered { policy, layers });
    }
    // First, since Landlock and seccomp ask for it.
    let unprivileged = set_no_new_privs(true);
    landlock::enter(reach, &mut layers);
    match unprivileged {
        Ok(()) => layers.stands("no new privileges"),
        Err(errno) => layers.lacks("no new privileges", errno),
    }
    layers.hold(policy)?;
    Ok(Entered { policy, layers })
}

impl Entered {
    /// Completes the sandbox, for all threads. Called once rings and threads exist.
    ///
    /// # Errors
    /// Those of [`enter`].
    pub(crate) fn seal(mut self, rings: Rings) -> Result<Layers, Error> {
        if self.policy != Policy::Off {
            self.layers.rings(rings);
            self.layers.hold(self.policy)?;
        }
        Ok(self.layers)
    }
}
