//! `idle`: many connections that have done something once, and then what standard input says.

use crate::Result;
use crate::arguments::Arguments;
use crate::client::{Client, Target};
use std::time::{Duration, Instant};

/// `--count N [--silent yes]`, and the target. Opens them, with a request each unless they are silent, and prints `open N`. Then, by lines of standard input:
/// `active K SECONDS` asks on the first K in turn and prints `requests N`; `check` asks on each and prints `alive N`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = Target::new(arguments)?;
    let config = target.config(None)?;
    let silent = arguments.text("silent").is_some();
    let mut clients = Vec::new();
    for number in 0..arguments.needed::<usize>("count")? {
        let failed = |what: &str, error| format!("connection {number}, {what}: {error}");
        let mut client = Client::open(&target, &config).map_err(|error| failed("its handshake", error))?;
        if !silent {
            client.get(&target).map_err(|error| failed("its first request", error))?;
        }
        clients.push(client);
    }
    println!("open {}", clients.len());
    for line in std::io::stdin().lines() {
        let line = line?;
        match *line.split(' ').collect::<Vec<_>>() {
            ["active", count, seconds] => {
                let active = clients.get_mut(..count.parse()?).ok_or("not so many")?;
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
            _ => return Err(format!("what is `{line}`?").into()),
        }
    }
    Ok(())
}
