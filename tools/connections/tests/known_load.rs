//! The tool beside a server and a known load: its numbers are those of the client.
//!
//! `cargo xtask connections` runs it; it needs root, and the path of the server's program in
//! `SITAR_TEST_BINARY`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const CONTENT: usize = 100_000;

#[test]
fn each_connection_has_the_numbers_of_its_client() {
    let Some(program) = std::env::var_os("SITAR_TEST_BINARY") else {
        eprintln!("SKIPPED: SITAR_TEST_BINARY does not name a server");
        return;
    };
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("SKIPPED: only root can attach probes");
        return;
    }
    let place = TempDir::new().unwrap();
    // Probes belong to a file: nothing else runs from this one.
    let copy = place.path().join("sitar");
    fs::copy(&program, &copy).unwrap();
    let mut server = serve(place.path(), &copy);
    let address = address(&server.lines);

    let mut tool = Command::new(env!("CARGO_BIN_EXE_sitar-connections"));
    tool.args(["--json", "--port", &address.port().to_string()]).arg(&copy);
    let mut tool = Running::start(&mut tool);
    tool.wait_for("attached to ");

    let expected = [visit(address, &["/a.bin"; 3]), visit(address, &["/no", "/a.bin"]), visit(address, &[])];
    let mut sums = Client::default();
    for client in &expected {
        // In the order in which they were closed.
        let line = tool.wait_for("\"type\":\"connection\"");
        assert_eq!(text(&line, "peer"), client.peer.unwrap().to_string(), "{line}");
        let number = |name| number(&line, name);
        assert_eq!(number("requests"), client.requests, "{line}");
        assert_eq!(number("answers"), client.requests, "{line}");
        assert_eq!(number("errors"), client.errors, "{line}");
        assert_eq!(number("content"), client.content, "{line}");
        assert_eq!(number("unsent"), 0, "{line}");
        assert_eq!(number("local_port"), u64::from(address.port()), "{line}");
        assert_eq!(number("tcp_sent") - number("tcp_retransmitted"), client.read, "{line}");
        // TCP counts the end of a direction as a byte.
        assert_eq!(number("tcp_received"), client.written + 1, "{line}");
        sums.requests += client.requests;
        sums.content += client.content;
        sums.read += client.read;
    }
    tool.interrupt();
    let summary = tool.wait_for("\"type\":\"summary\"");
    assert_eq!(number(&summary, "connections"), 3, "{summary}");
    assert_eq!(number(&summary, "without_tcp"), 0, "{summary}");
    assert_eq!(number(&summary, "requests"), sums.requests, "{summary}");
    assert_eq!(number(&summary, "content"), sums.content, "{summary}");
    assert_eq!(number(&summary, "tcp_sent") - number(&summary, "tcp_retransmitted"), sums.read, "{summary}");
    assert_eq!(number(&summary, "lost"), 0, "{summary}");
    assert!(tool.child.wait().unwrap().success());
    server.terminate();
}

/// What the client has counted of a connection.
#[derive(Default)]
struct Client {
    peer: Option<SocketAddr>,
    requests: u64,
    errors: u64,
    content: u64,
    read: u64,
    written: u64,
}

/// Asks for these on one connection, and reads it to its end.
fn visit(address: SocketAddr, paths: &[&str]) -> Client {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client { peer: Some(stream.local_addr().unwrap()), ..Client::default() };
    let mut text = String::new();
    for (at, path) in paths.iter().enumerate() {
        let connection = if at + 1 == paths.len() { "Connection: close\r\n" } else { "" };
        text.push_str(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{connection}\r\n"));
    }
    stream.write_all(text.as_bytes()).unwrap();
    if paths.is_empty() {
        stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    (client.read, client.written) = (answers.len() as u64, text.len() as u64);
    client.requests = paths.len() as u64;
    let mut rest = &answers[..];
    while !rest.is_empty() {
        let head = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let fields = String::from_utf8(rest[..head].to_vec()).unwrap().to_ascii_lowercase();
        let length = fields.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let length: usize = length.parse().unwrap();
        client.errors += u64::from(fields.starts_with("http/1.1 404 "));
        client.content += length as u64;
        rest = &rest[head + length..];
    }
    client
}

fn serve(place: &Path, program: &Path) -> Running {
    fs::create_dir(place.join("site")).unwrap();
    fs::write(place.join("site/a.bin"), vec![7; CONTENT]).unwrap();
    let config = "[server]\nshards = 2\n[[listen]]\naddress = \"127.0.0.1:0\"\ntls = \"off\"\n\
                  [[site]]\ndefault = true\nroot = \"site\"\n";
    fs::write(place.join("sitar.toml"), config).unwrap();
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(place.join("sitar.toml"));
    command.env("HOME", place).env("XDG_DATA_HOME", place).env("CACHE_DIRECTORY", "").env("NO_COLOR", "1");
    Running::start(&mut command)
}

fn address(lines: &Receiver<String>) -> SocketAddr {
    loop {
        let line = lines.recv_timeout(PATIENCE).unwrap();
        if line.contains("  listens  ") {
            return line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        }
    }
}

/// A program that runs, and its lines.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        Running { child, lines }
    }

    fn wait_for(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("no line with {text}: {before:#?}"),
            }
        }
    }

    fn interrupt(&self) {
        assert!(
            Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    fn terminate(&mut self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(line: &str, name: &str) -> u64 {
    let rest = line.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name}: {line}")).1;
    rest[..rest.find([',', '}']).unwrap()].parse().unwrap()
}

fn text(line: &str, name: &str) -> String {
    let rest = line.split_once(&format!("\"{name}\":\"")).unwrap_or_else(|| panic!("no {name}: {line}")).1;
    rest[..rest.find('"').unwrap()].to_owned()
}
