//! `slow`: connections that ask for something large and read it a little at a time.

use crate::Result;
use crate::arguments::Arguments;
use crate::client::{Client, Target};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often each of them reads.
const PAUSE: Duration = Duration::from_millis(100);
/// How much at a time, off the wire: ten times a second, 640 KiB/s.
const SIP: usize = 64 << 10;
/// What the client's kernel keeps for it. Left to itself, it would take several MiB of the answer off the server's hands.
const RECEIVED_MAX: usize = 128 << 10;

/// `--count N`, and the target. Asks on each and prints `open N`. For each line `read SECONDS` of standard input, reads slowly for
/// so long and prints `bytes N`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = Target::new(arguments)?;
    let config = target.config(None)?;
    let mut clients = Vec::new();
    for _ in 0..arguments.needed::<usize>("count")? {
        let mut client = Client::open(&target, &config)?;
        client.receive_at_most(RECEIVED_MAX)?;
        client.ask(&target)?;
        clients.push(client);
    }
    println!("open {}", clients.len());
    for line in std::io::stdin().lines() {
        let line = line?;
        let Some(seconds) = line.strip_prefix("read ") else {
            return Err(format!("what is `{line}`?").into());
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
