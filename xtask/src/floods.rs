//! `cargo xtask floods`: what becomes of a client that behaves, and of the server's memory, while others send what only HTTP/2 makes
//! possible.
//!
//! Plain TCP with prior knowledge, because then an attacker pays least for what it sends and the server has to look at most. The server
//! has one core and one shard; attackers have another one and stand back there for the client that behaves, whose time is taken: on a
//! machine of theirs they would be in nobody's way but the server's.

mod attacker;
mod attacks;
mod wire;

use crate::Invocation;
use crate::bench::on_path;
use crate::bench::process::{cpu_nanoseconds, resident};
use crate::program::{self, Result, Server};
use attacker::Tally;
use attacks::{ATTACKS, Attack, Script};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};
use wire::Good;

const SERVER_CORE: &str = "0";
const OTHER_CORE: &str = "1";
/// Between two requests of the client that behaves.
const PAUSE: Duration = Duration::from_millis(3);
/// What a flood may add to the server's memory: some KiB for each connection, and the send buffers that are there from the start and
/// touched only now.
const MEMORY_MAX: u64 = 32 << 20;
/// A request may take three times as long as without a flood, or this, if that is more.
const P99_MAX: Duration = Duration::from_millis(10);
const SECONDS: u64 = 20;

/// Runs the floods, or one of them, and prints a table.
pub(crate) fn command(invocation: &Invocation) -> ExitCode {
    let (mut seconds, mut only) = (SECONDS, None);
    let mut args = invocation.args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match (arg, args.next()) {
            ("--seconds", Some(number))
                if number.parse().is_ok_and(|number| (1..=3600).contains(&number)) =>
            {
                seconds = number.parse().unwrap_or(SECONDS);
            }
            ("--only", Some(name)) if ATTACKS.iter().any(|attack| attack.name == name) => only = Some(name),
            // Not for people: the attackers' own process.
            ("--attack", Some(order)) => return attack(order),
            _ => {
                let names: Vec<&str> = ATTACKS.iter().map(|attack| attack.name).collect();
                eprintln!(
                    "usage: cargo xtask floods [--seconds N] [--only NAME]\nnames: {}",
                    names.join(", ")
                );
                return ExitCode::from(2);
            }
        }
    }
    program::exit_code(run(&invocation.root, Duration::from_secs(seconds), only))
}

/// `NAME:PORT:MILLISECONDS`
fn attack(order: &str) -> ExitCode {
    let mut parts = order.split(':');
    let attack = parts.next().and_then(|name| ATTACKS.iter().find(|attack| attack.name == name));
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (Some(attack), Some(port), Some(span)) = (attack, number(), number()) else {
        return ExitCode::from(2);
    };
    let until = Instant::now() + Duration::from_millis(span);
    println!("{}", attacker::run(attack, port as u16, until).line());
    ExitCode::SUCCESS
}

fn run(root: &Path, span: Duration, only: Option<&str>) -> Result<bool> {
    for tool in ["taskset", "nice"] {
        if !on_path(tool) {
            return Err(format!("no {tool} on this machine; it comes with util-linux and coreutils").into());
        }
    }
    if std::thread::available_parallelism()?.get() < 2 {
        return Err("the server and its clients need a core each, and there is one".into());
    }
    let program = program::find(root)?;
    let folder = program::fresh_folder(crate::ci::target(root).join("floods"))?;
    let small: Vec<u8> = (0..1024_u32).map(|at| (at * 31 % 251) as u8).collect();
    fs::create_dir_all(folder.join("site"))?;
    fs::write(folder.join("site/1k.txt"), &small)?;
    fs::write(folder.join("site/large.bin"), vec![b'x'; 8 << 20])?;
    // This thread is the client that behaves, and what it starts begins where it is.
    let own = std::process::id().to_string();
    let mut pin = Command::new("taskset");
    program::succeed(pin.args(["-c", "-p", OTHER_CORE, &own]).stdout(Stdio::null()), "taskset")?;

    println!(
        "{:<25} {:>8} {:>7} {:>7} {:>11} {:>8} {:>6} {:>17} {:>17} {:>7}",
        "", "sent", "connec-", "cut", "memory", "good", "", "p50", "p99", "CPU"
    );
    println!(
        "{:<25} {:>8} {:>7} {:>7} {:>11} {:>8} {:>6} {:>17} {:>17} {:>7}",
        "flood",
        "MB",
        "tions",
        "off",
        "MiB",
        "requests",
        "errors",
        "quiet → flood, ms",
        "quiet → flood, ms",
        "ns/byte"
    );
    let mut failures = Vec::new();
    for attack in ATTACKS.iter().filter(|attack| only.is_none_or(|only| attack.name == only)) {
        let row = flood(attack, &program, &folder, &small, span)?;
        let failed = row.failures();
        println!("{}{}", row.text(attack.name), if failed.is_empty() { "" } else { "  FAILED" });
        failures.extend(failed.into_iter().map(|what| format!("{}: {what}", attack.name)));
    }
    println!();
    for failure in &failures {
        println!("FAILED {failure}");
    }
    if failures.is_empty() {
        println!(
            "all requests of the client that behaves were answered, in time, within the server's memory"
        );
    }
    Ok(failures.is_empty())
}

/// What one flood did.
struct Row {
    tally: Tally,
    /// Whether the flood goes on for as long as it is let.
    pours: bool,
    /// Of the server, before and at most.
    memory: (u64, u64),
    quiet: Times,
    flood: Times,
    /// Of the server, while the flood went on.
    cpu: u64,
}

/// What the client that behaves saw.
#[derive(Default)]
struct Times {
    took: Vec<Duration>,
    errors: Vec<String>,
}

impl Times {
    /// Milliseconds within which this part of the requests, in percent, was answered.
    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.took.clone();
        sorted.sort();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(f64::INFINITY, |took| took.as_secs_f64() * 1e3)
    }

    /// Asks again and again as long as `go_on`, over a new connection when the old one fails.
    fn take(port: u16, expected: &[u8], go_on: impl Fn() -> bool) -> Times {
        let mut times = Times::default();
        let mut client = None;
        while go_on() {
            let asked = match &mut client {
                Some(client) => Good::ask(client),
                None => Good::connect(port, expected).and_then(|new| client.insert(new).ask()),
            };
            match asked {
                Ok(took) => times.took.push(took),
                Err(error) => {
                    times.errors.push(error.to_string());
                    client = None;
                }
            }
            sleep(PAUSE);
        }
        times
    }
}

impl Row {
    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if let Some(error) = self.flood.errors.first() {
            failures
                .push(format!("{} requests without a right answer, as: {error}", self.flood.errors.len()));
        }
        let most = (3.0 * self.quiet.percentile(99)).max(P99_MAX.as_secs_f64() * 1e3);
        let p99 = self.flood.percentile(99);
        if p99 > most {
            failures.push(format!("p99 is {p99:.2} ms, at most {most:.2} would do"));
        }
        if self.pours && self.tally.cut == 0 {
            failures.push("no attacker was cut off".to_owned());
        }
        let grown = self.memory.1.saturating_sub(self.memory.0);
        if grown > MEMORY_MAX {
            failures.push(format!(
                "the server grew by {} MiB, at most {} would do",
                grown >> 20,
                MEMORY_MAX >> 20
            ));
        }
        failures
    }

    fn text(&self, name: &str) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let pair = |percent| {
            format!("{:.2} → {:.2}", self.quiet.percentile(percent), self.flood.percentile(percent))
        };
        let memory = format!("{:.0} → {:.0}", mib(self.memory.0), mib(self.memory.1));
        let per_byte = self.cpu as f64 / self.tally.sent.max(1) as f64;
        format!(
            "{name:<25} {:>8.1} {:>7} {:>7} {memory:>11} {:>8} {:>6} {:>17} {:>17} {per_byte:>7.1}",
            self.tally.sent as f64 / 1e6,
            self.tally.connections,
            self.tally.cut,
            self.flood.took.len(),
            self.flood.errors.len(),
            pair(50),
            pair(99),
        )
    }
}

fn flood(attack: &Attack, program: &Path, folder: &Path, small: &[u8], span: Duration) -> Result<Row> {
    let mut command = program::sitar(Path::new("taskset"), folder);
    command.args(["-c", SERVER_CORE]).arg(program).current_dir(folder);
    let server = Server::start(command, ["site", "--tls", "off", "--shards", "1", "--no-watch"])?;
    let (pid, port) = (server.id(), server.port);
    for _ in 0..50 {
        Good::connect(port, small)?.ask()?;
    }
    let end = Instant::now() + (span / 4).max(Duration::from_secs(1));
    let quiet = Times::take(port, small, || Instant::now() < end);
    if let Some(error) = quiet.errors.first() {
        return Err(format!("without any flood: {error}").into());
    }
    let before = resident(pid)?;
    let cpu_before = cpu_nanoseconds(pid)?;
    let order = format!("{}:{port}:{}", attack.name, span.as_millis());
    let mut attackers = Command::new("nice");
    attackers.args(["-n", "19"]).arg(std::env::current_exe()?).args(["floods", "--attack", &order]);
    let attackers = attackers.stdout(Stdio::piped()).spawn()?;
    let over = AtomicBool::new(false);
    let (flood, said, most) = std::thread::scope(|scope| {
        let said = scope.spawn(|| {
            let said = attackers.wait_with_output();
            over.store(true, Relaxed);
            said
        });
        let memory = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Relaxed) {
                most = most.max(resident(pid).unwrap_or(0));
                sleep(Duration::from_millis(20));
            }
            most
        });
        let flood = Times::take(port, small, || !over.load(Relaxed));
        (flood, said.join(), memory.join())
    });
    let (said, most) = (said.map_err(|_| "no output")??, most.map_err(|_| "no memory")?);
    let cpu = cpu_nanoseconds(pid)? - cpu_before;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let tally = Tally::parse(&said).ok_or("the attackers did not say what they did")?;
    if tally.sent == 0 {
        return Err(format!("{}: nothing was sent", attack.name).into());
    }
    let pours = !matches!(attack.script, Script::Hold(..));
    Ok(Row { tally, pours, memory: (before, most), quiet, flood, cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(quiet: &[u64], flood: &[u64], memory: (u64, u64)) -> Row {
        let times = |took: &[u64]| Times {
            took: took.iter().copied().map(Duration::from_millis).collect(),
            errors: Vec::new(),
        };
        let tally = Tally { sent: 1, connections: 2, cut: 1 };
        Row { tally, pours: true, memory, quiet: times(quiet), flood: times(flood), cpu: 0 }
    }

    #[test]
    fn a_verdict_is_about_time_memory_and_answers() {
        assert_eq!(row(&[1; 200], &[9; 200], (5, 6)).failures(), [""; 0]);
        assert_eq!(row(&[4; 200], &[12; 200], (5, 6)).failures(), [""; 0], "three times as long");
        assert_eq!(row(&[1; 200], &[11; 200], (5, 6)).failures().len(), 1);
        assert_eq!(row(&[1; 200], &[1; 200], (5, 6 + MEMORY_MAX)).failures().len(), 1);
        assert_eq!(row(&[1; 200], &[], (5, 6)).failures().len(), 1, "no answer at all");
        let mut endless = row(&[1; 200], &[1; 200], (5, 6));
        endless.tally.cut = 0;
        assert_eq!(endless.failures(), ["no attacker was cut off"]);
        let mut refused = row(&[1; 200], &[1; 200], (5, 6));
        refused.flood.errors.push("gone".to_owned());
        assert_eq!(refused.failures().len(), 1);
    }

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times = row(&(0..200).rev().collect::<Vec<_>>(), &[], (0, 0)).quiet;
        assert_eq!((times.percentile(50), times.percentile(99)), (100.0, 198.0));
    }
}
