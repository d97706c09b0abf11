//! CPU time, memory and system calls of a process and its children, kernel threads that work for
//! them included.

use crate::Result;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the CPU time of one thread, by its directory in /proc; `None` when it has ended.
fn thread_nanoseconds(task: &Path) -> Result<Option<u64>> {
    let text = present(fs::read_to_string(task.join("schedstat")))?;
    Ok(text.map(|text| text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)))
}

/// Returns the CPU time of all threads of a process and its children, ns. The kernel's helpers
/// (io-wq, iou-sqp) are threads of the process that they work for. The exact time of a thread is
/// lost when it ends; the time of the whole process still has it, to a hundredth of a second.
pub(crate) fn cpu_nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for process in family(pid)? {
        let Some(threads) = present(threads(process))? else { continue };
        let mut exact = 0;
        for thread in threads {
            exact += thread_nanoseconds(&thread)?.unwrap_or_default();
        }
        let Some(stat) = present(fs::read_to_string(format!("/proc/{process}/stat")))? else { continue };
        sum += exact.max(ticks(&stat).ok_or("no times in /proc")? * NANOSECONDS_PER_TICK);
    }
    Ok(sum)
}

/// USER_HZ is 100 on x86 and ARM.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// Returns user and system time of a process, ended threads included (proc_pid_stat(5): utime and
/// stime, the twelfth and thirteenth word behind the name, which may hold anything).
fn ticks(stat: &str) -> Option<u64> {
    let mut words = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(words.next()?.parse::<u64>().ok()? + words.next()?.parse::<u64>().ok()?)
}

/// Returns the CPU time of each thread whose name begins with `name`.
pub(crate) fn named_threads(pid: u32, name: &str) -> Result<Vec<u64>> {
    let mut times = Vec::new();
    for thread in threads(pid)? {
        let comm = present(fs::read_to_string(thread.join("comm")))?.unwrap_or_default();
        if comm.starts_with(name) {
            times.extend(thread_nanoseconds(&thread)?);
        }
    }
    Ok(times)
}

/// Returns the bytes of a process and its children that are in RAM. Shared memory is counted once
/// for each of them, as only their page tables tell it apart.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for process in family(pid)? {
        let Some(status) = present(fs::read_to_string(format!("/proc/{process}/status")))? else { continue };
        sum += kibibytes(&status, "VmRSS:").ok_or("no VmRSS in /proc")? << 10;
    }
    Ok(sum)
}

/// Reads `VmRSS:     1234 kB`.
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Returns a process and all processes below it.
pub(crate) fn family(pid: u32) -> Result<Vec<u32>> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&member) = family.get(next) {
        next += 1;
        // Only the first has to be there: a child may end at any time.
        let threads = match present(threads(member))? {
            Some(threads) => threads,
            None if member == pid => return Err(format!("process {pid} has ended").into()),
            None => continue,
        };
        for thread in threads {
            let children = present(fs::read_to_string(thread.join("children")))?.unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    Ok(family)
}

/// Returns the folders of a process's threads in /proc.
fn threads(pid: u32) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(format!("/proc/{pid}/task"))?.map(|task| Ok(task?.path())).collect()
}

/// Returns what /proc says, or `None` of a thread or process that has ended meanwhile.
fn present<T>(said: io::Result<T>) -> io::Result<Option<T>> {
    /// Of a file that was opened before the thread ended (proc(5)).
    const ESRCH: i32 = 3;
    match said {
        Ok(said) => Ok(Some(said)),
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Counts the system calls of a server while `load` runs, by perf. Returns them and the load's
/// output, or why they cannot be counted.
pub(crate) fn syscalls(pid: u32, load: &mut Command) -> std::result::Result<(u64, String), String> {
    let pids: Vec<String> =
        family(pid).map_err(|error| error.to_string())?.iter().map(u32::to_string).collect();
    let mut perf = Command::new("perf");
    perf.args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", &pids.join(","), "--"]);
    perf.arg(load.get_program()).args(load.get_args());
    perf.envs(load.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = perf.output().map_err(|error| format!("perf: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    match count(&said) {
        Some(count) => Ok((count, String::from_utf8_lossy(&done.stdout).into_owned())),
        None => Err(format!(
            "perf: {}",
            said.lines().find(|line| !line.trim().is_empty()).unwrap_or("says nothing")
        )),
    }
}

/// Reads `29,,raw_syscalls:sys_enter,…`.
fn count(said: &str) -> Option<u64> {
    said.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?.split(',').next()?.parse().ok()
}

/// Returns the machine, as "AMD EPYC, 2 cores, kernel 6.18".
pub(crate) fn machine() -> Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    Ok(format!("{model}, {cores} cores, kernel {}", kernel.trim()))
}

/// Returns the first figure of /proc/loadavg: runnable tasks over the last minute.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_understood() {
        assert_eq!(kibibytes("VmPeak:\t 9 kB\nVmRSS:\t    1234 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(kibibytes("VmPeak:\t 9 kB\n", "VmRSS:"), None);
        assert_eq!(ticks("7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 17 8 9 20 0 3 0"), Some(267));
        assert_eq!(ticks("7 (a) S 1 7"), None);
        assert_eq!(count("29,,raw_syscalls:sys_enter,639629,100.00,,\n"), Some(29));
        assert_eq!(count("<not counted>,,raw_syscalls:sys_enter,0,0.00,,\n"), None);
        assert_eq!(count("event syntax error: 'raw_syscalls:sys_enter'"), None);
    }

    #[test]
    fn a_process_uses_time_and_memory() {
        let pid = std::process::id();
        assert!(family(pid).unwrap().contains(&pid));
        assert!(cpu_nanoseconds(pid).unwrap() > 0);
        assert!(resident(pid).unwrap() > 1 << 16);
    }
}
