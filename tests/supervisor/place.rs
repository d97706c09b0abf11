//! A site, its configuration, and a program of its own to serve it by.

use crate::common::client::{self, Client, roots_in, trusting};
use crate::common::site::write;
use crate::common::{
    Finished, Server, copy_executable, executable, processes, program, run_with, sitar, sitar_at,
};
use aws_lc_rs::digest::{Digest, SHA256, digest};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the file `name.txt` of the site says.
pub(super) const NAME: &str = "a name";
/// The time for processes to end that were left behind.
const ENDING: Duration = Duration::from_secs(10);

/// A folder with all of it.
pub(super) struct Place(TempDir);

impl Place {
    pub(super) fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        place.write("site/index.html", "<!doctype html><title>A site</title>");
        place.write("site/name.txt", NAME);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned(), "pass.test".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        place.write("certificate.pem", certificate.pem());
        place.write("certificate.key", key.serialize_pem());
        place.configure("");
        place.install(Path::new(&program()));
        place
    }

    /// Writes the configuration: one site, and `more`.
    pub(super) fn configure(&self, more: &str) {
        self.configure_engine("auto", more);
    }

    /// The same for an engine.
    pub(super) fn configure_engine(&self, engine: &str, more: &str) {
        self.write(
            "sitar.toml",
            format!(
                "[server]\nengine = \"{engine}\"\nshards = 2\nidle_seconds = 600\nstop_seconds = 600\nhttp2 = true\n\
                 certificate = {{ chain = \"certificate.pem\", key = \"certificate.key\" }}\n\
                 [admin]\nsocket = \"admin.sock\"\n\
                 [[listen]]\naddress = \"127.0.0.1:0\"\n\
                 [[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n\
                 [[site]]\ndefault = true\nroot = \"site\"\n{more}"
            ),
        );
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        write(self.0.path(), name, content);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Adds a large file to the site, `large.bin`, no two parts of which are the same. Returns what
    /// it hashes to.
    pub(super) fn add_large(&self, mib: usize) -> Digest {
        let mut block = crate::common::site::pattern(1 << 20);
        let mut content = Vec::with_capacity(mib << 20);
        for number in 0..mib {
            block[..8].copy_from_slice(&number.to_be_bytes());
            content.extend_from_slice(&block);
        }
        self.write("site/large.bin", &content);
        digest(&SHA256, &content)
    }

    /// Installs a program in the place of the one that was there.
    pub(super) fn install(&self, from: &Path) {
        let _ = fs::remove_file(self.path("sitar"));
        copy_executable(from, &self.path("sitar"));
    }

    /// The same with a script of the shell.
    pub(super) fn install_script(&self, text: &str) {
        let _ = fs::remove_file(self.path("sitar"));
        executable(&self.path("sitar"), format!("#!/bin/sh\n{text}\n"));
    }

    pub(super) fn start(self) -> Service {
        self.start_with([])
    }

    pub(super) fn start_with(self, env: impl IntoIterator<Item = (&'static str, PathBuf)>) -> Service {
        let home = TempDir::new().unwrap();
        let mut command = sitar_at(&self.path("sitar"), home.path());
        // So that a test can send what a terminal does.
        command.envs(env).process_group(0);
        let server = Server::start_configured_by(command, home, &self.path("sitar.toml"));
        let http = server.listeners("http")[0];
        Service { server, http, place: self }
    }

    /// Returns the numbers of the supervisors and workers that serve this.
    pub(super) fn processes(&self) -> Vec<u32> {
        let file = self.path("sitar.toml");
        let serves = |pid: &u32| {
            // Empty for one that has ended and was not waited for.
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            words.contains(&&b"serve"[..]) && words.contains(&file.as_os_str().as_encoded_bytes())
        };
        processes().filter(serves).collect()
    }
}

/// A place that is served. Whichever processes serve it at the end, they are ended.
pub(super) struct Service {
    pub(super) server: Server,
    pub(super) http: SocketAddr,
    pub(super) place: Place,
}

impl Service {
    pub(super) fn https(&self) -> SocketAddr {
        self.server.address()
    }

    /// Asks over the admin socket.
    pub(super) fn ask(&self, request: &str) -> Value {
        let mut socket = UnixStream::connect(self.place.path("admin.sock")).unwrap();
        socket.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    pub(super) fn status(&self) -> Value {
        self.ask("status")
    }

    /// Returns the number of the process that says that it serves.
    pub(super) fn supervisor(&self) -> u32 {
        number(&self.status()["pid"])
    }

    /// Returns the number of its worker; `None`: there is none at the moment.
    pub(super) fn worker(&self) -> Option<u32> {
        let worker = &self.status()["worker"];
        worker.is_object().then(|| number(&worker["pid"]))
    }

    /// Has the configuration read again, which must be possible.
    pub(super) fn reload(&self) {
        let answer = self.ask("reload");
        assert_eq!(answer["reload"]["ok"], true, "{answer}");
    }

    /// Runs a subcommand that asks the server.
    pub(super) fn run(&self, args: &[&str]) -> Finished {
        let mut command = sitar(self.place.0.path());
        command.args(args).arg("--socket").arg(self.place.path("admin.sock"));
        run_with(&mut command, b"")
    }

    /// Returns what a client trusts and offers.
    pub(super) fn clients(&self, protocol: &[u8]) -> Arc<ClientConfig> {
        trusting(roots_in([self.place.path("certificate.pem")]), &[protocol])
    }

    /// A connection of HTTP/1.1 over TLS.
    pub(super) fn connect(&self) -> Client {
        Client::open(&self.clients(b"http/1.1"), self.https()).unwrap()
    }

    /// Asks for a host's file on a connection of its own, and returns what it says.
    pub(super) fn get(&self, host: &str, path: &str) -> (u16, String) {
        let mut socket = client::socket(self.http).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head["HTTP/1.1 ".len()..][..3].parse().unwrap(), body.to_owned())
    }

    /// Asserts that the process with that number serves, and its admin socket.
    pub(super) fn assert_served_by(&self, supervisor: u32) {
        assert_eq!(self.supervisor(), supervisor);
        assert_eq!(self.get("localhost", "/name.txt"), (200, NAME.to_owned()));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let end = |how: Signal| {
            for pid in self.place.processes() {
                // It may have ended by now.
                let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                let _ = kill_process(pid, how);
            }
        };
        if thread::panicking() {
            eprintln!("--- sitar said ---\n{}", self.server.said());
            return end(Signal::KILL);
        }
        end(Signal::TERM);
        let deadline = Instant::now() + ENDING;
        while !self.place.processes().is_empty() {
            if Instant::now() > deadline {
                return end(Signal::KILL);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap()
}
