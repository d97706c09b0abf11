//! Starting within the limits of a user who is not root: locked memory, open files, threads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::common::{PATIENCE, Server, eventually, have, run_with, sitar, sitar_inside, skip};

/// A folder that others can read, with the program in it.
struct Place {
    folder: TempDir,
    user: u32,
}

impl Place {
    /// `None`: the test is recorded as skipped.
    fn new(test: &str) -> Option<Place> {
        if !have(test, &["setpriv", "prlimit", "sh"]) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip(test, "only root can become another user");
            return None;
        }
        let folder = TempDir::new().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let program = folder.path().join("sitar");
        std::fs::copy(sitar(folder.path()).get_program(), &program).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        // Memory is counted per user, so no other test may be the same one.
        Some(Place { folder, user: 1_000_000 + std::process::id() })
    }

    /// A program that executes the server as another user with these limits of `prlimit`.
    fn inside(&self, limits: &str) -> PathBuf {
        let wrapper = self.folder.path().join(format!("run{}", limits.replace(['/', ' '], "_")));
        let (user, folder) = (self.user, self.folder.path().display());
        let script = format!(
            "#!/bin/sh\nshift\nexec setpriv --reuid {user} --regid {user} --clear-groups \
             prlimit {limits} {folder}/sitar \"$@\"\n"
        );
        std::fs::write(&wrapper, script).unwrap();
        std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
        wrapper
    }
}

fn engine(server: &Server) -> String {
    eventually("the report", || server.said().contains("\n  files "));
    let report = server.said();
    let line = report.lines().find_map(|line| line.strip_prefix("  engine   ")).unwrap();
    line.to_owned()
}

fn answers(server: &Server) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
}

fn locks_rings() -> bool {
    sitar_io::Queues::are_locked_here()
}

const IO_URING: &str = "io_uring (batched; --engine sqpoll needs no system calls, but a core per shard)";

#[test]
fn rings_fit_into_the_memory_that_a_user_may_lock() {
    let test = "engines::rings_fit_into_the_memory_that_a_user_may_lock";
    let Some(place) = Place::new(test) else { return };
    let start = |inside: &Path, shards: &str, engine: &str| {
        let connections = ["--connections", "512"];
        let arguments = ["--tls", "off", "--shards", shards, "--engine", engine];
        Server::start_inside(inside, arguments.into_iter().chain(connections))
    };
    // The usual limit; each is started again at once, while the rings of the one before may still be counted.
    let usual = place.inside("--memlock=8388608");
    for shards in ["1", "7", "8", "16", "64"] {
        for _ in 0..3 {
            let server = start(&usual, shards, "auto");
            assert_eq!(engine(&server), IO_URING, "{shards} shards");
            answers(&server);
        }
    }
    drop(start(&usual, "8", "uring"));
    // The limit of older systems, of which one process takes all.
    let old = place.inside("--memlock=65536");
    for _ in 0..3 {
        let server = start(&old, "2", "auto");
        assert_eq!(engine(&server), IO_URING);
        answers(&server);
    }
    if !locks_rings() {
        skip(test, "kernels before 6.14 do not count rings as locked memory: the rest is not tried");
        return;
    }
    for (limit, shards, why) in [
        ("0", "2", "this user may lock 0 KiB of memory (ulimit -l), and a ring needs at least 12 KiB"),
        (
            "65536",
            "7",
            "this user may lock 64 KiB of memory (ulimit -l), and the rings of 7 shards need at least 112 KiB",
        ),
    ] {
        let inside = place.inside(&format!("--memlock={limit}"));
        let server = start(&inside, shards, "auto");
        let expected = format!(
            "epoll, because {why}: raise that limit by LimitMEMLOCK=infinity in a systemd unit, `ulimit -l unlimited`, or \
             docker run --ulimit memlock=-1"
        );
        assert_eq!(engine(&server), expected);
        answers(&server);
        drop(server);
        for engine in ["uring", "sqpoll"] {
            let mut command = sitar_inside(&inside, place.folder.path());
            let arguments = ["serve", "--tls", "off", "--listen", "127.0.0.1:0", "--shards", shards];
            command.args(arguments).args(["--connections", "512", "--engine", engine]);
            let ended = run_with(&mut command, b"");
            assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
            if engine == "sqpoll" && ended.stderr.contains("needs two cores") {
                continue;
            }
            let head = format!("error: cannot start the io_uring engine\n  cause: {why}\n");
            assert!(ended.stderr.starts_with(&head), "{}", ended.stderr);
            assert!(ended.stderr.contains("LimitMEMLOCK=infinity"), "{}", ended.stderr);
        }
        // And the doctor says the same.
        let mut doctor = sitar_inside(&inside, place.folder.path());
        doctor.args(["doctor", "--json", "--shards", shards, "--connections", "512"]);
        let found = run_with(&mut doctor, b"");
        assert_eq!(found.status.code(), Some(3), "{}", found.stderr);
        let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
        let finding =
            |id| found["findings"].as_array().unwrap().iter().find(|finding| finding["id"] == id).unwrap();
        assert_eq!(finding("io_uring")["found"], *why);
        assert_eq!(finding("io_uring")["missing"], "memory for the rings");
        let cost = "sitar runs on epoll: several system calls for each request instead of one for many";
        assert_eq!(finding("locked_memory")["cost"], cost);
    }
}

#[test]
fn threads_that_a_user_may_not_start_are_named() {
    let Some(place) = Place::new("engines::threads_that_a_user_may_not_start_are_named") else { return };
    let inside = place.inside("--nproc=3");
    let mut command = sitar_inside(&inside, place.folder.path());
    let arguments = ["serve", "--tls", "off", "--listen", "127.0.0.1:0", "--shards", "4"];
    let ended = run_with(command.args(arguments), b"");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert_eq!(
        ended.stderr,
        "error: cannot start the shards\n\
         \x20 cause: Resource temporarily unavailable (os error 11)\n\
         \x20 hint: allow more threads (TasksMax= in a systemd unit, `ulimit -u`, docker run --pids-limit), or start fewer: --shards\n"
    );
}
