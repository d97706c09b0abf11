//! The list of system calls against what workers call: strace sees everything that a worker calls
//! once its filter stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use sitar::sandbox::calls::CALLS;
use tempfile::TempDir;

use crate::common::client::{Client, roots_in, socket, trusting};
use crate::common::h2;
use crate::common::site::{pattern, write};
use crate::common::{
    PATIENCE, Server, children, eventually, have, run, run_with, sandbox, signal, sitar, sitar_by, skip,
};

/// A file that no cache holds.
const LARGE: usize = 9 * 1024 * 1024;
const HOSTS: [&str; 4] = ["a.test", "b.test", "c.test", "d.test"];
/// The call that libc tries first, which is answered as on a kernel that lacks it.
const ANSWERED: &str = "clone3";

#[test]
fn each_call_of_a_worker_is_in_the_list_and_each_row_is_needed() {
    if !have(&["strace", "tar"]) {
        return;
    }
    if sandbox() != "strict" {
        return skip("this kernel lacks layers, and with them what they need");
    }
    if !run("strace", ["-o", "/dev/null", "true"]).status.success() {
        return skip("strace may not trace here");
    }
    let mut seen = BTreeSet::new();
    for engine in ["uring", "sqpoll", "epoll"] {
        if engine == "sqpoll" && std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            skip("the polling engine needs two cores");
            continue;
        }
        let calls = calls_of_workers(engine);
        println!("{engine}: {}", calls.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
        seen.extend(calls);
    }
    let listed: BTreeSet<&str> = CALLS.iter().map(|row| row.call).collect();
    let missing: Vec<&String> =
        seen.iter().filter(|call| !listed.contains(&***call) && **call != ANSWERED).collect();
    assert!(missing.is_empty(), "calls that the list lacks: {missing:?}");
    let idle = CALLS.iter().filter(|row| row.unseen.is_none() && !seen.contains(row.call));
    let idle: Vec<&str> = idle.map(|row| row.call).collect();
    assert!(idle.is_empty(), "rows that nothing needs, and that say no reason: {idle:?}");
}

/// Returns the names of the calls that workers of one server make in their sandbox.
fn calls_of_workers(engine: &str) -> BTreeSet<String> {
    let place = Place::new();
    place.configure(engine, &["a", "b", "c"], "");
    let trace = place.path("trace");
    let home = TempDir::new().unwrap();
    let mut strace = Command::new("strace");
    // The server stays the process that is started, and strace is the one beside it.
    strace.args(["-D", "-f", "-q", "-s", "64", "-o"]).arg(&trace);
    let mut command = sitar_by(strace, home.path());
    // A call that is missing is refused and seen, where `strict` would end the worker.
    command.env("SITAR_SANDBOX", "auto");
    // By a name that says not where it is, nor where the sites are.
    command.current_dir(place.0.path());
    let mut server = Server::start_configured_by(command, home, Path::new("sitar.toml"));
    assert!(server.said().contains("seccomp"), "{}", server.said());

    place.ask_for_everything(&server);
    place.change_sites(&server);
    place.renew(&server);
    // A reload within the same worker, and one that needs another.
    place.configure(engine, &["a", "b"], "[[listen]]\naddress = \"127.0.0.2:0\"\n");
    assert!(place.ask("reload").contains("\"ok\": true"), "{}", server.said());
    // A terminal's signals reach a worker, too.
    children(server.pid()).into_iter().for_each(|worker| signal(worker, Signal::HUP));
    place.configure(engine, &["a", "b", "c", "d"], "");
    assert!(place.ask("reload").contains("\"ok\": true"), "{}", server.said());
    place.get(&server, "d.test", "/name.txt");
    assert!(place.ask("status").contains("\"pid\""));

    place.end(&server, engine);
    assert!(server.wait().success(), "{}", server.said());
    let (server, mut text) = (server.pid().to_string(), String::new());
    eventually("the end of the trace", || {
        text = String::from_utf8_lossy(&fs::read(&trace).unwrap()).into_owned();
        lines(&text).any(|(thread, rest)| thread == server && rest.starts_with("+++ exited"))
    });
    let calls = after_sealing(&text);
    assert!(calls.len() > 10, "{engine}: {calls:?}");
    calls
}

/// Returns the lines of a trace: a thread, and what it does.
fn lines(trace: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = trace.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(thread, rest)| (thread, rest.trim_start()))
}

/// Returns the names of the calls that were begun by threads of workers after their last filter.
fn after_sealing(trace: &str) -> BTreeSet<String> {
    // Workers by their threads, and the lines at which they were sealed.
    let mut workers: BTreeMap<&str, &str> = BTreeMap::new();
    let mut sealed: BTreeMap<&str, usize> = BTreeMap::new();
    let lines: Vec<(&str, &str)> = lines(trace).collect();
    for (at, (thread, rest)) in lines.iter().enumerate() {
        if rest.starts_with("execve(") && rest.contains("[\"sitar-worker\"") {
            workers.insert(thread, thread);
        }
        let Some(worker) = workers.get(thread).copied() else { continue };
        let is_clone = ["clone(", "clone3(", "<... clone resumed>", "<... clone3 resumed>"];
        if is_clone.iter().any(|start| rest.starts_with(start)) {
            let child = rest.rsplit_once(" = ").and_then(|(_, child)| child.split_whitespace().next());
            workers.extend(child.filter(|child| child.parse::<u32>().is_ok()).map(|child| (child, worker)));
        }
        if rest.starts_with("seccomp(SECCOMP_SET_MODE_FILTER") {
            sealed.insert(worker, at);
        }
    }
    assert!(sealed.len() >= 2, "a worker and the one after it are sealed: {sealed:?}");
    let calls = lines.iter().enumerate().filter_map(|(at, (thread, rest))| {
        let worker = workers.get(thread)?;
        let name = rest.split_once('(')?.0;
        let is_name =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        (at > *sealed.get(worker)? && is_name && !name.is_empty()).then(|| name.to_owned())
    });
    calls.collect()
}

/// Returns the status and content of an answer on a connection.
fn request(client: &mut Client, host: &str, path: &str) -> (u16, Vec<u8>) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    let response = client.response(false).unwrap();
    (response.status, response.body)
}

/// Bytes that no encoding makes smaller: those of the other files are what a packer works on here,
/// and it would take long for so large a one.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        // Marsaglia, "Xorshift RNGs" (2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len / 8).collect::<Vec<_>>().concat()
}

/// Sites of each kind, and certificates.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        let large = noise(LARGE);
        for name in ["one/a", "b", "c", "two/d"] {
            write(place.0.path(), &format!("{name}/name.txt"), name);
            write(place.0.path(), &format!("{name}/large.bin"), &large);
            write(place.0.path(), &format!("{name}/medium.bin"), pattern(64 * 1024));
            write(place.0.path(), &format!("{name}/deep/er/index.html"), name);
        }
        symlink("one/a", place.path("a")).unwrap();
        symlink("two/d", place.path("d")).unwrap();
        symlink("name.txt", place.path("one/a/link.txt")).unwrap();
        place.archive();
        place.pack();
        place.certify();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("sitar.toml")
    }

    /// Makes site b's archive, at once.
    fn archive(&self) {
        let (made, place) = (self.path("b.new"), self.path("b.tar"));
        run("tar", ["-cf".as_ref(), made.as_path(), "-C".as_ref(), &self.path("b"), ".".as_ref()]).ok();
        fs::rename(made, place).unwrap();
    }

    /// Makes site c's pack.
    fn pack(&self) {
        let mut pack = sitar(self.0.path());
        run_with(pack.arg("pack").arg(self.path("c")).arg("-o").arg(self.path("c.tar")), b"").ok();
    }

    fn certify(&self) {
        let key = KeyPair::generate().unwrap();
        let names = HOSTS.map(str::to_owned).to_vec();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        for (name, text) in [("server.pem", certificate.pem()), ("server.key", key.serialize_pem())] {
            write(self.0.path(), "new", text);
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }
    }

    fn configure(&self, engine: &str, sites: &[&str], listener: &str) {
        let mut text = format!(
            "[server]\nshards = 1\nengine = \"{engine}\"\nmemory = 8\n\
             certificate = {{ chain = \"server.pem\", key = \"server.key\" }}\n\
             [admin]\nsocket = \"admin.sock\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\n\
             [[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n{listener}"
        );
        for site in sites {
            let root = if ["b", "c"].contains(site) { format!("{site}.tar") } else { (*site).to_owned() };
            text += &format!("[[site]]\nhosts = [\"{site}.test\"]\nroot = \"{root}\"\n");
        }
        fs::write(self.file(), text).unwrap();
    }

    /// Asks over the admin socket.
    fn ask(&self, request: &str) -> String {
        let mut socket = UnixStream::connect(self.path("admin.sock")).unwrap();
        socket.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn client(&self, server: &Server, host: &'static str, alpn: &[u8]) -> Client {
        self.connect(server, host, alpn).unwrap()
    }

    /// Connects, and trusts the certificate that is in the folder now.
    fn connect(&self, server: &Server, host: &'static str, alpn: &[u8]) -> io::Result<Client> {
        let config = trusting(roots_in([self.path("server.pem")]), &[alpn]);
        let name = ServerName::try_from(host).unwrap();
        Client::over_as(&config, socket(server.address())?, name)
    }

    /// Returns an answer over HTTP/1.1.
    fn get(&self, server: &Server, host: &'static str, path: &str) -> (u16, Vec<u8>) {
        let mut client = self.client(server, host, b"http/1.1");
        let answer = request(&mut client, host, path);
        client.end();
        answer
    }

    /// Small and large answers, whole and in part, by each protocol, of each kind of site.
    fn ask_for_everything(&self, server: &Server) {
        let plain = server.listeners("http")[0];
        for host in ["a.test", "b.test", "c.test"] {
            let paths = ["/name.txt", "/large.bin", "/deep/er/", "/none"];
            // Twice, and then out of the memory: head and content are two runs of bytes.
            for path in paths.into_iter().chain(["/medium.bin"; 2]) {
                self.get(server, host, path);
                let mut stream = TcpStream::connect(plain).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let range = if path == "/large.bin" { "Range: bytes=4000000-5000000" } else { "Accept: */*" };
                let head =
                    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{range}\r\nConnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert!(answer.starts_with(b"HTTP/1.1 "), "{host}{path}");
            }
            let mut client = h2::Client::over(self.client(server, host, b"h2"), h2::WINDOW_MAX).unwrap();
            let ask = |path| [(":method", "GET"), (":path", path), (":authority", host)];
            let streams = paths.map(|path| {
                let (stream, block) = client.ask_for(&ask(path));
                client.send(&block).unwrap();
                stream
            });
            assert_eq!(client.answers(&streams).unwrap()[&streams[1]].body.len(), LARGE);
        }
    }

    /// Has the server end: on one engine by a drain, with an idle connection, and on others by a
    /// stop, with an answer that is under way.
    fn end(&self, server: &Server, engine: &str) {
        if engine == "uring" {
            let mut idle = self.client(server, "a.test", b"http/1.1");
            assert_eq!(request(&mut idle, "a.test", "/name.txt"), (200, b"another root".to_vec()));
            assert!(self.ask("drain").contains("true"), "{}", server.said());
            assert_eq!(request(&mut idle, "a.test", "/name.txt"), (200, b"another root".to_vec()));
            return idle.end();
        }
        let mut stream = TcpStream::connect(server.listeners("http")[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n").unwrap();
        let mut begin = [0; 1024];
        stream.read_exact(&mut begin).unwrap();
        server.terminate();
        eventually("a stop that waits", || server.said().contains("sitar: stopping when "));
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.len() > LARGE - begin.len());
    }

    /// Changes files, folders and roots, and waits until they are served.
    fn change_sites(&self, server: &Server) {
        let serves = |host, path: &str, content: &str| {
            eventually(content, || self.get(server, host, path) == (200, content.as_bytes().to_vec()));
        };
        write(self.0.path(), "one/a/new/name.txt", "a new folder");
        serves("a.test", "/new/name.txt", "a new folder");
        write(self.0.path(), "one/a/new/name.txt", "a file that was changed");
        serves("a.test", "/new/name.txt", "a file that was changed");
        fs::remove_dir_all(self.path("one/a/new")).unwrap();
        eventually("a folder to be gone", || self.get(server, "a.test", "/new/name.txt").0 == 404);
        write(self.0.path(), "b/name.txt", "another archive");
        self.archive();
        serves("b.test", "/name.txt", "another archive");
        write(self.0.path(), "c/name.txt", "another pack");
        self.pack();
        serves("c.test", "/name.txt", "another pack");
        // The link leads elsewhere now, where the sandbox does not reach.
        write(self.0.path(), "three/a/name.txt", "another root");
        symlink("three/a", self.path("a.new")).unwrap();
        fs::rename(self.path("a.new"), self.path("a")).unwrap();
        serves("a.test", "/name.txt", "another root");
    }

    fn renew(&self, server: &Server) {
        self.certify();
        eventually("the renewed certificate", || self.connect(server, "a.test", b"http/1.1").is_ok());
    }
}
