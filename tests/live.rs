//! Sites that change while they are served: what clients see, and what the operator reads.

mod versions;

use crate::common::client::Client;
use crate::common::site::write;
use crate::common::{Server, deny_calls, eventually, executable, have, run, run_with, signal, sitar_inside};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A connection that is kept over all that happens.
struct Visitor(Client);

impl Visitor {
    fn new(server: &Server) -> Visitor {
        Visitor(Client::connect(server))
    }

    fn get(&mut self, path: &str) -> (u16, String) {
        let got = self.0.get(path).unwrap();
        (got.status, String::from_utf8(got.body).unwrap())
    }

    /// Asks until the answer is that one.
    fn until(&mut self, path: &str, status: u16, body: &str) {
        eventually(&format!("{path} to be {status} {body:?}"), || {
            let got = self.get(path);
            got.0 == status && (status != 200 || got.1 == body)
        });
    }
}

#[test]
fn a_directory_is_served_as_it_is_now() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write(root, "index.html", "first");
    write(root, "same.txt", "same");
    let server = Server::start([root]);
    assert!(server.said().contains("  watch    on: "), "{}", server.said());
    let mut visitor = Visitor::new(&server);
    assert_eq!(visitor.get("/"), (200, "first".to_owned()));
    write(root, "index.html", "second");
    visitor.until("/", 200, "second");
    write(root, "new/folder/page.html", "new");
    visitor.until("/new/folder/page.html", 200, "new");
    write(root, "new/folder/page.html", "newer");
    visitor.until("/new/folder/page.html", 200, "newer");
    fs::rename(root.join("new"), root.join("moved")).unwrap();
    visitor.until("/moved/folder/page.html", 200, "newer");
    visitor.until("/new/folder/page.html", 404, "");
    fs::remove_dir_all(root.join("moved")).unwrap();
    visitor.until("/moved/folder/page.html", 404, "");
    assert_eq!(visitor.get("/same.txt"), (200, "same".to_owned()));
    assert!(server.said().contains("sitar: the site has changed"), "{}", server.said());
}

#[test]
fn a_broken_rule_file_changes_nothing_and_is_said_once() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write(root, "index.html", "first");
    let server = Server::start([root]);
    let mut visitor = Visitor::new(&server);
    assert_eq!(visitor.get("/"), (200, "first".to_owned()));
    // Both at once: not half of it is taken over.
    write(root, "_redirects", "/api/* https://elsewhere.example/:splat 200\n");
    write(root, "index.html", "second");
    eventually("the complaint", || server.said().contains("the one before still is: "));
    assert!(server.said().contains("_redirects"), "{}", server.said());
    assert_eq!(visitor.get("/"), (200, "first".to_owned()));
    write(root, "more.html", "x");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(visitor.get("/more.html").0, 404);
    assert_eq!(server.said().matches("the one before still is: ").count(), 1, "{}", server.said());
    fs::remove_file(root.join("_redirects")).unwrap();
    visitor.until("/", 200, "second");
    assert_eq!(visitor.get("/more.html"), (200, "x".to_owned()));
}

#[test]
fn a_deployment_is_one_rename_of_a_link_or_a_folder() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    for release in ["1", "2", "3"] {
        write(root, &format!("releases/{release}/index.html"), release);
    }
    symlink("releases/1", root.join("current")).unwrap();
    let server = Server::start([root.join("current")]);
    let mut visitor = Visitor::new(&server);
    assert_eq!(visitor.get("/"), (200, "1".to_owned()));
    symlink("releases/2", root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("current")).unwrap();
    visitor.until("/", 200, "2");
    // Nothing there for a while: the last one is served.
    fs::remove_file(root.join("current")).unwrap();
    eventually("the complaint", || server.said().contains("the one before still is: "));
    assert_eq!(visitor.get("/"), (200, "2".to_owned()));
    fs::rename(root.join("releases/3"), root.join("current")).unwrap();
    visitor.until("/", 200, "3");
}

fn tar(of: &Path, to: &Path) -> Vec<u8> {
    run("tar", ["-cf".as_ref(), to.as_os_str(), "-C".as_ref(), of.as_os_str(), ".".as_ref()]).ok();
    fs::read(to).unwrap()
}

/// Two archives in a folder: the one to serve, and the bytes of the next.
fn archives(folder: &Path) -> (PathBuf, Vec<u8>) {
    for (name, text) in [("a", "first"), ("b", "second")] {
        write(folder, &format!("{name}/index.html"), text);
        write(folder, &format!("{name}/large.txt"), text.repeat(20_000));
    }
    let site = folder.join("site.tar");
    tar(&folder.join("a"), &site);
    let next = tar(&folder.join("b"), &folder.join("next.tar"));
    (site, next)
}

#[test]
fn an_archive_is_replaced_by_a_rename() {
    if !have(&["tar"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (site, next) = archives(folder.path());
    let server = Server::start([&site]);
    let mut visitor = Visitor::new(&server);
    assert_eq!(visitor.get("/"), (200, "first".to_owned()));
    // A cut archive takes no site's place, however it came there.
    fs::write(folder.path().join("cut.tar"), &next[..next.len() / 2]).unwrap();
    fs::rename(folder.path().join("cut.tar"), &site).unwrap();
    eventually("the complaint", || server.said().contains("the one before still is: "));
    assert_eq!(visitor.get("/"), (200, "first".to_owned()));
    assert_eq!(visitor.get("/large.txt"), (200, "first".repeat(20_000)));
    fs::rename(folder.path().join("next.tar"), &site).unwrap();
    visitor.until("/", 200, "second");
    assert_eq!(visitor.get("/large.txt"), (200, "second".repeat(20_000)));
}

#[test]
fn an_archive_that_is_being_copied_is_not_served_half() {
    if !have(&["tar"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (site, next) = archives(folder.path());
    let server = Server::start([&site]);
    let mut visitor = Visitor::new(&server);
    assert_eq!(visitor.get("/"), (200, "first".to_owned()));
    // The length is there at once, as some tools do it: what is not copied yet looks like the
    // archive's end.
    let mut copy = fs::File::options().write(true).truncate(true).open(&site).unwrap();
    copy.set_len(next.len() as u64).unwrap();
    let whole_index = 4096;
    copy.write_all(&next[..whole_index]).unwrap();
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(visitor.get("/"), (200, "first".to_owned()), "what is in memory stays");
    copy.write_all(&next[whole_index..]).unwrap();
    assert_ne!(visitor.get("/"), (404, String::new()));
    drop(copy);
    visitor.until("/", 200, "second");
    assert_eq!(visitor.get("/large.txt"), (200, "second".repeat(20_000)));
}

#[test]
fn without_watching_a_signal_reads_the_site_again() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    write(root, "index.html", "first");
    for (args, env) in [(vec!["--no-watch"], vec![]), (vec![], vec![("SITAR_NO_WATCH", "1")])] {
        write(root, "index.html", "first");
        let _ = fs::remove_file(root.join("new.html"));
        let args = args.into_iter().map(PathBuf::from).chain([root.to_path_buf()]);
        let server = Server::start_with(args, &env);
        assert!(server.said().contains("  watch    off "), "{}", server.said());
        let mut visitor = Visitor::new(&server);
        assert_eq!(visitor.get("/"), (200, "first".to_owned()));
        write(root, "index.html", "second");
        write(root, "new.html", "new");
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(visitor.get("/"), (200, "first".to_owned()));
        assert_eq!(visitor.get("/new.html").0, 404);
        signal(server.pid(), rustix::process::Signal::HUP);
        visitor.until("/", 200, "second");
        assert_eq!(visitor.get("/new.html"), (200, "new".to_owned()));
        eventually("the answer to the signal", || {
            server.said().contains("the site was read again: 2 files now")
        });
    }
}

#[test]
fn where_there_are_no_watches_left_it_says_so_and_looks() {
    // A user namespace has limits of its own.
    let limit = "echo 3 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let inside = ["--user", "--map-root-user", "sh", "-c", limit, "sh"];
    if !have(&["unshare"]) {
        return;
    }
    if !run("unshare", inside.iter().copied().chain(["true"])).status.success() {
        crate::common::skip("this machine allows no user namespaces");
        return;
    }
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("site");
    for name in ["a", "b", "c", "d"] {
        write(&root, &format!("{name}/index.html"), "first");
    }
    let wrapper = folder.path().join("few-watches");
    executable(
        &wrapper,
        "#!/bin/sh\nexec unshare --user --map-root-user sh -c 'echo 3 > /proc/sys/user/max_inotify_watches && exec \"$@\"' sh \"$@\"\n",
    );
    let server = Server::start_inside(&wrapper, [&root]);
    assert!(server.said().contains("sysctl fs.inotify.max_user_watches="), "{}", server.said());
    let mut visitor = Visitor::new(&server);
    assert_eq!(visitor.get("/d/"), (200, "first".to_owned()));
    write(&root, "d/index.html", "second");
    visitor.until("/d/", 200, "second");
}

#[test]
fn links_of_a_folder_lead_to_the_inside_and_out_of_it_only_when_that_is_wanted() {
    if !have(&["tar"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("site");
    write(&root, ".r1/index.html", "first");
    write(&root, ".r2/index.html", "second");
    write(folder.path(), "store/page.html", "from the store");
    symlink(".r1", root.join(".current")).unwrap();
    symlink(".current/index.html", root.join("index.html")).unwrap();
    symlink(root.join("index.html"), root.join("absolute.html")).unwrap();
    symlink("../site/index.html", root.join("climbs.html")).unwrap();
    symlink("../store/page.html", root.join("page.html")).unwrap();
    let archive = folder.path().join("site.tar");
    tar(&root, &archive);
    let follow = OsStr::new("--follow-links");

    let server = Server::start([&root]);
    let mut visitor = Visitor::new(&server);
    for path in ["/", "/absolute.html", "/climbs.html"] {
        assert_eq!(visitor.get(path), (200, "first".to_owned()), "{path}");
    }
    assert_eq!(visitor.get("/page.html").0, 404);
    // The target of the page's own link stays what it was.
    symlink(".r2", root.join(".next")).unwrap();
    fs::rename(root.join(".next"), root.join(".current")).unwrap();
    for path in ["/", "/absolute.html", "/climbs.html"] {
        visitor.until(path, 200, "second");
    }
    drop((visitor, server));

    let server = Server::start([follow, root.as_os_str()]);
    let mut visitor = Visitor::new(&server);
    assert_eq!(visitor.get("/page.html"), (200, "from the store".to_owned()));
    write(folder.path(), "store/page.html", "newer");
    visitor.until("/page.html", 200, "newer");
    drop((visitor, server));
    let packed = folder.path().join("packed.tar");
    for (args, files) in [(&["--json"][..], "\"files\":3,"), (&["--json", "--follow-links"], "\"files\":4,")]
    {
        let mut check = crate::common::sitar(folder.path());
        let said = run_with(check.arg("check").args(args).arg(&root), b"").text();
        assert!(said.contains(files), "{args:?}: {said}");
        let mut pack = crate::common::sitar(folder.path());
        let said = run_with(pack.arg("pack").args(args).arg(&root).arg("-o").arg(&packed), b"").ok().text();
        assert!(said.contains(files), "{args:?}: {said}");
    }
    // An archive's links never lead out of it.
    let server = Server::start([follow, archive.as_os_str()]);
    let mut visitor = Visitor::new(&server);
    assert_eq!((visitor.get("/").0, visitor.get("/page.html").0), (200, 404));
}

/// A file is mounted over, as by `docker run -v ./page.html:/site/page.html`.
#[test]
fn a_file_that_is_mounted_into_the_site_is_watched() {
    if !have(&["unshare", "mount"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("site");
    write(&root, "page.html", "");
    write(folder.path(), "page.html", "first");
    let mount = format!("mount --bind {0}/page.html {0}/site/page.html", folder.path().display());
    let inside = ["--user", "--map-root-user", "--mount", "sh", "-c", &mount];
    if !run("unshare", inside).status.success() {
        crate::common::skip("this machine allows no mounts in user namespaces");
        return;
    }
    let wrapper = folder.path().join("mounted");
    let script = format!(
        "#!/bin/sh\nexec unshare --user --map-root-user --mount sh -c '{mount} && exec \"$@\"' sh \"$@\"\n"
    );
    executable(&wrapper, script);
    let server = Server::start_inside(&wrapper, [&root]);
    let mut visitor = Visitor::new(&server);
    assert_eq!(visitor.get("/page.html"), (200, "first".to_owned()));
    // In place: the mount is of this inode.
    fs::write(folder.path().join("page.html"), "second").unwrap();
    visitor.until("/page.html", 200, "second");
}

/// The last message with these words, with a check of its time: what is behind that.
fn stamped(server: &Server, words: &str) -> String {
    let said = server.said();
    let line = said.lines().rfind(|line| line.contains(words)).unwrap_or_default();
    let (_, stamp) = line.rsplit_once(" (").unwrap_or_else(|| panic!("{said}"));
    let (time, rest) = stamp.split_once(", ").unwrap();
    let shape = time.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte }).collect::<Vec<_>>();
    assert_eq!(shape, b"0000-00-00T00:00:00Z", "{line}");
    rest.to_owned()
}

/// Returns the part of a message that identifies a site: the word, and the digits.
fn version(stamp: &str, word: &str) -> String {
    let (_, rest) = stamp.split_once(word).unwrap_or_else(|| panic!("{stamp}"));
    let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
    assert_eq!(digits.len(), 12, "{stamp}");
    digits
}

#[test]
fn messages_name_the_time_the_site_and_what_is_served() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("site");
    let shown = root.display().to_string();
    write(&root, "index.html", "first");
    // Looking only: a file's other name, outside of the folder, is not watched there.
    fs::hard_link(root.join("index.html"), folder.path().join("name")).unwrap();
    let server = Server::start(["--poll".as_ref(), "200ms".as_ref(), root.as_os_str()]);
    let expected = "  watch    by looking every 200 ms or less often, because --poll says so";
    assert!(server.said().contains(expected), "{}", server.said());
    let mut visitor = Visitor::new(&server);
    assert_eq!(visitor.get("/"), (200, "first".to_owned()));
    fs::write(folder.path().join("name"), "second").unwrap();
    visitor.until("/", 200, "second");
    eventually("the message", || server.said().contains("the site has changed: 1 file now ("));
    let stamp = stamped(&server, "sitar: the site has changed: ");
    let live = version(&stamp, "stamps ");
    assert_eq!(stamp, format!("{shown}, stamps {live})"));
    write(&root, "_redirects", "nothing here\n");
    eventually("the complaint", || server.said().contains("the one before still is: "));
    let stamp = stamped(&server, "error sitar: ");
    assert_eq!(stamp, format!("{shown}, still stamps {live}, 1 file)"));
    drop((visitor, server));

    // A pack is named by the hash of its index, which stands at its end, in front of 1,024 zeros.
    fs::remove_file(root.join("_redirects")).unwrap();
    let path = folder.path().join("site.tar");
    let pack = || {
        let mut pack = crate::common::sitar(folder.path());
        run_with(pack.arg("pack").arg(&root).arg("-o").arg(&path), b"").ok();
        let bytes = fs::read(&path).unwrap();
        bytes[bytes.len() - 1056..][..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let first = pack();
    let server = Server::start([&path]);
    write(&root, "more.html", "more");
    let second = pack();
    assert_ne!(first, second);
    eventually("the message", || server.said().contains("the site has changed: 2 files now ("));
    let stamp = stamped(&server, "sitar: the site has changed: ");
    assert_eq!(stamp, format!("{}, pack {second})", path.display()));
    let mut broken = fs::read(&path).unwrap();
    let middle = broken.len() - 1200;
    broken[middle] ^= 1;
    fs::write(folder.path().join("broken"), broken).unwrap();
    fs::rename(folder.path().join("broken"), &path).unwrap();
    eventually("the complaint", || server.said().contains("the one before still is: "));
    let stamp = stamped(&server, "error sitar: ");
    assert_eq!(stamp, format!("{}, still pack {second}, 2 files)", path.display()));
}

/// openat2 alone, as Docker refused it; and everything that is newer than Linux 5.0, and statx, as
/// a container runtime that has never heard of them does.
#[test]
fn folders_are_served_checked_and_packed_without_openat2() {
    if !have(&["cc"]) {
        return;
    }
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("site");
    let unknown = ["-DFIRST=424", "-DLAST=511", "-DERROR=ENOSYS", "-DALSO=SYS_statx"];
    for (name, denied) in
        [("refused", &["-DFIRST=437", "-DLAST=437", "-DERROR=EPERM"][..]), ("unknown", &unknown[..])]
    {
        write(&root, "index.html", "first");
        write(&root, "sub/large.bin", "large".repeat(30_000));
        write(&root, ".hidden/page.html", "hidden");
        write(folder.path(), "secret.html", "secret");
        let _ = symlink("../.hidden/page.html", root.join("sub/page.html"));
        let _ = symlink("../secret.html", root.join("out.html"));
        let inside = deny_calls(&folder, name, denied);
        // Among what is unknown is Landlock.
        let options = ["--memory", "1", "--sandbox", "auto"].map(OsStr::new);
        let server = Server::start_inside(&inside, options.into_iter().chain([root.as_os_str()]));
        assert!(server.said().contains("'out.html' is left out"), "{}", server.said());
        let mut visitor = Visitor::new(&server);
        assert_eq!(visitor.get("/"), (200, "first".to_owned()), "{name}");
        assert_eq!(visitor.get("/sub/page.html"), (200, "hidden".to_owned()), "{name}");
        // Too large for the memory: sent from the file, which is looked at after each read.
        assert_eq!(visitor.get("/sub/large.bin"), (200, "large".repeat(30_000)), "{name}");
        assert_eq!(visitor.get("/out.html").0, 404, "{name}");
        write(&root, "index.html", "second");
        visitor.until("/", 200, "second");
        drop((visitor, server));
        let check = run_with(sitar_inside(&inside, folder.path()).arg("check").arg(&root), b"");
        assert_eq!(check.status.code(), Some(3), "{name}: {check:?}");
        assert!(check.text().starts_with(
            "out.html: is left out: it is a link that leads out of the site (--follow-links)\n"
        ));
        let packed = folder.path().join(name).with_extension("tar");
        run_with(sitar_inside(&inside, folder.path()).arg("pack").arg(&root).arg("-o").arg(&packed), b"")
            .ok();
        let doctor = run_with(sitar_inside(&inside, folder.path()).arg("doctor"), b"").text();
        assert!(doctor.contains("sitar walks folders name by name"), "{name}: {doctor}");
    }
}
