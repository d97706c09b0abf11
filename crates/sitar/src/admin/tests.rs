use super::*;
use crate::error::Error;
use rustix::fs::{FileType, Mode};
use rustix::process::Uid;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use sitar_acme::{Progress, Stage};
use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

fn socket() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    (folder, path)
}

/// A server that answers with its number of requests as the length of its life.
fn serve(path: &Path) -> Serving {
    let mut requests = 0;
    let handler = move |request, _: BorrowedFd<'_>| {
        requests += 1;
        match request {
            Request::Status => {
                Reply::Status(Box::new(Status { pid: 7, uptime_seconds: requests, ..Status::default() }))
            }
            Request::Numbers => Reply::Numbers(Box::new(Totals { pid: 7, ..Totals::default() })),
            Request::Reload => Reply::Reload(Reload::done(requests, Vec::new())),
            Request::Drain => Reply::Drain,
            Request::Upgrade { wait } => Reply::Upgrade(Ok(Upgraded { version: "9.9.9".into(), pid: wait })),
            Request::Certificates => Reply::Certificates(vec![ordered()]),
            Request::Renew { name } if name == "a.example" => Reply::Begun(Ok(())),
            Request::Revoke { name, reason: 4 } if name == "a.example" => Reply::Begun(Ok(())),
            Request::Renew { name } | Request::Revoke { name, .. } => Reply::Begun(Err(Error::new(name))),
            Request::RollOver => Reply::Begun(Ok(())),
            Request::Trace(_) => Reply::Refused(Error::new("no worker serves now")),
        }
    };
    Admin::bind(path).unwrap().serve(handler).unwrap()
}

/// A certificate that could not be renewed.
fn ordered() -> Ordered {
    let progress = Progress {
        name: "a.example".into(),
        stage: Stage::Failing,
        serial: Some("0a".into()),
        validity: Some((1_700_000_000, 1_707_776_000)),
        authority: Some("https://ca.example/directory".into()),
        next: std::time::UNIX_EPOCH.checked_add(Duration::from_secs(1_706_000_000)),
        failed: Some("the port is closed".into()),
        hint: Some("open it".into()),
        failures: 2,
    };
    Ordered { names: vec!["a.example".into(), "*.a.example".into()], is_served: true, progress }
}

#[test]
fn ordered_certificates_are_asked_for() {
    let (_folder, path) = socket();
    let _serving = serve(&path);
    let asked = |request: &Request| ask(&path, request).unwrap();
    assert_eq!(read_ordered(&asked(&Request::Certificates)), Some(vec![ordered()]));
    let name = |name: &str| name.to_owned();
    let refused = Some(Err("b.example".to_owned()));
    for (request, begun) in [
        (Request::Renew { name: name("a.example") }, Some(Ok(()))),
        (Request::Renew { name: name("b.example") }, refused.clone()),
        (Request::Revoke { name: name("a.example"), reason: 4 }, Some(Ok(()))),
        (Request::Revoke { name: name("b.example"), reason: 4 }, refused),
        (Request::RollOver, Some(Ok(()))),
    ] {
        let done = read_done(&asked(&request)).map(|done| done.map_err(|error| error.sentence()));
        assert_eq!(done, begun, "{request:?}");
    }
    // The longest name that there is.
    let long = Request::Renew { name: format!("{}.example", "a.".repeat(122)) };
    assert!(read_done(&asked(&long)).unwrap().is_err());
}

fn status_of(path: &Path) -> Status {
    read_status(&ask(path, &Request::Status).unwrap()).unwrap()
}

/// An error without the folder that is another one each time.
fn shown(error: &Error, folder: &TempDir) -> String {
    error.to_string().replace(folder.path().to_str().unwrap(), "DIR")
}

fn connected(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes, ends the sending side, and returns the answer.
fn exchange(path: &Path, bytes: &[u8]) -> String {
    let mut stream = connected(path);
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn requests_are_answered_one_after_the_other() {
    let (_folder, path) = socket();
    let serving = serve(&path);
    assert_eq!((status_of(&path).pid, status_of(&path).uptime_seconds), (7, 2));
    assert_eq!(read_reload(&ask(&path, &Request::Reload).unwrap()), Some(Reload::done(3, Vec::new())));
    drop(serving);
    assert!(!path.exists(), "its file is left behind");
}

#[test]
fn the_line_is_all_that_counts() {
    let (_folder, path) = socket();
    let _serving = serve(&path);
    for (bytes, wanted) in [
        (&b"status\n"[..], "\"uptime_seconds\": "),
        (b"status\r\n", "\"uptime_seconds\": "),
        (b" status \n", "\"uptime_seconds\": "),
        // Without its end, and with something behind it.
        (b"status", "\"uptime_seconds\": "),
        (b"status\nreload\n", "\"uptime_seconds\": "),
        (b"numbers\n", "\"uptime_milliseconds\": 0"),
        (b"numbers 1\n", "\"error\": \"unknown request 'numbers 1'\""),
        (b"reload\n", "\"reload\": {"),
        (b"\n", "\"error\": \"unknown request ''\""),
        (b"STATUS\n", "\"error\": \"unknown request 'STATUS'\""),
        (b"status now\n", "\"error\": \"unknown request 'status now'\""),
        (b"GET / HTTP/1.1\r\n\r\n", "\"error\": \"unknown request 'GET / HTTP/1.1'\""),
        (b"\xff\0\n", "\"error\": \"unknown request '\u{fffd}\\u0000'\""),
        (b"trace {}\n", "\"error\": \"no worker serves now\""),
        (b"trace {\"x\":1}\n", "\"error\": \"this version knows no 'x' of a trace\""),
        (b"trace \n", "\"error\": \"what to trace is no JSON\""),
        (b"trace\n", "\"error\": \"unknown request 'trace'\""),
        (&[b'a'; 4095], "\"error\": \"unknown request 'aaa"),
        (&[b'a'; 4096], "\"error\": \"the request is too long\""),
    ] {
        let answer = exchange(&path, bytes);
        assert!(answer.contains(wanted), "{}: {answer}", bytes.escape_ascii());
        assert!(answer.contains("\"schema\": 1") && answer.contains("\"version\": \""), "{answer}");
    }
    assert_eq!(exchange(&path, b""), "");
}

#[test]
fn a_request_may_come_in_pieces() {
    let (_folder, path) = socket();
    let _serving = serve(&path);
    let mut stream = connected(&path);
    for byte in b"status\n" {
        stream.write_all(&[*byte]).unwrap();
        // Others are served meanwhile.
        assert_eq!(status_of(&path).pid, 7);
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"pid\": 7"), "{answer}");
}

#[test]
fn a_client_that_says_nothing_is_closed() {
    let (_folder, path) = socket();
    let _serving = serve(&path);
    // As many as there are places, and one that asks behind them.
    let mut silent: Vec<UnixStream> = (0..8).map(|_| connected(&path)).collect();
    silent[0].write_all(b"stat").unwrap();
    assert_eq!(status_of(&path).pid, 7);
    for stream in &mut silent {
        let end = stream.read(&mut [0; 8]).map_err(|error| error.kind());
        assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    }
}

#[test]
fn a_request_without_an_end_is_refused_after_a_few_bytes() {
    let (_folder, path) = socket();
    let _serving = serve(&path);
    let mut stream = connected(&path);
    let (piece, mut sent) = (vec![b'x'; 1 << 20], 0_u64);
    // One GiB, if it were taken.
    while sent < 1 << 30 {
        match stream.write(&piece) {
            Ok(count) => sent += count as u64,
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
                    "{error}"
                );
                break;
            }
        }
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    assert_eq!(status_of(&path).pid, 7);
}

#[test]
fn a_hundred_clients_at_once() {
    let (_folder, path) = socket();
    let serving = serve(&path);
    let mut ages: Vec<u64> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..100).map(|_| scope.spawn(|| status_of(&path).uptime_seconds)).collect();
        asking.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    ages.sort_unstable();
    assert_eq!(ages, (1..=100).collect::<Vec<u64>>());
    drop(serving);
}

/// Its end breaks a pipe, which must not end the process; and an answer that no client takes is
/// given up.
#[test]
fn clients_that_go_before_the_answer() {
    let (_folder, path) = socket();
    let handled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&handled);
    let large = Status { warnings: vec!["x".repeat(4 << 20)], ..Status::default() };
    let handler = move |_, _: BorrowedFd<'_>| {
        counter.fetch_add(1, Ordering::SeqCst);
        Reply::Status(Box::new(large.clone()))
    };
    let _serving = Admin::bind(&path).unwrap().serve(handler).unwrap();
    for part in [0, 1, 100_000] {
        for _ in 0..10 {
            let mut stream = connected(&path);
            stream.write_all(b"status\n").unwrap();
            stream.read_exact(&mut vec![0; part]).unwrap();
        }
    }
    assert_eq!(status_of(&path).warnings[0].len(), 4 << 20);
    assert!(handled.load(Ordering::SeqCst) >= 21);
}

#[test]
fn it_is_its_owners_alone() {
    let (_folder, path) = socket();
    let admin = Admin::bind(&path).unwrap();
    let stat = rustix::fs::lstat(&path).unwrap();
    assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::Socket);
    assert_eq!(Mode::from_raw_mode(stat.st_mode), Mode::RUSR | Mode::WUSR);
    drop(admin);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_was_left_behind_is_replaced_and_a_live_one_is_not() {
    let (folder, path) = socket();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let serving = serve(&path);
    assert_eq!(status_of(&path).pid, 7);
    let refused = Admin::bind(&path).unwrap_err();
    assert_eq!(
        shown(&refused, &folder),
        "error: cannot make the admin socket DIR/admin.sock\n  cause: another sitar serves there\n  \
         hint: see what it serves: sitar status\n  \
         hint: or give this one a socket of its own: the key socket of [admin]"
    );
    assert_eq!(status_of(&path).pid, 7);
    // One that listens, and answers nothing.
    drop(serving);
    let _listener = UnixListener::bind(&path).unwrap();
    Admin::bind(&path).unwrap_err();
    assert!(path.exists());
}

#[test]
fn of_many_that_start_at_once_one_serves() {
    let (_folder, path) = socket();
    drop(UnixListener::bind(&path).unwrap());
    let bound: Vec<Result<Admin, Error>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Admin::bind(&path))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1, "{bound:?}");
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let (folder, path) = socket();
    let other = folder.path().join("other");
    std::fs::write(&other, "mine").unwrap();
    let cases: [fn(&Path, &Path); 4] = [
        |path, _| std::fs::write(path, "mine").unwrap(),
        |path, _| std::fs::create_dir(path).unwrap(),
        |path, other| symlink(other, path).unwrap(),
        |path, other| symlink(other.with_file_name("nothing"), path).unwrap(),
    ];
    for make in cases {
        make(&path, &other);
        let before = std::fs::symlink_metadata(&path).unwrap();
        let refused = Admin::bind(&path).unwrap_err();
        assert_eq!(
            shown(&refused, &folder),
            "error: cannot make the admin socket DIR/admin.sock\n  \
             cause: a file that is no socket is there, and it is left alone\n  \
             hint: take another path, or remove the file"
        );
        assert_eq!(std::fs::symlink_metadata(&path).unwrap().ino(), before.ino());
        if before.is_dir() {
            std::fs::remove_dir(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
    }
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine");
}

#[test]
fn it_removes_its_own_file_only() {
    let (_folder, path) = socket();
    for replace in [(|path| std::fs::write(path, "another's").unwrap()) as fn(&Path), |path| {
        drop(UnixListener::bind(path).unwrap());
    }] {
        let serving = serve(&path);
        std::fs::remove_file(&path).unwrap();
        replace(&path);
        drop(serving);
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
    }
    let serving = serve(&path);
    std::fs::remove_file(&path).unwrap();
    drop(serving);
}

#[test]
fn places_that_cannot_be() {
    let (folder, path) = socket();
    let missing = folder.path().join("run/sitar/admin.sock");
    assert_eq!(
        shown(&Admin::bind(&missing).unwrap_err(), &folder),
        "error: cannot make the admin socket DIR/run/sitar/admin.sock\n  \
         cause: there is no folder DIR/run/sitar\n  \
         hint: make it: install -d -m 0700 DIR/run/sitar\n  \
         hint: a unit of systemd makes it with RuntimeDirectory=sitar"
    );
    std::fs::write(folder.path().join("file"), "").unwrap();
    let below = folder.path().join("file/admin.sock");
    assert!(
        shown(&Admin::bind(&below).unwrap_err(), &folder).contains("cause: there is no folder DIR/file\n")
    );
    let base = folder.path().as_os_str().len() + 1;
    let fits = folder.path().join("x".repeat(107 - base));
    drop(Admin::bind(&fits).unwrap());
    let long = folder.path().join("x".repeat(108 - base));
    let cause = "  cause: its path has 108 bytes, and the kernel takes at most 107\n";
    for error in [Admin::bind(&long).unwrap_err(), ask(&long, &Request::Status).unwrap_err()] {
        assert!(error.to_string().contains(cause), "{error}");
    }
    let empty = Admin::bind(Path::new("")).unwrap_err().to_string();
    assert_eq!(empty, "error: cannot use the admin socket\n  cause: its path is empty");
    drop(path);
}

#[test]
fn no_server_there() {
    let (folder, path) = socket();
    let error = |path: &Path| shown(&ask(path, &Request::Status).unwrap_err(), &folder);
    let hints = "  hint: is it running? See: ps -C sitar -o pid,user,args\n  \
                 hint: it has a socket where its configuration says so ([admin]); if that is elsewhere: --socket PATH";
    assert_eq!(
        error(&path),
        format!("error: no sitar answers at DIR/admin.sock\n  cause: there is no such file\n{hints}")
    );
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(
        error(&path),
        format!(
            "error: no sitar answers at DIR/admin.sock\n  \
             cause: the socket is there, and no program listens on it: sitar has ended\n{hints}"
        )
    );
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    assert_eq!(
        error(&path),
        "error: no sitar answers at DIR/admin.sock\n  cause: it is no socket\n  \
         hint: name the socket: --socket PATH"
    );
}

/// Answers one connection with these bytes.
fn answering(path: &Path, bytes: &'static [u8]) -> std::thread::JoinHandle<()> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // All but one byte: then its end breaks the connection.
        stream.read_exact(&mut [0; 6]).unwrap();
        stream.write_all(bytes).unwrap();
    })
}

#[test]
fn answers_of_others() {
    let (folder, path) = socket();
    let foreign = "error: what answers at DIR/admin.sock is no sitar that this one understands\n";
    for (bytes, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], format!("{foreign}  cause: its answer is no JSON")),
        (b"{\"schema\": 1, \"pid\"", format!("{foreign}  cause: its answer is no JSON")),
        (b"[]", format!("{foreign}  cause: its answer has no schema")),
        (
            b"",
            "error: the sitar at DIR/admin.sock did not answer 'status'\n  \
             cause: it closed the connection; it may be stopping"
                .to_owned(),
        ),
        (
            b"{\"schema\": 2, \"error\": \"no\"}",
            "error: the sitar at DIR/admin.sock refused\n  cause: no".to_owned(),
        ),
    ] {
        let answering = answering(&path, bytes);
        assert_eq!(shown(&ask(&path, &Request::Status).unwrap_err(), &folder), expected);
        answering.join().unwrap();
    }
}

#[test]
fn who_may_ask() {
    let own = Uid::from_raw(1000);
    assert!(server::may_ask(Uid::ROOT, own));
    assert!(server::may_ask(own, own));
    assert!(server::may_ask(Uid::ROOT, Uid::ROOT));
    assert!(!server::may_ask(Uid::from_raw(1001), own));
    assert!(!server::may_ask(Uid::from_raw(1000), Uid::ROOT));
    // Users of other namespaces have this number.
    assert!(!server::may_ask(Uid::from_raw(65534), own));
}

/// A reload may take longer than others have for their requests.
#[test]
fn time_in_which_another_is_answered_does_not_count() {
    let (_folder, path) = socket();
    let (begun, begins) = std::sync::mpsc::channel();
    let handler = move |request, _: BorrowedFd<'_>| match request {
        Request::Status => Reply::Status(Box::default()),
        Request::Reload => {
            begun.send(()).unwrap();
            std::thread::sleep(Duration::from_secs(6));
            Reply::Reload(Reload::done(1, Vec::new()))
        }
        _ => unreachable!("nothing asks for it"),
    };
    let _serving = Admin::bind(&path).unwrap().serve(handler).unwrap();
    let mut waiting = connected(&path);
    waiting.write_all(b"stat").unwrap();
    let mut reloading = connected(&path);
    reloading.write_all(b"reload\n").unwrap();
    begins.recv().unwrap();
    waiting.write_all(b"us\n").unwrap();
    let mut answer = String::new();
    reloading.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"ok\": true"), "{answer}");
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"uptime_seconds\": 0"), "{answer}");
}

/// Clients have seconds each, and the end of the server waits for none of them.
#[test]
fn a_client_does_not_keep_the_thread() {
    let (_folder, path) = socket();
    let serving = serve(&path);
    let mut silent = connected(&path);
    drop(serving);
    assert!(!path.exists());
    let end = silent.read(&mut [0; 8]).map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
}

/// Runs on a thread for which permissions hold, whatever the user.
fn without_capabilities<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    let limited = move || {
        set_capabilities(None, sets).unwrap();
        run()
    };
    std::thread::scope(|scope| scope.spawn(limited).join().unwrap())
}

#[test]
fn a_check_refuses_what_bind_refuses() {
    let (folder, _) = socket();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), "mine").unwrap();
    std::fs::create_dir(at("closed")).unwrap();
    std::fs::set_permissions(at("closed"), Permissions::from_mode(0o500)).unwrap();
    symlink(at("nothing"), at("link")).unwrap();
    let _datagrams = UnixDatagram::bind(at("datagrams")).unwrap();
    let cases = [
        (PathBuf::new(), "its path is empty"),
        (at(&"x".repeat(108)), "the kernel takes at most 107"),
        (at("missing/admin.sock"), "there is no folder DIR/missing"),
        (at("file/admin.sock"), "there is no folder DIR/file"),
        (at("closed/admin.sock"), "this user may not make files in DIR/closed"),
        (at("file"), "a file that is no socket is there"),
        (at("closed"), "a file that is no socket is there"),
        (at("link"), "a file that is no socket is there"),
        (at("datagrams"), "another program's socket is there"),
    ];
    for (path, cause) in cases {
        let checked = without_capabilities(|| check(&path)).unwrap_err();
        let bound = without_capabilities(|| Admin::bind(&path)).unwrap_err();
        assert_eq!(shown(&checked, &folder), shown(&bound, &folder));
        assert!(shown(&checked, &folder).contains(cause), "{checked}");
    }
}

#[test]
fn a_check_changes_nothing() {
    let (folder, path) = socket();
    let names = || std::fs::read_dir(folder.path()).unwrap().count();
    check(&path).unwrap();
    assert_eq!(names(), 0);
    // One that was left behind, and one that is live.
    drop(UnixListener::bind(&path).unwrap());
    let number = std::fs::symlink_metadata(&path).unwrap().ino();
    check(&path).unwrap();
    assert_eq!(std::fs::symlink_metadata(&path).unwrap().ino(), number);
    let serving = serve(&path);
    check(&path).unwrap();
    assert_eq!(status_of(&path).pid, 7);
    drop(serving);
    assert_eq!(names(), 0);
}
