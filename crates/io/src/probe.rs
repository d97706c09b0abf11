//! Abilities of this machine's kernel, found out by asking it: for reports to an operator, not for
//! the path of a request.
//!
//! Nothing here changes how a [`Ring`](crate::Ring) works; an engine finds out by itself what it
//! needs.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use io_uring::{IoUring, Probe};
use rustix::io::Errno;

use crate::sockopt::{SockOpt, TlsCipher, TlsTx};
use crate::uring::{OPERATIONS, REGISTRATIONS};

/// One of io_uring's operations that the engine uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Operation {
    /// Its name, as in `linux/io_uring.h` without the prefix.
    pub name: &'static str,
    /// Whether the running kernel has it.
    pub supported: bool,
}

/// Asks for every operation that the io_uring engine uses (IORING_REGISTER_PROBE, Linux 5.6).
///
/// # Errors
/// A ring could not be made, or may not be asked: those of io_uring_setup(2) and
/// io_uring_register(2).
pub fn operations() -> io::Result<Vec<Operation>> {
    let ring = IoUring::new(2)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let operation = |(name, code)| Operation { name, supported: probe.is_supported(code) };
    Ok(OPERATIONS.iter().copied().map(operation).collect())
}

/// Returns the codes of io_uring_register(2) that a ring uses between its making and its end.
pub fn registrations() -> impl Iterator<Item = u8> {
    REGISTRATIONS.iter().map(|(_, code)| *code)
}

/// Returns the version of Landlock's interface (its ABI) that the running kernel has.
///
/// # Errors
/// `NOSYS`: the kernel was built without it, or a seccomp profile hides it. `OPNOTSUPP`: it was not
/// switched on at boot.
pub fn landlock() -> Result<u32, Errno> {
    // linux/landlock.h
    const CREATE_RULESET_VERSION: u32 = 1;
    let none = std::ptr::null::<u8>();
    // SAFETY: with this flag and no attributes, the kernel reads no memory and makes nothing.
    let abi =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, CREATE_RULESET_VERSION) };
    u32::try_from(abi).map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOSYS))
}

/// Returns whether the kernel can restrict the rings that a task makes from then on
/// (IORING_REGISTER_RESTRICTIONS without a ring, Linux 7.0).
#[must_use]
pub fn has_task_restrictions() -> bool {
    has_registration_without_ring(11)
}

/// Returns whether the kernel can hold ring operations to BPF filters (IORING_REGISTER_BPF_FILTER,
/// Linux 7.0).
#[must_use]
pub fn has_ring_filters() -> bool {
    has_registration_without_ring(37)
}

/// Asks for a registration that needs no ring, with no arguments to it: an address that is none is
/// EFAULT where the kernel has it, or EACCES for want of no_new_privs, and EINVAL where it has not.
fn has_registration_without_ring(code: u32) -> bool {
    let none = std::ptr::null::<u8>();
    // SAFETY: the kernel finds out that the address is none, and registers nothing.
    let done = unsafe { libc::syscall(libc::SYS_io_uring_register, -1, code, none, 1) };
    let error = io::Error::last_os_error().raw_os_error();
    done < 0 && matches!(error, Some(libc::EFAULT | libc::EACCES))
}

/// Returns whether a program can install a filter of system calls that raises SIGSYS (seccomp(2),
/// Linux 4.14).
#[must_use]
pub fn has_seccomp_filters() -> bool {
    let action = libc::SECCOMP_RET_TRAP;
    // SAFETY: the kernel reads the action, four bytes that live for the call.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    done == 0
}

/// The sending side of kernel TLS, as far as it can be attached to a connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KernelTls {
    /// Each of [`TlsCipher::ALL`], and the kernel's answer to it.
    pub ciphers: Vec<(TlsCipher, Result<(), Errno>)>,
    /// Whether a connection can be given a new key later (Linux 6.14); `None` when no cipher works.
    pub rekey: Option<bool>,
}

/// Attaches kernel TLS to connections of this process to itself, over loopback. Nothing is sent on
/// them.
///
/// Asking loads the module `tls` where it is missing and this process has CAP_NET_ADMIN.
///
/// # Errors
/// [`TlsUnavailable`] tells whether it is kernel TLS that is missing or the connections.
pub fn kernel_tls() -> Result<KernelTls, TlsUnavailable> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TlsUnavailable::NoConnection)?;
    let mut ciphers = Vec::new();
    let mut rekey = None;
    for cipher in TlsCipher::ALL {
        // A key of zeros, which never seals anything: the connection is closed unused.
        let Some(key) = TlsTx::tls13(cipher, &[0; 32][..cipher.key_len()], &[0; 12], 0) else { continue };
        let key = SockOpt::TlsTx(Box::new(key));
        // A connection has one cipher for all its life. The peer stays open: the protocol is
        // attached to established connections only.
        let (connection, _peer) = connection(&listener).map_err(TlsUnavailable::NoConnection)?;
        SockOpt::TlsUlp.set_now(connection.as_fd()).map_err(TlsUnavailable::Refused)?;
        let set = || key.set_now(connection.as_fd());
        let first = set();
        if first.is_ok() && rekey.is_none() {
            // Before 6.14 a second key is EBUSY.
            rekey = Some(set().is_ok());
        }
        ciphers.push((cipher, first));
    }
    Ok(KernelTls { ciphers, rekey })
}

/// The reason why kernel TLS could not be tried.
#[derive(Debug)]
pub enum TlsUnavailable {
    /// The kernel does not attach the protocol: ENOENT means that it has none, or that its module
    /// is not loaded and this process may not load it.
    Refused(Errno),
    /// There is no loopback to try it on.
    NoConnection(io::Error),
}

/// Whether the kernel takes its clock for synchronised, as NTP and PTP programs tell it
/// (adjtimex(2)).
///
/// # Errors
/// The kernel does not say, as under some seccomp profiles.
pub fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: all fields of `timex` are integers, for which zero is a valid value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes this structure during the call only; `modes` is zero, which sets
    // nothing.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    match state {
        -1 => Err(io::Error::last_os_error()),
        state => Ok(state != libc::TIME_ERROR),
    }
}

/// The length of the listener's queue (std's backlog is 128, and 4096 where the kernel allows
/// more).
const STRANGERS_MAX: usize = 4096;

/// Both ends of one connection; the first was accepted.
fn connection(listener: &TcpListener) -> io::Result<(TcpStream, TcpStream)> {
    let peer = TcpStream::connect(listener.local_addr()?)?;
    let own = peer.local_addr()?;
    for _ in 0..STRANGERS_MAX {
        // Another process may have connected first; it is let go.
        let (accepted, from) = listener.accept()?;
        if from == own {
            return Ok((accepted, peer));
        }
    }
    Err(io::ErrorKind::ConnectionRefused.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_runs_the_engine_has_its_operations() {
        match operations() {
            Ok(operations) => {
                let absent: Vec<&str> = operations
                    .iter()
                    .filter(|operation| !operation.supported)
                    .map(|operation| operation.name)
                    .collect();
                assert!(absent.is_empty(), "{absent:?}");
            }
            // Where io_uring is forbidden; the engines' tests say so.
            Err(error) => println!("no ring to ask: {error}"),
        }
    }

    #[test]
    fn kernel_tls_is_there_or_its_absence_is_named() {
        match kernel_tls() {
            Ok(tls) => {
                assert_eq!(tls.ciphers.len(), 3);
                assert_eq!(tls.rekey.is_some(), tls.ciphers.iter().any(|(_, answer)| answer.is_ok()));
                // The common ones are wherever there is kernel TLS at all; the third may be a
                // module not loaded.
                assert_eq!(tls.ciphers[0], (TlsCipher::Aes128Gcm, Ok(())));
                assert_eq!(tls.ciphers[1], (TlsCipher::Aes256Gcm, Ok(())));
            }
            Err(TlsUnavailable::Refused(errno)) => assert_eq!(errno, Errno::NOENT),
            Err(TlsUnavailable::NoConnection(error)) => panic!("no loopback: {error}"),
        }
    }

    #[test]
    fn landlock_has_a_version_or_its_absence_is_named() {
        match landlock() {
            Ok(abi) => assert!(abi > 0),
            Err(errno) => assert!(matches!(errno, Errno::NOSYS | Errno::OPNOTSUPP), "{errno}"),
        }
    }

    #[test]
    fn the_clock_can_be_asked() {
        // Both answers are right somewhere; that there is one shows that nothing is set (which
        // would be EPERM for a user).
        assert!(clock_is_synchronised().is_ok());
    }
}
