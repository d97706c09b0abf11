//! `cargo xtask bench engines`: CPU per request of sitar's three engines, the polling kernel thread
//! counted.
//!
//! One shard on core 0 and the load on core 1, in turn. A polled ring needs a second core for its
//! poller. On a machine with two that is the load's, so there the two slow each other down, and the
//! request rate says more about that than about the engine. The CPU time does not: it is the time
//! that each thread used, without the time that it waited.

use crate::cases::{CASES, Case};
use crate::participants::{Kind, MEMORY, Participant, SITAR};
use crate::prose::wrapped;
use crate::run::{CIPHER, Run, root};
use crate::servers::Server;
use crate::site::Lab;
use crate::stats::Estimate;
use crate::stats::figure;
use crate::{Quick, Result, load, process};
use std::fmt::Write as _;
use std::fs;

const ENGINES: [&str; 3] = ["uring", "sqpoll", "epoll"];
const FILE: &str = "bench/ENGINES.md";

/// The figures of one engine, one of each round.
#[derive(Default)]
struct Figures {
    /// CPU of all threads per request, µs.
    all: Vec<f64>,
    /// CPU of the polling thread alone, µs.
    poller: Vec<f64>,
    /// Requests per second.
    rate: Vec<f64>,
}

/// Runs it and writes `bench/ENGINES.md`, unless the run is a quick one.
pub(crate) fn run(quick: Quick) -> Result<()> {
    let (lab, run) = Run::prepare("cargo xtask bench engines".into(), quick, &[])?;
    let mut report = String::from(
        "| server CPU per request, µs (95 % interval); requests/s | io_uring | polled | of which its poller | epoll |\n|---|---|---|---|---|\n",
    );
    let names = ["h1 plain 1 KiB", "h1 TLS 1 KiB", "h1 TLS 16 KiB"];
    for case in CASES.iter().filter(|case| names.contains(&case.name)) {
        let line = line(case, &rounds(&lab, &run, case)?);
        println!("{line}");
        writeln!(report, "{line}")?;
    }
    if !run.quick {
        let text = format!(
            "`cargo xtask bench engines`: {}. One shard on core 0, wrk with 64 \
             connections on core 1, which the poller of the polled ring shares with it; {} rounds of {} s in turn, medians; \
             cipher {CIPHER}. CPU of all threads of the server, kernel time and the polling thread included. Load average of \
             the machine before and after (three of it are the bench's own): {}, {}.",
            run.machine,
            run.rounds,
            run.seconds,
            run.load_before,
            process::load_average(),
        );
        let text = format!("# The engines beside each other\n\n{}\n{report}", wrapped(&text, ""));
        fs::write(root().join(FILE), text)?;
        println!("written to {FILE}");
    }
    Ok(())
}

fn rounds(lab: &Lab, run: &Run, case: &Case) -> Result<Vec<Figures>> {
    let sitar = run.participant(SITAR)?;
    let mut servers = Vec::new();
    for engine in ENGINES {
        let participant = Participant { kind: Kind::Sitar { engine, memory: MEMORY }, ..sitar.clone() };
        let server = Server::start(lab, &participant, case)?;
        let expected = load::check(lab, &participant, &server, case)?;
        load::warm_up(lab, &server, case, &expected)?;
        servers.push((server, expected, Figures::default()));
    }
    for _ in 0..run.rounds {
        for (server, expected, figures) in &mut servers {
            let before = poller(server)?;
            let load = load::round(lab, server, case, expected, run.seconds)?;
            figures.poller.push((poller(server)? - before) as f64 / 1000.0 / load.requests);
            figures.all.push(load.each());
            figures.rate.push(load.rate);
        }
    }
    Ok(servers.into_iter().map(|(_, _, figures)| figures).collect())
}

/// Returns the CPU time of the polling threads, 0 where there is none.
fn poller(server: &Server) -> Result<u64> {
    Ok(process::named_threads(server.pid(), "iou-sqp")?.iter().sum())
}

fn line(case: &Case, engines: &[Figures]) -> String {
    let cell = |figures: &[f64]| {
        Estimate::of(figures).map_or("–".into(), |of| {
            format!("**{}** ({} … {})", figure(of.median), figure(of.low), figure(of.high))
        })
    };
    let mut line = format!("| {} ", case.name);
    for (engine, figures) in ENGINES.iter().zip(engines) {
        let rate = Estimate::of(&figures.rate).map_or(0.0, |of| of.median);
        // Writing to a String cannot fail.
        let _ = write!(line, "| {}; {rate:.0} ", cell(&figures.all));
        if *engine == "sqpoll" {
            let _ = write!(line, "| {} ", cell(&figures.poller));
        }
    }
    line + "|"
}
