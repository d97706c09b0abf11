//! A stranger's container, and the user that serves: little is allowed, and the server says what it
//! runs on.

mod first;
mod user;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use tempfile::TempDir;

use crate::common::client::{Client, roots_in, socket, trusting};
use crate::common::site::write;
use crate::common::{
    Server, copy_executable, eventually, executable, have, run, run_with, sandbox, sitar, skip,
};

/// The user of the images that are called non-root.
const NOBODY: u32 = 65_534;
/// What Docker allows a process to lock by default.
const USUAL_LOCK: &str = "8388608";
const IO_URING: &str = "io_uring (batched; --engine sqpoll needs no system calls, but a core per shard)";
const FORBIDDEN: &str = "epoll, because io_uring is forbidden here (a container's seccomp profile, or sysctl kernel.io_uring_disabled)";

/// A folder that a container has in its image: the program, a site, a certificate, a configuration.
struct Image(TempDir);

/// How a container is run.
struct Run {
    /// The value of `--ulimit memlock`.
    lock: &'static str,
    /// The profile forbids io_uring.
    denies: bool,
    /// In a PID namespace of its own.
    is_first: bool,
}

impl Image {
    /// `None`: the test is recorded as skipped.
    fn new() -> Option<Image> {
        if !have(&["cc", "mount", "nsenter", "prlimit", "setpriv", "sh", "unshare"]) {
            return None;
        }
        let is_root = rustix::process::geteuid().is_root();
        if !is_root || !run("unshare", ["--mount", "--pid", "--fork", "true"]).status.success() {
            skip("only root can make a container, and not in one that forbids it");
            return None;
        }
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let image = Image(folder);
        copy_executable(sitar(image.path()).get_program(), &image.file("sitar"));
        for (name, define) in [("denies", "-DDENIES"), ("allows", "-DIO_URING")] {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/container/docker.c");
            let (out, source) = (image.file(name), PathBuf::from(source));
            let arguments = ["-O2", "-Wall", "-Werror", define, "-o"].map(PathBuf::from);
            run("cc", arguments.into_iter().chain([out, source])).ok();
        }
        write(image.path(), "site/index.html", "contained");
        certify(&image.file("server.pem"), &image.file("server.key"));
        std::os::unix::fs::chown(image.file("server.key"), Some(NOBODY), Some(NOBODY)).unwrap();
        fs::create_dir(image.file("run")).unwrap();
        let text = "[server]\nshards = 2\ncertificate = { chain = \"server.pem\", key = \"server.key\" }\n\
                    [admin]\nsocket = \"run/admin.sock\"\n\
                    [[listen]]\naddress = \"127.0.0.1:0\"\n\
                    [[site]]\ndefault = true\nroot = \"site\"\n";
        write(image.path(), "sitar.toml", text);
        Some(image)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a program that executes the server in a container.
    fn container(&self, run: &Run) -> PathBuf {
        let folder = self.path().display();
        let profile = if run.denies { "denies" } else { "allows" };
        let lock = run.lock;
        let inner = format!(
            "#!/bin/sh\nset -e\nshift\n\
             mount -t tmpfs -o mode=755,uid={NOBODY} tmpfs {folder}/run\n\
             mount -o remount,bind,ro /\n\
             exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --inh-caps=-all \
             --bounding-set=-all --no-new-privs prlimit --memlock={lock}:{lock} --nofile=1024:1024 \
             {folder}/{profile} {folder}/sitar \"$@\"\n"
        );
        let pids = if run.is_first { "--pid --fork --kill-child --mount-proc" } else { "" };
        let outer = format!("#!/bin/sh\nexec unshare --mount {pids} {folder}/inner \"$@\"\n");
        for (name, text) in [("inner", inner), ("outer", outer)] {
            executable(&self.file(name), text);
        }
        self.file("outer")
    }

    /// Starts the server without a configuration.
    fn serve(&self, run: &Run) -> Server {
        let files = ["server.pem", "server.key", "site"].map(|name| self.file(name));
        let [certificate, key, site] = files.each_ref().map(|path| path.to_str().unwrap());
        let arguments = [site, "--tls-cert", certificate, "--tls-key", key, "--shards", "2"];
        let server = Server::start_inside(&self.container(run), arguments);
        eventually("the report", || server.said().contains("\n  sandbox "));
        server
    }

    /// Starts the server with its configuration.
    fn serve_configured(&self, run: &Run) -> Server {
        let home = TempDir::new().unwrap();
        let command = crate::common::sitar_inside(&self.container(run), home.path());
        let server = Server::start_configured_by(command, home, &self.file("sitar.toml"));
        eventually("the report", || server.said().contains("\n  admin "));
        server
    }

    /// Asks for the page over HTTPS.
    fn is_served(&self, server: &Server) {
        assert_eq!(page(server, &self.file("server.pem")).unwrap(), b"contained");
    }
}

/// Makes a certificate and its key, which its owner alone can read.
fn certify(chain: &Path, private: &Path) {
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    fs::write(private, key.serialize_pem()).unwrap();
    fs::set_permissions(private, PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(chain, certificate.pem()).unwrap();
}

/// Returns the content of `/`, asked for by a client that trusts that certificate alone.
fn page(server: &Server, certificate: &Path) -> std::io::Result<Vec<u8>> {
    let config = trusting(roots_in([certificate]), &[]);
    let stream = socket(server.address())?;
    let name = ServerName::from(stream.peer_addr()?.ip());
    let mut client = Client::over_as(&config, stream, name)?;
    let response = client.get("/")?;
    assert_eq!(response.status, 200);
    client.end();
    Ok(response.body)
}

/// Returns a line of the report of the start.
fn line(server: &Server, label: &str) -> String {
    let said = server.said();
    let found = said.lines().find_map(|line| line.strip_prefix(&format!("  {label:<8} ")));
    found.unwrap_or_else(|| panic!("no {label}: {said}")).to_owned()
}

/// Has the report name each layer that a process without io_uring has.
fn every_layer_is_named(server: &Server, expected: &[&str]) {
    let said = line(server, "sandbox");
    if sandbox() != "strict" {
        return skip(&format!("this kernel lacks layers: {said}"));
    }
    // What a fault of this kernel leaves open is another matter.
    let layers: Vec<&str> = said.split("; open: ").next().unwrap().split(", ").collect();
    assert!(layers[0].starts_with("Landlock ABI "), "{said}");
    assert_eq!(layers[1..], *expected, "{said}");
}

#[test]
fn where_the_profile_forbids_io_uring_it_serves_on_epoll_and_says_so() {
    let Some(image) = Image::new() else { return };
    for lock in ["0", USUAL_LOCK] {
        let run = Run { lock, denies: true, is_first: false };
        let server = image.serve(&run);
        image.is_served(&server);
        assert_eq!(line(&server, "engine"), FORBIDDEN);
        every_layer_is_named(&server, &["no new privileges"]);
        drop(server);

        let server = image.serve_configured(&run);
        image.is_served(&server);
        assert_eq!(line(&server, "engine"), FORBIDDEN);
        every_layer_is_named(&server, &["seccomp", "no capabilities"]);
    }
}

#[test]
fn where_only_memory_is_short_its_rings_are_small_or_it_serves_on_epoll() {
    let Some(image) = Image::new() else { return };
    let too_little = "epoll, because this user may lock 0 KiB of memory (ulimit -l), and ";
    for lock in ["0", USUAL_LOCK] {
        let run = Run { lock, denies: false, is_first: false };
        for server in [Image::serve, Image::serve_configured].map(|serve| serve(&image, &run)) {
            image.is_served(&server);
            let engine = line(&server, "engine");
            if lock == "0" && sitar_io::Queues::are_locked_here() {
                assert!(engine.starts_with(too_little), "{engine}");
            } else {
                assert_eq!(engine, IO_URING);
                assert!(line(&server, "sandbox").contains(", restricted rings, "), "{}", server.said());
            }
        }
    }
}

#[test]
fn without_a_certificate_it_says_where_none_can_be_kept() {
    let Some(image) = Image::new() else { return };
    let home = TempDir::new().unwrap();
    let run = Run { lock: USUAL_LOCK, denies: true, is_first: false };
    let mut command = crate::common::sitar_inside(&image.container(&run), home.path());
    let ended = run_with(command.arg("serve").arg(image.file("site")).args(["--listen", "127.0.0.1:0"]), b"");
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("--tls-cert chain.pem --tls-key key.pem"), "{}", ended.stderr);
}
