//! `cargo xtask packs`: how long packing takes, and how soon the server answers from a pack and from a plain tar.
//!
//! Times are printed, not asserted: they are the machine's as much as the program's.

use crate::Invocation;
use crate::program::{self, Result, succeed};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Files of the large site; `--files N` asks for another number.
const FILES: usize = 100_000;
/// Bytes of the plain tar.
const PLAIN: u64 = 1 << 30;
/// Starts of which the median counts.
const STARTS: usize = 7;
/// How long a server may take to answer before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the sites, packs and serves them, prints a table.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    let files = match invocation.args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Some(FILES),
        ["--files", number] => number.parse().ok(),
        _ => None,
    };
    let Some(files) = files else {
        eprintln!("usage: cargo xtask packs [--files N]");
        return ExitCode::from(2);
    };
    match measure(&invocation.root, files) {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(root: &Path, files: usize) -> Result<String> {
    let sitar = program::find(root)?;
    let work = Work::new(root)?;
    let mut table = String::from("| what | seconds |\n|---|---|\n");
    let mut row = |what: &str, time: Duration| {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {what} | {:.3} |", time.as_secs_f64());
    };

    let site = work.folder.join("site");
    pages(&site, files)?;
    let pack = work.folder.join("site.tar");
    let words = |output: &Path| {
        let mut command = Command::new(&sitar);
        command.arg("pack").arg(&site).arg("-o").arg(output).stdout(Stdio::null());
        command
    };
    row(&format!("packing {files} pages"), timed(|| succeed(&mut words(&pack), "sitar pack"))?);
    let first = page(&site, 0);
    fs::write(&first, text(files))?;
    row("packing again, one page changed", timed(|| succeed(&mut words(&pack), "sitar pack"))?);
    row(
        &format!("first answer from that pack ({} MiB)", mebibytes(&pack)?),
        start(&sitar, &pack, "/d0/p0.html")?,
    );
    row("first answer from that directory", start(&sitar, &site, "/d0/p0.html")?);
    fs::remove_dir_all(&site)?;
    fs::remove_file(&pack)?;

    for size in [8 << 10, 256 << 10] {
        let plain = work.folder.join("plain.tar");
        let count = PLAIN / size;
        bodies(&site, count, size)?;
        succeed(Command::new("tar").arg("-cf").arg(&plain).arg("-C").arg(&site).arg("."), "tar")?;
        let what = format!("first answer from a plain tar of {} MiB, {count} files", mebibytes(&plain)?);
        row(&what, start(&sitar, &plain, "/d0/f0.bin")?);
        fs::remove_dir_all(&site)?;
    }
    Ok(table)
}

/// From the program's start to the last byte of the first answer, the median of several starts.
fn start(sitar: &Path, site: &Path, path: &str) -> io::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let address = free_address()?;
        let since = Instant::now();
        let server = Command::new(sitar)
            .arg("serve")
            .arg(site)
            .args(["--tls", "off", "--listen", &address.to_string()])
            .stdout(Stdio::null())
            .spawn()?;
        let server = Server(server);
        ask(address, path, since)?;
        times.push(since.elapsed());
        drop(server);
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn ask(address: SocketAddr, path: &str, since: Instant) -> io::Result<()> {
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if since.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err(io::Error::other("the answer is not 200")) }
}

/// A port that nobody has at the moment.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that goes away again.
struct Work {
    folder: PathBuf,
}

impl Work {
    fn new(root: &Path) -> io::Result<Work> {
        let folder = root.join("target/packs");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Work { folder })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn pages(site: &Path, files: usize) -> io::Result<()> {
    for number in 0..files {
        let page = page(site, number);
        if number % 1000 == 0 {
            fs::create_dir_all(page.parent().unwrap_or(site))?;
        }
        fs::write(page, text(number))?;
    }
    Ok(())
}

fn page(site: &Path, number: usize) -> PathBuf {
    site.join(format!("d{}/p{}.html", number / 1000, number % 1000))
}

/// A page of about 2 KiB that is like the others and not the same.
fn text(number: usize) -> String {
    let mut text = format!("<!DOCTYPE html>\n<title>Page {number}</title>\n");
    for line in 0..20 {
        let seed = number.wrapping_mul(2_654_435_761).wrapping_add(line * 40_503);
        let _ =
            writeln!(text, "<p>Line {line} of page {number}: {seed:x}, and some words that come again.</p>");
    }
    text
}

fn bodies(site: &Path, count: u64, size: u64) -> io::Result<()> {
    for number in 0..count {
        let folder = site.join(format!("d{}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&folder)?;
        }
        let byte = number.to_le_bytes()[0];
        fs::write(
            folder.join(format!("f{}.bin", number % 1000)),
            vec![byte; usize::try_from(size).unwrap_or(0)],
        )?;
    }
    Ok(())
}

fn mebibytes(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.len() >> 20)
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let since = Instant::now();
    run()?;
    Ok(since.elapsed())
}
