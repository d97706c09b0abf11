//! One of both processes is killed.

use super::clients::{Download, Idle, Load, Losses};
use super::place::{NAME, Place};
use crate::common::{eventually, sample, signal};
use rustix::process::Signal;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// How often the worker is killed; `SITAR_SAMPLE` divides it.
const KILLS: usize = 20;
/// The size of the download, more than what sockets hold; `SITAR_SAMPLE` divides it, by 4 at most.
const LARGE_MIB: usize = 40;
const PAIRS: usize = 2;

#[test]
fn a_worker_that_is_killed_costs_its_connections_and_nothing_else() {
    let kills = (KILLS / sample()).max(5);
    let service = Place::new().start();
    let supervisor = service.supervisor();
    let load = Load::start(&service, PAIRS, Losses::Connections);
    let start = Instant::now();
    let mut workers = vec![service.worker().unwrap()];
    for turn in 1..=kills {
        let before = load.answered();
        eventually("answers", || {
            load.check();
            load.answered() >= before + 10
        });
        signal(workers[turn - 1], Signal::KILL);
        let mut next = None;
        eventually("another worker", || {
            load.check();
            next = service.worker().filter(|next| *next != workers[turn - 1]);
            next.is_some()
        });
        workers.extend(next);
        // Clients are answered by it, old ones and new ones.
        let before = load.answered();
        eventually("answers", || load.answered() > before);
        assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
        let status = service.status();
        assert_eq!(status["worker_restarts"], turn, "{status}");
        assert_eq!(status["pid"], supervisor, "{status}");
    }
    println!("{kills} kills in {:?}, {} answers, {} lost", start.elapsed(), load.answered(), load.lost());
    // Each of these pauses was waited for at least: no machine is too fast for that.
    let pauses: Duration = (2..=kills)
        .map(|crash| Duration::from_millis(250 << (crash - 2).min(6)).min(Duration::from_secs(16)))
        .sum();
    assert!(start.elapsed() >= pauses, "{:?} < {pauses:?}", start.elapsed());
    let said = service.server.said();
    let lines = said.lines().filter(|line| line.contains(" has ended ("));
    // The first, and the second, which says that the others are not said.
    assert_eq!(lines.count(), 2, "{said}");
    assert_eq!(said.matches("; another one is started\n").count(), 1, "{said}");
    assert_eq!(said.matches("after a pause, and this is not said again\n").count(), 1, "{said}");
    load.finish();
}

/// Nothing keeps its worker from finishing what it has begun.
#[test]
fn a_supervisor_that_is_killed_leaves_a_worker_that_finishes() {
    let place = Place::new();
    let mib = LARGE_MIB / sample().min(4);
    let hash = place.add_large(mib);
    let mut service = place.start();
    let worker = service.worker().unwrap();
    let (http, https) = (service.http, service.https());
    let download = Download::start(&service);
    let mut idle = Idle::open(&service, 10);
    service.server.kill();
    eventually("the supervisor's end", || service.place.processes() == [worker]);
    eventually("the drain", || {
        let Some(mut one) = idle.pop() else { return true };
        let answer = one.ask("localhost");
        assert_eq!((answer.status, &*answer.body), (200, NAME));
        match answer.is_last {
            true => one.end(),
            false => idle.push(one),
        }
        idle.is_empty()
    });
    assert!(download.read() < mib << 20, "the download was over too early to tell anything");
    assert_eq!(service.place.processes(), [worker]);
    let (len, now) = download.finish();
    assert_eq!((len, now.as_ref()), (mib << 20, hash.as_ref()));
    eventually("the worker's end", || service.place.processes().is_empty());
    for address in [http, https] {
        TcpListener::bind(address).unwrap();
    }
}

#[test]
fn a_worker_inherits_nothing_that_it_has_no_use_for() {
    let place = Place::new();
    place.write("secret", "a secret");
    let (secret, program) = (place.path("secret"), crate::common::program());
    let program = program.to_str().unwrap();
    place.install_script(&format!("exec 9<'{}'\nexec '{program}' \"$@\"", secret.display()));
    let service = place.start_with([("SECRET", "x".into()), ("RUST_BACKTRACE", "1".into())]);
    let opened = |pid: u32| -> Vec<std::path::PathBuf> {
        let all = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        all.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok()).collect()
    };
    let variables = |pid: u32| -> Vec<String> {
        let all = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        all.split(|byte| *byte == 0).map(|one| String::from_utf8_lossy(one).into_owned()).collect()
    };
    let (supervisor, worker) = (service.supervisor(), service.worker().unwrap());
    assert!(opened(supervisor).contains(&secret) && variables(supervisor).contains(&"SECRET=x".to_owned()));
    assert!(!opened(worker).contains(&secret), "{:?}", opened(worker));
    assert!(!variables(worker).contains(&"SECRET=x".to_owned()), "{:?}", variables(worker));
    assert!(variables(worker).contains(&"RUST_BACKTRACE=1".to_owned()), "{:?}", variables(worker));
}
