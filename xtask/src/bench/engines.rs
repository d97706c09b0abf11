//! `cargo xtask bench --engines`: CPU per request of sitar's three engines, the polling kernel thread counted.
//!
//! One shard on core 0 and the load on core 1, in turn. A polled ring needs a second core for its poller; on a machine with two that is
//! the load's, so there the two slow each other down, and the request rate says more about that than about the engine.
//! The CPU time does not: it is what each thread used, whoever waited meanwhile.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{CASES, CIPHER, CONNECTIONS, Case, Lab, Result, Server, Spread};

const ENGINES: [&str; 3] = ["uring", "sqpoll", "epoll"];
const FILE: &str = "bench/ENGINES.md";

/// What one round of load cost.
#[derive(Default)]
struct Figures {
    /// CPU of all threads per request, µs.
    all: Vec<f64>,
    /// That of the polling thread alone.
    poller: Vec<f64>,
    /// Requests per second.
    rate: Vec<f64>,
}

/// Runs it and writes `bench/ENGINES.md`, unless `rounds` is a short run's.
pub(super) fn run(root: &Path, lab: &Lab, rounds: usize, seconds: u64, keep: bool) -> Result<()> {
    let mut report = String::from(
        "| server CPU per request, µs (min … max); requests/s | io_uring | polled | of which its poller | epoll |\n|---|---|---|---|---|\n",
    );
    let load_before = load_average();
    for case in CASES.iter().filter(|case| case.length <= 16 << 10) {
        let mut servers = Vec::new();
        for engine in ENGINES {
            // The poller is bound to the last core that the process may use.
            let cores = if engine == "sqpoll" { "0,1" } else { "0" };
            let server = lab.sitar_with(case, cores, &["--engine", engine])?;
            lab.check(&server, case)?;
            servers.push((server, Figures::default()));
        }
        for round in 0..=rounds {
            for (server, figures) in &mut servers {
                one(lab, server, case, if round == 0 { 1 } else { seconds }, (round > 0).then_some(figures))?;
            }
        }
        let cell = |figures: &Figures| {
            format!("{}; {:.0}", Spread::of(&figures.all), Spread::of(&figures.rate).median)
        };
        let [uring, polled, epoll] = [0, 1, 2].map(|index| &servers[index].1);
        let line = format!(
            "| {} | {} | {} | {} | {} |",
            case.name,
            cell(uring),
            cell(polled),
            Spread::of(&polled.poller),
            cell(epoll)
        );
        println!("{line}");
        writeln!(report, "{line}")?;
    }
    if keep {
        let text = format!(
            "# The engines beside each other\n\n`cargo xtask bench --engines`: {}. One shard on core 0, wrk with {CONNECTIONS} \
             connections on core 1, which the poller of the polled ring shares with it; {rounds} rounds of {seconds} s in turn, medians; \
             cipher {CIPHER}. CPU of all threads of the server, kernel time and the polling thread included. Load average of \
             the machine before and after (three of it are the bench's own): {load_before}, {}.\n\n{report}",
            super::machine()?,
            load_average(),
        );
        fs::write(root.join(FILE), text)?;
        println!("written to {FILE}");
    }
    Ok(())
}

fn one(lab: &Lab, server: &Server, case: &Case, seconds: u64, figures: Option<&mut Figures>) -> Result<()> {
    let before = poller_nanoseconds(server.child.id())?;
    let load = lab.load_counted(server, case, seconds)?;
    let polled = poller_nanoseconds(server.child.id())? - before;
    if let Some(figures) = figures {
        figures.all.push(load.cpu / 1000.0 / load.requests);
        figures.poller.push(polled as f64 / 1000.0 / load.requests);
        figures.rate.push(load.requests / seconds as f64);
    }
    Ok(())
}

/// CPU time of the polling threads of a process, 0 where there is none.
fn poller_nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.starts_with("iou-sqp") {
            sum += super::thread_nanoseconds(&task)?;
        }
    }
    Ok(sum)
}

/// The first figure of /proc/loadavg: runnable tasks over the last minute.
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
