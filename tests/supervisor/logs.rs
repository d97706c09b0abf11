//! The access log over an upgrade, and by the worker of another user.

use super::place::{NAME, Place};
use crate::common::asking::while_asking;
use crate::common::{children, eventually, signal, skip};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

#[test]
fn no_record_is_lost_over_an_upgrade() {
    let place = Place::new();
    place.configure("[log]\naccess = \"./a.log\"\nformat = \"common\"\n");
    let service = place.start();
    let ask = |_| assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
    let asked = while_asking(ask, |more| {
        more();
        service.run(&["upgrade"]).ok();
        more();
        eventually("the end of the old processes", || service.place.processes().len() == 2);
        // The successor obeys the signal.
        fs::rename(service.place.path("a.log"), service.place.path("b.log")).unwrap();
        signal(service.supervisor(), Signal::USR1);
        eventually("the file again", || service.place.path("a.log").exists());
        more();
    });
    let lines = || {
        let all = ["a.log", "b.log"].map(|name| fs::read_to_string(service.place.path(name)).unwrap());
        all.concat().lines().filter(|line| line.contains("\"GET /name.txt HTTP/")).count()
    };
    eventually("each record", || lines() >= asked);
    assert_eq!(lines(), asked);
}

/// The signal that follows comes to the process that goes.
#[test]
fn a_file_that_is_renamed_during_an_upgrade_is_there_again() {
    let place = Place::new();
    place.configure("[log]\naccess = \"./a.log\"\n");
    let service = place.start();
    let log = service.place.path("a.log");
    let is_log = |fd: fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|to| to.ends_with("a.log"));
    let has_log = |pid| fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|fds| fds.flatten().any(is_log));
    for _ in 0..40 {
        let (before, old) = (service.place.processes(), service.supervisor());
        let is_renamed = std::thread::scope(|scope| {
            let upgrade = scope.spawn(|| service.run(&["upgrade"]).ok());
            let tell = |signal| kill_process(Pid::from_raw(old.cast_signed()).unwrap(), signal).is_ok();
            let (mut worker, mut is_renamed) = (None, false);
            // The successor serves when its worker does, and goes on when this one says so. So it
            // runs for moments only, and stands still for longer ones: in one of them, most likely,
            // the worker gets the log.
            while !upgrade.is_finished() && tell(Signal::CONT) {
                std::thread::sleep(Duration::from_millis(1));
                let new = || service.place.processes().into_iter().filter(|pid| !before.contains(pid));
                worker = worker.or_else(|| new().flat_map(children).next());
                if !tell(Signal::STOP) || worker.is_some_and(has_log) {
                    break;
                }
                let until = Instant::now() + Duration::from_millis(20);
                while worker.is_some() && !worker.is_some_and(has_log) && Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if worker.is_some_and(has_log) {
                    fs::rename(&log, service.place.path("b.log")).unwrap();
                    is_renamed = true;
                    break;
                }
            }
            tell(Signal::CONT);
            upgrade.join().unwrap();
            is_renamed
        });
        eventually("the end of the old processes", || service.place.processes().len() == 2);
        if is_renamed {
            return eventually("the file again", || log.exists());
        }
    }
    panic!("no successor was stopped before it served");
}

/// Or a file that was removed would take its place on the disk for as long as the worker lives.
#[test]
fn a_file_that_was_rotated_is_let_go_after_a_change_of_the_log() {
    let place = Place::new();
    let log = |more: &str| format!("[log]\naccess = \"./a.log\"\n{more}");
    place.configure(&log(""));
    let service = place.start();
    let path = service.place.path("a.log");
    let open = |worker: u32| {
        let fds = fs::read_dir(format!("/proc/{worker}/fd")).unwrap().flatten();
        let names = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
        names.filter(|name| name.ends_with("b.log") || name.ends_with("other.log")).count()
    };
    let worker = service.worker().unwrap();
    // A log of its own, for as long as answers that began before may end.
    service.place.configure(&log("format = \"common\"\n"));
    service.reload();
    service.place.configure("[log]\naccess = \"./other.log\"\n");
    service.reload();
    service.place.configure(&log(""));
    service.reload();
    assert_eq!(service.worker(), Some(worker));
    fs::rename(&path, service.place.path("b.log")).unwrap();
    assert!(open(worker) > 0);
    signal(service.supervisor(), Signal::USR1);
    eventually("the file again", || path.exists());
    eventually("the end of the others", || open(worker) == 0);
    assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
    eventually("a record", || fs::metadata(&path).unwrap().len() > 0);
}

#[test]
fn another_worker_goes_on_with_the_log() {
    let place = Place::new();
    place.configure("[log]\naccess = \"./a.log\"\nformat = \"common\"\n");
    let service = place.start();
    let log = service.place.path("a.log");
    let lines = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
    eventually("a record", || lines() == 1);
    // The file is another one by the time that the next worker gets it.
    fs::rename(&log, service.place.path("b.log")).unwrap();
    let first = service.worker().unwrap();
    signal(first, Signal::KILL);
    eventually("another worker", || service.worker().is_some_and(|worker| worker != first));
    eventually("the file again", || log.exists());
    assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
    eventually("a record of the next", || lines() == 1);
    assert_eq!(fs::read_to_string(service.place.path("b.log")).unwrap().lines().count(), 1);
}

#[test]
fn a_worker_of_another_user_writes_a_file_that_it_could_not_open() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can have a worker become another user");
    }
    let place = Place::new();
    // What lies in a directory is read as that user.
    fs::set_permissions(place.path("."), fs::Permissions::from_mode(0o755)).unwrap();
    place.configure("[log]\naccess = \"./a.log\"\n");
    let text = fs::read_to_string(place.path("sitar.toml")).unwrap();
    place.write("sitar.toml", text.replace("[server]\n", "[server]\nuser = \"nobody\"\n"));
    let service = place.start();
    let log = service.place.path("a.log");
    for turn in 1..=2 {
        // What is asked for before the worker has the new file is in the old one.
        eventually("a record", || {
            assert_eq!(service.get("localhost", "/name.txt"), (200, NAME.to_owned()));
            fs::metadata(&log).unwrap().len() > 0
        });
        let file = fs::metadata(&log).unwrap();
        assert_eq!((file.uid(), file.mode() & 0o137), (0, 0), "turn {turn}");
        let worker = service.worker().unwrap();
        assert_ne!(fs::metadata(format!("/proc/{worker}/task")).unwrap().uid(), 0);
        fs::remove_file(&log).unwrap();
        signal(service.supervisor(), Signal::USR1);
        eventually("the file again", || log.exists());
    }
}
