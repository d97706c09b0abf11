//! `cargo xtask bench balance`: the distribution of connections over shards, and the cost for a
//! connection of falling on a busy one.
//!
//! The kernel chooses a shard for each new connection by a hash (SO_REUSEPORT), so the numbers on
//! the shards are those of balls thrown into bins. For many shards that is computed here; for two
//! it is also measured, as far as a machine of two cores can.

use crate::cases::{Case, PACE, Work};
use crate::participants::{Participant, SITAR};
use crate::run::{LOAD_CORE, Run, pinned};
use crate::servers::Server;
use crate::site::Lab;
use crate::stats::figure;
use crate::stats::{Random, median, percentile};
use crate::{Quick, Result, load, process};
use std::path::Path;
use std::process::{Child, Stdio};

const SHARDS: [usize; 4] = [8, 16, 32, 64];
/// Connections for each shard, on average.
const EACH: [usize; 5] = [1, 4, 16, 64, 1024];
const DRAWS: usize = 400;
const SEED: u64 = 1;
const CONNECTIONS: u32 = 16;
/// Connections that are never idle, beside the measured ones.
const BUSY: &str = "2";

const CASE: Case = Case {
    name: "balance",
    tls: true,
    file: "k1.bin",
    length: 1 << 10,
    status: 200,
    connections: CONNECTIONS,
    work: Work::Paced,
};

/// Prints both tables.
pub(crate) fn run(quick: Quick) -> Result<()> {
    println!("{}", simulation());
    let (lab, run) = Run::prepare("cargo xtask bench balance".into(), quick, &[])?;
    println!("{}", measured(&lab, &run, run.participant(SITAR)?)?);
    Ok(())
}

/// Returns the connections on the fullest shard, over the mean.
fn fullest(random: &mut Random, shards: usize, each: usize) -> f64 {
    let mut counts = vec![0_usize; shards];
    for _ in 0..shards * each {
        counts[random.below(shards)] += 1;
    }
    counts.into_iter().max().unwrap_or(0) as f64 / each as f64
}

fn simulation() -> String {
    let mut text = format!(
        "Connections on the fullest shard, over the mean: median and 95th percentile of {DRAWS} draws.\n\n| shards |"
    );
    EACH.iter().for_each(|each| text += &format!(" {each} each |"));
    text += &format!("\n|---|{}\n", "---|".repeat(EACH.len()));
    let mut random = Random(SEED);
    for shards in SHARDS {
        text += &format!("| {shards} |");
        for each in EACH {
            let mut draws: Vec<f64> = (0..DRAWS).map(|_| fullest(&mut random, shards, each)).collect();
            draws.sort_by(f64::total_cmp);
            let shown = |value: Option<f64>| value.map_or("–".into(), figure);
            text += &format!(" {}, {} |", shown(median(&draws)), shown(percentile(&draws, 95.0)));
        }
        text += "\n";
    }
    text
}

/// The figures of one round of a paced load.
struct Round {
    /// The busier shard's part of the CPU time of both.
    share: f64,
    latency: [f64; 3],
}

fn measured(lab: &Lab, run: &Run, sitar: &Participant) -> Result<String> {
    let server = Server::sharded(lab, sitar, &CASE, "0,1", "2")?;
    let expected = load::check(lab, sitar, &server, &CASE)?;
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..run.rounds {
        quiet.push(round(lab, run, &server, &expected)?);
        let _others = Others::start(lab, &server)?;
        busy.push(round(lab, run, &server, &expected)?);
    }
    let mut text = format!(
        "Two shards on cores 0 and 1, the load on core 1; {} paced requests/s on {CONNECTIONS} connections, new ones in each of \
         {} rounds of {} s.\n\n| beside them | the busier shard's part of the CPU, each round | p50, µs | p99 | p99.9 |\n|---|---|---|---|---|\n",
        PACE, run.rounds, run.seconds
    );
    for (name, rounds) in [("nothing", &quiet), ("two connections that are never idle", &busy)] {
        let shares: Vec<String> =
            rounds.iter().map(|round| format!("{:.0} %", round.share * 100.0)).collect();
        let of = |place: usize| {
            let list: Vec<f64> = rounds.iter().map(|round| round.latency[place]).collect();
            median(&list).map_or("–".into(), figure)
        };
        text += &format!("| {name} | {} | {} | {} | {} |\n", shares.join(", "), of(0), of(1), of(2));
    }
    Ok(text)
}

fn round(lab: &Lab, run: &Run, server: &Server, expected: &load::Expected) -> Result<Round> {
    let before = shard_times(server)?;
    let load = load::round(lab, server, &CASE, expected, run.seconds)?;
    let after = shard_times(server)?;
    let spent = [after[0] - before[0], after[1] - before[1]].map(|spent| spent as f64);
    let share = spent.iter().copied().fold(0.0, f64::max) / spent.iter().sum::<f64>();
    Ok(Round { share, latency: load.latency.ok_or("no latencies")? })
}

/// Returns the CPU time of both shards, by the names of their threads.
fn shard_times(server: &Server) -> Result<[u64; 2]> {
    let of = |name: &str| -> Result<u64> {
        match process::named_threads(server.pid(), name)?[..] {
            [time] => Ok(time),
            _ => Err(format!("no thread, or more than one, is called {name}").into()),
        }
    };
    Ok([of("sitar-0")?, of("sitar-1")?])
}

/// Connections that request 16 KiB repeatedly until they are dropped.
struct Others(Child);

impl Others {
    fn start(lab: &Lab, server: &Server) -> Result<Others> {
        let mut wrk = pinned(LOAD_CORE, Path::new("wrk"));
        wrk.args(["-t1", "-c", BUSY, "-d60s"]).arg(format!("https://127.0.0.1:{}/k16.bin", server.port));
        wrk.env("OPENSSL_CONF", lab.directory.join("openssl.cnf")).stdout(Stdio::null());
        Ok(Others(wrk.spawn()?))
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balls_fall_into_bins() {
        let mut random = Random(1);
        assert_eq!(fullest(&mut random, 1, 10), 1.0);
        let many = fullest(&mut random, 8, 100_000);
        assert!((1.0..1.02).contains(&many), "{many}");
        let few = fullest(&mut random, 64, 1);
        assert!((2.0..=10.0).contains(&few), "{few}");
    }

    #[test]
    fn the_simulation_is_the_same_each_time() {
        assert_eq!(simulation(), simulation());
        assert_eq!(simulation().lines().count(), 4 + SHARDS.len());
    }
}
