//! Capabilities: a worker keeps none, and no program that it could start would get any.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

use super::Layers;

/// Gives up all capabilities of the calling thread, and of those that it makes from here on.
pub(super) fn drop_all(layers: &mut Layers) {
    match drop_each() {
        Ok(()) => layers.stands_last("no capabilities"),
        Err(errno) => layers.lacks("no capabilities", errno),
    }
}

/// What a supervisor may need later: to bind ports below 1024 and to read keys that are renewed,
/// and to start workers that become another user, and to end them.
const OF_SUPERVISOR: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::KILL);

/// Gives up the capabilities of the calling thread, and of those that it makes from here on, that a
/// supervisor does not need. Programs that it starts as root get theirs again, and give them up.
pub(crate) fn keep_those_of_a_supervisor() {
    let Ok(CapabilitySets { effective, permitted, inheritable }) = capabilities(None) else { return };
    let kept = |set: CapabilitySet| set.intersection(OF_SUPERVISOR);
    // A process may always give up what it has.
    let _ = set_capabilities(
        None,
        CapabilitySets {
            effective: kept(effective),
            permitted: kept(permitted),
            inheritable: kept(inheritable),
        },
    );
}

/// Has programs that the calling thread could start get no capabilities. This takes CAP_SETPCAP,
/// which is lost with the user that is root; without it there is nothing that a process with
/// no_new_privs could gain from them.
pub(super) fn drop_those_of_programs() {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
}

fn drop_each() -> Result<(), Errno> {
    drop_those_of_programs();
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    let left = capabilities(None)?;
    if left.effective.is_empty() && left.permitted.is_empty() { Ok(()) } else { Err(Errno::PERM) }
}
