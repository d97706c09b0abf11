//! Landlock: files, TCP, signals and abstract sockets.
//!
//! It binds the process whatever its user may do, and ring operations too. Descriptors that are
//! open keep what they could do. Below ABI 8 (Linux 7.0) it binds the calling thread and those that
//! it makes.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Ipv4Addr, SendFlags, SocketAddrV4, SocketType, sendto, socket};
use sitar_io::probe;

use super::{Layers, Reach};

/// The newest ABI that this knows: what it adds is asked for wherever the kernel has it.
const KNOWN: ABI = ABI::V10;
/// The ABI from which on nothing is missing that the layer promises.
pub(crate) const ABI_WHOLE: u32 = 6;
/// What older ones leave open: the first ABI that bounds it, and its name.
const GAPS: &[(u32, &str)] = &[
    (3, "truncation of files"),
    (ABI_TCP, "TCP"),
    (5, "ioctl of devices"),
    (ABI_WHOLE, "signals and abstract sockets"),
];

/// What stands of this layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bounds {
    /// The thread is bounded.
    pub(super) stand: bool,
    /// TCP is bounded but for connections by Fast Open.
    pub(super) leave_fast_open: bool,
}

/// Bounds the calling thread, and those that it makes from here on.
pub(super) fn enter(reach: Reach, layers: &mut Layers) -> Bounds {
    let entered = probe::landlock().map_err(why).and_then(|abi| restrict(reach).map(|()| abi));
    let abi = match entered {
        Ok(abi) => abi,
        Err(why) => {
            layers.lacks("Landlock", why);
            return Bounds::default();
        }
    };
    layers.stands(format!("Landlock ABI {abi}"));
    for (_, what) in GAPS.iter().filter(|(since, _)| abi < *since) {
        layers.lacks(&format!("bounds on {what}"), format_args!("Landlock ABI {abi} has none"));
    }
    Bounds { stand: true, leave_fast_open: abi >= ABI_TCP && leaves_fast_open() }
}

/// The first ABI that bounds TCP.
const ABI_TCP: u32 = 4;
/// Connects as it sends (tcp(7)). Linux, include/linux/socket.h.
const MSG_FASTOPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);

/// Returns whether the calling thread, which Landlock keeps from connecting, may still connect by
/// TCP Fast Open (RFC 7413): most kernels' Landlock does not see that. The sysctl
/// `net.ipv4.tcp_fastopen` without its first bit forbids it.
///
/// Tries it, with no byte to send, at a port of this machine that none can listen on.
pub(super) fn leaves_fast_open() -> bool {
    let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let tried = socket(AddressFamily::INET, SocketType::STREAM, None)
        .and_then(|socket| sendto(socket, &[], MSG_FASTOPEN | SendFlags::DONTWAIT, &nowhere));
    !matches!(tried, Err(Errno::ACCESS | Errno::PERM | Errno::OPNOTSUPP))
}

/// Returns what [`leaves_fast_open`] would say once Landlock bounds TCP; `None` where it cannot.
/// Only a thread that ends is bound.
pub(crate) fn would_leave_fast_open() -> Option<bool> {
    let tried = || {
        let nothing = |_| ();
        rustix::thread::set_no_new_privs(true).map_err(nothing)?;
        let rules = Ruleset::default().handle_access(AccessNet::from_all(KNOWN));
        rules.and_then(Ruleset::create).and_then(RulesetCreated::restrict_self).map_err(|_| ())?;
        Ok::<_, ()>(leaves_fast_open())
    };
    if probe::landlock().is_ok_and(|abi| abi >= ABI_TCP) {
        std::thread::spawn(tried).join().ok()?.ok()
    } else {
        None
    }
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
        Reach::Worker { .. } | Reach::Authorities { .. } => everything,
    };
    let mut rules = Ruleset::default()
        .handle_access(handled)
        .and_then(|rules| rules.handle_access(AccessNet::from_all(KNOWN)))
        .and_then(|rules| rules.scope(Scope::from_all(KNOWN)))
        .and_then(Ruleset::create)
        .map_err(told)?;
    let (roots, everywhere) = match reach {
        Reach::OneProcess => return rules.restrict_self().map(drop).map_err(told),
        Reach::Authorities { folder, ports } => {
            return authorities(rules, &folder, &ports)?.restrict_self().map(drop).map_err(told);
        }
        Reach::Worker { roots, everywhere } => (roots, everywhere),
    };
    for root in &roots {
        rules = allow(rules, root)?;
    }
    if everywhere {
        rules = allow(rules, &open(c"/")?)?;
    }
    rules = allow(rules, this_process()?)?;
    rules.restrict_self().map(drop).map_err(told)
}

/// What says how names are resolved, and which authorities certify servers. What is not there is
/// left out.
const OF_SYSTEM: &[&std::ffi::CStr] = &[
    c"/etc/resolv.conf",
    c"/etc/hosts",
    c"/etc/host.conf",
    c"/etc/nsswitch.conf",
    c"/etc/gai.conf",
    c"/etc/services",
    c"/etc/ssl",
    c"/etc/pki",
    c"/etc/ca-certificates",
    c"/usr/share/ca-certificates",
    c"/usr/local/share/ca-certificates",
    c"/usr/lib/ssl",
    // Where links of these lead.
    c"/run/systemd/resolve",
    c"/run/resolvconf",
    c"/run/NetworkManager",
    c"/run/connman",
];

/// The port of name servers.
const DNS: u16 = 53;
/// No port yet. A datagram leaves from a port that the kernel chooses, which counts as a bind to
/// this one. And libc's resolver gives a socket this one of each address as its peer, to learn from
/// where this machine would send: it puts addresses in order by that, and sends nothing.
const UNNAMED: u16 = 0;

/// Allows to connect to these ports, to ask name servers, to write into one folder, and to read
/// what names are resolved by.
fn authorities(rules: RulesetCreated, folder: &OwnedFd, ports: &[u16]) -> Result<RulesetCreated, String> {
    let told = |error: RulesetError| error.to_string();
    let writing = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::Refer
        | AccessFs::RemoveFile;
    let mut rules = rules.add_rule(PathBeneath::new(folder, writing)).map_err(told)?;
    for port in ports {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)).map_err(told)?;
    }
    // Since ABI 10; the crate leaves out what the kernel has not.
    let datagrams =
        [(DNS, AccessNet::ConnectSendUdp.into()), (UNNAMED, AccessNet::BindUdp | AccessNet::ConnectSendUdp)];
    for (port, access) in datagrams {
        rules = rules.add_rule(NetPort::new(port, access)).map_err(told)?;
    }
    for path in OF_SYSTEM {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let Ok(opened) = rustix::fs::openat(CWD, *path, flags, Mode::empty()) else { continue };
        let stat = rustix::fs::fstat(&opened).map_err(|errno| errno.to_string())?;
        // A file has no names to be listed.
        let reading = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => AccessFs::ReadFile | AccessFs::ReadDir,
            _ => BitFlags::from(AccessFs::ReadFile),
        };
        rules = rules.add_rule(PathBeneath::new(&opened, reading)).map_err(told)?;
    }
    allow(rules, this_process()?)
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
