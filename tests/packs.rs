//! `sitar pack` and `sitar check` as a person calls them, and what becomes of a pack that is
//! served.

mod output;
mod survey;

use crate::common::client::{Client, Response};
use crate::common::site::write;
use crate::common::{Finished, Server, eventually, run_with, sitar, sitar_by};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

fn command(arguments: &[&OsStr]) -> Finished {
    let home = TempDir::new().unwrap();
    run_with(sitar(home.path()).args(arguments), b"")
}

fn pack(site: &Path, to: &Path) -> Finished {
    command(&["pack".as_ref(), site.as_os_str(), "-o".as_ref(), to.as_os_str()]).ok()
}

/// Text that every encoding makes much smaller.
fn words(of: &str) -> String {
    of.repeat(2000)
}

fn get(client: &mut Client, path: &str, accept: &str) -> Response {
    client.request("GET", path, &[("Accept-Encoding", accept)]).unwrap()
}

#[test]
fn the_same_folder_makes_the_same_pack_and_is_served_encoded() {
    let folder = TempDir::new().unwrap();
    let site = folder.path().join("public");
    write(&site, "index.html", "<!doctype html><title>t</title>\n");
    write(&site, "app.js", words("let a = 1; "));
    // Of the few things that Zstandard makes notably smaller than brotli does.
    let numbers: String = (0..400).map(|number| format!("<p>{number:016b}</p>\n")).collect();
    write(&site, "numbers.html", &numbers);
    let (one, two) = (folder.path().join("one.tar"), folder.path().join("two.tar"));
    pack(&site, &one);
    pack(&site, &two);
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());

    let server = Server::start([&one]);
    let mut client = Client::connect(&server);
    for (path, accept, coding, at_most) in [
        ("/app.js", "br", Some("br"), 200),
        ("/app.js", "gzip", Some("gzip"), 300),
        ("/app.js", "zstd", None, 22_000),
        ("/app.js", "gzip, br, zstd", Some("br"), 200),
        ("/app.js", "", None, 22_000),
        ("/numbers.html", "br", Some("br"), 450),
        ("/numbers.html", "gzip", Some("gzip"), 700),
        ("/numbers.html", "zstd", Some("zstd"), 350),
        ("/numbers.html", "", None, 9_600),
    ] {
        let got = get(&mut client, path, accept);
        assert_eq!((got.status, got.field("content-encoding")), (200, coding), "{path} {accept}");
        assert!(got.body.len() <= at_most, "{path} {accept}: {}", got.body.len());
        assert_eq!(got.field("vary"), Some("Accept-Encoding"));
    }
    // Without more, it is a tar that holds the site.
    let listed = run_with(Command::new("tar").arg("-tf").arg(&one), b"").ok().text();
    assert!(listed.lines().any(|line| line.trim_start_matches("./") == "app.js"), "{listed}");
}

#[test]
fn one_pack_takes_the_place_of_another() {
    let folder = TempDir::new().unwrap();
    let (site, served, next) =
        (folder.path().join("public"), folder.path().join("site.tar"), folder.path().join("next.tar"));
    write(&site, "index.html", "first");
    write(&site, "same.txt", words("the same "));
    pack(&site, &served);
    let server = Server::start([&served]);
    let mut client = Client::connect(&server);
    assert_eq!(client.get("/").unwrap().body, b"first");
    let same = client.get("/same.txt").unwrap();
    write(&site, "index.html", "second");
    write(&site, "new.html", "new");
    pack(&site, &next);
    fs::rename(&next, &served).unwrap();
    eventually("the new pack", || client.get("/").unwrap().body == b"second");
    assert_eq!(client.get("/new.html").unwrap().body, b"new");
    let still = client.get("/same.txt").unwrap();
    assert_eq!((&still.body, still.field("etag")), (&same.body, same.field("etag")));
}

#[test]
fn a_body_that_was_damaged_is_not_served_and_the_operator_is_told_once() {
    let folder = TempDir::new().unwrap();
    let (site, packed) = (folder.path().join("public"), folder.path().join("site.tar"));
    write(&site, "good.txt", "good");
    write(&site, "bad.txt", "a body with a mark in it");
    pack(&site, &packed);
    let mut bytes = fs::read(&packed).unwrap();
    let mark = b"a mark in it";
    let at = bytes.windows(mark.len()).position(|window| window == mark).unwrap();
    bytes[at] ^= 1;
    fs::write(&packed, bytes).unwrap();

    let server = Server::start([&packed]);
    for _ in 0..3 {
        let mut client = Client::connect(&server);
        assert_eq!(client.get("/good.txt").unwrap().body, b"good");
        // It ends the connection.
        assert_eq!(client.get("/bad.txt").unwrap().status, 500);
    }
    let line = "sitar: 'bad.txt' cannot be read and is answered with 500: it is not what was packed; \
                copy the archive again, or pack it again\n";
    eventually("the line", || server.said().contains(line));
    assert_eq!(server.said().matches("cannot be read").count(), 1, "{}", server.said());
}

#[test]
fn check_tells_by_its_exit_code_whether_something_is_wrong() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "index.html", "<!doctype html><title>t</title><a href=\"page.html\">p</a>\n");
    let check = |more: &[&str]| {
        let more = more.iter().map(OsStr::new);
        command(&["check".as_ref(), folder.path().as_os_str()].into_iter().chain(more).collect::<Vec<_>>())
    };
    let ended = check(&[]);
    assert_eq!(ended.status.code(), Some(3), "{}{}", ended.text(), ended.stderr);
    assert!(ended.text().contains("page.html"), "{}", ended.text());
    let ended = check(&["--json"]);
    assert_eq!(ended.status.code(), Some(3));
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(report["problems"].as_array().unwrap().len(), 1, "{report:#}");

    write(folder.path(), "page.html", "<!doctype html><title>p</title><a href=\"/\">home</a>\n");
    assert_eq!(check(&[]).status.code(), Some(0));
    assert_eq!(check(&["--no-such-flag"]).status.code(), Some(2));
    let ended = command(&["check".as_ref(), folder.path().join("nowhere").as_os_str()]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
}

/// Starts packing what takes long, and returns when the archive has been begun.
fn slow_pack(site: &Path, to: &Path, home: &Path) -> std::process::Child {
    let folder = to.parent().unwrap();
    let mut command = sitar(home);
    let command = command.arg("pack").arg(site).arg("-o").arg(to);
    let child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let begun = folder.join(format!(".site.tar.{}.unfinished", child.id()));
    eventually("the unfinished archive", || begun.exists());
    child
}

#[test]
fn what_a_killed_pack_has_left_is_removed_by_the_next_and_what_a_running_one_writes_is_not() {
    let folder = TempDir::new().unwrap();
    let (slow, quick, out) =
        (folder.path().join("slow"), folder.path().join("quick"), folder.path().join("out"));
    fs::create_dir(&out).unwrap();
    let archive = out.join("site.tar");
    // 12 MB that do not repeat: brotli 11 takes many seconds for them.
    let mut number = 1_u64;
    let words: String = std::iter::repeat_with(|| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{:x} ", number >> 24)
    })
    .take(1_100_000)
    .collect();
    write(&slow, "words.txt", words);
    write(&quick, "index.html", "quick");
    let names = || {
        let entries = fs::read_dir(&out).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let mut running = slow_pack(&slow, &archive, folder.path());
    let unfinished = format!(".site.tar.{}.unfinished", running.id());
    pack(&quick, &archive);
    assert_eq!(names(), [unfinished.clone(), "site.tar".to_owned()]);
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(names(), [unfinished, "site.tar".to_owned()]);
    pack(&quick, &archive);
    assert_eq!(names(), ["site.tar"]);
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    write(&folder.path().join("site"), "index.html", "<p>");
    let mut shell = Command::new("sh");
    // Two blocks; the smallest archive has more.
    shell.args(["-c", "ulimit -c 0; ulimit -f 2; exec \"$0\" pack site -o site.tar"]);
    let limited = run_with(sitar_by(shell, folder.path()).current_dir(folder.path()), b"");
    assert_eq!(limited.status.code(), Some(1));
    assert_eq!(
        limited.stderr,
        "error: cannot write the archive: File too large (os error 27)\n  \
         hint: the file system has no files of that size, or a limit forbids them (`ulimit -f`); an archive that was \
         there is unchanged\n"
    );
    assert!(fs::read_dir(folder.path()).unwrap().all(|entry| !entry.unwrap().path().is_file()));
}

/// Gives a file a time that many seconds after the first of January 2024.
fn set_time(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_704_067_200 + seconds);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Returns the output of the program `gzip`.
fn gzip(content: &str) -> Vec<u8> {
    run_with(Command::new("gzip").arg("-9nc"), content.as_bytes()).ok().stdout
}

#[test]
fn a_sidecar_that_was_not_made_again_is_not_sent_and_is_reported() {
    let folder = TempDir::new().unwrap();
    let (site, packed) = (folder.path().join("public"), folder.path().join("site.tar"));
    let (old, new) = (words("let a = 1; "), words("let a = 2; "));
    write(&site, "index.html", "<!doctype html><title>t</title><script src=app.js></script>\n");
    write(&site, "app.js", &new);
    write(&site, "app.js.gz", gzip(&old));
    write(&site, "app.js.br", b"\xff\xff not brotli");
    write(&site, "same.js", &new);
    write(&site, "same.js.gz", gzip(&new));
    for (name, time) in
        [("app.js", 60), ("app.js.gz", 0), ("app.js.br", 60), ("same.js", 60), ("same.js.gz", 60)]
    {
        set_time(&site.join(name), time);
    }
    let server = Server::start([&site]);
    let mut client = Client::connect(&server);
    let got = get(&mut client, "/app.js", "gzip");
    assert_eq!((got.field("content-encoding"), got.body.as_slice()), (None, new.as_bytes()));
    eventually("the whole report", || server.said().contains("not sent for it: 'app.js.gz'; make it again"));
    let said = server.said();
    assert!(said.contains("  encoding serving encodes nothing; 1 file goes out as it is, "), "{said}");
    let got = get(&mut client, "/same.js", "gzip");
    assert_eq!((got.field("content-encoding"), &got.body), (Some("gzip"), &gzip(&new)));
    drop(server);

    let checked = command(&["check".as_ref(), site.as_os_str()]);
    assert_eq!(checked.status.code(), Some(3));
    assert_eq!(
        checked.text(),
        "app.js.br: is not app.js in brotli: browsers cannot decode it to the end\n\
         app.js.gz: is not app.js in gzip: it decodes to something else, such as an older version of it\n\
         6 files, 1 links: 2 problems\n"
    );

    let said = pack(&site, &packed).text();
    assert!(
        said.contains("'app.js.br' is left out: browsers cannot decode it to the end; sitar encodes its file where that pays\n")
            && said.contains("'app.js.gz' is left out: it decodes to something other than its file, such as an older version; sitar encodes that where it pays\n"),
        "{said}"
    );
    assert_eq!(command(&["check".as_ref(), packed.as_os_str()]).status.code(), Some(0));
    let server = Server::start([&packed]);
    let mut client = Client::connect(&server);
    let got = get(&mut client, "/app.js", "gzip");
    assert_eq!(got.field("content-encoding"), Some("gzip"));
    let decoded = run_with(Command::new("gzip").arg("-dc"), &got.body).ok();
    assert_eq!(decoded.stdout, new.as_bytes());
    assert_eq!(get(&mut client, "/app.js", "br").field("content-encoding"), Some("br"));
}
