//! Stops, drains, and a worker that does not answer.

use super::clients::{Answer, Download, Idle};
use super::place::{NAME, Place, Service};
use crate::common::client::socket;
use crate::common::{eventually, sample, signal};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::ErrorKind;

/// The size of the download, more than what sockets hold; `SITAR_SAMPLE` divides it, by 4 at most.
const LARGE_MIB: usize = 40;

fn is_refused(service: &Service) -> bool {
    [service.http, service.https()]
        .into_iter()
        .all(|address| socket(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
}

/// A place with a large file, a server of it, and a download in progress.
fn with_download(test: impl FnOnce(&mut Service, &Download)) {
    let place = Place::new();
    let mib = LARGE_MIB / sample().min(4);
    let hash = place.add_large(mib);
    let mut service = place.start();
    let download = Download::start(&service);
    test(&mut service, &download);
    assert!(download.read() < mib << 20, "the download was over too early to tell anything");
    let (len, now) = download.finish();
    assert_eq!((len, now.as_ref()), (mib << 20, hash.as_ref()));
    assert!(service.server.wait().success());
    eventually("the end of all", || service.place.processes().is_empty());
    assert!(!service.place.path("admin.sock").exists(), "the socket is left behind");
    assert_eq!(service.server.said().matches("has ended (").count(), 0, "{}", service.server.said());
}

#[test]
fn sigterm_ends_both_when_answers_have_been_given() {
    with_download(|service, _| {
        signal(service.server.pid(), Signal::TERM);
        eventually("closed ports", || is_refused(service));
        assert_eq!(service.place.processes().len(), 2);
    });
}

#[test]
fn an_interrupt_from_the_terminal_cuts_no_answer() {
    with_download(|service, _| {
        // To both processes.
        let group = Pid::from_raw(i32::try_from(service.server.pid()).unwrap()).unwrap();
        kill_process_group(group, Signal::INT).unwrap();
        eventually("closed ports", || is_refused(service));
        assert_eq!(service.place.processes().len(), 2);
    });
}

#[test]
fn a_drain_accepts_no_more_and_finishes_what_is_open() {
    with_download(|service, _| {
        let idle = Idle::open(service, 10);
        let done = service.run(&["drain"]).ok();
        assert!(done.text().starts_with("draining: "), "{done:?}");
        eventually("closed ports", || is_refused(service));
        for mut idle in idle {
            assert_eq!(idle.ask("localhost"), Answer { status: 200, body: NAME.to_owned(), is_last: true });
            idle.end();
        }
        // It can be asked until the end.
        assert_eq!(service.supervisor(), service.server.pid());
        assert_eq!(service.place.processes().len(), 2);
    });
}

#[test]
fn a_drain_without_connections_is_an_end() {
    let mut service = Place::new().start();
    service.run(&["drain"]).ok();
    assert!(service.server.wait().success());
    eventually("the end of all", || service.place.processes().is_empty());
}

#[test]
fn a_worker_that_does_not_answer_holds_up_no_status_and_no_end() {
    let mut service = Place::new().start();
    let worker = service.worker().unwrap();
    signal(worker, Signal::STOP);
    let text = service.run(&["status"]).ok().text();
    assert!(text.contains("the worker does not answer"), "{text}");
    signal(worker, Signal::CONT);
    eventually("an answer", || service.status()["warnings"].as_array().unwrap().is_empty());
    assert_eq!(service.worker(), Some(worker));
    assert_eq!(service.status()["worker_restarts"], 0);
    signal(worker, Signal::STOP);
    service.server.terminate();
    assert!(service.server.wait().success());
    eventually("the end of all", || service.place.processes().is_empty());
}
