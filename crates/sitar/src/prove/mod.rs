//! `sitar prove`: what is claimed of the server, measured on this machine.
//!
//! A child of the same program serves on loopback; clients in this process ask it. The kernel
//! counts what the server's threads do, the server counts as well, and the page holds the two side
//! by side. There are two runs: counters slow system calls down, so the price is that of a second
//! run without them.

mod allocator;
mod child;
mod kernel;
mod load;
mod page;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use self::child::Server;
use self::kernel::{Counters, Usage};
use self::load::Load;
use self::page::Measured;
use crate::admin::Totals;
use crate::cli::Prove;
use crate::error::{Error, warn};
use crate::output;

/// Bytes of the file of the site that is made up.
const LEN: usize = 1024;

/// How much load a run is.
#[derive(Clone, Copy, Debug)]
enum Amount {
    Requests(u64),
    Seconds(u32),
}

/// Whether a signal has come that ends the command.
#[derive(Clone, Debug, Default)]
struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    fn catch() -> io::Result<Interrupted> {
        let flag = Interrupted::default();
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            signal_hook::flag::register(signal, Arc::clone(&flag.0))?;
        }
        Ok(flag)
    }

    fn check(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(Error::new("interrupted by a signal")),
            false => Ok(()),
        }
    }
}

/// Measures, and prints the page.
///
/// # Errors
/// The server does not start, or an answer is not what it has to be.
pub fn run(arguments: &Prove) -> Result<ExitCode, Error> {
    if let Some(parent) = arguments.serve_for {
        return child::serve(arguments, parent).map(|()| ExitCode::SUCCESS);
    }
    let interrupted =
        Interrupted::catch().map_err(|error| Error::new("cannot catch signals").cause(error))?;
    let measured = measure(arguments, &interrupted)?;
    if arguments.json {
        output::print(&format!("{:#}\n", measured.json()))?;
    } else {
        output::print(&measured.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(arguments: &Prove, interrupted: &Interrupted) -> Result<Measured, Error> {
    let target = target(arguments)?;
    let server = Server::start(arguments, interrupted)?;
    let lost = |what: &str| Error::new("the server cannot be measured").cause(what);
    let status = &server.status;
    let address = status.listeners.first().and_then(|listener| listener.address.parse().ok());
    let address = address.ok_or_else(|| lost("it does not say where it listens"))?;
    let worker = status.worker.as_ref().ok_or_else(|| lost("it has no worker"))?;
    let expected = arguments.path.is_none().then(child::content);
    let connections = arguments.connections;
    let mut load = Load::connect(address, &server.certificate, connections, target, expected, interrupted)?;
    let amount = match arguments.seconds {
        Some(seconds) => Amount::Seconds(seconds),
        None => Amount::Requests(arguments.requests),
    };
    let tasks = PathBuf::from(format!("/proc/{}/task", worker.pid));
    let read =
        || Usage::read(&tasks).map_err(|error| lost(&format!("/proc does not tell its threads: {error}")));

    if arguments.hold {
        hold(
            &format!("process {} serves; a line on standard input begins the run", worker.pid),
            interrupted,
        )?;
    }
    allow_descriptors();
    let numbers = server.totals()?;
    let (before, threads) = read()?;
    let counters = Counters::start(&threads, &kernel::event_number(), &kernel::open);
    let allocations = allocator::start(&tasks.with_file_name("maps"), &threads);
    let counted = load.run(amount)?;
    let allocations = allocations.and_then(kernel::sum);
    let (calls, instructions) = counters.read();
    let (after, threads_after) = read()?;
    let numbers = difference(&numbers, &server.totals()?);
    if arguments.hold {
        hold("the run has been counted; a line on standard input goes on", interrupted)?;
    }

    let (price_before, _) = read()?;
    let begin = Instant::now();
    let priced = load.run(amount)?;
    let seconds = begin.elapsed().as_secs_f64();
    let (price_after, _) = read()?;
    let memory = |pid: u32| {
        fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(|status| kernel::resident(&status))
    };
    Ok(Measured {
        command: command(arguments),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        cpu: cpu(),
        engine: worker.engine.clone(),
        sandbox: worker.sandbox.clone(),
        content_len: load.content_len(),
        connections,
        counted,
        server_answers: numbers.answers,
        server_content: numbers.content,
        server_enters: numbers.enters,
        kernel_sealed: numbers.kernel_sealed,
        handshakes: numbers.handshakes,
        calls,
        allocations,
        instructions,
        switches: after.since(&before),
        threads_changed: changed(&threads, &threads_after),
        priced,
        price: price_after.since(&price_before),
        seconds,
        ticks: rustix::param::clock_ticks_per_second(),
        worker_memory: memory(worker.pid),
        supervisor_memory: memory(server.supervisor()),
    })
}

/// Lets this process, and not the server, have as many descriptors as it may: each counter is one.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the counters say what is missing.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Says something, and waits for a line, or the end, of standard input.
fn hold(sentence: &str, interrupted: &Interrupted) -> Result<(), Error> {
    warn(sentence);
    let failed = |error: io::Error| Error::new("cannot read standard input").cause(error);
    let look = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    let mut byte = [0];
    loop {
        interrupted.check()?;
        let stdin = rustix::stdio::stdin();
        let mut wanted = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut wanted, Some(&look)) {
            Ok(0) | Err(Errno::INTR) => continue,
            other => other.map_err(|errno| failed(errno.into()))?,
        };
        // Not buffered: what comes behind the line is for the next one.
        match rustix::io::read(stdin, &mut byte) {
            Ok(0) => return Ok(()),
            Ok(_) if byte == *b"\n" => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}

/// Threads that begin are counted with those that start them; those that end are not.
fn changed(before: &BTreeSet<u32>, after: &BTreeSet<u32>) -> bool {
    before != after
}

/// What the server's numbers say of a run.
struct Numbers {
    answers: u64,
    content: u64,
    enters: Option<u64>,
    /// Since its start.
    kernel_sealed: u64,
    handshakes: u64,
}

fn difference(before: &Totals, after: &Totals) -> Numbers {
    let answers = |totals: &Totals| totals.answers.values().sum::<u64>();
    let sealed = after.connections.get("kernel_sealed").copied().unwrap_or_default();
    let enters = after.ring_enters.zip(before.ring_enters);
    Numbers {
        answers: answers(after).saturating_sub(answers(before)),
        content: after.response_bytes.saturating_sub(before.response_bytes),
        enters: enters.map(|(after, before)| after.saturating_sub(before)),
        kernel_sealed: sealed,
        handshakes: after.handshakes.values().sum(),
    }
}

/// Returns what is asked for; it may not end the line of the request.
fn target(arguments: &Prove) -> Result<&str, Error> {
    let target = arguments.target.as_deref().unwrap_or("/");
    let is_target = target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic());
    is_target.then_some(target).ok_or_else(|| {
        Error::new("--target is no path of a URL").hint("write it as in a request: --target /a%20file.html")
    })
}

/// Returns the command line without names of the machine.
fn command(arguments: &Prove) -> String {
    let mut command = format!("sitar prove --engine {}", child::engine_word(arguments.engine));
    match arguments.seconds {
        Some(seconds) => command += &format!(" --seconds {seconds}"),
        None => command += &format!(" --requests {}", arguments.requests),
    }
    command += &format!(" --connections {}", arguments.connections);
    if let Some(shards) = arguments.shards {
        command += &format!(" --shards {shards}");
    }
    if arguments.path.is_some() {
        command += if arguments.target.is_some() { " --target TARGET PATH" } else { " PATH" };
    }
    command
}

fn cpu() -> String {
    let cpuinfo = fs::read_to_string(Path::new("/proc/cpuinfo")).unwrap_or_default();
    let model = kernel::model(&cpuinfo).unwrap_or("unknown model").to_owned();
    match std::thread::available_parallelism() {
        Ok(count) if count.get() == 1 => format!("{model}, 1 CPU for this process"),
        Ok(count) => format!("{model}, {count} CPUs for this process"),
        Err(_) => model,
    }
}

#[cfg(test)]
mod tests;
