//! `slow`: connections that request a large file and read it a little at a time.

use crate::Result;
use crate::client::{Client, Target, TargetArguments};
use clap::Args;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time between two reads of a connection.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of one read, off the wire: ten times a second, 640 KiB/s.
const SIP: usize = 64 << 10;
/// Bytes that the client's kernel keeps. By default it would take several MiB of the answer off the
/// server's hands.
const RECEIVED_MAX: usize = 128 << 10;

/// Arguments of `slow`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Connections
    #[arg(long)]
    count: usize,
}

/// Sends a request on each connection and prints `open N`. For each line `read SECONDS` of stdin,
/// reads slowly for that time and prints `bytes N`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = Target::new(&arguments.target)?;
    let config = target.config(None)?;
    let mut clients = Vec::new();
    for _ in 0..arguments.count {
        let mut client = Client::open(&target, &config)?;
        client.receive_at_most(RECEIVED_MAX)?;
        client.ask(&target)?;
        clients.push(client);
    }
    println!("open {}", clients.len());
    for line in std::io::stdin().lines() {
        let line = line?;
        let Some(seconds) = line.strip_prefix("read ") else {
            return Err(format!("unknown order: {line}").into());
        };
        let end = Instant::now() + Duration::from_secs_f64(seconds.parse()?);
        let mut bytes = 0;
        while Instant::now() < end {
            let next = Instant::now() + PAUSE;
            for client in &mut clients {
                bytes += client.sip(SIP)?;
            }
            sleep(next.saturating_duration_since(Instant::now()));
        }
        if !clients.iter().all(Client::is_served) {
            return Err("an answer is not 200, or has not come".into());
        }
        println!("bytes {bytes}");
    }
    Ok(())
}
