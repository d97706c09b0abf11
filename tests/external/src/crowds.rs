//! `cargo xtask crowds`: the answers of one client, quiet and beside a crowd that takes what the
//! server has least of: places in its table, descriptors, the time of the thread that loads files.
//!
//! The server has one core and one shard. The crowd is a process of its own, on the core of the
//! client whose time is measured, and at the lowest priority as soon as it is complete.

mod cases;
mod crowd;
mod visitor;

use crate::program::{self, Places, Result, Server};
use crate::times::Times;
use cases::{CASES, Case, Within};
use clap::Args;
use clap::builder::PossibleValuesParser;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use visitor::Visitor;

const SERVER_CORE: &str = "0";
const OTHER_CORE: &str = "1";
/// Time between two requests.
const PAUSE: Duration = Duration::from_millis(5);
/// Errors after which a client asks no more: each may have taken its time.
const ERRORS_MAX: usize = 4;

/// Arguments of `crowds`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Requests without the crowd, and as many beside it
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=5000))]
    requests: u32,
    /// The only case
    #[arg(long, value_name = "NAME", value_parser = names())]
    only: Option<String>,
}

/// Arguments of the crowd's own process.
#[derive(Args)]
pub(crate) struct Order {
    #[arg(value_parser = names())]
    name: String,
    port: u16,
    /// The authority that the server's certificate is from, if it has one.
    ca: Option<std::path::PathBuf>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(CASES.iter().map(|case| case.name))
}

/// Is the crowd, until standard input ends.
pub(crate) fn gather(order: &Order) -> Result<bool> {
    let case = CASES.iter().find(|case| case.name == order.name).ok_or("no such case")?;
    crowd::gather(case.crowd, order.port, order.ca.as_deref())?;
    Ok(true)
}

/// Runs the cases, or one of them, and prints a table.
pub(crate) fn run(places: &Places, arguments: &Arguments) -> Result<bool> {
    program::check_machine(&["taskset", "prlimit"])?;
    let program = program::find(places)?;
    let folder = program::fresh_folder(places.target.join("crowds"))?;
    // This thread is the client; processes that it starts begin on its core.
    program::pin_to(OTHER_CORE)?;
    println!("{:<32} {:>8} {:>6} {:>17} {:>17} {:>7}", "", "", "", "p50", "p99", "p99");
    println!(
        "{:<32} {:>8} {:>6} {:>17} {:>17} {:>7}",
        "case", "requests", "errors", "quiet → crowd, ms", "quiet → crowd, ms", "ratio"
    );
    let only = arguments.only.as_deref();
    let mut failures = Vec::new();
    for case in CASES.iter().filter(|case| only.is_none_or(|only| case.name == only)) {
        for row in measure(case, &program, &folder, arguments.requests)? {
            let failed = row.failures();
            println!("{}{}", row.text(), if failed.is_empty() { "" } else { "  FAILED" });
            failures.extend(failed.into_iter().map(|what| format!("{}: {what}", row.name)));
        }
    }
    println!();
    for failure in &failures {
        println!("FAILED {failure}");
    }
    if failures.is_empty() {
        println!("all requests were answered in time");
    }
    Ok(failures.is_empty())
}

/// The figures of one kind of visit.
struct Row {
    name: String,
    within: Within,
    quiet: Times,
    crowd: Times,
}

impl Row {
    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if let Some(error) = self.crowd.errors.first() {
            let count = self.crowd.errors.len();
            failures.push(format!("{count} requests without a right answer, as: {error}"));
        }
        let most = match self.within {
            Within::Ratio(ratio) => ratio * self.quiet.percentile(99),
            Within::Milliseconds(most) => most,
            Within::Ever => f64::INFINITY,
        };
        let p99 = self.crowd.percentile(99);
        if p99 > most {
            failures.push(format!("p99 is {p99:.2} ms, at most {most:.2} would do"));
        }
        failures
    }

    fn text(&self) -> String {
        let (quiet, crowd) = (&self.quiet, &self.crowd);
        let pair = |percent| format!("{:.2} → {:.2}", quiet.percentile(percent), crowd.percentile(percent));
        format!(
            "{:<32} {:>8} {:>6} {:>17} {:>17} {:>7.2}",
            self.name,
            crowd.took.len(),
            crowd.errors.len(),
            pair(50),
            pair(99),
            crowd.percentile(99) / quiet.percentile(99)
        )
    }
}

fn measure(case: &Case, program: &Path, folder: &Path, requests: u32) -> Result<Vec<Row>> {
    let folder = program::fresh_folder(folder.join(case.name.replace(' ', "-")))?;
    let site = folder.join("site");
    std::fs::create_dir(&site)?;
    (case.site)(&site)?;
    let mut command = program::sitar(Path::new("taskset"), &folder);
    command.args(["-c", SERVER_CORE]);
    if let Some(descriptors) = case.descriptors {
        command.args(["prlimit", &format!("--nofile={descriptors}")]);
    }
    command.arg(program).current_dir(&folder);
    let server =
        Server::start(command, ["site", "--shards", "1", "--no-watch"].iter().chain(case.arguments))?;
    let is_tls = server.url("").starts_with("https");
    let ca = is_tls.then(|| folder.join("sitar/local/ca.pem"));
    let mut visitors = Vec::new();
    for kind in case.visits {
        visitors.push(Visitor::new(*kind, server.port, ca.as_deref())?);
    }
    let mut next = 0;
    let mut visit = |visitors: &mut Vec<Visitor>| -> Vec<Times> {
        let mut times: Vec<Times> = visitors.iter().map(|_| Times::default()).collect();
        for _ in 0..requests {
            for (visitor, times) in visitors.iter_mut().zip(&mut times) {
                times.add(visitor.ask(&(case.path)(next)));
                sleep(PAUSE);
            }
            next += 1;
            if times.iter().any(|times| times.errors.len() > ERRORS_MAX) {
                break;
            }
        }
        times
    };
    let quiet = visit(&mut visitors);
    if let Some(error) = quiet.iter().find_map(|times| times.errors.first()) {
        return Err(format!("{}: without the crowd: {error}", case.name).into());
    }
    let crowd = Crowd::gather(case, server.port, ca.as_deref())?;
    let beside = visit(&mut visitors);
    drop(crowd);
    let rows = case.visits.iter().zip(quiet).zip(beside).map(|((kind, quiet), crowd)| {
        let name = format!("{}: {}", case.name, kind.name());
        Row { name, within: case.within, quiet, crowd }
    });
    Ok(rows.collect())
}

/// The crowd's process, which ends with this.
struct Crowd(Child);

impl Crowd {
    /// Starts it, and waits until all of it is there.
    fn gather(case: &Case, port: u16, ca: Option<&Path>) -> Result<Crowd> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["crowd", case.name, &port.to_string()]);
        let child = command.args(ca).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut crowd = Crowd(child);
        let said = crowd.0.stdout.take().ok_or("no stdout")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        if line.is_empty() { Err("the crowd did not come".into()) } else { Ok(crowd) }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(within: Within, quiet: u64, crowd: &[u64]) -> Row {
        let times = |took: &[u64]| Times {
            took: took.iter().copied().map(Duration::from_millis).collect(),
            errors: Vec::new(),
        };
        Row { name: String::new(), within, quiet: times(&[quiet]), crowd: times(crowd) }
    }

    #[test]
    fn a_verdict_is_about_time_and_answers() {
        assert_eq!(row(Within::Ratio(2.0), 4, &[8]).failures(), [""; 0]);
        assert_eq!(row(Within::Ratio(2.0), 4, &[9]).failures().len(), 1);
        assert_eq!(row(Within::Milliseconds(20.0), 4, &[20]).failures(), [""; 0]);
        assert_eq!(row(Within::Milliseconds(20.0), 4, &[]).failures().len(), 1, "no answer at all");
        let mut refused = row(Within::Ever, 1, &[1000]);
        assert_eq!(refused.failures(), [""; 0]);
        refused.crowd.errors.push("500".to_owned());
        assert_eq!(refused.failures().len(), 1);
    }
}
