//! CPU time, memory and system calls of a process and its children, kernel threads that work for
//! them included.

use crate::Result;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Returns the CPU time of one thread, by its directory in /proc.
pub(crate) fn thread_nanoseconds(task: &Path) -> Result<u64> {
    let text = fs::read_to_string(task.join("schedstat"))?;
    Ok(text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0))
}

/// Returns the CPU time of all threads of a process and its children, ns. The kernel's helpers
/// (io-wq, iou-sqp) are threads of the process that they work for. The exact time of a thread is
/// lost when it ends; the time of the whole process still has it, to a hundredth of a second.
pub(crate) fn cpu_nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for process in family(pid)? {
        let mut exact = 0;
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            exact += thread_nanoseconds(&task?.path())?;
        }
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
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
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.starts_with(name) {
            times.push(thread_nanoseconds(&task)?);
        }
    }
    Ok(times)
}

/// Returns the bytes of a process and its children that are in RAM. Shared memory is counted once
/// for each of them, as only their page tables tell it apart.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for process in family(pid)? {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
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
    while let Some(pid) = family.get(next) {
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.collect::<Vec<_>>() {
            let children = fs::read_to_string(task?.path().join("children"))?;
            family.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        next += 1;
    }
    Ok(family)
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
