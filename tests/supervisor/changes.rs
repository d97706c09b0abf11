//! Changes that a worker in its sandbox cannot reach: another worker takes its place.

use super::clients::{Answer, Idle, Load, Losses};
use super::place::{NAME, Place, Service};
use crate::common::{eventually, have, run, run_with};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// A site that is served besides.
fn site(host: &str, root: &Path) -> String {
    format!("[[site]]\nhosts = \"{host}\"\nroot = \"{}\"\n", root.display())
}

/// Whether Landlock holds a worker to the roots that it was started with.
fn is_bounded(service: &Service) -> bool {
    service.status()["worker"]["sandbox"].as_str().unwrap().contains("Landlock")
}

/// A connection of before is told by its next answer that another worker serves, if that is so.
fn assert_told(service: &Service, mut idle: Idle, worker: u32) {
    let is_last = service.worker() != Some(worker);
    assert_eq!(is_last, is_bounded(service), "{}", service.status());
    assert_eq!(idle.ask("localhost"), Answer { status: 200, body: NAME.to_owned(), is_last });
    if is_last {
        idle.end();
        eventually("the end of the old worker", || service.place.processes().len() == 2);
    }
}

#[test]
fn a_directory_elsewhere_is_served_after_a_reload() {
    let (place, elsewhere) = (Place::new(), tempfile::TempDir::new().unwrap());
    fs::write(elsewhere.path().join("name.txt"), "elsewhere").unwrap();
    let service = place.start();
    let worker = service.worker().unwrap();
    let load = Load::start(&service, 1, Losses::None);
    let idle = Idle::open(&service, 1).remove(0);
    service.place.configure(&site("b.test", elsewhere.path()));
    service.reload();
    assert_eq!(service.get("b.test", "/name.txt"), (200, "elsewhere".to_owned()));
    assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
    assert_told(&service, idle, worker);
    // What changes there is noticed.
    fs::write(elsewhere.path().join("name.txt"), "changed").unwrap();
    eventually("the change", || service.get("b.test", "/name.txt").1 == "changed");
    assert_eq!(service.status()["worker_restarts"], 0);
    load.finish();
}

#[test]
fn what_a_site_names_besides_its_root_is_read_whole_by_the_worker_that_takes_over() {
    let (place, elsewhere) = (Place::new(), tempfile::TempDir::new().unwrap());
    place.write("503.html", "a while");
    place.write("users", "bob:$5$rounds=1234$salt$Wmg4z916IEmzueSGM6nAMfu1U2QfEnLkEX0e7ziwZcB\n");
    let first = "[[site]]\nhosts = \"a.test\"\nroot = \"site\"\nusers = \"users\"\n\
                 [[site]]\nhosts = \"b.test\"\nroot = \"missing\"\npages = { 503 = \"503.html\" }\n";
    place.configure(first);
    let service = place.start();
    // The worker that serves reads these before it finds that the last site is out of its reach.
    service.place.configure(&(first.to_owned() + &site("c.test", elsewhere.path())));
    service.reload();
    assert_eq!(service.get("a.test", "/name.txt").0, 401);
    assert_eq!(service.get("b.test", "/name.txt"), (503, "a while".to_owned()));
}

#[test]
fn a_link_that_leads_elsewhere_is_followed() {
    let (place, elsewhere) = (Place::new(), tempfile::TempDir::new().unwrap());
    for version in ["one", "two"] {
        fs::create_dir(elsewhere.path().join(version)).unwrap();
        fs::write(elsewhere.path().join(version).join("name.txt"), version).unwrap();
    }
    let link = place.path("current");
    symlink(elsewhere.path().join("one"), &link).unwrap();
    place.configure(&site("b.test", &link));
    let service = place.start();
    let worker = service.worker().unwrap();
    let load = Load::start(&service, 1, Losses::None);
    let idle = Idle::open(&service, 1).remove(0);
    assert_eq!(service.get("b.test", "/name.txt"), (200, "one".to_owned()));
    symlink(elsewhere.path().join("two"), service.place.path("next")).unwrap();
    fs::rename(service.place.path("next"), &link).unwrap();
    eventually("the other content", || {
        load.check();
        service.get("b.test", "/name.txt") == (200, "two".to_owned())
    });
    assert_told(&service, idle, worker);
    load.finish();
}

#[test]
fn a_site_that_comes_as_a_directory_is_served() {
    let place = Place::new();
    let missing = place.path("missing");
    place.configure(&site("b.test", &missing));
    let service = place.start();
    let worker = service.worker().unwrap();
    let idle = Idle::open(&service, 1).remove(0);
    assert_eq!(service.get("b.test", "/name.txt").0, 503);
    service.place.write("new/name.txt", "it is here");
    fs::rename(service.place.path("new"), &missing).unwrap();
    eventually("the site", || service.get("b.test", "/name.txt") == (200, "it is here".to_owned()));
    assert_told(&service, idle, worker);
    let warnings = service.status()["warnings"].to_string();
    assert!(!warnings.contains("503"), "{warnings}");
}

/// In its sandbox a worker cannot make a ring, so a shard that has panicked cannot start again.
#[test]
fn a_shard_that_panics_is_made_up_for() {
    if !have(&["cc"]) {
        return;
    }
    let place = Place::new();
    // A clock that fails makes a shard panic, and nothing of the program has to be another for it.
    let library = place.path("broken_clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/broken_clock.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
    run_with(&mut cc, b"").ok();
    let service = place.start_with([("LD_PRELOAD", library)]);
    let can_start_again = !service.status()["worker"]["sandbox"].as_str().unwrap().contains("seccomp");
    for _ in 0..3 {
        let load = Load::start(&service, 2, Losses::Connections);
        eventually("answers", || load.answered() > 20);
        let panics = || service.server.said().matches("panicked").count();
        let (before, worker) = (panics(), service.worker().unwrap());
        run("sh", ["-c", &format!("kill -40 {worker}")]).ok();
        eventually("the panic", || {
            load.check();
            panics() > before
        });
        eventually("another worker", || {
            can_start_again || service.worker().is_some_and(|other| other != worker)
        });
        let before = load.answered();
        eventually("answers", || load.answered() > before + 20);
        load.finish();
        for _ in 0..10 {
            assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
        }
    }
    // None has ended of that: the other shard's connections were told.
    assert_eq!(service.status()["worker_restarts"], 0);
    eventually("the end of the old workers", || service.place.processes().len() == 2);
}
