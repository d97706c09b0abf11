//! `cargo xtask bench logs`: the CPU of the thread that writes access logs, for a million records.
//!
//! One shard and the thread on core 0, the load on core 1. Lines are counted in the file: records
//! that were dropped cost the thread nothing, and are not counted.

use crate::cases::{CASES, Case};
use crate::participants::SITAR;
use crate::run::Run;
use crate::servers::Server;
use crate::site::Lab;
use crate::stats::{Estimate, figure};
use crate::{Quick, Result, load, process};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

const FORMATS: [&str; 2] = ["json", "combined"];
const CASE: &str = "h1 plain 1 KiB";
/// What was answered last is in the file sooner than this, unless the machine stands still.
const WRITTEN: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints a table.
pub(crate) fn run(quick: Quick) -> Result<()> {
    let (mut lab, run) = Run::prepare("cargo xtask bench logs".into(), quick, &[])?;
    let case = CASES.iter().find(|case| case.name == CASE).ok_or("no case")?;
    println!("| format | bytes a record | records/s | of the answers | CPU of the writer, s for 1,000,000 |");
    println!("|---|---|---|---|---|");
    for format in FORMATS {
        lab.log = Some(format);
        println!("{}", rounds(&lab, &run, case, format)?);
    }
    Ok(())
}

fn rounds(lab: &Lab, run: &Run, case: &Case, format: &str) -> Result<String> {
    let sitar = run.participant(SITAR)?;
    let server = Server::start(lab, sitar, case)?;
    let log = server.log.clone().ok_or("no log")?;
    let expected = load::check(lab, sitar, &server, case)?;
    load::warm_up(lab, &server, case, &expected)?;
    let mut each = Vec::new();
    let (mut lines, mut bytes, mut answers, mut seconds) = (0.0, 0.0, 0.0, 0.0);
    for _ in 0..run.rounds {
        let (before, at) = (settled(&log)?, writer(&server)?);
        let load = load::round(lab, &server, case, &expected, run.seconds)?;
        let (after, cpu) = (settled(&log)?, writer(&server)? - at);
        let count = (after.lines - before.lines) as f64;
        if count < 1.0 {
            return Err("there is no record".into());
        }
        // Nanoseconds for one are milliseconds for a million.
        each.push(cpu as f64 / count / 1000.0);
        lines += count;
        bytes += (after.bytes - before.bytes) as f64;
        answers += load.requests;
        seconds += load.requests / load.rate;
    }
    let of = Estimate::of(&each).ok_or("no round")?;
    Ok(format!(
        "| {format} | {} | {} | {:.1} % | **{}** ({} … {}) |",
        figure(bytes / lines),
        figure(lines / seconds),
        100.0 * lines / answers,
        figure(of.median),
        figure(of.low),
        figure(of.high)
    ))
}

/// Returns the CPU time of the thread that writes, ns.
fn writer(server: &Server) -> Result<u64> {
    let times = process::named_threads(server.pid(), "sitar-log")?;
    times.first().copied().ok_or_else(|| "no thread writes a log".into())
}

/// A log as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Size {
    lines: u64,
    bytes: u64,
}

/// Returns the size of a log when it grows no more.
fn settled(log: &Path) -> Result<Size> {
    let start = Instant::now();
    let mut size = size(log)?;
    loop {
        sleep(WRITTEN);
        let next = self::size(log)?;
        if next == size {
            return Ok(size);
        }
        if start.elapsed() > PATIENCE {
            return Err("the log grows without requests".into());
        }
        size = next;
    }
}

fn size(log: &Path) -> Result<Size> {
    let mut file = File::open(log)?;
    let (mut size, mut some) = (Size::default(), vec![0; 1 << 20]);
    loop {
        let len = file.read(&mut some)?;
        let Some(read) = some.get(..len).filter(|read| !read.is_empty()) else { return Ok(size) };
        size.lines += read.iter().filter(|byte| **byte == b'\n').count() as u64;
        size.bytes += len as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_counted() {
        let log = std::env::temp_dir().join(format!("sitar-bench-{}.log", std::process::id()));
        std::fs::write(&log, "a\nbc\n").unwrap();
        assert_eq!(size(&log).unwrap(), Size { lines: 2, bytes: 5 });
        assert_eq!(settled(&log).unwrap(), Size { lines: 2, bytes: 5 });
        std::fs::remove_file(log).unwrap();
    }
}
