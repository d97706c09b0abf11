//! Starting within the limits of a user who is not root: locked memory, open files, threads.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::common::{
    PATIENCE, Server, copy_executable, eventually, executable, have, run, run_with, sitar, sitar_inside, skip,
};

/// A folder that others can read, with the program in it.
struct Place {
    folder: TempDir,
    user: u32,
}

impl Place {
    /// `None`: the test is recorded as skipped.
    fn new() -> Option<Place> {
        if !have(&["setpriv", "prlimit", "sh"]) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip("only root can become another user");
            return None;
        }
        let folder = TempDir::new().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let program = folder.path().join("sitar");
        copy_executable(sitar(folder.path()).get_program(), &program);
        // Memory and threads are counted per user, so no two tests may be the same one.
        static TESTS: AtomicU32 = AtomicU32::new(0);
        let user = 1_000_000 + 8 * std::process::id() + TESTS.fetch_add(1, Ordering::Relaxed);
        // In a container whose users are few there is no such one.
        let become_it =
            ["--reuid", &user.to_string(), "--regid", &user.to_string(), "--clear-groups", "true"];
        if !run("setpriv", become_it).status.success() {
            skip("root cannot become any user here (a user namespace)");
            return None;
        }
        Some(Place { folder, user })
    }

    /// A program that executes the server as another user with these limits of `prlimit`.
    fn inside(&self, limits: &str) -> PathBuf {
        let wrapper = self.folder.path().join(format!("run{}", limits.replace(['/', ' '], "_")));
        let (user, folder) = (self.user, self.folder.path().display());
        let script = format!(
            "#!/bin/sh\nshift\nexec setpriv --reuid {user} --regid {user} --clear-groups \
             prlimit {limits} {folder}/sitar \"$@\"\n"
        );
        executable(&wrapper, script);
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
    let Some(place) = Place::new() else { return };
    let start = |inside: &Path, shards: &str, engine: &str| {
        let connections = ["--connections", "512"];
        let arguments = ["--tls", "off", "--shards", shards, "--engine", engine];
        Server::start_inside(inside, arguments.into_iter().chain(connections))
    };
    // A start waits for the rings of a server that has just ended, but a kernel with much to do
    // counts them for longer.
    let started = |inside: &Path, shards: &str| {
        let mut server = start(inside, shards, "auto");
        eventually("a ring", || {
            let engine = engine(&server);
            if engine == IO_URING {
                return true;
            }
            assert!(engine.contains("too little of it is left"), "{shards} shards: {engine}");
            server = start(inside, shards, "auto");
            false
        });
        answers(&server);
        server
    };
    // The usual limit, and that of older systems, of which one process takes all.
    let (usual, old) = (place.inside("--memlock=8388608"), place.inside("--memlock=65536"));
    for shards in ["1", "7", "8", "16", "64"] {
        (0..3).for_each(|_| drop(started(&usual, shards)));
    }
    (0..3).for_each(|_| drop(started(&old, "2")));
    // A ring that is asked for by name, as a user who has had none.
    let Some(named) = Place::new() else { return };
    drop(start(&named.inside("--memlock=8388608"), "8", "uring"));
    if !locks_rings() {
        skip("kernels before 6.14 do not count rings as locked memory: the rest is not tried");
        return;
    }
    // Two others hold 408 KiB each. Of the 208 that are left, the first ring would take 204. As a
    // user of their own: rings of the servers before may be counted for longer than a start waits.
    let Some(others) = Place::new() else { return };
    let shared = others.inside("--memlock=1048576");
    let servers: Vec<Server> = (0..3).map(|_| start(&shared, "2", "uring")).collect();
    servers.iter().for_each(answers);
    drop(servers);
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
    let Some(place) = Place::new() else { return };
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
    // Room for the shard and not for the thread that waits for signals: nothing says before that
    // the server runs.
    let mut command = sitar_inside(&place.inside("--nproc=5"), place.folder.path());
    let arguments =
        ["serve", "--tls", "off", "--listen", "127.0.0.1:0", "--shards", "1", "--engine", "epoll"];
    let ended = run_with(command.args(arguments), b"");
    assert_eq!((ended.status.code(), &ended.stdout[..]), (Some(1), &b""[..]), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("error: cannot start a thread\n"), "{}", ended.stderr);
}

#[test]
fn connections_fit_into_the_limit_on_open_files() {
    let Some(place) = Place::new() else { return };
    let site = TempDir::new_in(place.folder.path()).unwrap();
    std::fs::set_permissions(site.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // Too large for the memory: each answer has a descriptor of its own.
    let large: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(site.path().join("index.html"), "<p>small").unwrap();
    for name in 0..12 {
        std::fs::write(site.path().join(format!("{name}.bin")), &large).unwrap();
    }
    let arguments = ["--tls", "off", "--shards", "2", "--memory", "1"];
    for (limit, engine, connections) in [
        ("1024", "auto", Some(896)),
        ("256", "auto", Some(224)),
        ("128", "auto", Some(112)),
        ("64", "auto", Some(56)),
        ("1024", "epoll", Some(322)),
        ("256", "epoll", Some(70)),
        ("128", "epoll", Some(28)),
        ("64", "epoll", None),
        ("48", "auto", None),
    ] {
        let inside = place.inside(&format!("--memlock=8388608 --nofile={limit}"));
        let Some(connections) = connections else {
            let mut command = sitar_inside(&inside, place.folder.path());
            command.args(["serve", "--listen", "127.0.0.1:0", "--engine", engine]).args(arguments);
            let ended = run_with(&mut command, b"");
            assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
            let least = if engine == "epoll" { 92 } else { 60 };
            let head =
                format!("error: the limit on open files is {limit}, and 2 shards need at least {least}\n");
            assert!(ended.stderr.starts_with(&head), "{}", ended.stderr);
            continue;
        };
        let path = site.path().to_str().unwrap();
        let server = Server::start_inside(&inside, [path, "--engine", engine].into_iter().chain(arguments));
        let expected = format!(
            "\n  warning  at most {connections} connections in each shard instead of 8192, because no more than {limit} files \
             may be open: raise that limit by LimitNOFILE= in a systemd unit"
        );
        eventually("the warning", || server.said().contains(&expected));
        answers(&server);
        // All of them at a time; none reads before all have asked.
        let mut readers: Vec<TcpStream> = (0..12)
            .map(|name| {
                let mut stream = TcpStream::connect(server.address()).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let request = format!("GET /{name}.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).unwrap();
                stream
            })
            .collect();
        for reader in &mut readers {
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).unwrap();
            assert!(
                answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(&large),
                "{limit} {engine}"
            );
        }
    }
    // What was asked for is not replaced.
    let inside = place.inside("--memlock=8388608 --nofile=256");
    let server = Server::start_inside(&inside, arguments.into_iter().chain(["--connections", "400"]));
    answers(&server);
    drop(server);
    let mut command = sitar_inside(&inside, place.folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--connections", "450"]).args(arguments);
    let ended = run_with(&mut command, b"");
    let head = "error: the limit on open files is 256: too low for 450 connections\n\
                \x20 cause: at most 448 fit, 224 in each shard\n";
    assert!(ended.stderr.starts_with(head), "{}", ended.stderr);
    assert_eq!(ended.status.code(), Some(1));
}
