//! The operations, flags and registrations that the engine uses, which are all that its rings can
//! do: the kernel refuses others for as long as a ring lives.
//!
//! A ring is made disabled, registered, restricted in one call, and enabled, all by the thread that
//! uses it. An operation outside of the list ends with EACCES, and so does a registration. The
//! kernel does not tell one URING_CMD from another.
//!
//! These tables are the only list: probes and messages read it, and tests compare it with the
//! sources.

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode};

/// Operations: names as in `linux/io_uring.h` without the prefix.
pub(crate) const OPERATIONS: &[(&str, u8)] = &[
    ("ACCEPT", opcode::AcceptMulti::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel2::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("FILES_UPDATE", opcode::FilesUpdate::CODE),
    ("OPENAT2", opcode::OpenAt2::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("READ", opcode::Read::CODE),
    ("READV", opcode::Readv::CODE),
    ("RECV", opcode::RecvMulti::CODE),
    ("RECVMSG", opcode::RecvMsgMulti::CODE),
    ("SEND", opcode::Send::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("SHUTDOWN", opcode::Shutdown::CODE),
    ("STATX", opcode::Statx::CODE),
    ("URING_CMD", opcode::SetSockOpt::CODE),
];

/// Registrations after a ring was enabled: those by which it gives back what it has.
pub(crate) const REGISTRATIONS: &[(&str, u8)] = &[
    ("UNREGISTER_FILES", 3),
    ("UNREGISTER_RING_FDS", super::UNREGISTER_RING_FDS as u8),
    ("UNREGISTER_PBUF_RING", 23),
];

/// Flags of submission queue entries: the direct descriptors of connections, and receive slots.
const FLAGS: &[(&str, u8)] = &[("FIXED_FILE", 1 << 0), ("BUFFER_SELECT", 1 << 5)];

/// Restricts a ring that is disabled. Returns whether the kernel does so; otherwise the ring is as
/// it was.
pub(super) fn restrict(ring: &IoUring) -> bool {
    let operations = OPERATIONS.iter().map(|(_, code)| Restriction::sqe_op(*code));
    let registrations = REGISTRATIONS.iter().map(|(_, code)| Restriction::register_op(*code));
    let flags = FLAGS.iter().fold(0, |all, (_, flag)| all | flag);
    let flags = [Restriction::sqe_flags_allowed(flags)];
    let mut all: Vec<Restriction> = operations.chain(registrations).chain(flags).collect();
    ring.submitter().register_restrictions(&mut all).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use io_uring::squeue::Flags;

    use super::*;

    const SOURCES: [&str; 4] = [
        include_str!("../uring.rs"),
        include_str!("sqpoll.rs"),
        include_str!("scratch.rs"),
        include_str!("buf_ring.rs"),
    ];

    /// The words behind each `before` in the engine's sources.
    fn used(before: &str) -> BTreeSet<String> {
        let after = SOURCES.iter().flat_map(|source| source.split(before).skip(1));
        let word =
            |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
        after.map(word).collect()
    }

    #[test]
    fn the_list_has_the_operations_of_the_engine_and_no_others() {
        let table = include_str!("restrictions.rs").split("const REGISTRATIONS").next().unwrap();
        let listed = table.split("opcode::").skip(1);
        let listed: BTreeSet<_> =
            listed.filter_map(|text| Some(text.split_once("::CODE")?.0.to_owned())).collect();
        assert_eq!(listed, used("opcode::"), "OPERATIONS and the engine differ");
        let codes: BTreeSet<_> = OPERATIONS.iter().map(|(_, code)| code).collect();
        assert_eq!(codes.len(), OPERATIONS.len(), "an operation is listed twice");
    }

    #[test]
    fn the_list_has_the_registrations_of_a_ring_in_use_and_no_others() {
        // Those that the engine makes once the ring is enabled.
        let source = SOURCES[0];
        let (_, enabled) = source.split_once("register_enable_rings()").unwrap();
        let enabled = enabled.split("mod tests").next().unwrap();
        let calls = enabled.split(".submitter()").skip(1);
        let calls = calls.map(|text| text.split(['.', '(']).find(|word| word.contains("register")).unwrap());
        let raw = enabled.split("register(self.ring.as_raw_fd(), ").skip(1);
        let raw = raw.map(|text| text.split(',').next().unwrap());
        let mut made: Vec<_> = calls
            .map(|call| match call {
                "unregister_files" => "UNREGISTER_FILES",
                "unregister_buf_ring" => "UNREGISTER_PBUF_RING",
                other => other,
            })
            .chain(raw)
            .collect();
        made.sort_unstable();
        let mut listed: Vec<_> = REGISTRATIONS.iter().map(|(name, _)| *name).collect();
        listed.sort_unstable();
        assert_eq!(listed, made, "REGISTRATIONS and the engine differ");
    }

    #[test]
    fn the_list_has_the_flags_that_the_builders_of_entries_set_and_no_others() {
        let all = Flags::FIXED_FILE | Flags::BUFFER_SELECT;
        assert_eq!(FLAGS.iter().fold(0, |all, (_, flag)| all | flag), all.bits());
        assert!(!used("types::Fixed(").is_empty() && used("opcode::").contains("RecvMulti"));
        // Others would be set by hand.
        assert!(SOURCES.iter().all(|source| !source.contains("squeue::Flags")));
    }
}
