//! Thousands of seeds: an awkward program on the simulated engine, checked to the last byte, slot
//! and descriptor.
//!
//! `SITAR_SEEDS=100000` runs that number of seeds, `SITAR_SAMPLE=8` an eighth of them;
//! `SITAR_SEED=n` runs one and prints its trace.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod datagrams;
mod names;
mod peer;
mod program;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sitar_io::sim::{Faults, Lie, Rng, World};
use sitar_io::{Config, Errno, File, Region, RegionMut, Ring};

use peer::{Ask, FILE_LEN, Plan, REGION_LEN, Report, pattern, spawn};
use program::Program;

/// Turns of the loop after which a run counts as endless.
const TURNS_MAX: usize = 200_000;

/// The content of the file that all seeds read.
struct Material {
    file: File,
    region: Region,
}

impl Material {
    fn new() -> Material {
        let bytes: Vec<u8> = (0..FILE_LEN).map(|at| pattern(200, at)).collect();
        let mut region = RegionMut::new(REGION_LEN).unwrap();
        region.iter_mut().enumerate().for_each(|(at, byte)| *byte = pattern(201, at));
        Material { file: World::file(&bytes).unwrap(), region: region.freeze() }
    }
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Outcome {
    hash: u64,
    events: u64,
    turns: u64,
    complete: usize,
    broken: usize,
    bytes: usize,
    exact: bool,
    lied: bool,
    dropped_early: bool,
    virtual_time: Duration,
}

/// Changes to a run besides those of its seed.
#[derive(Clone, Copy)]
enum Twist {
    None,
    Lie(Lie),
    /// The ring is dropped before this turn.
    DropAt(usize),
    /// Cancels that fail, in cases of 1,000.
    FailingCancels(u16),
}

/// Runs one seed to its end. An `Err` says what was lost.
fn run(seed: u64, material: &Material, world: &World, twist: Twist) -> Result<Outcome, String> {
    let lie = if let Twist::Lie(lie) = twist { Some(lie) } else { None };
    let rng = &mut Rng::new(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let chaos = rng.chance(350);
    let mut faults = Faults::drawn(seed);
    let exact = !chaos && lie.is_none() && rng.chance(600);
    if exact {
        (faults.reset, faults.no_file, faults.accept_error) = (0, 0, 0);
    }
    if let Twist::FailingCancels(per_mille) = twist {
        faults.cancel_error = per_mille;
    }
    world.set_faults(faults);
    if let Some(lie) = lie {
        world.lie(lie, rng.below(60) as u32);
    }
    let peers = 1 + rng.below(8);
    let config = Config {
        connections: if exact { peers as u32 } else { 1 + rng.below(5) as u32 },
        rx_count: 1 << rng.below(4),
        rx_len: 1 + rng.below(600) as u32,
        tx_count: 1 + rng.below(5) as u32,
        tx_len: 16 + rng.below(1500) as u32,
    };
    let ring = Ring::sim(&config, world).map_err(|error| error.to_string())?;
    let mut program = Program::new(world, ring, &material.file, &material.region, rng.next());
    let report = Rc::new(RefCell::new(Report::default()));
    for number in 0..peers as u8 {
        let ask = [Ask::Echo, Ask::Echo, Ask::File, Ask::Region][rng.below(4)];
        let plan = Plan {
            number,
            ask,
            len: rng.below(8000),
            lingers: rng.chance(400),
            exact,
            pause: Duration::from_micros([0, 20, 3000][rng.below(3)]),
            leaves: (!exact && rng.chance(250)).then(|| rng.below(60) as u32),
            seed: rng.next(),
        };
        spawn(world, program.ring.waker(), Duration::from_micros(rng.below(4000) as u64), plan, &report);
    }
    program.chaos = chaos;
    // A slot that a liar names twice is found out as long as it has not been published again, which
    // a wait between the two would do.
    program.takes_all = lie.is_some();
    let most = 2 << rng.below(8);
    let drop_at = rng.chance(450).then(|| rng.below(most)).filter(|_| !exact);
    let drop_at = if let Twist::DropAt(turn) = twist { Some(turn) } else { drop_at };

    let mut turns = 0;
    let mut dropped_early = false;
    loop {
        // The last script's wake-up ends the last wait.
        if world.census().scripts == 0 && program.is_idle() && program.ring.connections() == 0 {
            break;
        }
        if Some(turns) == drop_at {
            dropped_early = true;
            break;
        }
        if turns == TURNS_MAX {
            return Err(format!("no end after {turns} turns; {:?}", program.ring.stats()));
        }
        turns += 1;
        if let Err(error) = program.turn() {
            return Err(format!("wait: {:?}: {error}", error.kind()));
        }
        if let Some(failure) = program.failure.take() {
            return Err(failure);
        }
        let failures = std::mem::take(&mut report.borrow_mut().failures);
        if let Some(failure) = failures.into_iter().next() {
            return Err(failure);
        }
    }

    if !dropped_early {
        // What is still on its way ends: reads, cancels, the last events. Then an accept and the
        // waker may be left.
        world.set_faults(Faults::none());
        for _ in 0..20 {
            let until = program.ring.now() + Duration::from_millis(5);
            program.ring.wait(Some(until)).map_err(|error| format!("wait: {:?}: {error}", error.kind()))?;
            while program.ring.next().is_some() {}
        }
        let stats = program.ring.stats();
        let left = (stats.connections, stats.rx_leased, stats.tx_free);
        if left != (0, 0, config.tx_count as usize) || stats.ops > 2 || world.census().connections != 0 {
            return Err(format!("something was lost: {stats:?}, {:?}", world.census()));
        }
    }
    let lied = world.has_lied();
    // Leases, connections and listener go before or after the ring.
    let events = program.events;
    let spare = program.ring.take_tx();
    if rng.chance(500) {
        program.connections.clear();
        program.held.clear();
    }
    // The ring is the program's second field: what is left in the others outlives it (I7).
    drop(program);
    drop(spare);
    let census = world.census();
    if (census.connections, census.ops) != (0, 0) {
        return Err(format!("left behind by the ring's drop: {census:?}"));
    }
    if let Some(blame) = world.blamed() {
        return Err(blame.into());
    }
    // Refused if the ring before it was leaked instead of drained.
    Ring::sim(&config, world).map_err(|error| format!("the ring was not drained: {error}"))?;
    let report = report.borrow();
    if exact && !dropped_early && report.complete != peers {
        return Err(format!("{} of {peers} peers were served", report.complete));
    }
    Ok(Outcome {
        hash: world.hash(),
        events,
        turns: turns as u64,
        complete: report.complete,
        broken: report.broken,
        bytes: report.bytes,
        exact,
        lied,
        dropped_early,
        virtual_time: world.age(),
    })
}

fn run_caught(seed: u64, material: &Material, twist: Twist) -> Result<Outcome, String> {
    let world = World::new(seed);
    catch_unwind(AssertUnwindSafe(|| run(seed, material, &world, twist))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Returns how many seeds are run of `usual`, or of `SITAR_SEEDS`. `cargo xtask ci` takes a sample
/// of them.
fn seeds(usual: u64) -> u64 {
    sampled(number("SITAR_SEEDS").unwrap_or(usual))
}

/// Returns a count of what `SITAR_SAMPLE` divides.
fn sampled(count: u64) -> u64 {
    count / number("SITAR_SAMPLE").unwrap_or(1)
}

/// Miri is some thousand times slower, and what it looks for does not hide in numbers.
fn or_under_miri(count: u64, few: u64) -> u64 {
    if cfg!(miri) { few } else { count }
}

/// Calls `each` for every number below `count`, on all cores.
fn on_all_cores(count: u64, each: impl Fn(u64, &Material) + Sync) {
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let material = Material::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    each(n, &material);
                }
            });
        }
    });
}

#[test]
fn no_seed_loses_anything() {
    if let Some(seed) = number("SITAR_SEED") {
        let world = World::new(seed);
        world.start_trace();
        let result = run(seed, &Material::new(), &world, Twist::None);
        for line in world.take_trace() {
            println!("{line}");
        }
        println!("seed {seed}: {result:?}");
        assert!(result.is_ok());
        return;
    }
    let seeds = seeds(10_000);
    let failures: Mutex<Vec<(u64, String)>> = Mutex::default();
    let sum: Mutex<(Outcome, u64, u64)> = Mutex::default();
    on_all_cores(seeds, |seed, material| match run_caught(seed, material, Twist::None) {
        Ok(outcome) => {
            let (all, exact, early) = &mut *sum.lock().unwrap();
            all.events += outcome.events;
            all.turns += outcome.turns;
            all.complete += outcome.complete;
            all.broken += outcome.broken;
            all.bytes += outcome.bytes;
            all.virtual_time += outcome.virtual_time;
            *exact += u64::from(outcome.exact);
            *early += u64::from(outcome.dropped_early);
        }
        Err(why) => failures.lock().unwrap().push((seed, why)),
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let (all, exact, early) = sum.into_inner().unwrap();
    println!("{seeds} seeds, {exact} exact, {early} dropped early: {all:?}");
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed; SITAR_SEED=n replays one:\n{}",
        failures.len(),
        failures.iter().take(20).map(|(seed, why)| format!("{seed}: {why}\n")).collect::<String>()
    );
    if cfg!(miri) {
        return;
    }
    // The suite itself can rot: most peers must have been served, and many seeds must be strict.
    assert!(exact * 5 > seeds && early * 20 > seeds, "{exact} exact, {early} dropped early");
    assert!(all.complete > all.broken, "{} peers complete, {} not", all.complete, all.broken);
}

/// The seeds do reach the cases that they are for.
#[test]
fn every_fault_strikes() {
    let expected = [
        ("full-queue", 0),
        ("partial-submit", 0),
        ("interrupted", 0),
        ("overtakes a close", 0),
        ("accept =", Errno::NFILE.raw_os_error()),
        ("accept =", Errno::CONNABORTED.raw_os_error()),
        ("accept =", Errno::CANCELED.raw_os_error()),
        ("recv =", Errno::NOBUFS.raw_os_error()),
        ("recv =", Errno::CONNRESET.raw_os_error()),
        ("recv =", Errno::NOMEM.raw_os_error()),
        ("recv =", Errno::CANCELED.raw_os_error()),
        ("send =", Errno::CONNRESET.raw_os_error()),
        ("send =", Errno::PIPE.raw_os_error()),
        ("send =", Errno::NOMEM.raw_os_error()),
        ("send =", Errno::CANCELED.raw_os_error()),
        ("read =", Errno::IO.raw_os_error()),
        ("read =", Errno::NOMEM.raw_os_error()),
        ("peer =", Errno::NOMEM.raw_os_error()),
        ("close =", Errno::INTR.raw_os_error()),
        ("close =", Errno::IO.raw_os_error()),
        ("cancel =", Errno::NOENT.raw_os_error()),
        ("cancel =", Errno::ALREADY.raw_os_error()),
        ("cancel-slot =", Errno::NOENT.raw_os_error()),
        ("wake =", Errno::NOMEM.raw_os_error()),
    ];
    let seen: Mutex<BTreeSet<String>> = Mutex::default();
    on_all_cores(600, |seed, material| {
        let world = World::new(seed);
        world.start_trace();
        run(seed, material, &world, Twist::None).unwrap();
        // "   1234 µs  recv = 5 -105": the number of the operation does not matter.
        let lines = world.take_trace().into_iter().filter_map(|line| {
            let (what, result) = line.split_once(" µs  ")?.1.rsplit_once(' ')?;
            Some(format!("{} {result}", what.rsplit_once(' ')?.0))
        });
        seen.lock().unwrap().extend(lines);
    });
    let seen = seen.into_inner().unwrap();
    for (what, errno) in expected {
        assert!(seen.contains(&format!("{what} {}", -errno)), "never seen: {what} with errno {errno}");
    }
}

/// I3: whatever is in flight at whichever turn, dropping the ring ends it all.
#[test]
fn a_ring_can_be_dropped_at_every_turn() {
    let drops = AtomicU64::new(0);
    on_all_cores(or_under_miri(sampled(24), 2), |seed, material| {
        for turn in 0..TURNS_MAX {
            match run_caught(seed, material, Twist::DropAt(turn)) {
                Ok(outcome) if outcome.dropped_early => drops.fetch_add(1, Ordering::Relaxed),
                // It had ended before.
                Ok(_) => return,
                Err(why) => panic!("seed {seed}, dropped before turn {turn}: {why}"),
            };
        }
    });
    assert!(drops.into_inner() > or_under_miri(sampled(1500), 30));
}

/// Same seed, same run: to the last event and microsecond.
#[test]
fn a_seed_replays_exactly() {
    let mut hashes = Vec::new();
    on_all_cores_twice(200, &mut hashes);
    let distinct: BTreeSet<u64> = hashes.iter().map(|(hash, _)| *hash).collect();
    assert!(distinct.len() > 180, "only {} different runs", distinct.len());
}

fn on_all_cores_twice(seeds: u64, hashes: &mut Vec<(u64, u64)>) {
    let material = Material::new();
    for seed in 0..seeds {
        let first = run_caught(seed, &material, Twist::None).unwrap();
        let second = run_caught(seed, &material, Twist::None).unwrap();
        assert_eq!(first, second, "seed {seed}");
        hashes.push((first.hash, seed));
    }
}

/// I4: a kernel that breaks its word closes the ring. Never a panic, and nothing undefined.
#[test]
fn a_lying_kernel_closes_the_ring() {
    // Files by their names have a suite of their own.
    for lie in Lie::ALL.into_iter().filter(|lie| *lie != Lie::NothingFound) {
        let told = AtomicU64::new(0);
        let failures: Mutex<Vec<(u64, String)>> = Mutex::default();
        on_all_cores(300, |seed, material| {
            let world = World::new(seed);
            let result = catch_unwind(AssertUnwindSafe(|| run(seed, material, &world, Twist::Lie(lie))));
            let verdict = match result {
                Ok(Err(why)) if why.starts_with("wait: InvalidData") => {
                    told.fetch_add(1, Ordering::Relaxed);
                    None
                }
                // Nothing lent itself to the lie, or the ring was dropped before the lie was seen.
                Ok(Ok(outcome)) if !outcome.lied || outcome.dropped_early => None,
                // Told while the ring was being dropped, which then leaks.
                Ok(Err(why)) if why.starts_with("left behind") && world.has_lied() => None,
                Ok(Err(why)) if why.starts_with("the ring was not drained") && world.has_lied() => None,
                Ok(other) => Some(format!("{other:?}")),
                Err(_) => Some("a panic".to_owned()),
            };
            if let Some(verdict) = verdict {
                failures.lock().unwrap().push((seed, verdict));
            }
        });
        let failures = failures.into_inner().unwrap();
        let told = told.into_inner();
        assert!(failures.is_empty(), "{lie:?}: {failures:?}");
        assert!(told > 60, "{lie:?}: told and found out {told} times only");
    }
}

/// A cancel for which the kernel has no memory is made again: who closes a connection, stops
/// receiving, or drops the ring counts on it, and peers that say nothing more would hold it up for
/// ever.
#[test]
fn a_cancel_that_fails_is_made_again() {
    let failures: Mutex<Vec<(u64, String)>> = Mutex::default();
    let failed = AtomicU64::new(0);
    on_all_cores(1000, |seed, material| {
        let world = World::new(seed);
        world.start_trace();
        let twist = Twist::FailingCancels(if seed % 3 == 0 { 950 } else { 300 });
        if let Err(why) = run(seed, material, &world, twist) {
            failures.lock().unwrap().push((seed, why));
        }
        let nomem = format!(" {}", -Errno::NOMEM.raw_os_error());
        let strikes = world.take_trace();
        let strikes = strikes.iter().filter(|line| line.contains("cancel") && line.ends_with(&nomem));
        failed.fetch_add(strikes.count() as u64, Ordering::Relaxed);
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} seeds failed: {:?}", failures.len(), failures.iter().take(5));
    assert!(failed.into_inner() > 2000);
}

/// I3: a panic in the middle of the loop drops the ring, which drains; a new one in the same
/// world serves on.
#[test]
fn a_panic_in_the_loop_is_a_drop() {
    let restarted = AtomicU64::new(0);
    on_all_cores(or_under_miri(500, 4), |seed, material| {
        let world = World::new(seed);
        let rng = &mut Rng::new(seed);
        let config = Config { connections: 4, rx_count: 4, rx_len: 300, tx_count: 4, tx_len: 700 };
        let report = Rc::new(RefCell::new(Report::default()));
        let ring = Ring::sim(&config, &world).unwrap();
        let program = Program::new(&world, ring, &material.file, &material.region, rng.next());
        for number in 0..6 {
            let ask = [Ask::Echo, Ask::File, Ask::Region][rng.below(3)];
            let pause = Duration::from_micros(200);
            let plan = Plan {
                number,
                ask,
                len: 3000,
                lingers: rng.chance(500),
                exact: false,
                pause,
                leaves: None,
                seed: rng.next(),
            };
            spawn(&world, program.ring.waker(), Duration::from_micros(rng.below(4000) as u64), plan, &report);
        }
        let mut left = rng.below(120);
        let panics = AtomicU64::new(0);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let mut program = program;
            while world.census().scripts > 0 {
                program.turn().unwrap();
                left = left.wrapping_sub(1);
                if left == 0 {
                    panics.fetch_add(1, Ordering::Relaxed);
                    // As a panic, without the message of one.
                    std::panic::resume_unwind(Box::new("a bug in the loop"));
                }
            }
        }));
        assert_eq!(unwound.is_err(), panics.into_inner() == 1, "seed {seed}");
        let census = world.census();
        assert_eq!((census.connections, census.ops), (0, 0), "seed {seed}");
        if census.scripts == 0 {
            return;
        }
        restarted.fetch_add(1, Ordering::Relaxed);
        let ring = Ring::sim(&config, &world).unwrap();
        let mut program = Program::new(&world, ring, &material.file, &material.region, rng.next());
        while world.census().scripts > 0 {
            // Peers wake the first ring only: look at the clock now and then.
            program.turn_until(Duration::from_millis(5)).unwrap();
        }
        assert_eq!(program.failure, None, "seed {seed}");
        drop(program);
        assert_eq!(report.borrow().failures, Vec::<String>::new(), "seed {seed}");
        assert_eq!(world.blamed(), None, "seed {seed}");
    });
    let restarted = restarted.into_inner();
    assert!(restarted > or_under_miri(250, 0), "{restarted}");
}
