//! `cargo xtask hosts`: the price of several hosts, and of certificates that are renewed: the
//! instructions of a warm request, the start of a thousand packs, and the time from a renewal to
//! the first handshake with it.
//!
//! Nothing is asserted of times, which other programs on the machine change. What does not work
//! ends the command.

mod instructions;
mod renewal;
pub(crate) mod running;
mod start;

use crate::program::{self, Places, Result};
use clap::{Args, ValueEnum};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Sites of the largest configuration, with two hosts each.
const SITES: usize = 1000;
/// The one of them that is asked.
const ASKED: usize = SITES / 2;
/// The file that is asked for.
const FILE: &str = "/1k.txt";

/// Arguments of `hosts`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The only part
    #[arg(long, value_enum, value_name = "NAME")]
    only: Option<Part>,
}

/// A part of the command.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Instructions of a warm request
    Instructions,
    /// Start of 1,000 packs
    Start,
    /// A renewal to its first handshake
    Renewal,
}

/// Runs the parts, or one of them, and prints their figures.
pub(crate) fn run(places: &Places, arguments: &Arguments) -> Result<bool> {
    let program = program::find(places)?;
    let folder = program::fresh_folder(places.target.join("hosts"))?;
    let pack = pack(&program, &folder)?;
    let is_wanted = |part| arguments.only.is_none_or(|only| only == part);
    if is_wanted(Part::Instructions) {
        instructions::run(&program, &folder)?;
    }
    if is_wanted(Part::Start) {
        start::run(&program, &folder, &pack)?;
    }
    if is_wanted(Part::Renewal) {
        renewal::run(&program, &folder)?;
    }
    Ok(true)
}

/// Makes the pack of a small site, `site.tar`.
pub(crate) fn pack(program: &Path, folder: &Path) -> Result<PathBuf> {
    let site = folder.join("site");
    std::fs::create_dir(&site)?;
    std::fs::write(site.join("index.html"), "<!doctype html><title>Site</title><p>Hello\n")?;
    std::fs::write(site.join(&FILE[1..]), "0123456789abcdef".repeat(64))?;
    let pack = folder.join("site.tar");
    let mut command = program::sitar(program, folder);
    command.arg("pack").arg(&site).arg("--output").arg(&pack).stdout(Stdio::null()).stderr(Stdio::null());
    program::succeed(&mut command, "sitar pack")?;
    Ok(pack)
}

/// Returns the first host of a site.
fn host(site: usize) -> String {
    format!("h{site:04}.example.com")
}

/// Writes a configuration of one listener, with `server` as the lines of its `[server]`.
fn write_configuration(file: &Path, port: u16, server: &str, sites: &str) -> Result<()> {
    let listen = format!("[[listen]]\naddress = \"127.0.0.1:{port}\"\n");
    Ok(std::fs::write(file, format!("[server]\n{server}{listen}{sites}"))?)
}

/// Returns all sites of the largest configuration, as `[[site]]` with these lines beside hosts.
fn all_sites(lines: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for site in 0..SITES {
        let (host, lines) = (host(site), lines(site));
        // Writing to a String cannot fail.
        let _ = write!(text, "[[site]]\nhosts = [\"{host}\", \"www.{host}\"]\n{lines}");
    }
    text
}

/// Returns the command that serves a configuration of this folder.
fn serve(program: &Path, folder: &Path, file: &Path) -> Command {
    let mut command = program::sitar(program, folder);
    command.args(["serve", "--config"]).arg(file);
    command
}
