//! `user` in `[server]`: the worker is another user, and the supervisor keeps what it needs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{NOBODY, certify, page};
use crate::common::site::write;
use crate::common::{Server, children, copy_executable, eventually, run_with, sitar, sitar_at, skip};

/// Capabilities as `capabilities(7)` numbers them.
const DAC_READ_SEARCH: u64 = 1 << 2;
const KILL: u64 = 1 << 5;
const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;
const NET_BIND_SERVICE: u64 = 1 << 10;

const IPC_LOCK: u64 = 1 << 14;
const SYS_RESOURCE: u64 = 1 << 24;

/// A site, a key that root alone can read, and a configuration.
struct Place(TempDir);

impl Place {
    fn new(user: &str) -> Place {
        let place = Place(TempDir::new().unwrap());
        fs::set_permissions(place.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
        write(place.0.path(), "site/index.html", "by another user");
        certify(&place.file("server.pem"), &place.file("server.key"));
        let text = format!(
            "[server]\nshards = 1\nuser = \"{user}\"\n\
             certificate = {{ chain = \"server.pem\", key = \"server.key\" }}\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n\
             [[site]]\ndefault = true\nroot = \"site\"\n"
        );
        write(place.0.path(), "sitar.toml", text);
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Has a check and a start refuse the configuration, as that user, with these words.
    fn is_refused(&self, user: u32, expected: &str) {
        let copy = self.file("sitar");
        copy_executable(sitar(self.0.path()).get_program(), &copy);
        for (verb, code) in [(&["config", "check"][..], 3), (&["serve", "--config"], 1)] {
            let home = TempDir::new().unwrap();
            let mut command = sitar_at(&copy, home.path());
            if user != 0 {
                command.uid(user).gid(user);
            }
            let ended = run_with(command.args(verb).arg(self.file("sitar.toml")), b"");
            assert_eq!(ended.status.code(), Some(code), "{}{}", ended.text(), ended.stderr);
            let said = ended.text() + &ended.stderr;
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
}

/// Returns the fields of `/proc/PID/status`.
fn status(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn worker(server: &Server) -> u32 {
    let all = children(server.pid());
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

/// Whether the limit on locked memory does not bind this process, which can remove it: by
/// CAP_IPC_LOCK in the first user namespace, and CAP_SYS_RESOURCE.
fn may_lock_anything() -> bool {
    let own = u64::from_str_radix(&status(std::process::id())["CapEff"], 16).unwrap();
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    own & IPC_LOCK != 0 && own & SYS_RESOURCE != 0 && map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn is_root() -> bool {
    if !rustix::process::geteuid().is_root() {
        skip("only root can become another user");
    }
    rustix::process::geteuid().is_root()
}

#[test]
fn the_worker_has_no_privileges_and_the_supervisor_few() {
    if !is_root() {
        return;
    }
    let is_exempt = may_lock_anything();
    let place = Place::new("nobody");
    let server = Server::start_configured(&place.file("sitar.toml"));
    assert_eq!(page(&server, &place.file("server.pem")).unwrap(), b"by another user");

    let of_worker = status(worker(&server));
    let four = [NOBODY.to_string(), NOBODY.to_string(), NOBODY.to_string(), NOBODY.to_string()].join("\t");
    assert_eq!((&of_worker["Uid"], &of_worker["Gid"]), (&four, &four));
    assert_eq!(of_worker["Groups"], NOBODY.to_string());
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&of_worker[set], 16), Ok(0), "{set}: {of_worker:?}");
    }
    assert_eq!((&*of_worker["NoNewPrivs"], &*of_worker["Seccomp"]), ("1", "2"));

    let of_supervisor = status(server.pid());
    let kept = DAC_READ_SEARCH | KILL | SETGID | SETUID | NET_BIND_SERVICE;
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(u64::from_str_radix(&of_supervisor[set], 16), Ok(kept), "{set}: {of_supervisor:?}");
    }
    assert!(of_supervisor["Uid"].starts_with("0\t"), "{of_supervisor:?}");

    // Rings of root's are not counted as locked memory, and those of its worker need not be.
    let limits = fs::read_to_string(format!("/proc/{}/limits", worker(&server))).unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max locked memory")).unwrap();
    assert!(limit.matches("unlimited").count() == 2 || !is_exempt, "{limit}");

    // The key is root's, and so is the next one.
    certify(&place.file("new.pem"), &place.file("new.key"));
    fs::rename(place.file("new.key"), place.file("server.key")).unwrap();
    fs::rename(place.file("new.pem"), place.file("server.pem")).unwrap();
    eventually("the renewed certificate", || page(&server, &place.file("server.pem")).is_ok());
}

#[test]
fn a_user_that_cannot_be_is_named_by_a_check_and_a_start() {
    if !is_root() {
        return;
    }
    Place::new("no-such-user").is_refused(0, "there is no user 'no-such-user' (user in [server])");
    let place = Place::new("daemon");
    // Its owner alone could not read the key.
    std::os::unix::fs::chown(place.file("server.key"), Some(NOBODY), Some(NOBODY)).unwrap();
    place.is_refused(NOBODY, "this process cannot become user 'daemon' (user in [server])");
}
