//! The attacker: code in a process that has entered its sandbox tries what it should not be able
//! to do, by system call and by ring.
//!
//! Each case is a process of its own, this program once more, which enters the sandbox as a worker
//! does and tells what became of its attempts. The same attempts succeed without a sandbox.

mod acme;
mod calls;

use std::ffi::CString;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Pid, getuid};
use serde_json::{Value, json};
use sitar::sandbox::{self, Policy, Reach};
use sitar_engines::Rings;
use sitar_io::attacks::{self, Attempt, Target};
use sitar_io::{Config, Queues, Ring, SqPoll, Uring};
use tempfile::TempDir;

use crate::common::{sandbox as sandbox_of_tests, skip};

/// The variable that makes this program the attacker: a case, an engine, and an empty folder.
const ATTACKER: &str = "SITAR_ATTACKER";
/// What stands before the attacker's report in its output.
const REPORT: &str = "report of the attacker: ";
const ENGINES: [&str; 3] = ["uring", "sqpoll", "epoll"];
const CONFIG: Config = Config { connections: 4, rx_count: 4, rx_len: 256, tx_count: 4, tx_len: 256 };
/// The calls that are refused and counted.
const CALLS: [&str; 19] = [
    "socket",
    "connect",
    "bind",
    "sendto",
    "sendmsg",
    "shutdown",
    "setsockopt",
    "fcntl",
    "prlimit64",
    "sched_setaffinity",
    "execve",
    "clone",
    "mmap",
    "process_vm_readv",
    "pidfd_open",
    "kill",
    "ptrace",
    "io_uring_setup",
    "setresuid",
];
// Linux, include/uapi/asm-generic/errno-base.h.
const EPERM: i64 = 1;
const EACCES: i64 = 13;
const EFAULT: i64 = 14;
const EOPNOTSUPP: i64 = 95;
const EINPROGRESS: i64 = 115;
/// What becomes of a send that connects: it has begun, or the kernel's setting forbids it, or
/// Landlock.
const FAST_OPEN: &[i64] = &[0, EINPROGRESS, EOPNOTSUPP, EACCES];

/// What the attacker tells.
struct Told(Value);

impl Told {
    /// The errors of attempts by system call, or by ring, by their names; 0 where there is none.
    fn attempts(&self, how: &str) -> Vec<(String, i64)> {
        let list = self.0[how].as_array().unwrap();
        list.iter().map(|one| (one[0].as_str().unwrap().to_owned(), one[1].as_i64().unwrap())).collect()
    }

    fn attempt(&self, how: &str, name: &str) -> i64 {
        let found = self.attempts(how).into_iter().find(|(other, _)| other == name);
        found.unwrap_or_else(|| panic!("no {name}: {}", self.0)).1
    }

    fn counted(&self, how: &str, name: &str) -> u64 {
        self.0[how][name].as_u64().unwrap_or(0)
    }
}

/// Starts the attacker; `None` where the engine is not to be had.
fn attack(case: &str, engine: &str) -> Option<Told> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["sandbox::attacker", "--exact", "--nocapture", "--test-threads=1"]);
    // It could not remove the folder itself.
    let folder = TempDir::new().unwrap();
    command.env(ATTACKER, format!("{case}, {engine}, {}", folder.path().display())).stderr(Stdio::piped());
    let ended = command.output().unwrap();
    let (said, told) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8_lossy(&ended.stderr));
    let report = said.split_once(REPORT).unwrap_or_else(|| panic!("{case}, {engine}: {said}{told}")).1;
    let report: Value = serde_json::from_str(report.lines().next().unwrap()).unwrap();
    if let Some(why) = report["no ring"].as_str() {
        skip(&format!("no {engine} here: {why}"));
        return None;
    }
    Some(Told(report))
}

/// The process that attacks.
#[test]
fn attacker() {
    let Ok(case) = std::env::var(ATTACKER) else { return };
    let [case, engine, folder] = case.split(", ").collect::<Vec<_>>()[..] else { panic!("{case}") };
    let report = attack_from_within(case, engine, Path::new(folder));
    writeln!(std::io::stdout(), "{REPORT}{report}").unwrap();
}

fn attack_from_within(case: &str, engine: &str, folder: &Path) -> Value {
    let (site, key) = (folder.join("site"), folder.join("key.pem"));
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("index.html"), "a page").unwrap();
    std::fs::write(&key, "a key").unwrap();
    let path = |name: &str| CString::new(folder.join(name).as_os_str().as_bytes()).unwrap();
    let (key, new_file) = (path("key.pem"), path("new"));
    let child = another_process();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("127.0.0.1 is IPv4") };
    // Code may find sockets in a process. (A filter would refuse these.)
    let sockets: Vec<OwnedFd> = (0..5).map(|_| socket()).collect();
    // In the same way, but spoilt by attempts.
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (spoilt, reached) = ([listen(), listen()], listen());
    let SocketAddr::V4(reached_at) = reached.local_addr().unwrap() else { panic!("127.0.0.1 is IPv4") };
    let target = Target {
        files: &[c"/etc/passwd", &key],
        new_file: &new_file,
        listener: address,
        sockets: std::array::from_fn(|at| sockets[at].as_fd()),
        spoilt: [spoilt[0].as_fd(), spoilt[1].as_fd()],
        reached: reached_at,
        process: Pid::from_child(&child.0),
        user: if getuid().is_root() { 65_534 } else { getuid().as_raw() },
    };

    if case == "acme" {
        return acme::attack_from_within(&target, &site, folder, reached_at.port());
    }
    let policy = if case == "off" { Policy::Off } else { Policy::Auto };
    let reach = match case {
        "one process" => Reach::OneProcess,
        _ => Reach::Worker { roots: vec![std::fs::File::open(&site).unwrap().into()], everywhere: false },
    };
    let entered = sandbox::enter(policy, reach).unwrap();
    let ring = match ring(engine, policy) {
        Ok(ring) => ring,
        Err(why) => return json!({ "no ring": why }),
    };
    let rings = match &ring {
        None => Rings::None,
        Some(ring) if ring.is_restricted() => Rings::Restricted,
        Some(_) => Rings::Unrestricted,
    };
    let layers = entered.seal(rings).unwrap();
    let [by_ring, by_calls, fast_open] = attempts(ring, &target);
    let was_reached = fast_open.len() == 2 && is_reached(&reached);
    // What a worker needs goes on.
    let page = std::fs::read_to_string(site.join("index.html")).unwrap_or_default();
    let joined = std::thread::spawn(|| 7).join().unwrap_or_default();
    let refusals = sandbox::refusals();
    let counts = |all: Vec<(String, u64)>| -> Value {
        all.into_iter().map(|(name, count)| (name, json!(count))).collect::<serde_json::Map<_, _>>().into()
    };
    json!({
        "layers": layers.to_string(),
        "missing": layers.missing(),
        "ring": told(&by_ring, folder),
        "calls": told(&by_calls, folder),
        "fast open": told(&fast_open, folder),
        "was reached": was_reached,
        "refused calls": counts(refusals.calls),
        "refused operations": counts(refusals.operations),
        "page": page,
        "thread": joined,
    })
}

/// A process that ends when this one does, whose standard input it reads.
struct Other(Child);

/// Starts it.
fn another_process() -> Other {
    Other(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
}

/// Returns the version of Landlock here, 0 without it.
fn landlock() -> u32 {
    sitar_io::probe::landlock().unwrap_or(0)
}

/// Whether the kernel's setting allows clients to send as they connect (`TFO_CLIENT_ENABLE`).
fn fast_opens() -> bool {
    let setting = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen").unwrap_or_default();
    setting.trim().parse::<u32>().is_ok_and(|setting| setting & 1 != 0)
}

fn socket() -> OwnedFd {
    rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap()
}

fn ring(engine: &str, policy: Policy) -> Result<Option<Ring<Uring>>, String> {
    let queues = Queues::within(&CONFIG, 0);
    let queues = if policy == Policy::Off { queues.unrestricted() } else { queues };
    let made = match engine {
        "epoll" => return Ok(None),
        "sqpoll" => {
            let poll = SqPoll { spin: Duration::ZERO, idle: Duration::from_millis(10), cpu: None };
            Ring::sqpoll_with(&CONFIG, queues, &poll)
        }
        _ => Ring::uring_with(&CONFIG, queues),
    };
    made.map(Some).map_err(|why| why.to_string())
}

/// Tries everything, by ring and then by system call.
fn attempts(ring: Option<Ring<Uring>>, target: &Target<'_>) -> [Vec<Attempt>; 3] {
    let mut fast_open = Vec::new();
    let by_ring = ring.map(|mut ring| {
        fast_open.extend(ring.attempt_fast_open(target));
        let mut all = ring.attempts(target);
        all.extend(ring.attempt_registrations());
        all
    });
    [by_ring.unwrap_or_default(), attacks::by_calls(target), fast_open]
}

/// Whether a connection comes to the listener, at once or soon.
fn is_reached(listener: &TcpListener) -> bool {
    let mut waited = [PollFd::new(listener, PollFlags::IN)];
    rustix::event::poll(&mut waited, Some(&Timespec { tv_sec: 2, tv_nsec: 0 })).unwrap_or(0) == 1
}

/// Returns names and error numbers, with `DIR` for the folder.
fn told(attempts: &[Attempt], folder: &Path) -> Value {
    let of = |attempt: &Attempt| {
        let error = attempt.result.err().map_or(0, |errno| errno.raw_os_error());
        json!([attempt.name.replace(folder.to_str().unwrap(), "DIR"), error])
    };
    attempts.iter().map(of).collect()
}

/// Holds what was told against what has to be refused. `missing` are the layers that this kernel
/// lacks.
fn all_is_refused(told: &Told, engine: &str) {
    for (name, error) in told.attempts("calls") {
        // Landlock refuses files and does so with this error.
        let expected = if name.starts_with("openat") { EACCES } else { EPERM };
        assert_eq!(error, expected, "{engine}: {name}: {}", told.0);
    }
    for call in CALLS {
        assert!(told.counted("refused calls", call) >= 1, "{engine}: {call}: {}", told.0);
    }
    let by_ring = told.attempts("ring");
    assert_eq!(by_ring.is_empty(), engine == "epoll", "{}", told.0);
    for (name, error) in &by_ring {
        // seccomp is asked before the ring.
        let expected = if name.starts_with("REGISTER") { EPERM } else { EACCES };
        assert_eq!(*error, expected, "{engine}: {name}: {}", told.0);
    }
    let operations = by_ring.iter().filter(|(name, _)| !name.starts_with("REGISTER")).count() as u64;
    // Landlock of newer kernels sees a connection that is made as something is sent.
    let is_seen = told.attempts("fast open").iter().any(|(_, error)| *error == EACCES);
    let counted = operations + u64::from(is_seen);
    assert_eq!(told.counted("refused operations", "unknown"), counted, "{engine}: {}", told.0);
    let registrations = by_ring.len() as u64 - operations;
    assert_eq!(told.counted("refused calls", "io_uring_register"), registrations, "{engine}: {}", told.0);
    // SHUTDOWN and SENDMSG are needed, and a ring does not see their arguments: this is known.
    for (name, error) in told.attempts("fast open") {
        let expected = if name.starts_with("SENDMSG") { FAST_OPEN } else { &[0] };
        assert!(expected.contains(&error), "{engine}: {name}: {}", told.0);
    }
    let may = engine != "epoll" && fast_opens() && !is_seen;
    assert_eq!(told.0["was reached"], may, "{engine}: docs/design/sandbox.md says otherwise: {}", told.0);
    // What the kernel lets through is named at the start.
    let said = told.0["layers"].as_str().unwrap();
    let named = said.contains("; open: connecting out by TCP Fast Open (see sitar doctor)");
    assert_eq!(named, may && landlock() >= 4, "{engine}: {said}");
    // What a worker does is not refused.
    assert_eq!(told.0["page"], "a page", "{engine}: {}", told.0);
    assert_eq!(told.0["thread"], 7, "{engine}: {}", told.0);
    assert_eq!(told.0["refused calls"].as_object().unwrap().len(), CALLS.len() + usize::from(operations > 0));
    for layer in ["Landlock ABI ", "seccomp", "no capabilities"] {
        assert!(told.0["layers"].as_str().unwrap().contains(layer), "{engine}: {}", told.0);
    }
}

#[test]
fn from_a_worker_every_attempt_is_refused_and_counted() {
    if landlock() == 0 {
        return skip("this kernel has no Landlock");
    }
    for engine in ENGINES {
        if let Some(told) = attack("worker", engine) {
            all_is_refused(&told, engine);
        }
    }
}

/// So the test above can fail.
#[test]
fn without_a_sandbox_every_attempt_succeeds() {
    for engine in ENGINES {
        let Some(told) = attack("off", engine) else { continue };
        assert_eq!(told.0["layers"], "off");
        for (name, error) in told.attempts("calls") {
            // The program was opened, the other process was there: it is their addresses that are
            // wrong.
            let expected = match &*name {
                "execve" | "process_vm_readv" => EFAULT,
                name if name.contains("FASTOPEN") && !fast_opens() => EOPNOTSUPP,
                _ => 0,
            };
            assert_eq!(error, expected, "{engine}: {name}: {}", told.0);
        }
        for (name, error) in told.attempts("ring") {
            let is_registration = name.starts_with("REGISTER");
            assert!(error == 0 || is_registration && error != EACCES, "{engine}: {name}: {}", told.0);
        }
        assert_eq!(told.0["refused calls"], json!({}));
        assert_eq!(told.0["refused operations"], json!({}));
    }
}

#[test]
fn one_process_writes_starts_and_connects_nothing() {
    let abi = landlock();
    if abi == 0 {
        return skip("this kernel has no Landlock");
    }
    for engine in ENGINES {
        let Some(told) = attack("one process", engine) else { continue };
        // It reads what it is asked to serve.
        assert_eq!(told.attempt("calls", "openat /etc/passwd"), 0);
        let mut refused = vec![("openat to write", EACCES)];
        refused.extend([("process_vm_readv", EPERM), ("pidfd_getfd", EPERM), ("ptrace", EPERM)]);
        if abi >= 4 {
            refused.extend([("connect", EACCES), ("bind", EACCES)]);
        } else {
            let missing = "bounds on TCP (Landlock ABI 2 has none)";
            assert!(told.0["missing"].to_string().contains(missing), "{}", told.0);
        }
        // Before 6.8 the kernel reads the arguments first, whose address is wrong, and ABI 5 came
        // with 6.10.
        refused.push(("execve", if abi >= 5 { EACCES } else { EFAULT }));
        if abi >= 6 {
            refused.push(("kill", EPERM));
        }
        for (name, error) in refused {
            assert_eq!(told.attempt("calls", name), error, "{engine}: {name}: {}", told.0);
        }
        for (name, error) in told.attempts("ring").iter().filter(|(name, _)| !name.starts_with("OPENAT2")) {
            assert_eq!(*error, EACCES, "{engine}: {name}: {}", told.0);
        }
    }
}

/// A call that the list lacks ends a server of any test; a kernel without a layer cannot do that.
#[test]
fn servers_of_all_tests_run_in_a_sandbox_that_is_whole() {
    if sandbox_of_tests() != "strict" {
        skip(&format!("Landlock here is of version {}: servers run in what there is", landlock()));
    }
}
