//! Folders and plain archives go out compressed a while after the start, and nothing is ever stale.

use crate::common::client::socket;
use crate::common::disk::Small;
use crate::common::site::write;
use crate::common::{Over, Server, children, eventually, run, sample, sitar};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tempfile::TempDir;

/// Files of the site; `SITAR_SAMPLE` divides them.
const FILES: u64 = 2000;

/// A folder with a site, its configuration and its cache.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        fs::create_dir(place.path("site")).unwrap();
        place.configure("");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        write(self.0.path(), name, content);
    }

    /// Writes the configuration, with `more` in the table of the server.
    fn configure(&self, more: &str) {
        self.configure_root("site", more);
    }

    fn configure_root(&self, root: &str, more: &str) {
        self.write(
            "sitar.toml",
            format!(
                "[server]\nshards = 1\ncache = \"cache\"\n{more}\n[admin]\nsocket = \"admin.sock\"\n\
                 [[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n[[site]]\nroot = \"{root}\"\n"
            ),
        );
    }

    fn start(&self) -> Server {
        let mut server = Server::start_configured(&self.path("sitar.toml"));
        server.set_address(server.listeners("http")[0]);
        server
    }

    fn ask(&self, request: &str) -> Value {
        let mut socket = UnixStream::connect(self.path("admin.sock")).unwrap();
        socket.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Returns how many files of the site have encodings.
    fn encoded(&self) -> u64 {
        self.ask("status")["sites"][0]["encodings"]["files"].as_u64().unwrap_or(0)
    }

    /// Waits until this number of files have encodings, and nothing more is made.
    /// A packer stands back for everything else, so this waits for as long as there are more.
    fn wait_until_encoded(&self, files: u64) {
        let mut last = self.encoded();
        while last != files {
            let mut next = last;
            eventually(&format!("{files} files with encodings, of which {last} have some"), || {
                next = self.encoded();
                next != last
            });
            last = next;
        }
    }

    fn warnings(&self) -> String {
        self.ask("status")["warnings"].to_string()
    }

    fn cached(&self) -> Vec<PathBuf> {
        let Ok(folder) = fs::read_dir(self.path("cache")) else { return Vec::new() };
        let all = folder.map(|entry| entry.unwrap().path());
        all.filter(|path| path.extension().is_some_and(|ending| ending == "encodings")).collect()
    }
}

/// A text of some KiB, which begins with the number.
fn text(number: u64) -> String {
    let lines: String =
        (0..100).map(|line| format!("<p>{:016b} of line {line}</p>\n", line * number)).collect();
    format!("{number:020}\n{lines}")
}

/// An answer to a GET that accepts this: the Content-Encoding, and the body.
fn get(server: &Server, path: &str, accept: &str) -> (Option<String>, Vec<u8>) {
    let mut socket = socket(server.address()).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {accept}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let coding = head.lines().find_map(|line| line.strip_prefix("Content-Encoding: ")).map(str::to_owned);
    (coding, answer[end + 4..].to_vec())
}

/// Decodes a body with the program of that coding; `None`: that is not installed.
fn decoded(coding: Option<&str>, body: &[u8]) -> Option<Vec<u8>> {
    let program = match coding {
        None => return Some(body.to_vec()),
        Some("gzip") => "gzip",
        Some("br") => "brotli",
        Some("zstd") => "zstd",
        Some(other) => panic!("{other}"),
    };
    if !crate::common::have(&[program]) {
        return None;
    }
    let mut command = std::process::Command::new(program);
    let finished = crate::common::run_with(command.args(["-d", "-c"]), body).ok();
    Some(finished.stdout)
}

fn check(server: &Server, path: &str, accept: &str, coding: Option<&str>, content: &str) {
    let (sent, body) = get(server, path, accept);
    assert_eq!(sent.as_deref(), coding, "{path} for {accept}");
    if let Some(decoded) = decoded(coding, &body) {
        assert!(decoded == content.as_bytes(), "{path} for {accept}");
    }
}

#[test]
fn two_thousand_files_are_plain_at_first_and_encoded_soon() {
    let place = Place::new();
    let files = FILES / sample() as u64;
    for number in 0..files {
        place.write(&format!("site/{number}.html"), text(number));
    }
    let server = place.start();
    check(&server, "/7.html", "br, gzip, zstd", None, &text(7));
    place.wait_until_encoded(files);
    for number in [0, 7, files - 1] {
        let path = format!("/{number}.html");
        check(&server, &path, "gzip", Some("gzip"), &text(number));
        check(&server, &path, "identity", None, &text(number));
    }
    // One is changed: its content goes out as it is, then encoded.
    place.write("site/7.html", text(8));
    eventually("the new content", || decoded_or_old(&server, "/7.html", 7) == 8);
    eventually("its encoding", || get(&server, "/7.html", "gzip").0.is_some());
    check(&server, "/7.html", "gzip", Some("gzip"), &text(8));
    let status = run_status(&place);
    let all = if files == FILES { "2,000".to_owned() } else { files.to_string() };
    assert!(status.contains(&format!("encodings for {all} of {all} files, ")), "{status}");
}

#[test]
fn the_best_level_follows_the_fast_one() {
    let place = Place::new();
    // Of the few things that Zstandard makes notably smaller than brotli does, at its best.
    let numbers: String = (0..400).map(|number| format!("<p>{number:016b}</p>\n")).collect();
    place.write("site/x.html", &numbers);
    let server = place.start();
    eventually("Zstandard", || get(&server, "/x.html", "zstd").0.is_some());
    for (accept, coding) in [("br, gzip, zstd", "br"), ("gzip", "gzip"), ("zstd", "zstd")] {
        check(&server, "/x.html", accept, Some(coding), &numbers);
    }
}

/// Returns the number of the text that is sent; `old` where it cannot be decoded here.
fn decoded_or_old(server: &Server, path: &str, old: u64) -> u64 {
    let (coding, body) = get(server, path, "gzip");
    decoded(coding.as_deref(), &body).map_or(old, |body| number(&body))
}

fn number(body: &[u8]) -> u64 {
    std::str::from_utf8(&body[..20]).unwrap().parse().unwrap()
}

fn run_status(place: &Place) -> String {
    let mut command = sitar(place.0.path());
    command.arg("status").arg("--socket").arg(place.path("admin.sock"));
    crate::common::run_with(&mut command, b"").ok().text()
}

#[test]
fn no_answer_is_older_than_one_before() {
    let place = Place::new();
    place.write("site/x.html", text(0));
    place.write("site/index.html", text(1));
    let server = place.start();
    place.wait_until_encoded(2);
    let (is_over, newest) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        for accept in ["gzip", "identity", "gzip;q=0.5, identity", "gzip"] {
            let (server, is_over, newest) = (&server, &is_over, &newest);
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let before = newest.load(Ordering::SeqCst);
                    let (coding, body) = get(server, "/x.html", accept);
                    let Some(body) = decoded(coding.as_deref(), &body) else { return };
                    let sent = number(&body);
                    assert!(sent >= before, "{sent} after {before} ({accept}, {coding:?})");
                    newest.fetch_max(sent, Ordering::SeqCst);
                }
            });
        }
        for turn in 1..=8 {
            // By renaming, so that no one reads half of it.
            place.write("site/.x", text(turn));
            fs::rename(place.path("site/.x"), place.path("site/x.html")).unwrap();
            eventually("the new content", || newest.load(Ordering::SeqCst) == turn);
            if turn % 4 == 0 {
                eventually("its encoding", || get(&server, "/x.html", "gzip").0.is_some());
            }
        }
    });
}

#[test]
fn a_plain_archive_is_encoded_and_a_restart_uses_the_cache_at_once() {
    let place = Place::new();
    place.write("site/x.html", text(1));
    let tar = |name: &str| {
        run(
            "tar",
            ["-cf", place.path(name).to_str().unwrap(), "-C", place.path("site").to_str().unwrap(), "."],
        )
        .ok();
    };
    tar("site.tar");
    place.configure_root("site.tar", "");
    let server = place.start();
    place.wait_until_encoded(1);
    check(&server, "/x.html", "br", Some("br"), &text(1));
    // The best level comes after the fast one, and the same file stays in place.
    eventually("one file in the cache", || place.cached().len() == 1);
    drop(server);
    let server = place.start();
    // Before any packer runs.
    assert_eq!(place.encoded(), 1);
    check(&server, "/x.html", "br", Some("br"), &text(1));
    place.write("site/x.html", text(2));
    tar("next.tar");
    fs::rename(place.path("next.tar"), place.path("site.tar")).unwrap();
    eventually("the new content", || decoded_or_old(&server, "/x.html", 1) == 2);
    eventually("its encoding", || get(&server, "/x.html", "br").0.is_some());
}

#[test]
fn a_cache_that_cannot_be_used_is_said_once_and_serving_goes_on() {
    let place = Place::new();
    place.write("site/x.html", text(1));
    place.write("cache", "a file");
    let server = place.start();
    eventually("a word about it", || server.said().contains("goes out without some encodings: the cache "));
    assert!(place.warnings().contains("the cache "), "{}", place.warnings());
    check(&server, "/x.html", "br", None, &text(1));
    // Others may write there: what lies there is not to be trusted.
    fs::remove_file(place.path("cache")).unwrap();
    fs::create_dir(place.path("cache")).unwrap();
    fs::set_permissions(place.path("cache"), fs::Permissions::from_mode(0o777)).unwrap();
    place.write("site/y.html", text(2));
    eventually("a word about its mode", || server.said().contains("others can write to"));
    fs::set_permissions(place.path("cache"), fs::Permissions::from_mode(0o700)).unwrap();
    place.write("site/z.html", text(3));
    place.wait_until_encoded(3);
    assert!(!place.warnings().contains("the cache "), "{}", place.warnings());
}

#[test]
fn the_cache_may_go_or_be_damaged_while_it_is_used() {
    let place = Place::new();
    place.write("site/x.html", text(1));
    place.write("site/y.html", text(2));
    let server = place.start();
    place.wait_until_encoded(2);
    fs::remove_dir_all(place.path("cache")).unwrap();
    check(&server, "/x.html", "gzip", Some("gzip"), &text(1));
    place.write("site/z.html", text(3));
    place.wait_until_encoded(3);
    drop(server);
    // Damaged: it is made again, and nothing of it is sent.
    for file in place.cached() {
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.len() - 300;
        bytes[at] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    let server = place.start();
    check(&server, "/x.html", "gzip", None, &text(1));
    place.wait_until_encoded(3);
    check(&server, "/x.html", "gzip", Some("gzip"), &text(1));
}

#[test]
fn a_full_cache_has_what_fits() {
    let place = Place::new();
    place.configure("cache_size = 0");
    place.write("site/x.html", text(1));
    let server = place.start();
    eventually("a word about it", || server.said().contains("there is no room in the cache"));
    check(&server, "/x.html", "br", None, &text(1));
    assert!(place.warnings().contains("there is no room in the cache"), "{}", place.warnings());
}

#[test]
fn a_cache_in_a_site_is_refused() {
    let place = Place::new();
    place.write("site/index.html", "hello");
    fs::create_dir(place.path("cache")).unwrap();
    let server = place.start();
    place.configure_root(".", "");
    let checked = sitar_by_config(&place, &["config", "check"]);
    assert_eq!(checked.status.code(), Some(3), "{}", checked.text());
    assert!(checked.text().contains("/cache lies in this site"), "{}", checked.text());
    // A reload leaves what is served, and a start is refused.
    let reload = place.ask("reload").to_string();
    assert!(reload.contains("/cache lies in this site"), "{reload}");
    check(&server, "/", "identity", None, "hello");
    drop(server);
    let started = sitar_by_config(&place, &["serve", "--config"]);
    assert_eq!(started.status.code(), Some(1), "{}", started.text());
    assert!(started.stderr.contains("/cache lies in this site"), "{}", started.stderr);
    // Without a use for the cache it may lie anywhere.
    place.configure_root(".", "compress = false");
    drop(place.start());
    // So may one that is not named: the site goes out as it is.
    place.configure_root(".", "");
    let text = fs::read_to_string(place.path("sitar.toml")).unwrap();
    place.write("sitar.toml", text.replace("cache = \"cache\"\n", ""));
    let mut command = sitar(place.0.path());
    command.args(["config", "check"]).arg(place.path("sitar.toml"));
    let checked = crate::common::run_with(command.env("CACHE_DIRECTORY", place.path("cache")), b"");
    assert_eq!(checked.status.code(), Some(0), "{}", checked.text());
}

fn sitar_by_config(place: &Place, arguments: &[&str]) -> crate::common::Finished {
    let mut command = sitar(place.0.path());
    command.args(arguments).arg(place.path("sitar.toml"));
    crate::common::run_with(&mut command, b"")
}

#[test]
fn a_full_disk_is_said_once_and_encoded_when_there_is_room() {
    let place = Place::new();
    let Some(small) = Small::mount(&place.path("cache"), "64k") else {
        return crate::common::skip("no tmpfs can be mounted here");
    };
    for number in 0..100 {
        place.write(&format!("site/{number}.html"), text(number).repeat(9));
    }
    // Some of it is taken already.
    let filler = place.path("cache/filler");
    fs::write(&filler, vec![1; 60 << 10]).unwrap();
    let server = place.start();
    let why = "there is no space left in the cache";
    eventually("a word about it", || server.said().contains(why));
    assert!(place.warnings().contains(why), "{}", place.warnings());
    check(&server, "/7.html", "gzip", None, &text(7).repeat(9));
    // What was not finished takes no room.
    eventually("no remains", || names(&place.path("cache")).iter().all(|name| !name.contains(".encodings")));
    // It is tried again, and nothing is said of that.
    place.write("site/more.html", text(8));
    eventually("the new content", || place.ask("status")["sites"][0]["files"] == 101);
    small.resize("16m");
    place.wait_until_encoded(101);
    assert_eq!(server.said().matches(why).count(), 1, "{}", server.said());
    assert!(!place.warnings().contains(why), "{}", place.warnings());
    check(&server, "/7.html", "gzip", Some("gzip"), &text(7).repeat(9));
}

fn names(folder: &Path) -> Vec<String> {
    let all = fs::read_dir(folder).unwrap();
    all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn one_key_turns_it_off_and_a_reload_turns_it_on() {
    let place = Place::new();
    place.configure("compress = false");
    place.write("site/x.html", text(1));
    let server = place.start();
    assert_eq!(place.encoded(), 0);
    place.configure("compress = true");
    place.ask("reload");
    place.wait_until_encoded(1);
    assert_eq!(place.cached().len(), 1);
    place.configure("compress = false");
    place.ask("reload");
    check(&server, "/x.html", "br", None, &text(1));
    eventually("an empty cache", || fs::read_dir(place.path("cache")).unwrap().next().is_none());
}

#[test]
fn the_cache_is_the_supervisors_and_the_packer_cannot_reach_it() {
    if !rustix::process::geteuid().is_root() {
        return crate::common::skip("only root can have another user serve");
    }
    let place = Place::new();
    place.configure("user = \"65534\"");
    for number in 0..400 {
        place.write(&format!("site/{number}.html"), text(number).repeat(60));
    }
    let server = place.start();
    // What it has open of the cache, once it is in its sandbox.
    let (mut open, mut limits) = (Vec::new(), String::new());
    eventually("a packer", || {
        let mut all = children(server.pid()).into_iter();
        let Some(packer) = all.find(|child| name(*child) == "sitar-packer") else { return false };
        let read = |name: &str| fs::read_to_string(format!("/proc/{packer}/{name}")).unwrap_or_default();
        // First: its limits come before its filter.
        let is_sealed = status_line(packer, "Seccomp:") == "2";
        limits = format!("{}Score {}", read("limits"), read("oom_score_adj"));
        let files = fs::read_dir(format!("/proc/{packer}/fd")).into_iter().flatten();
        let files = files.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        open = files.filter(|path| path.starts_with(place.path("cache"))).collect();
        let uid = status_line(packer, "Uid:");
        is_sealed && !open.is_empty() && uid.split_whitespace().next() == Some("65534")
    });
    let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert_eq!(data.split_whitespace().nth(3), Some("1073741824"), "{data}");
    assert!(limits.ends_with("Score 1000\n"), "the kernel ends it first: {limits}");
    let is_new = |path: &PathBuf| path.to_string_lossy().ends_with(".unfinished");
    assert!(open.iter().all(is_new), "{open:?}");
    place.wait_until_encoded(400);
    let metadata = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.uid(), metadata.mode() & 0o7777)
    };
    assert_eq!(metadata(&place.path("cache")), (0, 0o700));
    let file = place.cached().remove(0);
    assert_eq!(metadata(&file), (0, 0o600));
    drop(server);
    // Another user's file counts for nothing, and is made again.
    std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
    let server = place.start();
    assert_eq!(get(&server, "/7.html", "gzip").0, None);
    place.wait_until_encoded(400);
    assert_eq!(metadata(&file), (0, 0o600));
}

fn status_line(pid: u32, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap_or_default().trim().to_owned()
}

#[test]
fn the_path_of_a_site_may_go_up_and_down() {
    let place = Place::new();
    fs::create_dir(place.path("other")).unwrap();
    place.configure_root("other/../site", "");
    place.write("site/x.html", text(1));
    let server = place.start();
    place.wait_until_encoded(1);
    check(&server, "/x.html", "gzip", Some("gzip"), &text(1));
}

#[test]
fn a_server_waits_for_another_one_that_writes_to_its_files() {
    let place = Place::new();
    place.write("site/x.html", text(1));
    let server = place.start();
    place.wait_until_encoded(1);
    drop(server);
    let lock = fs::read_dir(place.path("cache")).unwrap().map(|entry| entry.unwrap().path());
    let lock: Vec<_> = lock.filter(|path| path.extension().is_some_and(|ending| ending == "lock")).collect();
    let held = fs::File::open(&lock[0]).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    place.write("site/y.html", text(2));
    let server = place.start();
    // It would be encoded by then; if not, the test sees less.
    std::thread::sleep(std::time::Duration::from_secs(3));
    check(&server, "/y.html", "gzip", None, &text(2));
    drop(held);
    place.wait_until_encoded(2);
    assert!(!server.said().contains("without some encodings"), "{}", server.said());
}

#[test]
fn a_site_that_comes_later_is_encoded() {
    for root in ["site", "site.tar"] {
        let place = Place::new();
        fs::remove_dir(place.path("site")).unwrap();
        place.configure_root(root, "");
        let server = place.start();
        fs::create_dir(place.path("next")).unwrap();
        place.write("next/x.html", text(1));
        if root == "site" {
            fs::rename(place.path("next"), place.path(root)).unwrap();
        } else {
            let [next, tar] = ["next", "next.tar"].map(|name| place.path(name));
            run("tar", ["-cf", tar.to_str().unwrap(), "-C", next.to_str().unwrap(), "."]).ok();
            fs::rename(tar, place.path(root)).unwrap();
        }
        // Status is not asked meanwhile, which would have the supervisor look at the site.
        let is_there = || {
            let mut socket = socket(server.address()).unwrap();
            socket.write_all(b"HEAD /x.html HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            answer.starts_with("HTTP/1.1 200 ")
        };
        eventually("the site", is_there);
        eventually("its encodings", || get(&server, "/x.html", "gzip").0.is_some());
        check(&server, "/x.html", "gzip", Some("gzip"), &text(1));
    }
}

#[test]
fn what_another_worker_finds_is_encoded() {
    let place = Place::new();
    for (number, name) in [(1, "one"), (2, "two")] {
        place.write(&format!("releases/{name}/x.html"), text(number));
        std::os::unix::fs::symlink(format!("releases/{name}"), place.path(&format!("to-{name}"))).unwrap();
    }
    fs::rename(place.path("to-one"), place.path("current")).unwrap();
    place.configure_root("current", "");
    let server = place.start();
    place.wait_until_encoded(1);
    // Until nothing is left to do: the best level is done as well.
    let before = fs::metadata(&place.cached()[0]).unwrap().ino();
    eventually("the best level", || fs::metadata(&place.cached()[0]).unwrap().ino() != before);
    // Out of the reach of the worker, where Landlock holds it.
    fs::rename(place.path("to-two"), place.path("current")).unwrap();
    eventually("the new content", || decoded_or_old(&server, "/x.html", 1) == 2);
    eventually("its encoding", || get(&server, "/x.html", "gzip").0.is_some());
    check(&server, "/x.html", "gzip", Some("gzip"), &text(2));
}

#[test]
fn no_packer_outlives_its_supervisor() {
    let place = Place::new();
    for number in 0..400 {
        place.write(&format!("site/{number}.html"), text(number).repeat(60));
    }
    let mut server = place.start();
    let mut packer = None;
    eventually("a packer", || {
        packer = children(server.pid()).into_iter().find(|child| name(*child) == "sitar-packer");
        packer.is_some()
    });
    server.kill();
    eventually("its end", || name(packer.unwrap()) != "sitar-packer");
}

#[test]
fn a_stop_leaves_nothing_unfinished() {
    let place = Place::new();
    for number in 0..400 {
        place.write(&format!("site/{number}.html"), text(number).repeat(60));
    }
    let mut server = place.start();
    let unfinished = || {
        let Ok(folder) = fs::read_dir(place.path("cache")) else { return false };
        folder.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".unfinished"))
    };
    eventually("a run", unfinished);
    server.terminate();
    assert!(server.wait().success());
    assert!(!unfinished());
}

fn name(pid: u32) -> String {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}
