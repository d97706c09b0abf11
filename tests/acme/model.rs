//! The model of an authority in ca.py.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::place::{Place, Running};
use crate::common::{run, skip};

/// Debian's, which has the module `cryptography` where `cargo xtask setup` has been.
const PYTHON: &str = "/usr/bin/python3";

/// A running model.
pub(super) struct Model<'p> {
    place: &'p Place,
    running: Running,
    directory: String,
    plain: SocketAddr,
}

impl<'p> Model<'p> {
    /// Starts it; `None` and a skip where Python cannot. Every name has the address of the test.
    pub(super) fn start(place: &'p Place, args: &[&str]) -> Option<Model<'p>> {
        if !std::fs::exists(PYTHON).unwrap() || !run(PYTHON, ["-c", "import cryptography"]).status.success() {
            skip("no python3 with cryptography on this machine; `cargo xtask setup` installs them");
            return None;
        }
        let mut python = Command::new(PYTHON);
        python.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/acme/ca.py"));
        python.arg("--dir").arg(place.folder()).args(["--address", &place.address.to_string()]);
        let [tls, http] = place.ports.map(|port| port.to_string());
        python.args(["--http-port", &http, "--tls-port", &tls]).args(args);
        // It ends with its standard input, also when this process is killed.
        python.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(&mut python, place.path("model.log"), true);
        let mut line = String::new();
        BufReader::new(running.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let port = u16::try_from(ready["plain"].as_u64().unwrap()).unwrap();
        let directory = ready["directory"].as_str().unwrap().to_owned();
        Some(Model { place, running, directory, plain: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    /// Returns the file with the root of what it certifies.
    pub(super) fn root(&self) -> PathBuf {
        self.place.path("root.pem")
    }

    /// Returns the file with its other root.
    pub(super) fn alternate_root(&self) -> PathBuf {
        self.place.path("alternate.pem")
    }

    /// Changes settings (`SETTINGS` in ca.py).
    pub(super) fn set(&self, settings: &Value) {
        self.control("", &json!({ "set": settings }));
    }

    /// Returns a part of what it knows: `orders`, `certificates`, `breaches`, `requests`, …
    pub(super) fn part(&self, name: &str) -> Value {
        self.control(&format!("/{name}"), &json!({}))
    }

    /// Asks at its control port; a fault of the model itself fails the test.
    pub(super) fn control(&self, part: &str, request: &Value) -> Value {
        let body = request.to_string();
        let mut stream = TcpStream::connect(self.plain).unwrap();
        let head = format!(
            "POST /control{part} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{request}: {answer}");
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for Model<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.running.child.try_wait().unwrap().is_none() {
            assert_eq!(self.part("faults"), json!([]));
        }
    }
}
