//! The start of a thousand packs, each a file of its own that is watched.

use super::running::{Running, ask, free_port};
use super::{ASKED, SITES, all_sites, host, serve, write_configuration};
use crate::program::{Result, resident_of_all};
use crate::times::Times;
use std::path::Path;
use std::time::Instant;

/// Starts that are timed.
const STARTS: usize = 5;

/// Times the starts, and prints them.
pub(super) fn run(program: &Path, folder: &Path, pack: &Path) -> Result<()> {
    std::fs::create_dir(folder.join("packs"))?;
    for site in 0..SITES {
        std::fs::copy(pack, folder.join(path(site)))?;
    }
    let mut times = Times::default();
    let mut memory = Vec::new();
    for _ in 0..STARTS {
        let (port, file, host) = (free_port()?, folder.join("start.toml"), host(ASKED));
        let sites = all_sites(|site| format!("root = \"{}\"\n", path(site)));
        write_configuration(&file, port, "tls = \"off\"\n", &sites)?;
        let command = serve(program, folder, &file);
        let begin = Instant::now();
        let running = Running::start(command, folder, || ask(port, &host))?;
        times.add(Ok::<_, String>(begin.elapsed()));
        memory.push(resident_of_all(running.id())? >> 20);
        running.stop()?;
    }
    memory.sort_unstable();
    println!("start of {SITES} packs with two hosts each, from spawn to the first answer");
    println!(
        "  {STARTS} starts: median {:.0} ms, {:.0} to {:.0} ms; then both processes resident: {} MiB\n",
        times.percentile(50),
        times.percentile(0),
        times.percentile(100),
        memory.get(STARTS / 2).copied().unwrap_or_default(),
    );
    Ok(())
}

/// Returns where the pack of a site is.
fn path(site: usize) -> String {
    format!("packs/{site:04}.tar")
}
