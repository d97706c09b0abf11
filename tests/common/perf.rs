//! Counting with perf, switched on and off around the work.

use super::{run, signal};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

/// Counts events (a list with commas) by name in all threads of the process while `work` runs;
/// zeros are left out. `syscalls:sys_enter_write` is called `write`. `None` when perf does not
/// start.
pub(crate) fn counted(pid: u32, events: &str, work: impl FnOnce()) -> Option<BTreeMap<String, u64>> {
    counted_in(["--pid", &pid.to_string()], events, work)
}

/// The same in one thread.
pub(crate) fn counted_in_thread(
    tid: u32,
    events: &str,
    work: impl FnOnce(),
) -> Option<BTreeMap<String, u64>> {
    counted_in(["--tid", &tid.to_string()], events, work)
}

fn counted_in(whose: [&str; 2], events: &str, work: impl FnOnce()) -> Option<BTreeMap<String, u64>> {
    let folder = TempDir::new().unwrap();
    let [control, ack, out] = ["control", "ack", "out"].map(|name| folder.path().join(name));
    run("mkfifo", [&control, &ack]).ok();
    // Opened for both directions, so that no open waits for a perf that never comes.
    let both = |path: &Path| OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (mut to_perf, from_perf) = (both(&control), both(&ack));

    let mut perf = Command::new("perf");
    perf.args(["stat", "--field-separator=,", "--delay=-1", "--output"]).arg(&out);
    perf.arg(format!("--control=fifo:{},{}", control.display(), ack.display()));
    perf.args(["--event", events]).args(whose).stdin(Stdio::null());
    let mut perf = perf.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let acks = acknowledged(from_perf);
    to_perf.write_all(b"enable\n").unwrap();
    let started = wait_for_ack(&acks, &mut perf);
    if started {
        work();
        to_perf.write_all(b"disable\n").unwrap();
        assert!(wait_for_ack(&acks, &mut perf), "perf ended while it counted");
        signal(perf.id(), rustix::process::Signal::INT);
    }
    perf.wait().unwrap();
    // Wakes the thread that reads acknowledgements, which then finds its channel closed and ends.
    drop(acks);
    both(&ack).write_all(b"\n").unwrap();
    started.then(|| read_counts(&std::fs::read_to_string(&out).unwrap()))
}

fn acknowledged(mut from_perf: File) -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut byte = [0];
        while from_perf.read_exact(&mut byte).is_ok() {
            if byte[0] == b'\n' && sender.send(()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn wait_for_ack(acks: &mpsc::Receiver<()>, perf: &mut Child) -> bool {
    for _ in 0..600 {
        if acks.recv_timeout(Duration::from_millis(50)).is_ok() {
            return true;
        }
        if perf.try_wait().unwrap().is_some() {
            return false;
        }
    }
    let _ = perf.kill();
    panic!("perf neither answers nor ends");
}

/// `29,,syscalls:sys_enter_read,…`, one event a line.
fn read_counts(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let mut columns = line.split(',');
        let (Some(count), Some(name)) = (columns.next(), columns.nth(1)) else { continue };
        if let Ok(count @ 1..) = count.parse::<u64>() {
            counts.insert(name.strip_prefix("syscalls:sys_enter_").unwrap_or(name).to_string(), count);
        }
    }
    counts
}
