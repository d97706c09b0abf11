//! `handshakes`: each request on a connection of its own, full or resumed.

use crate::Result;
use crate::client::{Client, Target, TargetArguments, Tickets};
use clap::Args;
use rustls::ClientConfig;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// Tickets that each thread gathers by full handshakes before any is used. Some servers give none
/// to a client that comes with one, so that a client without a stock would make a full handshake
/// each third time.
const TICKETS: usize = 300;

/// Arguments of `handshakes`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Threads
    #[arg(long)]
    count: usize,
    /// Resumed handshakes instead of full ones
    #[arg(long)]
    resume: bool,
}

/// Prints `open N` when all threads have their tickets. For each line `go SECONDS` of stdin,
/// connects for that time and prints `requests N`, all of them with handshakes of the same kind.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = Target::new(&arguments.target)?;
    let (resume, threads) = (arguments.resume, arguments.count);
    let configs = each(threads, |_| gather(&target, resume))?;
    println!("open {threads}");
    for line in std::io::stdin().lines() {
        let line = line?;
        let seconds = line.strip_prefix("go ").ok_or_else(|| format!("unknown order: {line}"))?.parse()?;
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let counts = each(threads, |thread| work(&target, &configs[thread], resume, end))?;
        println!("requests {}", counts.iter().sum::<u64>());
    }
    Ok(())
}

/// Does `work` on a number of threads, all at once.
fn each<T: Send>(threads: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let (begin, work) = (Barrier::new(threads), &work);
    let begin = &begin;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    begin.wait();
                    work(thread)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().map_err(|_| "a thread panicked")?).collect()
    })
}

/// Returns a thread's configuration. A ticket is good only for the configuration that it came to.
fn gather(target: &Target, resume: bool) -> Result<Arc<ClientConfig>> {
    if !resume {
        return target.config(None);
    }
    let tickets = Arc::new(Tickets::default());
    let config = target.config(Some(Arc::clone(&tickets)))?;
    let mut had = 0;
    while tickets.len() < TICKETS {
        let mut client = Client::open(target, &config)?;
        client.get(target)?;
        client.end()?;
        if tickets.len() == had {
            return Err("the server gives no tickets".into());
        }
        had = tickets.len();
    }
    tickets.use_them();
    Ok(config)
}

fn work(target: &Target, config: &Arc<ClientConfig>, resume: bool, end: Instant) -> Result<u64> {
    let mut count = 0;
    while Instant::now() < end {
        let mut client = Client::open(target, config)?;
        client.get(target)?;
        if client.resumed() != resume {
            return Err(format!("the handshake after {count} others is of the other kind").into());
        }
        client.end()?;
        count += 1;
    }
    Ok(count)
}
