//! `cargo xtask floods`: the answers of a client that behaves, and the server's memory, while
//! attackers send floods that only HTTP/2 makes possible.
//!
//! Connections are plain TCP with prior knowledge: an attacker then pays least for its bytes, and
//! the server has to look at most of them. The server has one core and one shard. Attackers have
//! another core and run at the lowest priority there, since the time of the client that behaves is
//! measured on it: on a machine of their own they would only be in the server's way.

mod attacker;
mod attacks;
pub(crate) mod wire;

use crate::program::{self, Places, Result, Server, resident};
use crate::times::Times;
use attacker::Tally;
use attacks::{ATTACKS, Attack, Script};
use clap::Args;
use clap::builder::PossibleValuesParser;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};
use wire::Client;

const SERVER_CORE: &str = "0";
const OTHER_CORE: &str = "1";
/// Time between two requests of the client that behaves.
const PAUSE: Duration = Duration::from_millis(3);
/// Bytes that a flood may add to the server's memory: some KiB for each connection, and the send
/// buffers, which are reserved at the start and touched only now.
const MEMORY_MAX: u64 = 32 << 20;
/// A request may take three times as long as without a flood, or this long if that is more.
const P99_MAX: Duration = Duration::from_millis(10);

/// Arguments of `floods`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seconds that each flood lasts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The only flood
    #[arg(long, value_name = "NAME", value_parser = names())]
    only: Option<String>,
}

/// Arguments of the attackers' own process.
#[derive(Args)]
pub(crate) struct Order {
    #[arg(value_parser = names())]
    name: String,
    port: u16,
    milliseconds: u64,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(ATTACKS.iter().map(|attack| attack.name))
}

/// Attacks a server that is there, and prints a tally.
pub(crate) fn attack(order: &Order) -> Result<bool> {
    let attack = ATTACKS.iter().find(|attack| attack.name == order.name).ok_or("no such attack")?;
    let until = Instant::now() + Duration::from_millis(order.milliseconds);
    println!("{}", attacker::run(attack, order.port, until).line());
    Ok(true)
}

/// Runs the floods, or one of them, and prints a table.
pub(crate) fn run(places: &Places, arguments: &Arguments) -> Result<bool> {
    program::check_machine(&["taskset", "nice"])?;
    let program = program::find(places)?;
    let folder = program::fresh_folder(places.target.join("floods"))?;
    let small: Vec<u8> = (0..1024_u32).map(|at| (at * 31 % 251) as u8).collect();
    fs::create_dir_all(folder.join("site"))?;
    fs::write(folder.join("site/1k.txt"), &small)?;
    fs::write(folder.join("site/large.bin"), vec![b'x'; 8 << 20])?;
    // This thread is the client that behaves; processes that it starts begin on its core.
    program::pin_to(OTHER_CORE)?;

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
    let span = Duration::from_secs(arguments.seconds);
    let only = arguments.only.as_deref();
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

/// The figures of one flood.
struct Row {
    tally: Tally,
    /// Whether the flood goes on until the server ends it.
    pours: bool,
    /// The server's resident bytes, before the flood and at most.
    memory: (u64, u64),
    quiet: Times,
    flood: Times,
    /// The server's CPU time during the flood, ns.
    cpu: u64,
}

/// Sends requests as long as `go_on`, over a new connection when the old one fails.
fn take(port: u16, expected: &[u8], go_on: impl Fn() -> bool) -> Times {
    let mut times = Times::default();
    let mut client = None;
    while go_on() {
        let asked = match &mut client {
            Some(client) => Client::ask(client),
            None => Client::connect(port, expected).and_then(|new| client.insert(new).ask()),
        };
        if asked.is_err() {
            client = None;
        }
        times.add(asked);
        sleep(PAUSE);
    }
    times
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
        Client::connect(port, small)?.ask()?;
    }
    let end = Instant::now() + (span / 4).max(Duration::from_secs(1));
    let quiet = take(port, small, || Instant::now() < end);
    if let Some(error) = quiet.errors.first() {
        return Err(format!("without any flood: {error}").into());
    }
    let before = resident(pid)?;
    let cpu_before = cpu_nanoseconds(pid)?;
    let mut attackers = Command::new("nice");
    attackers.args(["-n", "19"]).arg(std::env::current_exe()?).args(["attack", attack.name]);
    attackers.args([port.to_string(), span.as_millis().to_string()]);
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
        let flood = take(port, small, || !over.load(Relaxed));
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

/// Returns the CPU time of a process, kernel threads that work for it included, in ns.
fn cpu_nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may have ended meanwhile.
        let Ok(times) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(sum)
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
    fn this_process_uses_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_nanoseconds(pid).unwrap() > 0);
        assert!(resident(pid).unwrap() > 1 << 16);
    }
}
