//! `cargo xtask bench`: what sitar costs, beside a floor and its peers, in one run on one machine.
//!
//! One worker each, pinned to core 0; the load on core 1; rounds in turn; one cipher for all, checked as negotiated; the status and
//! length of every answer checked. CPU is that of all threads of the server, kernel threads that work for it included, over
//! the requests that were answered. What is lost is reported as what is won.

mod balance;
mod cases;
mod clients;
mod engines;
mod html;
mod idle;
mod json;
mod load;
mod participants;
pub(crate) mod process;
mod report;
mod results;
mod rounds;
mod servers;
mod site;
mod stats;
mod svg;

use crate::{Invocation, setup};
use cases::{CASES, Case, Work};
use participants::{Participant, SITAR};
use results::Table;
use site::Lab;
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const CIPHER: &str = "TLS_AES_128_GCM_SHA256";
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";
const ROUNDS: usize = 7;
const SECONDS: f64 = 1.0;
const QUICK_ROUNDS: usize = 3;

const USAGE: &str =
    "usage: cargo xtask bench [--quick] [--case WORDS]… [--peer NAME=PATH]… [--engines | --balance]";

/// The command.
pub(crate) fn command(invocation: &Invocation) -> ExitCode {
    let done = Arguments::read(&invocation.args).and_then(|arguments| run(&invocation.root, &arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Arguments {
    /// Few short rounds, into files under `target/` instead of `bench/`.
    quick: bool,
    /// sitar's engines beside each other instead.
    engines: bool,
    /// How evenly connections fall on shards instead.
    balance: bool,
    /// Only cases whose names contain one of these.
    cases: Vec<String>,
    peers: Vec<String>,
}

impl Arguments {
    fn read(words: &[String]) -> Result<Arguments> {
        let mut arguments = Arguments::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or(USAGE);
            match word.as_str() {
                "--quick" => arguments.quick = true,
                "--engines" => arguments.engines = true,
                "--balance" => arguments.balance = true,
                "--case" => arguments.cases.push(value()?),
                "--peer" => arguments.peers.push(value()?),
                _ => return Err(USAGE.into()),
            }
        }
        let names = |wanted: &String| CASES.iter().any(|case| case.name.contains(wanted.as_str()));
        if let Some(wanted) = arguments.cases.iter().find(|wanted| !names(wanted)) {
            let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
            return Err(format!("no case is called {wanted}; there are: {}", known.join("; ")).into());
        }
        Ok(arguments)
    }

    fn wants(&self, case: &Case) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|wanted| case.name.contains(wanted.as_str()))
    }
}

/// How, where and with whom it is measured.
#[derive(Clone, Debug, Default)]
struct Run {
    command: String,
    date: String,
    machine: String,
    quick: bool,
    rounds: usize,
    seconds: f64,
    load_before: String,
    load_after: String,
    participants: Vec<Participant>,
    absent: Vec<&'static str>,
    /// Work that failed once, and why.
    repeated: RefCell<Vec<String>>,
}

impl Run {
    /// Does something that may fail because the machine stood still for a moment; once more if it did, and not in secret.
    fn twice<T>(&self, what: &str, work: impl Fn() -> Result<T>) -> Result<T> {
        let error = match work() {
            Ok(done) => return Ok(done),
            Err(error) => error.to_string(),
        };
        println!("once more: {what}: {error}");
        let first = error.lines().next().unwrap_or_default();
        self.repeated.borrow_mut().push(format!("{what}: {first}"));
        sleep(Duration::from_secs(1));
        work().map_err(|error| format!("{what}, for the second time: {error}").into())
    }

    /// The same for one of the servers. `None`: a peer cannot do it, which is reported, and the run goes on without it in this case.
    fn attempt<T>(
        &self,
        participant: &Participant,
        what: &str,
        work: impl Fn() -> Result<T>,
    ) -> Result<Option<T>> {
        match self.twice(what, work) {
            Err(error) if participant.is_peer() => {
                println!("left out: {error}");
                let error = error.to_string();
                let first = error.lines().next().unwrap_or_default();
                self.repeated.borrow_mut().push(format!("left out of this case: {first}"));
                Ok(None)
            }
            done => done.map(Some),
        }
    }
}

fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if let setup::Outcome::Incomplete(why) = setup::ensure(true) {
        println!("not everything is there: {why}");
    }
    for tool in ["wrk", "h2load", "curl", "openssl", "taskset", "tar", "strip"] {
        if !on_path(tool) {
            return Err(
                format!("bench needs {tool}; `cargo xtask setup --bench` installs what it can").into()
            );
        }
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "-p", "sitar", "-p", "sitar-bench"]).current_dir(root);
    if !cargo.status()?.success() {
        return Err("cargo build failed".into());
    }
    let target = crate::ci::target(root);
    let (participants, absent) = participants::all(&target, &arguments.peers)?;
    let lab = Lab::new(target, arguments.quick)?;
    let run = Run {
        command: command_line(arguments),
        date: date()?,
        machine: process::machine()?,
        quick: arguments.quick,
        rounds: if arguments.quick { QUICK_ROUNDS } else { ROUNDS },
        seconds: SECONDS,
        load_before: process::load_average(),
        load_after: String::new(),
        participants,
        absent,
        repeated: RefCell::default(),
    };
    if arguments.engines {
        return engines::run(root, &lab, &run);
    }
    if arguments.balance {
        return balance::run(&lab, &run);
    }
    let tables = measure(&lab, &run, arguments)?;
    let run = Run { load_after: process::load_average(), ..run };
    // A part of the cases, or a quick run, must not take the place of the last whole one.
    if arguments.quick || !arguments.cases.is_empty() {
        return write(&lab.directory, &run, &tables);
    }
    let page = root.join(html::PAGE);
    fs::write(&page, html::renewed(&fs::read_to_string(&page)?, &run, &tables)?)?;
    write(&root.join("bench"), &run, &tables)
}

fn measure(lab: &Lab, run: &Run, arguments: &Arguments) -> Result<Vec<Table>> {
    let mut tables = Vec::new();
    for case in CASES.iter().filter(|case| arguments.wants(case)) {
        let new = match case.work {
            Work::Idle | Work::Slow => idle::run(lab, run, case, &run.participants)?,
            _ => rounds::run(lab, run, case, &run.participants)?,
        };
        new.iter().for_each(|table| print!("{}", report::table(table)));
        tables.extend(new);
        // Should a later case fail, these are not lost.
        save(&lab.directory, run, &tables)?;
    }
    if arguments.cases.is_empty() {
        let sitar = run.participants.iter().find(|one| one.name == SITAR).ok_or("no sitar")?;
        let new = idle::size(lab, sitar)?;
        new.iter().for_each(|table| print!("{}", report::table(table)));
        tables.extend(new);
    }
    Ok(tables)
}

fn write(folder: &Path, run: &Run, tables: &[Table]) -> Result<()> {
    println!("\n{}", report::markdown(run, tables));
    save(folder, run, tables)?;
    println!("written to {}: RESULTS.md, results.json, results.svg", folder.display());
    Ok(())
}

fn save(folder: &Path, run: &Run, tables: &[Table]) -> Result<()> {
    let report = report::markdown(run, tables);
    for (name, text) in [
        ("RESULTS.md", report),
        ("results.json", json::json(run, tables)),
        ("results.svg", svg::svg(run, tables)),
    ] {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// As it was typed, but for the paths of one machine.
fn command_line(arguments: &Arguments) -> String {
    let mut line = String::from("cargo xtask bench");
    if arguments.quick {
        line += " --quick";
    }
    for case in &arguments.cases {
        line += &format!(" --case '{case}'");
    }
    for peer in &arguments.peers {
        line += &format!(" --peer {}=…", peer.split('=').next().unwrap_or_default());
    }
    line
}

fn date() -> Result<String> {
    let done = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

fn pinned(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("-c").arg(cores).arg(program);
    command
}

pub(crate) fn on_path(tool: &str) -> bool {
    found(tool).is_some()
}

/// Where a program is.
pub(crate) fn found(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(tool)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_done_once_more_and_told() {
        let run = Run::default();
        let tries = std::cell::Cell::new(0);
        let work = |good| {
            tries.set(tries.get() + 1);
            if tries.get() >= good { Ok(tries.get()) } else { Err("no\nanswer".into()) }
        };
        assert_eq!(run.twice("a", || work(1)).unwrap(), 1);
        tries.set(0);
        assert_eq!(run.twice("b", || work(2)).unwrap(), 2);
        tries.set(0);
        assert!(run.twice("c", || work(3)).is_err());
        assert_eq!(run.repeated.borrow()[..], ["b: no", "c: no"]);
    }

    #[test]
    fn arguments_are_read_or_refused() {
        let read = |words: &[&str]| {
            Arguments::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        let arguments = read(&["--quick", "--case", "304", "--peer", "nginx=/x/nginx"]).unwrap();
        assert!(arguments.quick);
        let wanted: Vec<&str> =
            CASES.iter().filter(|case| arguments.wants(case)).map(|case| case.name).collect();
        assert_eq!(wanted, ["h1 TLS 304"]);
        assert_eq!(command_line(&arguments), "cargo xtask bench --quick --case '304' --peer nginx=…");
        assert!(read(&["--case", "no such case"]).is_err());
        assert!(read(&["--case"]).is_err());
        assert!(read(&["quick"]).is_err());
    }
}
