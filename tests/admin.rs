//! `sitar status` and `sitar reload` against a server that is written out here.

use crate::common::{Finished, have, run, run_with, sitar, skip, without_settings};
use serde_json::Value;
use sitar::admin::{Admin, Reload, Reply, Request, Serving, Status, Totals, Upgraded, read_status};
use sitar::error::Error;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn status() -> Status {
    Status {
        version: "0.0.1".into(),
        pid: 4711,
        uptime_seconds: 60,
        config: Some("/etc/sitar/sitar.toml".into()),
        ..Status::default()
    }
}

fn totals() -> Totals {
    let connections = [("open".into(), 2), ("accepted".into(), 1234)].into();
    Totals { pid: 4711, is_up: true, connections, answers: [(200, 3), (404, 1)].into(), ..Totals::default() }
}

/// Serves a status, and these outcomes of reloads one after the other.
fn serve(path: &Path, reloads: Vec<Reload>) -> Serving {
    let mut reloads = reloads.into_iter();
    let handler = move |request, _: std::os::fd::BorrowedFd<'_>| match request {
        Request::Status => Reply::Status(Box::new(status())),
        Request::Numbers => Reply::Numbers(Box::new(totals())),
        Request::Reload => Reply::Reload(reloads.next().unwrap()),
        Request::Drain => Reply::Drain,
        Request::Upgrade { wait: 7 } => Reply::Upgrade(Ok(Upgraded { version: "0.0.2".into(), pid: 4712 })),
        Request::Upgrade { wait } => {
            Reply::Upgrade(Err(Error::new(format!("the new program does not serve after {wait} seconds"))))
        }
        other => panic!("{other:?}"),
    };
    Admin::bind(path).unwrap().serve(handler).unwrap()
}

fn socket() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("admin.sock");
    (folder, path)
}

/// Runs a verb; the folder of the test is `DIR` in what it says.
fn ask(folder: &TempDir, arguments: &[&str]) -> Finished {
    let home = TempDir::new().unwrap();
    let mut command = sitar(home.path());
    let arguments = arguments.iter().map(|argument| argument.replace("DIR", folder.path().to_str().unwrap()));
    shown(folder, run_with(command.args(arguments), b""))
}

fn shown(folder: &TempDir, mut ended: Finished) -> Finished {
    ended.stderr = ended.stderr.replace(folder.path().to_str().unwrap(), "DIR");
    ended
}

fn ended(ended: &Finished) -> (Option<i32>, &str, &str) {
    (ended.status.code(), std::str::from_utf8(&ended.stdout).unwrap(), &ended.stderr)
}

#[test]
fn the_status_is_printed_for_people_and_for_programs() {
    let (folder, path) = socket();
    let _serving = serve(&path, Vec::new());
    let text = "sitar 0.0.1, process 4711, running for 1 minute\nconfiguration /etc/sitar/sitar.toml\n\n\
                Since the start\n  connections  2 open, 1,234 accepted\n  \
                answers      2xx: 3, 4xx: 1; 0 bytes of content\n";
    assert_eq!(ended(&ask(&folder, &["status", "--socket", "DIR/admin.sock"])), (Some(0), text, ""));
    let json = ask(&folder, &["status", "--json", "--socket", "DIR/admin.sock"]);
    assert_eq!((json.status.code(), &*json.stderr), (Some(0), ""));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(read_status(&json), Some(status()));
    assert_eq!(json["numbers"]["connections"], serde_json::json!({ "accepted": 1234, "open": 2 }));
    assert_eq!((&json["numbers"]["pid"], &json["numbers_problem"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_reload_is_done_or_refused() {
    let (folder, path) = socket();
    let problems = vec![
        Error::new("/etc/sitar/sitar.toml:12:3: unknown key 'certificat'")
            .hint("did you mean 'certificate'?"),
        Error::new("/etc/sitar/sitar.toml:14:1: cannot listen on 0.0.0.0:443").cause("it is taken"),
    ];
    let reloads = vec![
        Reload::done(1, vec!["site example.com: 3 files".into()]),
        Reload::done(2, Vec::new()),
        Reload::refused(3, problems),
    ];
    let _serving = serve(&path, reloads);
    for expected in [
        (Some(0), "reloaded:\n  site example.com: 3 files\n", ""),
        (Some(0), "reloaded; nothing is different\n", ""),
        (
            Some(1),
            "",
            "error: /etc/sitar/sitar.toml:12:3: unknown key 'certificat'\n  \
             hint: did you mean 'certificate'?\n\
             error: /etc/sitar/sitar.toml:14:1: cannot listen on 0.0.0.0:443\n  cause: it is taken\n\
             sitar: nothing has changed: what was served is served\n",
        ),
    ] {
        assert_eq!(ended(&ask(&folder, &["reload", "--socket", "DIR/admin.sock"])), expected);
    }
}

#[test]
fn without_a_server_the_error_says_what_to_look_at() {
    let (folder, _) = socket();
    let hints = "  hint: is it running? See: ps -C sitar -o pid,user,args\n  \
                 hint: it has a socket where its configuration says so ([admin]); if that is elsewhere: --socket PATH\n";
    for verb in ["status", "reload"] {
        let expected =
            format!("error: no sitar answers at DIR/admin.sock\n  cause: there is no such file\n{hints}");
        let got = ask(&folder, &[verb, "--socket", "DIR/admin.sock"]);
        assert_eq!(ended(&got), (Some(1), "", &*expected));
    }
    // Without a flag, and most likely without a server here.
    let standard = Path::new("/run/sitar/admin.sock");
    if !standard.exists() && !Path::new("/etc/sitar/sitar.toml").exists() {
        let expected = format!(
            "error: no sitar answers at /run/sitar/admin.sock\n  cause: there is no such file\n{hints}"
        );
        assert_eq!(ended(&ask(&folder, &["status"])), (Some(1), "", &*expected));
    }
    let both = ask(&folder, &["status", "--socket", "DIR/admin.sock", "--config", "DIR/sitar.toml"]);
    assert_eq!(both.status.code(), Some(2), "{both:?}");
}

/// Answers each connection with these bytes.
fn answering(path: &Path, answer: &'static str) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn another_version_is_named() {
    let (folder, path) = socket();
    answering(&path, "{\"schema\": 2, \"version\": \"9.9.9\", \"shards\": []}\n");
    let cause = format!(
        "error: cannot read what the sitar at DIR/admin.sock answered\n  \
         cause: that one is version 9.9.9, and this one is {}\n  \
         hint: ask it with the program that it was started from\n",
        env!("CARGO_PKG_VERSION")
    );
    let status = ask(&folder, &["status", "--socket", "DIR/admin.sock"]);
    let expected = format!("{cause}  hint: print its answer as it is: sitar status --json\n");
    assert_eq!(ended(&status), (Some(1), "", &*expected));
    let reload = ask(&folder, &["reload", "--socket", "DIR/admin.sock"]);
    let expected = format!("{cause}  hint: see what it serves now: sitar status\n");
    assert_eq!(ended(&reload), (Some(1), "", &*expected));
    let json = ask(&folder, &["status", "--json", "--socket", "DIR/admin.sock"]);
    let text = "{\n  \"schema\": 2,\n  \"shards\": [],\n  \"version\": \"9.9.9\"\n}\n";
    assert_eq!(ended(&json), (Some(0), text, ""));
}

#[test]
fn another_user_may_not_ask() {
    if !have(&["setpriv", "install"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        skip("only root can become another user");
        return;
    }
    let user = (2_000_000 + std::process::id()).to_string();
    let become_it = ["--reuid", &*user, "--regid", &*user, "--clear-groups"];
    if !run("setpriv", [&become_it[..], &["true"]].concat()).status.success() {
        skip("root cannot become any user here (a user namespace)");
        return;
    }
    let (folder, path) = socket();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(folder.path(), 0o755);
    let program = folder.path().join("sitar");
    // By another process: a program that this one has open for writing cannot be executed, and the
    // children that other tests make have it open for a moment, too.
    let built = sitar(folder.path()).get_program().to_owned();
    run("install", ["-m".as_ref(), "0755".as_ref(), &*built, program.as_os_str()]).ok();
    let _serving = serve(&path, Vec::new());
    let ask = || {
        let mut command = Command::new("setpriv");
        command.args(become_it).arg(&program).args(["status", "--socket"]).arg(&path);
        without_settings(&mut command);
        shown(&folder, run_with(&mut command, b""))
    };
    let refused = "error: this user may not ask the sitar at DIR/admin.sock\n  \
                   cause: only root and the user that it runs as may\n  \
                   hint: type it as root: sudo sitar …\n";
    assert_eq!(ended(&ask()), (Some(1), "", refused));
    // Whatever becomes of the file's permissions, the peer's credentials count.
    mode(&path, 0o666);
    let refused = format!(
        "error: the sitar at DIR/admin.sock refused\n  \
         cause: user {user} may not ask: only root and user 0, which it runs as, may\n"
    );
    for _ in 0..20 {
        assert_eq!(ended(&ask()), (Some(1), "", &*refused));
    }
}

#[test]
fn the_configuration_names_the_socket() {
    let (folder, path) = socket();
    let config = "admin.socket = \"admin.sock\"\n[[site]]\nroot = \"public\"\n";
    std::fs::write(folder.path().join("sitar.toml"), config).unwrap();
    let _serving = serve(&path, vec![Reload::done(1, Vec::new())]);
    let status = ask(&folder, &["status", "--config", "DIR/sitar.toml"]);
    assert!(status.text().starts_with("sitar 0.0.1, process 4711"), "{status:?}");
    let reload = ask(&folder, &["reload", "--config", "DIR/sitar.toml"]);
    assert_eq!(ended(&reload), (Some(0), "reloaded; nothing is different\n", ""));
}
