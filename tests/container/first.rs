//! The first process of a container: what ends comes to it, and its end is the container's.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::{FORBIDDEN, Image, NOBODY, Run, USUAL_LOCK, line};
use crate::common::{Finished, Server, children, eventually, run_with, signal};

const FIRST: Run = Run { lock: USUAL_LOCK, denies: true, is_first: true };

/// Returns the server, which is what `unshare` has started.
fn first_process(server: &Server) -> u32 {
    let found = children(server.pid());
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

/// Runs a program of the image inside of the container.
fn inside(image: &Image, pid: u32, program: &str, arguments: &[&str]) -> Finished {
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--mount", "--pid", "--target", &pid.to_string()]);
    nsenter.args([
        "setpriv",
        "--reuid",
        &NOBODY.to_string(),
        "--regid",
        &NOBODY.to_string(),
        "--clear-groups",
    ]);
    run_with(nsenter.arg(program).args(arguments).current_dir(image.path()), b"")
}

/// Has the server stop as `docker stop` does.
fn stops(mut server: Server) {
    signal(first_process(&server), Signal::TERM);
    assert!(server.wait().success(), "{}", server.said());
}

/// Returns the processes that a process has started or inherited, also those whose end it has not
/// taken note of.
fn children_and_ended(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let all = lists.collect::<String>();
    all.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// Has a process that has lost its parent, and so become the server's child, end in the container.
fn an_orphan_is_reaped(image: &Image, pid: u32) {
    let before = children_and_ended(pid);
    inside(image, pid, "sh", &["-c", "(sleep 0.2 & sleep 0.2 &) ; exit 0"]).ok();
    eventually("what has ended to be gone", || {
        children_and_ended(pid).iter().all(|child| before.contains(child))
    });
}

#[test]
fn without_a_configuration_it_serves_reaps_and_stops() {
    let Some(image) = Image::new() else { return };
    let server = image.serve(&FIRST);
    image.is_served(&server);
    assert_eq!(line(&server, "engine"), FORBIDDEN);
    an_orphan_is_reaped(&image, first_process(&server));
    image.is_served(&server);
    stops(server);
}

#[test]
fn with_a_configuration_it_starts_another_worker_and_is_not_upgraded() {
    let Some(image) = Image::new() else { return };
    let server = image.serve_configured(&FIRST);
    image.is_served(&server);
    let pid = first_process(&server);
    let worker = children(pid);
    assert_eq!(worker.len(), 1);
    signal(worker[0], Signal::KILL);
    eventually("another worker", || {
        let now = children(pid);
        now.len() == 1 && now != worker && super::page(&server, &image.file("server.pem")).is_ok()
    });
    an_orphan_is_reaped(&image, pid);

    let (program, socket) = (image.file("sitar"), image.file("run/admin.sock"));
    let [program, socket] = [&program, &socket].map(|path| path.to_str().unwrap());
    let ended = inside(&image, pid, program, &["upgrade", "--socket", socket]);
    assert!(!ended.status.success(), "{ended:?}");
    let why = "the first process of a container cannot hand over: its end ends the container";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
    assert!(ended.stderr.contains("start a new container"), "{}", ended.stderr);
    image.is_served(&server);
    stops(server);
}
