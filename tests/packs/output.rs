//! Standard output that takes nothing: its reader went away, its disk is full, it was closed.

use crate::common::site::write;
use crate::common::{eventually, run_with, sitar, sitar_by};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A pipe without a reader.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// The exit code and standard error.
fn ended(arguments: &[&OsStr], stdout: Stdio) -> (Option<i32>, String) {
    let home = TempDir::new().unwrap();
    let mut command = sitar(home.path());
    let mut child = command.args(arguments).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn each_verb_says_when_its_output_is_lost_and_ends_quietly_when_nobody_reads_it() {
    let folder = TempDir::new().unwrap();
    let (clean, broken) = (folder.path().join("clean"), folder.path().join("broken"));
    write(&clean, "index.html", "<!doctype html><title>t</title>\n");
    write(&broken, "index.html", "<!doctype html><title>t</title><a href=gone>g</a>\n");
    let archive = folder.path().join("site.tar");
    let word = OsStr::new;
    let doctor = ended(&[word("doctor")], Stdio::null()).0;
    let cases: [(&[&OsStr], Option<i32>); 9] = [
        (&[word("check"), clean.as_os_str()], Some(0)),
        (&[word("check"), broken.as_os_str()], Some(3)),
        (&[word("check"), word("--json"), broken.as_os_str()], Some(3)),
        (&[word("doctor")], doctor),
        (&[word("doctor"), word("--json")], doctor),
        (&[word("--help")], Some(0)),
        (&[word("serve"), word("--help")], Some(0)),
        (&[word("--version")], Some(0)),
        (&[word("pack"), clean.as_os_str(), word("-o"), archive.as_os_str()], Some(0)),
    ];
    for (arguments, code) in cases {
        assert_eq!(ended(arguments, unread()), (code, String::new()), "{arguments:?}");
        let (lost, said) = ended(arguments, full().into());
        assert_eq!(lost, Some(1), "{arguments:?}: {said}");
        let cause =
            "error: cannot write to standard output\n  cause: No space left on device (os error 28)\n";
        assert!(said.starts_with(cause), "{arguments:?}: {said}");
    }
    // What was to be made is there all the same.
    assert!(archive.metadata().unwrap().len() > 1024);

    // Closed streams swallow what they are given; nothing of it lands in a file that is opened
    // later.
    let home = TempDir::new().unwrap();
    let script = "exec \"$@\" >&- 2>&-";
    let shell = || {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]);
        sitar_by(shell, home.path())
    };
    let closed = run_with(shell().arg("check").arg(&broken), b"");
    assert_eq!((closed.status.code(), closed.stdout.len(), closed.stderr.len()), (Some(3), 0, 0));
    let before = std::fs::read(&archive).unwrap();
    let closed = run_with(shell().arg("pack").arg(&clean).arg("-o").arg(&archive), b"");
    assert_eq!(closed.status.code(), Some(0));
    assert_eq!(std::fs::read(&archive).unwrap(), before);
}

#[test]
fn a_server_serves_whatever_becomes_of_its_output() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "index.html", "<!doctype html><title>t</title>\n");
    let line = served(folder.path(), full().into());
    assert!(
        line.ends_with(
            "Z warning sitar: the report of the start could not be printed: No space left on device (os error 28)\n"
        ),
        "{line}"
    );
    // A report without a reader is no reason for a word: the next line is the last one, of the
    // stop.
    let line = served(folder.path(), unread());
    assert!(line.contains("Z info sitar: stopped; "), "{line}");
}

/// Serves with that standard output until it answers, and returns the line of standard error behind
/// that of the start.
fn served(folder: &Path, stdout: Stdio) -> String {
    let home = TempDir::new().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = sitar(home.path());
    command.arg("serve").arg(folder).args(["--tls", "off", "--no-watch", "--listen"]);
    let mut child =
        command.arg(format!("127.0.0.1:{port}")).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    eventually("the port to answer", || {
        assert_eq!(child.try_wait().unwrap(), None, "the server ended");
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(first.contains("Z info sitar: serving; "), "{first}");
    let line = lines.next().unwrap() + "\n";
    lines.for_each(drop);
    assert!(child.wait().unwrap().success());
    line
}
