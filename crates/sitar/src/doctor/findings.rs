//! Judges the facts: one function for each finding, without a look at the machine.

use sitar_io::Unavailable;

use super::facts::{Facts, Memlock, Module, Port, TlsRefusal, names};
use super::{Finding, Problem, Remedy, Verdict};
use crate::serve::descriptors::DescriptorsFit;
use sitar_engines::rings::{self, kib};

mod sandbox;
mod tls;

/// All findings, in the order in which they are shown.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![kernel(facts), uring(facts)];
    findings.extend(operations(facts));
    findings.extend(socket_options(facts));
    findings.extend(tls::findings(facts));
    findings.extend(sandbox::findings(&facts.sandbox));
    findings.extend([openat2(facts), open_files(facts), locked_memory(facts), cores(facts)]);
    findings.extend(facts.ports.iter().map(|(number, port)| self::port(facts, *number, *port)));
    findings.extend([clock(facts), synchronisation(facts)]);
    findings
}

fn fine(id: &'static str, found: impl Into<String>) -> Finding {
    Finding { id, found: found.into(), verdict: Verdict::Fine }
}

fn problem(missing: impl Into<String>, cost: impl Into<String>, remedies: Vec<Remedy>) -> Problem {
    Problem { missing: missing.into(), cost: cost.into(), remedies }
}

fn advice(what: impl Into<String>) -> Remedy {
    Remedy { what: what.into(), command: None }
}

fn command(what: impl Into<String>, command: impl Into<String>) -> Remedy {
    Remedy { what: what.into(), command: Some(command.into()) }
}

const EPOLL: &str = "sitar runs on epoll: several system calls for each request instead of one for many";

/// `6.12.41-amd64` → (6, 12); what cannot be read counts as oldest.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn kernel(facts: &Facts) -> Finding {
    let id = "kernel";
    if version(&facts.kernel) >= (6, 1) {
        return fine(id, &facts.kernel);
    }
    let problem =
        problem("io_uring as sitar needs it came with 6.1", EPOLL, vec![advice("boot Linux 6.1 or newer")]);
    Finding { id, found: facts.kernel.clone(), verdict: Verdict::Degraded(problem) }
}

fn uring(facts: &Facts) -> Finding {
    let id = "io_uring";
    let Err(why) = &facts.uring.engine else { return fine(id, "a ring was made and used") };
    let (missing, remedies) = match &why.why {
        reason if reason.is_out_of_memory() => {
            let advised = if why.is_limit() { raise_memlock() } else { vec![advice(MORE_MEMORY)] };
            ("memory for the rings".into(), advised)
        }
        Unavailable::KernelTooOld(_) => ("a newer kernel".into(), vec![advice("see kernel")]),
        Unavailable::Forbidden => forbidden(facts),
        Unavailable::Missing if facts.seccomp => hidden(),
        Unavailable::Missing => (
            "io_uring in this kernel".into(),
            vec![advice("boot a kernel that was built with CONFIG_IO_URING, as those of distributions are")],
        ),
        Unavailable::FileLimit { .. } => ("open files".into(), vec![advice("see open_files")]),
        Unavailable::Failed(step, error) => (format!("a ring: {step}: {error}"), Vec::new()),
    };
    let verdict = Verdict::Missing(problem(missing, EPOLL, remedies));
    Finding { id, found: why.to_string(), verdict }
}

/// EPERM has three causes; the sysctl is asked first, since it forbids whatever a seccomp profile
/// allows.
fn forbidden(facts: &Facts) -> (String, Vec<Remedy>) {
    let everybody = || {
        vec![
            command(
                "allow it to everybody, until the next boot",
                "sudo sysctl -w kernel.io_uring_disabled=0",
            ),
            command(
                "and for good",
                "echo 'kernel.io_uring_disabled = 0' | sudo tee /etc/sysctl.d/50-io_uring.conf",
            ),
        ]
    };
    match (facts.uring.disabled, facts.uring.group) {
        (Some(1), Some(group @ 0..)) => {
            let missing =
                format!("membership in group {group}, to which sysctl kernel.io_uring_group allows it");
            let mut remedies = vec![command(
                "add this user to the group, and log in again",
                format!(
                    "sudo usermod --append --groups \"$(getent group {group} | cut -d: -f1)\" \"$(id -un)\""
                ),
            )];
            remedies.extend(everybody());
            (missing, remedies)
        }
        (Some(disabled @ 1..), _) => {
            (format!("permission: sysctl kernel.io_uring_disabled is {disabled}"), everybody())
        }
        _ if facts.seccomp => hidden(),
        _ => (
            "permission, and neither the sysctl nor a seccomp filter of this process tells why".into(),
            vec![advice(
                "ask the kernel's log for a denial by a security module: sudo dmesg | grep -i io_uring",
            )],
        ),
    }
}

fn hidden() -> (String, Vec<Remedy>) {
    let missing =
        "io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile of this container";
    let remedies = vec![
        advice(
            "allow the three in the profile that the container runs with: docker run --security-opt seccomp=FILE",
        ),
        advice(
            "or leave it so: what the profile keeps from a container may be worth more than the difference",
        ),
    ];
    (missing.into(), remedies)
}

/// `None` where there is no io_uring to ask.
fn operations(facts: &Facts) -> Option<Finding> {
    let id = "io_uring_operations";
    if facts.uring.engine.is_err() {
        return None;
    }
    let found = match &facts.uring.lacking {
        Some(lacking) if lacking.is_empty() => return Some(fine(id, "all that sitar uses")),
        Some(lacking) => format!("without {}", lacking.join(", ")),
        // It works, so nothing is missing; a profile may forbid the question alone.
        None => return Some(fine(id, "the kernel may not be asked")),
    };
    let cost = "connections fail where such an operation is needed";
    let remedies = vec![
        advice("do without io_uring: sitar serve --engine epoll"),
        advice("or boot Linux 6.1 or newer as a distribution ships it"),
    ];
    Some(Finding {
        id,
        verdict: Verdict::Missing(problem("operations of io_uring that sitar uses", cost, remedies)),
        found,
    })
}

/// `None` where there is no io_uring to ask.
fn socket_options(facts: &Facts) -> Option<Finding> {
    let id = "io_uring_socket_options";
    if facts.uring.options? {
        return Some(fine(id, "can be set"));
    }
    let problem = problem(
        "the setting of socket options through io_uring (Linux 6.7)",
        "--tls kernel does not start; sitar seals records itself (--tls user), as it does by default",
        vec![advice("boot Linux 6.7 or newer")],
    );
    Some(Finding { id, found: "cannot be set".into(), verdict: Verdict::Degraded(problem) })
}

fn open_files(facts: &Facts) -> Finding {
    let id = "open_files";
    let files = facts.files;
    let limit = files.hard.map_or_else(|| "no limit".to_owned(), |hard| format!("up to {hard}"));
    let cost = match files.outcome {
        DescriptorsFit::Whole => return fine(id, format!("{limit}; {} wanted", files.wanted)),
        DescriptorsFit::FewerFiles { .. } => "sitar serve keeps fewer large files open".to_owned(),
        DescriptorsFit::FewerConnections { connections, .. } => {
            format!("sitar serve takes {connections} connections in each shard")
        }
        DescriptorsFit::TooManyConnections { fit } => {
            format!("sitar serve does not start: at most {fit} connections fit in each shard")
        }
        DescriptorsFit::TooLow { least } => format!("sitar serve does not start: it needs {least}"),
    };
    let missing = format!("room for {} connections in each shard", files.connections);
    let hard = files.hard.unwrap_or(u64::MAX);
    let wanted = files.wanted;
    let remedies = vec![
        command("in this shell", format!("sudo prlimit --pid $$ --nofile={wanted}:{wanted}")),
        advice(format!("in a systemd unit, below [Service]: LimitNOFILE={wanted}")),
    ];
    let verdict = Verdict::Degraded(problem(missing, cost, remedies));
    Finding { id, found: format!("at most {hard}; {wanted} wanted"), verdict }
}

const MORE_MEMORY: &str =
    "allow more memory: the container's limit, MemoryMax= in a systemd unit, or `ulimit -v`";

/// A value to know, never a problem: without it, opening a file of a folder takes a call for each
/// name of its path.
fn openat2(facts: &Facts) -> Finding {
    let found = match facts.openat2 {
        Ok(()) => "allowed".to_owned(),
        Err(errno) => format!(
            "refused ({}): sitar walks folders name by name instead, and serves the same",
            std::io::Error::from(errno)
        ),
    };
    fine("openat2", found)
}

/// Memory of rings counts as locked since Linux 6.14, for all processes of a user together.
fn locked_memory(facts: &Facts) -> Finding {
    let id = "locked_memory";
    let Memlock { memory, full, planned, outcome } = facts.memlock;
    let rings = rings::rings(memory.shards);
    let take = if memory.shards == 1 { "takes" } else { "take" };
    let Some(limit) = memory.limit else {
        return fine(id, format!("no limit for {rings}"));
    };
    let found = format!("up to {}; {rings} {take} {}", kib(limit), kib(planned));
    let missing = format!("{} of them, and as much again for a restart", kib(full));
    let cost = match outcome {
        rings::RingsFit::Whole => return fine(id, found),
        rings::RingsFit::Smaller => {
            "the rings are smaller: more system calls where many connections are busy at a time"
        }
        rings::RingsFit::TooLow => EPOLL,
    };
    let verdict = Verdict::Degraded(problem(missing, cost, raise_memlock()));
    Finding { id, found, verdict }
}

fn raise_memlock() -> Vec<Remedy> {
    vec![
        command("in this shell", "sudo prlimit --pid $$ --memlock=unlimited:unlimited"),
        advice("in a systemd unit, below [Service]: LimitMEMLOCK=infinity"),
        advice("in a container: docker run --ulimit memlock=-1"),
    ]
}

fn cores(facts: &Facts) -> Finding {
    let id = "cores";
    if facts.cores >= 2 {
        return fine(id, format!("{} for this process", facts.cores));
    }
    let problem = problem(
        "a second core",
        "--engine sqpoll does not start: its polling thread needs a core of its own",
        vec![advice("allow more cores: taskset, AllowedCPUs= in a systemd unit, or the container's limit")],
    );
    Finding { id, found: "1 for this process".into(), verdict: Verdict::Degraded(problem) }
}

fn port(facts: &Facts, number: u16, port: Port) -> Finding {
    let (id, wanted) = match number {
        443 => ("port_443", "--listen 443"),
        8443 => ("port_8443", "sitar serve without --listen"),
        _ => ("port_8080", "sitar serve --tls off without --listen"),
    };
    let cost = format!("{wanted} does not start");
    let (found, missing, remedies) = match port {
        Port::Free => return fine(id, "free"),
        Port::Taken => (
            "taken".to_owned(),
            "the port: another program listens on it (another sitar counts)".to_owned(),
            vec![command("see which one", format!("ss -ltnp 'sport = :{number}'"))],
        ),
        Port::Forbidden => {
            let first = facts.unprivileged_port.map_or("1024".to_owned(), |port| port.to_string());
            let remedies = vec![
                command(
                    "allow it to everybody, until the next boot",
                    format!("sudo sysctl -w net.ipv4.ip_unprivileged_port_start={number}"),
                ),
                command(
                    "or to this program, until it is replaced",
                    "sudo setcap cap_net_bind_service=+ep \"$(command -v sitar)\"",
                ),
                advice("or in a systemd unit, below [Service]: AmbientCapabilities=CAP_NET_BIND_SERVICE"),
            ];
            ("not allowed".to_owned(), format!("permission: ports below {first} need a privilege"), remedies)
        }
        Port::Failed(errno) => {
            let error = std::io::Error::from(errno);
            (error.to_string(), format!("the port: {error}"), Vec::new())
        }
    };
    Finding { id, found, verdict: Verdict::Degraded(problem(missing, cost, remedies)) }
}

/// The year of this version: no honest clock is before it.
const YEAR_MIN: i32 = 2026;
/// Beyond this, a date is a clock's mistake. (The local authority's own certificates end much
/// sooner.)
const YEAR_MAX: i32 = 2100;

fn clock(facts: &Facts) -> Finding {
    let id = "clock";
    let found = format!("year {}", facts.year);
    if (YEAR_MIN..=YEAR_MAX).contains(&facts.year) {
        return fine(id, found);
    }
    let problem = problem(
        "a clock that is right",
        "clients take certificates for expired or not yet valid, and dates of files are wrong",
        vec![command("have it set over the network", "sudo timedatectl set-ntp true")],
    );
    Finding { id, found, verdict: Verdict::Missing(problem) }
}

fn synchronisation(facts: &Facts) -> Finding {
    let id = "clock_synchronised";
    match facts.synchronised {
        Some(true) => fine(id, "yes"),
        None => fine(id, "the kernel does not say"),
        Some(false) => {
            let problem = problem(
                "a program that keeps the clock right (NTP, PTP)",
                "the clock drifts: in time, certificates and dates are off by as much",
                vec![
                    command("with systemd", "sudo timedatectl set-ntp true"),
                    advice(
                        "in a virtual machine the host may keep it right without telling; then ignore this",
                    ),
                ],
            );
            Finding { id, found: "no".into(), verdict: Verdict::Degraded(problem) }
        }
    }
}

#[cfg(test)]
mod tests;
