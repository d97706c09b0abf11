//! `handshakes`: each request on a connection of its own, full or resumed.

use crate::Result;
use crate::arguments::Arguments;
use crate::client::{Client, Target};
use std::thread;
use std::time::{Duration, Instant};

/// `--seconds S --resume yes|no --threads N`, and the target. Prints `full=N resumed=N`: how the measured connections began.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let target = Target::new(arguments)?;
    let resume = arguments.needed::<String>("resume")? == "yes";
    let threads = arguments.needed::<usize>("threads")?;
    let end = Instant::now() + Duration::from_secs_f64(arguments.needed("seconds")?);
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let target = target.clone();
            thread::spawn(move || work(&target, resume, end))
        })
        .collect();
    let (mut full, mut resumed) = (0_u64, 0_u64);
    for worker in workers {
        let counts = worker.join().map_err(|_| "a thread panicked")??;
        full += counts[0];
        resumed += counts[1];
    }
    println!("full={full} resumed={resumed}");
    Ok(())
}

/// Full handshakes and resumed ones until then. Where all shall be resumed, the first one of a thread is full, and counted as
/// such.
fn work(target: &Target, resume: bool, end: Instant) -> Result<[u64; 2]> {
    let config = target.config(resume)?;
    let mut counts = [0; 2];
    while Instant::now() < end {
        let mut client = Client::open(target, &config)?;
        client.get(target)?;
        counts[usize::from(client.resumed())] += 1;
        client.end()?;
    }
    Ok(counts)
}
