//! Another program takes over, and no client notices more than it was told; or it cannot, and
//! nothing has changed.

use super::clients::{Answer, Download, Idle, Load, Losses};
use super::place::{NAME, Place, Service};
use crate::common::files::OpenFiles;
use crate::common::{children, descriptors, eventually, program, sample, signal};
use rustix::process::Signal;
use std::path::Path;

/// Connections that are idle during an upgrade; `SITAR_SAMPLE` divides them.
const IDLE: usize = 500;
/// The size of the download, more than what sockets hold; `SITAR_SAMPLE` divides it, by 4 at most.
const LARGE_MIB: usize = 100;
/// Upgrades in a row.
const UPGRADES: usize = 10;
/// Clients of each protocol.
const PAIRS: usize = 3;
/// Descriptors that come and go: those of status, of connections that are ending, and of the
/// channel to the process before.
const PASSING: usize = 4;

/// The program that is not waited for for long.
const HANGS: &str = "one that hangs";

/// Waits until one supervisor and its worker are all that there is.
fn wait_for_the_old_ones(service: &Service) {
    eventually("the end of the old processes", || service.place.processes().len() == 2);
}

/// Upgrades by the subcommand. Returns the number of the new supervisor.
fn upgrade(service: &Service) -> u32 {
    let said = service.run(&["upgrade"]).ok().text();
    let version = env!("CARGO_PKG_VERSION");
    let rest = said.strip_prefix(&format!("upgraded: sitar {version} serves now, process "));
    rest.unwrap_or_else(|| panic!("{said}")).trim_end().parse().unwrap()
}

/// Waits until clients have had more answers.
fn wait_for_answers(load: &Load) {
    let before = load.answered();
    eventually("more answers", || {
        load.check();
        load.answered() >= before + 20 * PAIRS
    });
}

#[test]
fn an_upgrade_is_noticed_by_no_client() {
    let idle = IDLE / sample();
    let Some(_files) = OpenFiles::reserve(2 * idle + 200) else { return };
    let place = Place::new();
    let mib = LARGE_MIB / sample().min(4);
    let hash = place.add_large(mib);
    let service = place.start();
    let first = service.supervisor();
    assert_eq!(first, service.server.pid());
    let load = Load::start(&service, PAIRS, Losses::None);
    let download = Download::start(&service);
    let idle = Idle::open(&service, idle);
    wait_for_answers(&load);

    service.place.install(Path::new(&program()));
    let second = upgrade(&service);
    assert_ne!(second, first);
    service.assert_served_by(second);
    wait_for_answers(&load);
    eventually("the end of each connection of before", || {
        load.check();
        load.closed() >= 2 * PAIRS
    });
    // The old worker is there as long as it has something to do.
    assert_eq!(service.place.processes().len(), 4);
    for mut idle in idle {
        assert_eq!(idle.ask("localhost"), Answer { status: 200, body: NAME.to_owned(), is_last: true });
        idle.end();
    }
    assert!(download.read() < mib << 20, "the download was over too early to tell anything");
    assert_eq!(service.place.processes().len(), 4);
    let (len, now) = download.finish();
    assert_eq!((len, now.as_ref()), (mib << 20, hash.as_ref()));
    wait_for_the_old_ones(&service);
    load.finish();
    service.assert_served_by(second);
}

#[test]
fn ten_upgrades_in_a_row_leave_nothing_behind() {
    let service = Place::new().start();
    let load = Load::start(&service, PAIRS, Losses::None);
    let mut supervisors = vec![service.supervisor()];
    let sizes = |supervisor| {
        let worker = service.worker().unwrap();
        assert_eq!(children(supervisor), [worker]);
        [descriptors(supervisor), descriptors(worker)]
    };
    let mut open = vec![sizes(supervisors[0])];
    for turn in 0..UPGRADES {
        service.place.install(Path::new(&program()));
        if turn % 3 == 2 {
            signal(supervisors[turn], Signal::USR2);
            eventually("the new process", || service.supervisor() != supervisors[turn]);
            supervisors.push(service.supervisor());
        } else {
            supervisors.push(upgrade(&service));
        }
        wait_for_answers(&load);
        wait_for_the_old_ones(&service);
        service.assert_served_by(supervisors[turn + 1]);
        open.push(sizes(supervisors[turn + 1]));
    }
    load.finish();
    let mut once = supervisors.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), UPGRADES + 1, "{supervisors:?}");
    println!("open descriptors: {open:?}");
    let (first, last) = (open[0], open[UPGRADES]);
    for (first, last) in first.into_iter().zip(last) {
        assert!(last <= first + PASSING + 2 * PAIRS, "{open:?}");
    }
    assert!(service.place.path("admin.sock").exists());
    assert_eq!(service.status()["worker_restarts"], 0);
}

/// Sockets that one engine has accepted from are another's then.
#[test]
fn an_upgrade_may_change_the_engine() {
    let service = Place::new().start();
    let load = Load::start(&service, 1, Losses::None);
    for engine in ["epoll", "auto", "epoll", "auto"] {
        service.place.configure_engine(engine, "");
        let supervisor = upgrade(&service);
        wait_for_answers(&load);
        wait_for_the_old_ones(&service);
        service.assert_served_by(supervisor);
        let now = service.status()["worker"]["engine"].to_string();
        assert!(engine == "auto" || now.contains(engine), "{now}");
        // Connections one after the other, each of which finds none that waits beside it.
        for _ in 0..20 {
            assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
        }
    }
    load.finish();
}

/// Has an upgrade refused with these words, and nothing changed.
fn is_refused(service: &Service, supervisor: u32, what: &str, expected: &str) {
    let worker = service.worker();
    let wait: &[&str] = if what == HANGS { &["--wait", "2"] } else { &[] };
    let done = service.run(&[&["upgrade"], wait].concat());
    assert_eq!(done.status.code(), Some(1), "{what}: {done:?}");
    assert!(done.stderr.contains(expected), "{what}: {done:?}");
    assert!(done.stderr.contains("the program that served serves on"), "{what}: {done:?}");
    service.assert_served_by(supervisor);
    assert_eq!(service.worker(), worker, "{what}");
    wait_for_the_old_ones(service);
    assert!(service.server.said().contains("not upgraded, this program serves on: "), "{what}");
}

#[test]
fn a_program_that_cannot_take_over_changes_nothing() {
    let service = Place::new().start();
    let supervisor = service.supervisor();
    let load = Load::start(&service, 1, Losses::None);
    let before = descriptors(supervisor);
    for (what, script, expected) in [
        ("one that crashes", "exit 3", "the new program has ended before it served"),
        ("one that is killed", "kill -9 $$", "the new program has ended before it served"),
        (HANGS, "while :; do sleep 0.2; done", "the new program does not serve in time"),
        ("one that talks", "echo what is this, and who asks? >&0; sleep 0.2", "the new program"),
        ("one of JSON", r#"printf '\002\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0{}' >&0"#, "is not understood"),
    ] {
        service.place.install_script(script);
        is_refused(&service, supervisor, what, expected);
    }
    service.place.write("text", "no program");
    service.place.install(&service.place.path("text"));
    is_refused(&service, supervisor, "a text", "cannot start ");
    std::fs::remove_file(service.place.path("sitar")).unwrap();
    is_refused(&service, supervisor, "nothing", "cannot start ");
    // By a signal, too.
    service.place.install_script("exit 3");
    let refused = |service: &Service| service.server.said().matches("not upgraded").count();
    let times = refused(&service);
    signal(supervisor, Signal::USR2);
    eventually("the refusal", || refused(&service) > times);
    service.assert_served_by(supervisor);

    service.place.install(Path::new(&program()));
    service.place.configure("colour = \"red\"\n");
    is_refused(&service, supervisor, "a mistake", "unknown key 'colour' in [[site]]");
    service.place.configure("[[site]]\nhosts = \"b.test\"\nroot = \"site\"\npages = { 503 = \"no.html\" }\n");
    is_refused(&service, supervisor, "a page that is missing", "no.html");
    assert!(descriptors(supervisor) <= before + PASSING, "{before} -> {}", descriptors(supervisor));

    service.place.configure("");
    wait_for_answers(&load);
    assert_eq!(load.closed(), 0);
    let next = upgrade(&service);
    assert_ne!(next, supervisor);
    wait_for_answers(&load);
    load.finish();
    wait_for_the_old_ones(&service);
}
