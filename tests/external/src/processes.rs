//! `cargo xtask processes`: what supervisor, worker and sandbox cost: memory, wake-ups while
//! nothing happens, starts with and without the sandbox, and the time without an answer when a
//! worker is killed or another program takes over.
//!
//! Nothing is asserted of times, which other programs on the machine change. What does not work
//! ends the command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::hosts::running::{Running, ask, free_port};
use crate::program::{self, Places, Result, resident};
use crate::times::Times;

/// Starts of each kind, and workers that are killed.
const ROUNDS: usize = 20;
/// Programs that take over.
const UPGRADES: usize = 10;
/// The time between two rounds, in which a worker counts as healthy.
const PAUSE: Duration = Duration::from_millis(300);
const HOST: &str = "localhost";

/// Arguments of `processes`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seconds in which nothing happens
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
}

/// Measures, and prints the figures.
pub(crate) fn run(places: &Places, arguments: &Arguments) -> Result<bool> {
    let program = program::find(places)?;
    let folder = program::fresh_folder(places.target.join("processes"))?;
    crate::hosts::pack(&program, &folder)?;
    // A program of its own, that an upgrade finds at its path.
    let own = folder.join("sitar");
    fs::copy(&program, &own)?;
    starts(&own, &folder)?;
    let site = Site::new(own, folder, "auto")?;
    idle(&site, Duration::from_secs(arguments.idle_seconds))?;
    kills(&site)?;
    upgrades(&site)?;
    Ok(true)
}

/// A server of one pack, in plain HTTP.
struct Site {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    running: Running,
}

impl Site {
    fn new(program: PathBuf, folder: PathBuf, sandbox: &str) -> Result<Site> {
        let port = free_port()?;
        let running = start(&program, &folder, port, sandbox)?;
        Ok(Site { program, folder, port, running })
    }

    /// Runs a verb that speaks with the server.
    fn tell(&self, verb: &[&str]) -> Result<Vec<u8>> {
        let mut command = program::sitar(&self.program, &self.folder);
        let output = command.args(verb).arg("--socket").arg(self.folder.join("admin.sock")).output()?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
        }
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.tell(&["status", "--json"])?)?)
    }

    fn worker(&self) -> Result<u32> {
        let worker = self.status()?["worker"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        Ok(worker.ok_or("no worker serves")?)
    }

    /// Returns the time until a request is answered.
    fn silence(&self, since: Instant) -> Result<Duration> {
        loop {
            match ask(self.port, HOST) {
                Ok(()) => return Ok(since.elapsed()),
                Err(error) if since.elapsed() > Duration::from_secs(30) => return Err(error.into()),
                Err(_) => {}
            }
        }
    }
}

fn start(program: &Path, folder: &Path, port: u16, sandbox: &str) -> Result<Running> {
    let file = folder.join("sitar.toml");
    let text = format!(
        "[server]\ntls = \"off\"\nsandbox = \"{sandbox}\"\n[[listen]]\naddress = \"127.0.0.1:{port}\"\n\
         [[site]]\nroot = \"site.tar\"\n[admin]\nsocket = \"admin.sock\"\n"
    );
    fs::write(&file, text)?;
    let mut command = program::sitar(program, folder);
    command.args(["serve", "--config"]).arg(&file);
    Running::start(command, folder, || ask(port, HOST))
}

/// Times starts, in turns.
fn starts(program: &Path, folder: &Path) -> Result<()> {
    let mut times = [Times::default(), Times::default()];
    for _ in 0..ROUNDS {
        for (sandbox, times) in ["off", "auto"].into_iter().zip(&mut times) {
            let (port, since) = (free_port()?, Instant::now());
            let running = start(program, folder, port, sandbox)?;
            times.add(Ok::<_, String>(since.elapsed()));
            running.stop()?;
        }
    }
    println!("from spawn to the first answer, {ROUNDS} starts each, in turns");
    for (sandbox, times) in ["off", "auto"].into_iter().zip(&times) {
        let (least, median, most) = (times.percentile(0), times.percentile(50), times.percentile(100));
        println!("  --sandbox {sandbox:<5} median {median:.1} ms, {least:.1} to {most:.1} ms");
    }
    println!();
    Ok(())
}

fn idle(site: &Site, time: Duration) -> Result<()> {
    let (supervisor, worker) = (site.running.id(), site.worker()?);
    // What the question has brought back goes with the next reload.
    site.tell(&["reload"])?;
    sleep(Duration::from_secs(1));
    let before = wake_ups(supervisor)?;
    sleep(time);
    let woken = wake_ups(supervisor)? - before;
    println!("while nothing happens, for {} s", time.as_secs());
    println!("  supervisor: {woken} wake-ups, {} KiB resident", resident(supervisor)? >> 10);
    println!("  worker: {} KiB resident\n", resident(worker)? >> 10);
    Ok(())
}

/// Returns how often the threads of a process have gone to sleep.
fn wake_ups(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += count.ok_or("no voluntary_ctxt_switches")?.trim().parse::<u64>()?;
    }
    Ok(sum)
}

fn kills(site: &Site) -> Result<()> {
    // The first is started at once. Others soon after it are started after a pause, which is no
    // price but a protection.
    let worker = site.worker()?;
    let since = Instant::now();
    program::succeed(Command::new("kill").args(["-9", &worker.to_string()]), "kill")?;
    let silence = site.silence(since)?;
    println!("the worker is killed: the first answer after {:.1} ms\n", silence.as_secs_f64() * 1e3);
    Ok(())
}

fn upgrades(site: &Site) -> Result<()> {
    let (mut ready, mut silent) = (Times::default(), Times::default());
    for _ in 0..UPGRADES {
        let since = Instant::now();
        let mut command = program::sitar(&site.program, &site.folder);
        command.arg("upgrade").arg("--socket").arg(site.folder.join("admin.sock"));
        let mut upgrade = command.stdout(Stdio::null()).spawn()?;
        // Asked all the time, by a connection each.
        while upgrade.try_wait()?.is_none() {
            let asked = Instant::now();
            silent.add(ask(site.port, HOST).map(|()| asked.elapsed()));
        }
        ready.add(Ok::<_, String>(since.elapsed()));
        sleep(PAUSE);
    }
    println!("another program takes over, {UPGRADES} times");
    let (median, most) = (ready.percentile(50), ready.percentile(100));
    println!("  from `sitar upgrade` to its end: median {median:.0} ms, at most {most:.0} ms");
    println!(
        "  {} requests meanwhile, {} errors; the slowest answer after {:.1} ms\n",
        silent.took.len(),
        silent.errors.len(),
        silent.percentile(100)
    );
    if let Some(error) = silent.errors.first() {
        return Err(format!("a request failed: {error}").into());
    }
    site.tell(&["drain"])?;
    Ok(())
}
