//! Asks the machine. Nothing here judges the answers.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use sitar_engines::polling::Cores;
use sitar_engines::rings::{self, Memory, NoRing};
use sitar_io::probe::{self, KernelTls, TlsUnavailable};
use sitar_io::{Config, Queues, TlsCipher};

use crate::serve::descriptors::{self, DescriptorsFit, Needs};
use crate::settings::{EngineChoice, PORT_HTTP, PORT_HTTPS};
use crate::{listen, sandbox, serve};

/// Everything that findings are made of.
#[derive(Debug)]
pub(super) struct Facts {
    /// The release, as by `uname -r`.
    pub(super) kernel: String,
    /// Effective capability CAP_NET_ADMIN, with which the kernel loads its TLS by itself.
    pub(super) net_admin: bool,
    /// This process runs under a seccomp filter.
    pub(super) seccomp: bool,
    pub(super) uring: Uring,
    pub(super) tls: TlsFacts,
    pub(super) sandbox: SandboxFacts,
    /// Whether openat2(2) opens a directory.
    pub(super) openat2: Result<(), Errno>,
    pub(super) files: FileLimit,
    pub(super) memlock: Memlock,
    /// Cores that this process may keep busy.
    pub(super) cores: usize,
    /// First port that needs no privilege (sysctl net.ipv4.ip_unprivileged_port_start).
    pub(super) unprivileged_port: Option<u16>,
    pub(super) ports: Vec<(u16, Port)>,
    /// The year of the clock, UTC.
    pub(super) year: i32,
    /// Whether something keeps the clock right; `None`: the kernel does not say.
    pub(super) synchronised: Option<bool>,
}

/// Memory that this user may lock, and what the rings of `sitar serve` take of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memlock {
    pub(super) memory: Memory,
    /// Bytes of rings as large as they would be without a limit.
    pub(super) full: u64,
    /// Bytes of the rings that would be made.
    pub(super) planned: u64,
    /// The outcome of a start with that limit.
    pub(super) outcome: rings::RingsFit,
}

impl Memlock {
    /// Returns what a start would find that makes a ring with this configuration for each shard.
    pub(super) fn of(memory: Memory, ring: &Config) -> Memlock {
        let all = |queues: Queues| queues.locked(ring) * u64::from(memory.shards);
        Memlock {
            memory,
            full: all(Queues::new(ring)),
            planned: all(memory.queues(ring)),
            outcome: memory.outcome(ring),
        }
    }
}

/// io_uring.
#[derive(Debug)]
pub(super) struct Uring {
    /// Whether the rings of all shards can be made, and one used.
    pub(super) engine: Result<(), NoRing>,
    /// Sysctl kernel.io_uring_disabled (Linux 6.6): 1 allows it to a group only, 2 to no user.
    pub(super) disabled: Option<u32>,
    /// Sysctl kernel.io_uring_group.
    pub(super) group: Option<i64>,
    /// The operations of the engine that this kernel lacks; `None`: it may not be asked.
    pub(super) lacking: Option<Vec<&'static str>>,
    /// Whether the engine can set options of sockets; `None`: there is no engine.
    pub(super) options: Option<bool>,
}

/// The layers of the sandbox.
#[derive(Debug)]
pub(super) struct SandboxFacts {
    /// The version of Landlock's interface.
    pub(super) landlock: Result<u32, Errno>,
    /// Whether Landlock lets TCP Fast Open connect; `None`: it does not bound TCP.
    pub(super) leaves_fast_open: Option<bool>,
    /// Whether rings can be restricted; `None`: there is no ring.
    pub(super) restrictions: Option<bool>,
    /// Whether tasks can be restricted to some operations of rings (Linux 7.0).
    pub(super) task_restrictions: bool,
    /// Whether rings can be restricted by BPF filters (Linux 7.0).
    pub(super) ring_filters: bool,
    /// Whether a filter of system calls can be installed.
    pub(super) seccomp: bool,
}

/// Kernel TLS.
#[derive(Debug)]
pub(super) struct TlsFacts {
    pub(super) attached: Result<KernelTls, TlsRefusal>,
    /// The state of its module.
    pub(super) module: Module,
}

/// The reason that kernel TLS could not be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsRefusal {
    /// The kernel said so.
    Kernel(Errno),
    /// There was no connection to attach it to.
    NoLoopback,
}

/// The state of `tls` in the list of the running kernel's modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Module {
    /// It is there to be loaded, or built in.
    Installed,
    /// The list does not have it.
    Absent,
    /// There is no list, as in containers.
    Unknown,
}

/// Open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileLimit {
    /// The limit that this process may raise its own to; `None`: no limit.
    pub(super) hard: Option<u64>,
    /// The number that `sitar serve` would need.
    pub(super) wanted: u64,
    /// Connections of one shard that this is for.
    pub(super) connections: u32,
    /// The outcome of a start with that limit.
    pub(super) outcome: DescriptorsFit,
}

/// A port that sitar may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Free,
    Taken,
    /// It needs a privilege that this process does not have.
    Forbidden,
    /// Anything else.
    Failed(Errno),
}

/// Asks the machine. `connections` and `shards` are the settings of `sitar serve`.
///
/// Two things are tried rather than read, and leave nothing behind but, for a process with
/// CAP_NET_ADMIN, the loaded module `tls`: small rings, and connections to itself over loopback.
pub(super) fn gather(connections: Option<NonZeroU32>, shards: Option<NonZeroU16>) -> Facts {
    let cores = Cores::of_this_process();
    let shards = shards.unwrap_or_else(|| serve::default_shards(&cores, EngineChoice::Auto));
    let memory = Memory::of_this_process(shards.get());
    let ring = descriptors::wanted(connections, shards).ring();
    let engine = sitar_engines::probe(&memory).and_then(|()| sitar_engines::try_all(&memory, &ring));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let files = files(connections, shards, engine.is_err());
    Facts {
        net_admin: has_capability(&status, CAP_NET_ADMIN),
        seccomp: field(&status, "Seccomp:").is_some_and(|mode| mode != "0"),
        uring: Uring {
            engine,
            disabled: number("/proc/sys/kernel/io_uring_disabled"),
            group: number("/proc/sys/kernel/io_uring_group"),
            lacking: probe::operations().ok().map(|operations| {
                let lacking = operations.iter().filter(|operation| !operation.supported);
                lacking.map(|operation| operation.name).collect()
            }),
            options: sitar_engines::has_set_opt().ok(),
        },
        tls: TlsFacts {
            attached: probe::kernel_tls().map_err(|why| match why {
                TlsUnavailable::Refused(errno) => TlsRefusal::Kernel(errno),
                TlsUnavailable::NoConnection(_) => TlsRefusal::NoLoopback,
            }),
            module: module(&kernel),
        },
        kernel,
        sandbox: SandboxFacts {
            landlock: probe::landlock(),
            leaves_fast_open: sandbox::would_leave_fast_open(),
            restrictions: sitar_engines::has_restrictions().ok(),
            task_restrictions: probe::has_task_restrictions(),
            ring_filters: probe::has_ring_filters(),
            seccomp: probe::has_seccomp_filters(),
        },
        openat2: openat2(),
        files,
        memlock: Memlock::of(memory, &ring),
        cores: cores.count,
        unprivileged_port: number("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        ports: ports(),
        year: time::OffsetDateTime::now_utc().year(),
        synchronised: probe::clock_is_synchronised().ok(),
    }
}

fn openat2() -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, c"/", flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS).map(drop)
}

/// Returns a cipher's name in TLS, and the module that the kernel may need for it.
pub(super) fn names(cipher: TlsCipher) -> (&'static str, &'static str) {
    match cipher {
        TlsCipher::Aes128Gcm => ("AES-128-GCM", "gcm"),
        TlsCipher::Aes256Gcm => ("AES-256-GCM", "gcm"),
        TlsCipher::ChaCha20Poly1305 => ("CHACHA20-POLY1305", "chacha20poly1305"),
    }
}

/// Bit of `CapEff` (capabilities(7)).
const CAP_NET_ADMIN: u32 = 12;

fn has_capability(status: &str, bit: u32) -> bool {
    let set = field(status, "CapEff:").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    set.is_some_and(|set| set & (1 << bit) != 0)
}

/// The value of a line of `/proc/self/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn number<T: std::str::FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn module(kernel: &str) -> Module {
    let list = |name: &str| fs::read_to_string(format!("/lib/modules/{kernel}/{name}"));
    match (list("modules.dep"), list("modules.builtin")) {
        (Err(_), Err(_)) => Module::Unknown,
        (loadable, builtin) => module_in(&loadable.unwrap_or_default(), &builtin.unwrap_or_default()),
    }
}

/// `kernel/net/tls/tls.ko.xz: …` or `kernel/net/tls/tls.ko`.
fn module_in(loadable: &str, builtin: &str) -> Module {
    let is_tls = |line: &str| line.split(':').next().is_some_and(|path| path.contains("/tls/tls.ko"));
    if loadable.lines().chain(builtin.lines()).any(is_tls) { Module::Installed } else { Module::Absent }
}

fn files(connections: Option<NonZeroU32>, shards: NonZeroU16, epoll: bool) -> FileLimit {
    let limits = descriptors::wanted(connections, shards);
    // Without --listen there are two addresses.
    let needs = Needs { shards: shards.get(), addresses: 2, sites: 1, shared: epoll, passed: 0 };
    let hard = getrlimit(Resource::Nofile).maximum;
    FileLimit {
        hard,
        wanted: needs.wanted(&limits),
        connections: limits.connections,
        outcome: needs.outcome(&limits, connections.is_some(), hard.unwrap_or(u64::MAX)),
    }
}

/// Tries the ports of a server with a certificate, of one without, and of plain HTTP, each where it
/// would be bound.
fn ports() -> Vec<(u16, Port)> {
    let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let wanted = [(443, any), (PORT_HTTPS, loopback), (PORT_HTTP, loopback)];
    wanted
        .into_iter()
        .map(|(port, hosts)| {
            let answers = hosts.map(|host| listen::try_address(SocketAddr::new(host, port)));
            (port, port_of(answers))
        })
        .collect()
}

/// The worse of two answers; an address that this machine does not have is no answer.
fn port_of(answers: [Result<(), Errno>; 2]) -> Port {
    let mut answers = answers.into_iter().filter_map(Result::err);
    let real = answers.find(|errno| !matches!(*errno, Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT));
    match real {
        None => Port::Free,
        Some(Errno::ADDRINUSE) => Port::Taken,
        Some(Errno::ACCESS | Errno::PERM) => Port::Forbidden,
        Some(errno) => Port::Failed(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_a_hexadecimal_set() {
        let status = "Name:\tsitar\nCapEff:\t0000000000001000\nSeccomp:\t2\n";
        assert!(has_capability(status, CAP_NET_ADMIN) && !has_capability(status, 11));
        assert_eq!(field(status, "Seccomp:"), Some("2"));
        assert!(!has_capability("CapEff:\tzz\n", CAP_NET_ADMIN) && !has_capability("", CAP_NET_ADMIN));
    }

    #[test]
    fn the_module_is_found_packed_or_built_in() {
        let packed = "kernel/net/atm/atm.ko.xz:\nkernel/net/tls/tls.ko.xz: kernel/x.ko.xz\n";
        assert_eq!(module_in(packed, ""), Module::Installed);
        assert_eq!(module_in("", "kernel/net/tls/tls.ko\n"), Module::Installed);
        // A module that only needs it says nothing about it being there.
        assert_eq!(module_in("kernel/drivers/nvme.ko: kernel/net/tls/tls.ko\n", ""), Module::Absent);
    }

    #[test]
    fn a_port_is_as_bad_as_its_worse_address() {
        for (answers, expected) in [
            ([Ok(()), Ok(())], Port::Free),
            ([Ok(()), Err(Errno::AFNOSUPPORT)], Port::Free),
            ([Err(Errno::ADDRNOTAVAIL), Err(Errno::ADDRINUSE)], Port::Taken),
            ([Err(Errno::ACCESS), Ok(())], Port::Forbidden),
            ([Err(Errno::NOBUFS), Ok(())], Port::Failed(Errno::NOBUFS)),
        ] {
            assert_eq!(port_of(answers), expected);
        }
    }
}
