//! All cases on all servers. CPU is that of all threads of a server, kernel threads that work for
//! it included, over the requests that were answered. Losses are reported like wins.

mod html;
mod idle;
mod json;
mod report;
mod results;
mod rounds;
mod svg;

use crate::cases::{CASES, Case, Work};
use crate::participants::SITAR;
use crate::run::{Run, root};
use crate::site::Lab;
use crate::{Quick, Result, process};
use clap::Args;
use results::Table;
use std::fs;
use std::path::Path;

/// Arguments of a comparison.
#[derive(Args, Default)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) quick: Quick,
    /// Each server writes an access log to a file, in its own format (sitar and nginx JSON); the
    /// floor and static-web-server have none. Into files under `target/`, as a quick run
    #[arg(long)]
    logs: bool,
    /// Only cases whose names contain these words
    #[arg(long = "case", value_name = "WORDS", value_parser = case)]
    cases: Vec<String>,
    /// A peer's program: `nginx=…` takes the place of the installed one, `nginx-1.31=…` stands
    /// beside it; `sitar-before=…` compares an older sitar
    #[arg(long = "peer", value_name = "NAME=PATH")]
    peers: Vec<String>,
}

fn case(words: &str) -> Result<String> {
    if CASES.iter().any(|case| case.name.contains(words)) {
        return Ok(words.to_owned());
    }
    let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    Err(format!("there are: {}", known.join("; ")).into())
}

impl Arguments {
    /// Returns whether a case is to be measured.
    pub(crate) fn wants(&self, case: &Case) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|wanted| case.name.contains(wanted.as_str()))
    }

    /// Returns the command line as it was typed, but for the paths of one machine.
    pub(crate) fn line(&self) -> String {
        let mut line = String::from("cargo xtask bench");
        if self.quick.quick {
            line += " --quick";
        }
        if self.logs {
            line += " --logs";
        }
        for case in &self.cases {
            line += &format!(" --case '{case}'");
        }
        for peer in &self.peers {
            line += &format!(" --peer {}=…", peer.split('=').next().unwrap_or_default());
        }
        line
    }
}

/// Measures and writes the reports.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (mut lab, run) = Run::prepare(arguments.line(), arguments.quick, &arguments.peers)?;
    lab.log = arguments.logs.then_some("json");
    let tables = measure(&lab, &run, arguments)?;
    let run = Run { load_after: process::load_average(), ..run };
    // A part of the cases, or another run, must not take the place of the last whole one.
    if run.quick || arguments.logs || !arguments.cases.is_empty() {
        return write(&lab.directory, &run, &tables);
    }
    let page = root().join(html::PAGE);
    fs::write(&page, html::renewed(&fs::read_to_string(&page)?, &run, &tables)?)?;
    write(&root().join("bench"), &run, &tables)
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
        // If a later case fails, these are not lost.
        save(&lab.directory, run, &tables)?;
    }
    if arguments.cases.is_empty() {
        let new = idle::size(lab, run.participant(SITAR)?)?;
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
