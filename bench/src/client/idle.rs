//! `idle`: many connections that have done something once, and then follow the orders of stdin.

use crate::Result;
use crate::client::{Client, Target, TargetArguments};
use clap::Args;
use std::time::{Duration, Instant};

/// Arguments of `idle`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Connections
    #[arg(long)]
    count: usize,
    /// No request at the beginning
    #[arg(long)]
    silent: bool,
}

/// Opens the connections, with a request each unless they are silent, and prints `open N`. Then, by
/// lines of stdin: `active K SECONDS` sends requests on the first K in turn and prints `requests
/// N`; `check` sends one on each and prints `alive N`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = Target::new(&arguments.target)?;
    let config = target.config(None)?;
    let mut clients = Vec::new();
    for number in 0..arguments.count {
        let failed = |what: &str, error| format!("connection {number}, {what}: {error}");
        let mut client = Client::open(&target, &config).map_err(|error| failed("its handshake", error))?;
        if !arguments.silent {
            client.get(&target).map_err(|error| failed("its first request", error))?;
        }
        clients.push(client);
    }
    println!("open {}", clients.len());
    for line in std::io::stdin().lines() {
        let line = line?;
        match *line.split(' ').collect::<Vec<_>>() {
            ["active", count, seconds] => {
                let active = clients.get_mut(..count.parse()?).ok_or("more than there are")?;
                let end = Instant::now() + Duration::from_secs_f64(seconds.parse()?);
                let mut requests = 0_u64;
                while Instant::now() < end {
                    for client in active.iter_mut() {
                        client.get(&target)?;
                        requests += 1;
                    }
                }
                println!("requests {requests}");
            }
            ["check"] => {
                for (number, client) in clients.iter_mut().enumerate() {
                    client.get(&target).map_err(|error| format!("connection {number} is gone: {error}"))?;
                }
                println!("alive {}", clients.len());
            }
            _ => return Err(format!("unknown order: {line}").into()),
        }
    }
    Ok(())
}
