//! What the kernel tells of the threads of a process: by /proc, which needs no rights, and by perf
//! events, which do.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use sitar_io::counters::{Counter, Kind, SYSTEM_CALLS};

/// Where tracefs says the number of the event of all system calls.
const EVENTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
const SYS_ENTER: &str = "events/raw_syscalls/sys_enter/id";
/// How the kernel's polling threads are called.
const POLLER: &str = "iou-sqp-";

/// What /proc tells of all threads of a process together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// Ticks in user and in system mode, without polling threads.
    pub(super) user: u64,
    pub(super) system: u64,
    /// Nanoseconds on a CPU, without polling threads, and of those.
    pub(super) running: u64,
    pub(super) polling: u64,
    pub(super) voluntary: u64,
    pub(super) involuntary: u64,
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
}

impl Usage {
    /// Reads that of a process, and the numbers of its threads; `tasks` is its folder of threads.
    pub(super) fn read(tasks: &Path) -> io::Result<(Usage, BTreeSet<u32>)> {
        let mut sum = Usage::default();
        let mut threads = BTreeSet::new();
        for task in fs::read_dir(tasks)? {
            let task = task?.path();
            let number = task.file_name().and_then(|name| name.to_str()?.parse().ok());
            let text = |name: &str| fs::read_to_string(task.join(name)).ok();
            // One that has ended meanwhile has none of these.
            let (Some(number), Some(stat), Some(status), Some(schedule)) =
                (number, text("stat"), text("status"), text("schedstat"))
            else {
                continue;
            };
            threads.insert(number);
            sum.add(&stat, &status, &schedule);
        }
        Ok((sum, threads))
    }

    /// Adds a thread, as its files say: proc_pid_stat(5), proc_pid_status(5), and the first number
    /// of schedstat.
    pub(super) fn add(&mut self, stat: &str, status: &str, schedule: &str) {
        // A name may have blanks and brackets.
        let (before, after) = stat.rsplit_once(')').unwrap_or(("", stat));
        let fields: Vec<&str> = after.split_whitespace().collect();
        // The first of these is the third of the file.
        let field = |number: usize| number_of(fields.get(number - 3).copied());
        let line = |name: &str| {
            let mut lines = status.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            number_of(lines.next().map(str::trim))
        };
        let running = number_of(schedule.split_whitespace().next());
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        if before.split_once('(').is_some_and(|(_, name)| name.starts_with(POLLER)) {
            add(&mut self.polling, running);
        } else {
            add(&mut self.running, running);
            add(&mut self.user, field(14));
            add(&mut self.system, field(15));
        }
        add(&mut self.voluntary, line("voluntary_ctxt_switches"));
        add(&mut self.involuntary, line("nonvoluntary_ctxt_switches"));
        add(&mut self.minor_faults, field(10));
        add(&mut self.major_faults, field(12));
    }

    /// Returns what has come since.
    pub(super) fn since(&self, before: &Usage) -> Usage {
        let difference = |of: fn(&Usage) -> u64| of(self).saturating_sub(of(before));
        Usage {
            user: difference(|usage| usage.user),
            system: difference(|usage| usage.system),
            running: difference(|usage| usage.running),
            polling: difference(|usage| usage.polling),
            voluntary: difference(|usage| usage.voluntary),
            involuntary: difference(|usage| usage.involuntary),
            minor_faults: difference(|usage| usage.minor_faults),
            major_faults: difference(|usage| usage.major_faults),
        }
    }
}

fn number_of(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Returns a process' memory in bytes, as `VmRSS` of its status says it.
pub(super) fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the model of the first CPU in the text of /proc/cpuinfo.
pub(super) fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

/// System calls of a process, as the kernel has counted them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) all: u64,
    /// Those of [`SYSTEM_CALLS`] that were made.
    pub(super) names: BTreeMap<&'static str, u64>,
}

/// A reason for which nothing is counted, and what helps.
pub(super) type Missing = String;

/// A way to a counter of a thread; another one in tests.
pub(super) type Open<'a> = &'a dyn Fn(Kind, u32, Option<&CString>) -> io::Result<Counter>;

/// Opens a counter.
pub(super) fn open(kind: Kind, thread: u32, filter: Option<&CString>) -> io::Result<Counter> {
    Counter::open(kind, thread, filter.map(CString::as_c_str))
}

/// The counters of a process.
#[derive(Debug)]
pub(super) struct Counters {
    calls: Result<Vec<(Option<&'static str>, Counter)>, Missing>,
    instructions: Result<Vec<Counter>, Missing>,
    user_only: bool,
}

impl Counters {
    /// Counts in these threads from now on. `number` is the text in tracefs that says which event
    /// system calls are.
    pub(super) fn start(threads: &BTreeSet<u32>, number: &io::Result<String>, open: Open<'_>) -> Counters {
        let calls = match number {
            Ok(number) => calls(threads, number, open),
            Err(error) => Err(tracefs(error)),
        };
        let instructions = |user_only| {
            each(threads, |thread| Ok(vec![open(Kind::Instructions { user_only }, thread, None)?]))
        };
        let (instructions, user_only) = match instructions(false) {
            Ok(counters) => (Ok(counters), false),
            Err(_) => (instructions(true).map_err(|error| refused(&error)), true),
        };
        Counters { calls, instructions, user_only }
    }

    /// Returns the counts so far: of system calls, and of instructions with whether the kernel's
    /// are left out.
    pub(super) fn read(self) -> (Result<Calls, Missing>, Result<(u64, bool), Missing>) {
        let calls = self.calls.and_then(|counters| {
            let mut calls = Calls::default();
            for (name, counter) in &counters {
                match (name, read(counter)?) {
                    (_, 0) => {}
                    (Some(name), count) => *calls.names.entry(name).or_default() += count,
                    (None, count) => calls.all += count,
                }
            }
            Ok(calls)
        });
        let instructions = self.instructions.and_then(sum).map(|count| (count, self.user_only));
        (calls, instructions)
    }
}

fn read(counter: &Counter) -> Result<u64, Missing> {
    match counter.read() {
        Ok(Some(count)) => Ok(count),
        Ok(None) => Err("other programs use the counters of the CPU".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns what counters have counted together so far.
#[expect(clippy::needless_pass_by_value, reason = "they end with it")]
pub(super) fn sum(counters: Vec<Counter>) -> Result<u64, Missing> {
    counters.iter().map(read).sum()
}

/// Reads from tracefs the number of the event of all system calls.
pub(super) fn event_number() -> io::Result<String> {
    let mut read = EVENTS.iter().map(|folder| fs::read_to_string(Path::new(folder).join(SYS_ENTER)));
    let first = read.next().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
    first.or_else(|first| read.find_map(Result::ok).ok_or(first))
}

fn calls(
    threads: &BTreeSet<u32>,
    number: &str,
    open: Open<'_>,
) -> Result<Vec<(Option<&'static str>, Counter)>, Missing> {
    let number = number.trim().parse().map_err(|_| "tracefs is not understood".to_owned())?;
    let kind = Kind::Tracepoint(number);
    let counters = each(threads, |thread| {
        let named = SYSTEM_CALLS.iter().map(|(name, call)| {
            let filter = CString::new(format!("id == {call}")).unwrap_or_default();
            Ok((Some(*name), open(kind, thread, Some(&filter))?))
        });
        let all = std::iter::once_with(|| Ok((None, open(kind, thread, None)?)));
        named.chain(all).collect()
    });
    counters.map_err(|error| refused(&error))
}

/// Opens the counters of each thread. One that has ended since they were listed has none.
pub(super) fn each<T>(
    threads: &BTreeSet<u32>,
    open: impl Fn(u32) -> io::Result<Vec<T>>,
) -> io::Result<Vec<T>> {
    let mut counters = Vec::new();
    for thread in threads {
        match open(*thread) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => {}
            opened => counters.extend(opened?),
        }
    }
    Ok(counters)
}

fn tracefs(error: &io::Error) -> Missing {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "only root may look into tracefs; what helps: sudo sitar prove".to_owned()
        }
        io::ErrorKind::NotFound => {
            "there is no tracefs with system calls at /sys/kernel/tracing, as in most \
                                    containers; what helps: root outside of the container"
                .to_owned()
        }
        _ => format!("tracefs cannot be read: {error}"),
    }
}

pub(super) fn refused(error: &io::Error) -> Missing {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => "perf events are not permitted; what helps: sudo sitar prove, \
             or sysctl kernel.perf_event_paranoid=2 for instructions"
            .to_owned(),
        Some(Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV) => {
            "this CPU has no such counter, as in most virtual machines".to_owned()
        }
        Some(Errno::NOSYS) => {
            "perf events are missing in this kernel, or a seccomp profile hides them".to_owned()
        }
        Some(Errno::MFILE) => {
            "too many descriptors; what helps: ulimit -n 4096, or fewer --shards".to_owned()
        }
        _ => format!("perf events cannot be had: {error}"),
    }
}
