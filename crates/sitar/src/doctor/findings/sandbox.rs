//! The layers of the sandbox: what this kernel has for them.

use rustix::io::Errno;

use super::{Finding, Problem, Verdict, advice, command, fine, problem};
use crate::doctor::facts::SandboxFacts;
use crate::sandbox::LANDLOCK_WHOLE;

/// The end of each cost.
const STRICT: &str = "--sandbox strict does not start, --sandbox auto goes without";

pub(super) fn findings(facts: &SandboxFacts) -> Vec<Finding> {
    let restrictions = facts.restrictions.map(|has| restrictions(has, facts));
    let fast_open = facts.leaves_fast_open.map(fast_open);
    let first = [landlock(facts.landlock)].into_iter().chain(fast_open);
    first.chain(restrictions).chain([seccomp(facts.seccomp)]).collect()
}

fn missing(id: &'static str, found: &str, problem: Problem) -> Finding {
    Finding { id, found: found.to_owned(), verdict: Verdict::Missing(problem) }
}

fn landlock(abi: Result<u32, Errno>) -> Finding {
    let id = "landlock";
    let cost = |what: &str| format!("the sandbox bounds {what}: {STRICT}");
    match abi {
        Ok(abi) if abi >= LANDLOCK_WHOLE => fine(id, format!("ABI {abi}")),
        Ok(abi) => Finding {
            id,
            found: format!("ABI {abi}"),
            verdict: Verdict::Degraded(problem(
                format!("ABI {LANDLOCK_WHOLE}, which came with Linux 6.12"),
                cost(if abi < 4 {
                    "files, and neither TCP nor signals"
                } else {
                    "files and TCP, and no signals"
                }),
                vec![advice("boot Linux 6.12 or newer")],
            )),
        },
        Err(Errno::OPNOTSUPP) => missing(
            id,
            "not switched on",
            problem(
                "the kernel has it, and its parameter lsm= does not name it",
                cost("neither files nor TCP"),
                vec![command("see what it names", "cat /sys/kernel/security/lsm")],
            ),
        ),
        Err(_) => missing(
            id,
            "not there",
            problem(
                "a kernel with CONFIG_SECURITY_LANDLOCK, or a container's profile that lets it through",
                cost("neither files nor TCP"),
                vec![advice("boot a kernel that has it, such as Debian's since 6.1")],
            ),
        ),
    }
}

fn fast_open(leaves: bool) -> Finding {
    let id = "tcp_fast_open";
    if !leaves {
        return fine(id, "refused");
    }
    let verdict = Verdict::Degraded(problem(
        "the sandbox refuses it",
        "the sandbox bounds TCP, but a worker that was taken over could connect out by TCP Fast Open",
        vec![
            command("forbid it to all programs of this machine", "sudo sysctl -w net.ipv4.tcp_fastopen=2"),
            advice("boot a kernel whose Landlock sees it"),
        ],
    ));
    Finding { id, found: "connects".to_owned(), verdict }
}

fn restrictions(has: bool, facts: &SandboxFacts) -> Finding {
    let id = "io_uring_restrictions";
    if !has {
        let missing_them = problem(
            "IORING_REGISTER_RESTRICTIONS",
            format!("rings can do all that io_uring can: {STRICT}"),
            vec![advice("use --engine epoll"), advice("or another kernel")],
        );
        return missing(id, "refused", missing_them);
    }
    let newer = [(facts.task_restrictions, "for tasks"), (facts.ring_filters, "by BPF filters")];
    let newer: Vec<&str> = newer.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
    match &newer[..] {
        [] => fine(id, "rings do what sitar uses"),
        newer => {
            fine(id, format!("rings do what sitar uses; the kernel has them {} too", newer.join(" and ")))
        }
    }
}

fn seccomp(has: bool) -> Finding {
    let id = "seccomp";
    if has {
        return fine(id, "filters can be installed");
    }
    let cost = format!("a worker can make every system call: {STRICT}");
    let remedies = vec![advice("boot a kernel with CONFIG_SECCOMP_FILTER")];
    missing(id, "not there", problem("filters of system calls", cost, remedies))
}
