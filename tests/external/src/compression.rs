//! `cargo xtask compression`: what goes over the wire for three real sites that are folders, and
//! the CPU that it takes, beside nginx with `gzip on` and Caddy with `encode zstd gzip`.
//!
//! Every file is asked for once in each round, over one connection, in plain HTTP, as browsers ask.
//! Nothing is asserted: what does not work ends the command.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::hosts::running::{Running, connect, free_port};
use crate::program::{self, Places, Result};

/// What a browser names.
const ACCEPTED: &str = "gzip, deflate, br, zstd";
/// Rounds over all files whose CPU time is taken.
const ROUNDS: u32 = 5;
/// Longer than the pauses between runs of packers.
const REST: Duration = Duration::from_secs(15);
/// Types of text, as people list them for nginx.
const GZIP_TYPES: &str = "text/css text/plain text/javascript application/javascript application/json application/xml image/svg+xml";

/// Arguments of `compression`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seconds within which everything is encoded at the best level
    #[arg(long, default_value_t = 3600)]
    patience: u64,
}

/// Measures, and prints a table for each site.
pub(crate) fn run(places: &Places, arguments: &Arguments) -> Result<bool> {
    program::check_machine(&["taskset"])?;
    let sitar = program::find(places)?;
    let folder = program::fresh_folder(places.target.join("compression"))?;
    for (name, root) in sites()? {
        let site = folder.join(name);
        copy(&root, &site)?;
        let mut paths = Vec::new();
        list(&site, "", &mut paths)?;
        paths.sort();
        println!("{name}: {} files of {}", paths.len(), root.display());
        println!("  {:<24} {:>12} {:>8} {:>14}", "", "bytes", "", "CPU a request");
        let server = Server::sitar(&sitar, &folder, &site, "false")?;
        let plain = measure("sitar, compress = false", &server, &paths, None)?;
        drop(server);
        let server = Server::sitar(&sitar, &folder, &site, "true")?;
        let took = wait(&sitar, &folder, Duration::from_secs(arguments.patience))?;
        measure("sitar", &server, &paths, Some(plain))?;
        drop(server);
        measure("nginx, gzip on", &Server::nginx(&folder, &site)?, &paths, Some(plain))?;
        measure("Caddy, encode", &Server::caddy(&folder, &site)?, &paths, Some(plain))?;
        println!("  encoded at the best level {} s after the start\n", took.as_secs());
    }
    Ok(true)
}

/// Returns the names and folders of the sites.
fn sites() -> Result<[(&'static str, PathBuf); 3]> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output()?.stdout;
    let sysroot = PathBuf::from(String::from_utf8(sysroot)?.trim());
    let sites = [
        ("python", PathBuf::from("/usr/share/doc/python3-doc/html")),
        ("book", sysroot.join("share/doc/rust/html/book")),
        ("handbook", PathBuf::from("/usr/share/doc/debian-handbook/html/en-US")),
    ];
    match sites.iter().find(|(_, root)| !root.is_dir()) {
        None => Ok(sites),
        Some((_, missing)) => Err(format!(
            "no {}: `cargo xtask setup --bench` and `rustup component add rust-docs` install it",
            missing.display()
        )
        .into()),
    }
}

/// Copies a folder, with what its links lead to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    program::succeed(Command::new("cp").arg("-rL").arg(from).arg(to), "cp")
}

/// Adds the paths of all files that servers serve.
fn list(folder: &Path, below: &str, paths: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| format!("{}", name.display()))?;
        let path = format!("{below}/{name}");
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &path, paths)?;
        } else if entry.metadata()?.len() == 0 {
            // An answer without a body says nothing.
        } else if name != "index.html" && !name.starts_with('.') && name.bytes().all(is_plain) {
            // For the name of an index file, Caddy redirects to the folder.
            paths.push(path);
        } else if name == "index.html" {
            paths.push(format!("{below}/"));
        }
    }
    Ok(())
}

/// Whether the byte stands for itself in a path of a request.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// A server of one site on its core.
struct Server {
    running: Running,
    port: u16,
}

impl Server {
    fn start(mut command: Command, folder: &Path, port: u16) -> Result<Server> {
        command.current_dir(folder);
        let running = Running::start(command, folder, || connect(port).map(drop))?;
        Ok(Server { running, port })
    }

    fn sitar(program: &Path, folder: &Path, site: &Path, compress: &str) -> Result<Server> {
        let (port, file) = (free_port()?, folder.join("sitar.toml"));
        let text = format!(
            "[server]\ntls = \"off\"\nshards = 1\ncompress = {compress}\ncache = \"cache\"\n\
             [[listen]]\naddress = \"127.0.0.1:{port}\"\n[[site]]\nroot = {site:?}\n\
             [admin]\nsocket = \"admin.sock\"\n"
        );
        fs::write(&file, text)?;
        let mut command = program::sitar(program, folder);
        command.args(["serve", "--config"]).arg(file);
        Server::start(command, folder, port)
    }

    fn nginx(folder: &Path, site: &Path) -> Result<Server> {
        let (port, file, here) = (free_port()?, folder.join("nginx.conf"), folder.display());
        let text = format!(
            "worker_processes 1; daemon off; pid {here}/nginx.pid; error_log stderr error;\n\
             events {{}}\n\
             http {{ include /etc/nginx/mime.types; access_log off; sendfile on; tcp_nopush on;\n\
             keepalive_requests 1000000; gzip on; gzip_types {GZIP_TYPES};\n\
             server {{ listen 127.0.0.1:{port}; root {}; }} }}\n",
            site.display()
        );
        fs::write(&file, text)?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-c").arg(file);
        Server::start(command, folder, port)
    }

    fn caddy(folder: &Path, site: &Path) -> Result<Server> {
        let (port, file) = (free_port()?, folder.join("Caddyfile"));
        let text = format!(
            "{{\n admin off\n auto_https off\n}}\nhttp://:{port} {{\n bind 127.0.0.1\n root * {}\n encode zstd gzip\n \
             file_server\n}}\n",
            site.display()
        );
        fs::write(&file, text)?;
        let mut command = Command::new("caddy");
        command.env("HOME", folder).env("GOMAXPROCS", "1").args([
            "run",
            "--adapter",
            "caddyfile",
            "--config",
        ]);
        command.arg(file);
        Server::start(command, folder, port)
    }

    /// Asks for every file. Returns the bytes that came, heads too.
    fn round(&self, paths: &[String]) -> Result<u64> {
        let mut wire = BufReader::with_capacity(1 << 16, connect(self.port)?);
        let mut sum = 0;
        for path in paths {
            sum += ask(&mut wire, path).map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(sum)
    }
}

/// Prints the line of one server, and returns the bytes of a round. `plain` are those of a round
/// without encodings.
fn measure(name: &str, server: &Server, paths: &[String], plain: Option<u64>) -> Result<u64> {
    // The first round is not counted: it loads.
    let bytes = server.round(paths)?;
    let before = cpu(server.running.id())?;
    for _ in 0..ROUNDS {
        server.round(paths)?;
    }
    let used = cpu(server.running.id())?.saturating_sub(before);
    let request = used.as_secs_f64() * 1e6 / f64::from(ROUNDS) / paths.len() as f64;
    let part = plain.map_or(String::new(), |plain| format!("{:.1} %", bytes as f64 * 100.0 / plain as f64));
    println!("  {name:<24} {bytes:>12} {part:>8} {request:>11.1} µs");
    Ok(bytes)
}

/// Sends one request and reads its answer. Returns the bytes of the answer.
fn ask(wire: &mut BufReader<TcpStream>, path: &str) -> io::Result<u64> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {ACCEPTED}\r\n\r\n");
    wire.get_mut().write_all(request.as_bytes())?;
    let (mut bytes, mut length, mut line) = (0, None, String::new());
    let mut is_first = true;
    loop {
        line.clear();
        bytes += wire.read_line(&mut line)? as u64;
        let text = line.trim_end().to_ascii_lowercase();
        if std::mem::take(&mut is_first) {
            if !text.starts_with("http/1.1 200") {
                return Err(io::Error::other(text));
            }
        } else if text.is_empty() {
            break;
        } else if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse::<u64>().ok();
        }
    }
    if let Some(length) = length {
        // No file is empty: a server that finds no site may say so by a 200.
        if length == 0 {
            return Err(io::Error::other("an answer without a body"));
        }
        return Ok(bytes + skip(wire, length)?);
    }
    // Chunked (RFC 9112 §7.1), without trailers.
    loop {
        line.clear();
        bytes += wire.read_line(&mut line)? as u64;
        let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        bytes += skip(wire, size + 2)?;
        if size == 0 {
            return Ok(bytes);
        }
    }
}

/// Reads over that many bytes.
fn skip(wire: &mut BufReader<TcpStream>, length: u64) -> io::Result<u64> {
    match io::copy(&mut wire.take(length), &mut io::sink())? {
        read if read == length => Ok(read),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Returns the CPU time of a process and of its children that run.
fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc(5): utime and stime are fields 14 and 15, in ticks of 10 ms.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').collect::<Vec<_>>());
    let fields = fields.ok_or("no fields in /proc")?;
    let ticks = |at: usize| fields.get(at - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let mut sum = Duration::from_millis(10 * (ticks(14) + ticks(15)));
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let children = fs::read_to_string(task?.path().join("children"))?;
        for child in children.split_whitespace() {
            sum += cpu(child.parse()?)?;
        }
    }
    Ok(sum)
}

/// Waits until no packer runs any more. Returns how long that took.
fn wait(program: &Path, folder: &Path, patience: Duration) -> Result<Duration> {
    let start = Instant::now();
    let mut idle_since = None;
    loop {
        let mut command = program::sitar(program, folder);
        let output =
            command.args(["status", "--json", "--socket"]).arg(folder.join("admin.sock")).output()?;
        let status: Value = serde_json::from_slice(&output.stdout)?;
        let encodings = &status["sites"][0]["encodings"];
        let is_idle = encodings["packing"] == false && encodings["files"].as_u64() > Some(0);
        match idle_since {
            Some(since) if is_idle && Instant::now() - since > REST => return Ok(since - start),
            Some(_) if is_idle => {}
            _ => idle_since = is_idle.then(Instant::now),
        }
        if start.elapsed() > patience {
            return Err(format!("no end of encoding after {} s: {encodings}", patience.as_secs()).into());
        }
        sleep(Duration::from_millis(200));
    }
}
