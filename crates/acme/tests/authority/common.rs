//! The model, the way to it, and a world whose time is virtual.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sitar_acme::{
    Authority, ChallengeKind, Command, DnsChange, Failure, Gate, Identifier, KeyType, Kind, Level, Method,
    Outside, Pending, Plan, Progress, Response, Store, Transport, Wanted,
};

/// Debian's, which has the module `cryptography` where `cargo xtask setup` has been.
const PYTHON: &str = "/usr/bin/python3";
/// 2026-12-01.
pub(crate) const START: u64 = 1_796_083_200;
pub(crate) const HOUR: u64 = 3600;
pub(crate) const DAY: u64 = 24 * HOUR;

/// The model, which ends with this.
pub(crate) struct Model {
    process: Child,
    pub(crate) directory: String,
    plain: u16,
    _folder: tempfile::TempDir,
}

impl Model {
    /// Starts it. `None`: this machine cannot.
    pub(crate) fn start() -> Option<Model> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/acme/ca.py");
        let check = Process::new(PYTHON).args(["-c", "import cryptography"]).stderr(Stdio::null()).status();
        if !check.is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none(), "python3 and its package cryptography are needed");
            eprintln!("SKIPPED: python3 and its package cryptography are not there");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::new(PYTHON)
            .args([script, "--trust", "--dir"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let directory = said["directory"].as_str().unwrap().to_owned();
        let plain = u16::try_from(said["plain"].as_u64().unwrap()).unwrap();
        Some(Model { process, directory, plain, _folder: folder })
    }

    /// Sets something, and returns a part of what has happened.
    pub(crate) fn control(&self, part: &str, now: u64, request: &Value) -> Value {
        let mut way = Way::new(self.plain);
        let now = format!("X-Virtual-Time: {now}\r\n");
        let body = request.to_string();
        let answer = way.send("POST", &format!("/control/{part}"), &now, Some(body.as_bytes())).unwrap();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority {
            directory: self.directory.clone(),
            roots: None,
            agrees: true,
            contact: vec!["mailto:a@b.example".to_owned()],
            eab: None,
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A connection to the plain port, where nothing has to be sealed.
struct Way {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Way {
    fn new(port: u16) -> Way {
        Way { port, stream: None }
    }

    fn send(&mut self, method: &str, path: &str, fields: &str, body: Option<&[u8]>) -> io::Result<Response> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().unwrap();
        let len = body.map(|body| format!("Content-Length: {}\r\n", body.len())).unwrap_or_default();
        let kind = if path.starts_with("/control") { "application/json" } else { "application/jose+json" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: sitar-tests\r\n\
             Content-Type: {kind}\r\n{fields}{len}\r\n"
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        stream.get_mut().write_all(&bytes)?;
        let result = read(stream, method == "HEAD");
        if result.is_err() {
            self.stream = None;
        }
        result
    }
}

fn read(stream: &mut BufReader<TcpStream>, is_head: bool) -> io::Result<Response> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
    let fields = lines[1..].iter().filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let fields: Vec<_> = fields.collect();
    let len =
        fields.iter().find(|field| field.0 == "content-length").map_or(0, |field| field.1.parse().unwrap());
    let mut body = vec![0; if is_head { 0 } else { len }];
    stream.read_exact(&mut body)?;
    Ok(Response { status, fields, body })
}

/// What can be stopped, as by `kill -9`, at a step: before or after a request or an operation on a
/// file.
#[derive(Clone, Default)]
pub(crate) struct Steps {
    /// The steps that are left; `None`: it is never stopped.
    left: Rc<Cell<Option<usize>>>,
    /// The names of the steps that were passed.
    pub(crate) passed: Rc<RefCell<Vec<String>>>,
}

impl Steps {
    pub(crate) fn stopping_at(step: usize) -> Steps {
        Steps { left: Rc::new(Cell::new(Some(step))), ..Steps::default() }
    }

    fn is_stopped(&self) -> bool {
        self.left.get() == Some(0)
    }

    fn pass(&self, name: &str) -> io::Result<()> {
        if self.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        self.passed.borrow_mut().push(name.to_owned());
        self.left.set(self.left.get().map(|left| left - 1));
        if self.is_stopped() { Err(io::Error::other("stopped")) } else { Ok(()) }
    }

    fn gate(&self) -> Gate {
        let steps = self.clone();
        Box::new(move |name| steps.pass(name))
    }
}

/// A world whose time passes in waits and in requests.
#[derive(Clone)]
pub(crate) struct World {
    plain: u16,
    base: String,
    /// Milliseconds since 1970.
    clock: Rc<Cell<u64>>,
    /// When it ends.
    end: Rc<Cell<u64>>,
    steps: Steps,
    /// It ends soon after a certificate was issued.
    pub(crate) is_over_when_issued: bool,
    /// Commands that come at a time.
    pub(crate) commands: Rc<RefCell<VecDeque<(u64, Command)>>>,
    pub(crate) said: Rc<RefCell<Vec<String>>>,
    pub(crate) issued: Rc<Cell<usize>>,
    pub(crate) progress: Rc<RefCell<Option<Progress>>>,
}

impl World {
    pub(crate) fn new(model: &Model, now: u64, end: u64, steps: Steps) -> World {
        World {
            plain: model.plain,
            base: model.directory.trim_end_matches("/dir").to_owned(),
            clock: Rc::new(Cell::new(now * 1000)),
            end: Rc::new(Cell::new(end * 1000)),
            steps,
            is_over_when_issued: false,
            commands: Rc::default(),
            said: Rc::default(),
            issued: Rc::default(),
            progress: Rc::default(),
        }
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.clock.get() / 1000
    }

    /// Runs a manager in that folder until this world ends.
    pub(crate) fn run(&self, folder: &Path, plan: &Plan) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        let folder = fs::File::open(folder).unwrap();
        let store = match Store::open_with(folder.as_fd(), Some(self.steps.gate())) {
            Ok(store) => store,
            Err(error) => return assert!(self.steps.is_stopped(), "{error}"),
        };
        let mut connect = |_: &Authority| {
            let way = Carrier { world: self.clone(), way: Way::new(self.plain) };
            Ok(Box::new(way) as Box<dyn Transport>)
        };
        let result = sitar_acme::run(store, plan.clone(), &mut connect, &mut self.clone());
        assert!(result.is_ok() || self.steps.is_stopped(), "{result:?}");
    }
}

impl Outside for World {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.clock.get())
    }

    fn wait(&mut self, until: Option<SystemTime>) -> Option<Command> {
        if self.is_ending() {
            return Some(Command::End);
        }
        let until = until.unwrap().duration_since(UNIX_EPOCH).unwrap();
        let until = u64::try_from(until.as_millis()).unwrap();
        let next = self.commands.borrow().front().map(|(at, _)| at * 1000);
        if let Some(at) = next.filter(|at| *at <= until) {
            self.clock.set(self.clock.get().max(at));
            return self.commands.borrow_mut().pop_front().map(|(_, command)| command);
        }
        self.clock.set(self.clock.get().max(until.min(self.end.get())));
        if self.is_ending() { Some(Command::End) } else { None }
    }

    fn answer(&mut self, _: &[Pending]) -> Result<(), String> {
        Ok(())
    }

    fn change_dns(&mut self, _: DnsChange, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn issued(&mut self, _: &str) -> Result<(), String> {
        self.issued.set(self.issued.get() + 1);
        if self.is_over_when_issued {
            self.end.set(self.clock.get() + 1);
        }
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        self.progress.replace(Some(progress.clone()));
    }

    fn say(&mut self, _: Level, text: &str) {
        self.said.borrow_mut().push(text.to_owned());
    }

    fn is_ending(&mut self) -> bool {
        self.steps.is_stopped() || self.clock.get() >= self.end.get()
    }
}

/// Carries requests to the plain port of the model.
struct Carrier {
    world: World,
    way: Way,
}

impl Transport for Carrier {
    fn request(
        &mut self,
        method: Method,
        url: &str,
        body: Option<(&str, &[u8])>,
    ) -> Result<Response, Failure> {
        let unreachable = |error: io::Error| Failure::new(Kind::Unreachable, error.to_string());
        let path = url.strip_prefix(&self.world.base).unwrap_or_else(|| panic!("{url} leads elsewhere"));
        let method = match method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
        };
        let name = format!("request {}", path.trim_start_matches('/').split('/').next().unwrap());
        self.world.steps.pass(&name).map_err(unreachable)?;
        // A request takes a while.
        self.world.clock.set(self.world.clock.get() + 100);
        let now = self.world.clock.get();
        let field = format!("X-Virtual-Time: {}.{:03}\r\n", now / 1000, now % 1000);
        let answer = self.way.send(method, path, &field, body.map(|(_, body)| body));
        self.world.steps.pass(&name).map_err(unreachable)?;
        answer.map_err(unreachable)
    }
}

pub(crate) fn wanted(names: &[&str]) -> Wanted {
    Wanted {
        identifiers: names.iter().map(|name| Identifier::parse(name).unwrap()).collect(),
        key: KeyType::P256,
        profile: None,
        preferred_chain: None,
        challenges: vec![ChallengeKind::Http01, ChallengeKind::TlsAlpn01],
    }
}

pub(crate) fn nothing() -> Value {
    json!({})
}

/// In CI, one in this number is tried.
pub(crate) fn sample() -> usize {
    std::env::var("SITAR_SAMPLE").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}
