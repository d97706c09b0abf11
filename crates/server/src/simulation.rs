//! A whole shard under the simulated engine: real protocols, scripted peers, faults by the seed,
//! and the same run for the same seed.
//!
//! `cargo simulate` runs them all and prints a hash over what came of them: every byte that each
//! peer received, what was counted, how each run ended, and all that the rings were asked. A change
//! that moves code without changing what it does leaves the hash as it is. `SITAR_REPORTS=1` prints
//! what came of each seed, to find the first that differs.
//!
//! `SITAR_SEEDS=N` sets the number of seeds, `SITAR_SAMPLE=n` divides it by n, `SITAR_SEED=n` runs
//! one of them (`SITAR_CALM=1`: one without faults, `SITAR_DRAINED=1`: one that drains) and prints
//! its trace.

mod asks;
mod challenges;
mod crowd;
mod ends;
mod kernel_tls;
mod lab;
mod logged;
mod passed;
mod peer;
mod peers;
mod proxies;
mod received;
mod served;
mod slow_turn;
mod stalled;
mod streams;
mod users;

use std::panic::RefUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest;

use self::lab::{Report, Weather, run};

/// Seeds of the normal run.
const SEEDS: u64 = 2_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Returns how many seeds are run. `cargo xtask ci` takes a sample of them.
fn seeds() -> u64 {
    number("SITAR_SEEDS").unwrap_or(SEEDS) / number("SITAR_SAMPLE").unwrap_or(1)
}

/// Runs each seed, on all cores. Returns what came of them, in order; `failed` says which of them
/// panicked.
fn on_all_cores<R: Send>(
    seeds: u64,
    run: impl Fn(u64) -> R + Sync + RefUnwindSafe,
    failed: impl Fn(u64) -> String + Sync,
) -> Vec<R> {
    let next = AtomicU64::new(0);
    let results = Mutex::new((0..seeds).map(|_| None).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    // A panic says what; which seed it was has to be said here.
                    let done = std::panic::catch_unwind(|| run(seed));
                    let Ok(result) = done else { panic!("{}", failed(seed)) };
                    results.lock().unwrap()[seed as usize] = Some(result);
                }
            });
        }
    });
    results.into_inner().unwrap().into_iter().map(|result| result.expect("each seed has been run")).collect()
}

/// Runs all seeds; the sum of what they came to.
fn run_all(seeds: u64, weather: Weather) -> Sum {
    let reports = on_all_cores(
        seeds,
        |seed| run(seed, weather, false).1,
        |seed| format!("SITAR_SEED={seed} failed, {weather:?}"),
    );
    let (mut sum, mut hash) = (Sum::default(), digest::Context::new(&digest::SHA256));
    for (seed, report) in reports.into_iter().enumerate() {
        sum.add(seed as u64, &report);
        if number("SITAR_REPORTS").is_some() {
            println!("{weather:?} {seed}: {report:?}");
        }
        hash.update(format!("{report:?}\n").as_bytes());
    }
    println!("{seeds} seeds, {weather:?}: {sum:?}");
    let hash: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("hash of {seeds} seeds, {weather:?}: {hash}");
    sum
}

#[derive(Debug, Default)]
struct Sum {
    /// Answers that were complete and exact.
    answers: u64,
    /// Of these, refusals of what was wrong on purpose.
    refused: u64,
    /// Conversations that ended before all was answered.
    lost: u64,
    /// Ends with and without close_notify, of those that were waited for.
    ended: u64,
    cut: u64,
    /// Connections that the kernel sealed for.
    kernel_sealed: u64,
    /// Of the answers, those from a site that was put up while the world ran.
    swapped: u64,
    /// Of the answers, those over HTTP/2.
    streams: u64,
    /// Conversations that a drain ended before all was asked, and answers since it began.
    told: u64,
    late: u64,
    last_lost: Option<u64>,
}

impl Sum {
    fn add(&mut self, seed: u64, report: &Report) {
        self.answers += report.answers;
        self.refused += report.refused;
        self.lost += report.lost;
        self.kernel_sealed += report.kernel_sealed;
        self.ended += report.ended;
        self.cut += report.cut;
        self.swapped += report.swapped;
        self.streams += report.streams;
        self.told += report.told;
        self.late += report.late;
        if report.lost > 0 {
            self.last_lost = Some(seed);
        }
    }
}

#[test]
fn every_seed_ends_well() {
    if let Some(seed) = number("SITAR_SEED") {
        let weather = match (number("SITAR_CALM"), number("SITAR_DRAINED")) {
            (_, Some(_)) => Weather::Drained,
            (Some(_), None) => Weather::Calm,
            (None, None) => Weather::Rough,
        };
        let (trace, report) = run(seed, weather, true);
        println!("{}\n{report:?}", trace.join("\n"));
        return;
    }
    let seeds = seeds();
    let Sum { answers, refused, kernel_sealed, swapped, streams, .. } = run_all(seeds, Weather::Rough);
    assert!(answers > seeds * 5, "so few answers prove nothing: {answers}");
    assert!(kernel_sealed > seeds / 2, "so few connections of the kernel's prove nothing: {kernel_sealed}");
    assert!(refused > seeds / 20, "so few refusals prove nothing: {refused}");
    assert!(streams > seeds * 5, "so few answers over HTTP/2 prove nothing: {streams}");
    assert!(swapped > seeds, "so few answers from other sites prove nothing: {swapped}");
}

/// No stall: without faults every peer gets every answer, however slowly it reads and however it
/// cuts its bytes.
#[test]
fn without_faults_everything_is_answered() {
    let sum = run_all(seeds() / 10, Weather::Calm);
    assert_eq!((sum.lost, sum.last_lost), (0, None));
    assert!(sum.kernel_sealed > 0 && sum.ended > 0, "{sum:?}");
    assert_eq!(sum.cut, 0, "an end without close_notify");
}

/// A kernel says that it has sent what still waits for room; a shutdown in that moment would
/// destroy it.
#[test]
fn what_a_kernel_has_sealed_is_never_cut_off() {
    // Of so few that a sample has, not enough would come to what is looked for.
    let sum = run_all((seeds() / 20).max(25), Weather::Narrow);
    assert_eq!((sum.lost, sum.last_lost, sum.cut), (0, None, 0));
    assert!(sum.kernel_sealed > 50 && sum.ended > 20, "{sum:?}");
}

/// A drain loses no request: each is answered, or belongs to a client that has been told.
#[test]
fn a_drain_loses_nothing() {
    let seeds = seeds() / 10;
    let sum = run_all(seeds, Weather::Drained);
    assert!(sum.told > seeds / 8 && sum.late > seeds / 8, "so few prove nothing: {sum:?}");
    assert!(sum.kernel_sealed > 0 && sum.streams > seeds, "{sum:?}");
    assert_eq!(sum.cut, 0, "an end without close_notify");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [1, 2, 3, 40, 41, 42, 500, 501, 502, 1999] {
        let (first, second) = (run(seed, Weather::Rough, false).1, run(seed, Weather::Rough, false).1);
        assert_eq!(first, second, "seed {seed}");
    }
}
