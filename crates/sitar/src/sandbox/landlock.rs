//! Landlock: files, TCP, signals and abstract sockets.
//!
//! It binds the process whatever its user may do, and ring operations too. Descriptors that are
//! open keep what they could do. Below ABI 8 (Linux 7.0) it binds the calling thread and those that
//! it makes.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use sitar_io::probe;

use super::{Layers, Reach};

/// The newest ABI that this knows: what it adds is asked for wherever the kernel has it.
const KNOWN: ABI = ABI::V10;
/// The ABI from which on nothing is missing that the layer promises.
pub(crate) const ABI_WHOLE: u32 = 6;
/// What older ones leave open: the first ABI that bounds it, and its name.
const GAPS: &[(u32, &str)] = &[
    (3, "truncation of files"),
    (4, "TCP"),
    (5, "ioctl of devices"),
    (ABI_WHOLE, "signals and abstract sockets"),
];

/// Bounds the calling thread, and those that it makes from here on. Returns whether it is bounded.
pub(super) fn enter(reach: Reach, layers: &mut Layers) -> bool {
    let entered = probe::landlock().map_err(why).and_then(|abi| restrict(reach).map(|()| abi));
    let abi = match entered {
        Ok(abi) => abi,
        Err(why) => {
            layers.lacks("Landlock", why);
            return false;
        }
    };
    layers.stands(format!("Landlock ABI {abi}"));
    for (_, what) in GAPS.iter().filter(|(since, _)| abi < *since) {
        layers.lacks(&format!("bounds on {what}"), format_args!("Landlock ABI {abi} has none"));
    }
    true
}

/// Returns the reason that there is no Landlock.
pub(crate) fn why(errno: Errno) -> String {
    match errno {
        Errno::NOSYS => "this kernel has none, or a seccomp profile hides it".to_owned(),
        Errno::OPNOTSUPP => "it is not among the kernel's security modules, parameter lsm=".to_owned(),
        errno => errno.to_string(),
    }
}

fn restrict(reach: Reach) -> Result<(), String> {
    let told = |error: RulesetError| error.to_string();
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let everything = AccessFs::from_all(KNOWN);
    let handled = match &reach {
        // Programs that are told about the start may have their socket anywhere.
        Reach::OneProcess => everything & !reading & !BitFlags::from(AccessFs::ResolveUnix),
        Reach::Worker { .. } => everything,
    };
    let mut rules = Ruleset::default()
        .handle_access(handled)
        .and_then(|rules| rules.handle_access(AccessNet::from_all(KNOWN)))
        .and_then(|rules| rules.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .map_err(told)?;
    if let Reach::Worker { roots, everywhere } = reach {
        for root in &roots {
            rules = allow(rules, root)?;
        }
        if everywhere {
            rules = allow(rules, &open(c"/")?)?;
        }
        rules = allow(rules, this_process()?)?;
    }
    rules.restrict_self().map(drop).map_err(told)
}

fn allow(rules: RulesetCreated, directory: impl AsFd) -> Result<RulesetCreated, String> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    rules.add_rule(PathBeneath::new(directory, reading)).map_err(|error| error.to_string())
}

fn open(path: &std::ffi::CStr) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let told = |errno: Errno| format!("{}: {errno}", path.to_string_lossy());
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(told)
}

/// Returns this process's folder in /proc: mountinfo, which tells what a directory lies on, and the
/// times of polling threads.
///
/// It stays open. A rule holds for a file of the kernel's in memory, and procfs makes another one
/// for a folder that it had forgotten.
fn this_process() -> Result<&'static OwnedFd, String> {
    static FOLDER: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(folder) = FOLDER.get() {
        return Ok(folder);
    }
    let folder = open(c"/proc/self")?;
    Ok(FOLDER.get_or_init(|| folder))
}
