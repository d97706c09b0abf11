//! The instructions of a warm request in the whole program, counted by callgrind.
//!
//! The difference of two runs counts, so that what comes once is left out. Start and stop are not
//! counted at all: with a thousand sites they vary by more from run to run than hosts cost a
//! request. The server speaks plain HTTP with epoll, which callgrind knows, and watches nothing.

use super::running::{Running, ask, connect, free_port};
use super::{ASKED, FILE, SITES, all_sites, host, serve, write_configuration};
use crate::client::request;
use crate::program::{self, Result};
use std::path::Path;
use std::process::Command;

/// Requests of the short run and of the long one.
const REQUESTS: [u32; 2] = [1000, 6000];
/// What is counted: the loop of a shard, with all that it calls.
const COUNTED: &str = "sitar_server::shard::Shard<*>::run";
/// The `[server]` of the configurations.
/// (valgrind makes system calls of its own, which the sandbox would refuse.)
const SERVER: &str = "tls = \"off\"\nengine = \"epoll\"\nshards = 1\nsandbox = \"off\"\n";
/// What a site serves.
const CONTENT: &str = "root = \"site.tar\"\nwatch = false\n";

/// A way to name what is served.
enum Case {
    Path,
    OneSite,
    AllSites,
}

/// Counts, and prints a table.
pub(super) fn run(program: &Path, folder: &Path) -> Result<()> {
    println!("instructions of a warm request: plain HTTP/1.1, epoll, one shard, one connection");
    if !program::on_path("valgrind") {
        println!("skipped: valgrind is absent\n");
        return Ok(());
    }
    let mut path = None;
    for (name, case) in [
        ("sitar serve PATH".to_owned(), Case::Path),
        ("one site without hosts".to_owned(), Case::OneSite),
        (format!("{SITES} sites with two hosts each"), Case::AllSites),
    ] {
        let [few, many] = REQUESTS.map(|requests| collected(&case, program, folder, requests));
        let counted = (many? - few?) / f64::from(REQUESTS[1] - REQUESTS[0]);
        let change = (counted / *path.get_or_insert(counted) - 1.0) * 100.0;
        println!("  {name:<32} {counted:>8.0} {change:>+6.1} %");
    }
    println!();
    Ok(())
}

/// Returns the instructions of a run with that number of requests.
fn collected(case: &Case, program: &Path, folder: &Path, requests: u32) -> Result<f64> {
    let (port, logs) = (free_port()?, program::fresh_folder(folder.join("valgrind"))?);
    let mut valgrind = program::sitar(Path::new("valgrind"), folder);
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(format!("--toggle-collect={COUNTED}"));
    // The worker of a supervisor is another process.
    valgrind.arg("--trace-children=yes").arg(format!("--log-file={}/valgrind.%p.txt", logs.display()));
    let named = command(case, program, folder, port)?;
    valgrind.arg(named.get_program()).args(named.get_args());
    let host = host(ASKED);
    let running = Running::start(valgrind, folder, || ask(port, &host))?;
    let mut connection = connect(port)?;
    for _ in 0..requests {
        request(&mut connection, "GET", FILE, &host)?;
    }
    running.stop()?;
    let mut counted = 0.0;
    for log in std::fs::read_dir(logs)? {
        let log = std::fs::read_to_string(log?.path())?;
        counted += instructions(&log).ok_or_else(|| format!("valgrind: {}", log.trim()))?;
    }
    if counted > 0.0 { Ok(counted) } else { Err(format!("valgrind does not find {COUNTED}").into()) }
}

fn command(case: &Case, program: &Path, folder: &Path, port: u16) -> Result<Command> {
    let sites = match case {
        Case::Path => {
            let mut command = program::sitar(program, folder);
            command.arg("serve").arg(folder.join("site.tar"));
            command.args(["--tls", "off", "--engine", "epoll", "--shards", "1", "--no-watch"]);
            command.args(["--sandbox", "off", "--listen"]).arg(format!("127.0.0.1:{port}"));
            return Ok(command);
        }
        Case::OneSite => format!("[[site]]\n{CONTENT}"),
        Case::AllSites => all_sites(|_| CONTENT.to_owned()),
    };
    let file = folder.join("instructions.toml");
    write_configuration(&file, port, SERVER, &sites)?;
    Ok(serve(program, folder, &file))
}

/// `==123== Collected : 12345`
fn instructions(log: &str) -> Option<f64> {
    log.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valgrind_is_understood() {
        let log = "==9== Events    : Ir\n==9== Collected : 1234567\n==9== \n";
        assert_eq!(instructions(log), Some(1_234_567.0));
        assert_eq!(instructions("==9== Events    : Ir\n"), None);
    }
}
