//! `cargo xtask packs`: the time that packing takes, and the time until the first answer from a
//! pack and from a plain tar.
//!
//! Times are printed, not asserted: they are the machine's as much as the program's.

use crate::Result;
use crate::run::target;
use crate::servers::announced;
use clap::Args;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names the program, as for the tests.
const VARIABLE: &str = "SITAR_TEST_BINARY";
/// Bytes of the plain tar.
const PLAIN: u64 = 1 << 30;
/// Starts of which the median counts.
const STARTS: usize = 7;
/// Limit for a part of an answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Arguments of `packs`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Files of the large site
    #[arg(long, default_value_t = 100_000)]
    files: usize,
    /// The program, in place of the release build
    #[arg(long, env = VARIABLE, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// Makes the sites, packs and serves them, prints a table.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let files = arguments.files;
    let sitar = arguments.program.clone().unwrap_or_else(|| target().join("release/sitar"));
    let work = Work::new()?;
    let mut table = String::from("| what | seconds |\n|---|---|\n");
    let mut row = |what: &str, time: Duration| {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {what} | {:.3} |", time.as_secs_f64());
    };

    let site = work.folder.join("site");
    pages(&site, files)?;
    let pack = work.folder.join("site.tar");
    let pack_to = |output: &Path| -> Result<Duration> {
        let since = Instant::now();
        let mut command = Command::new(&sitar);
        // A variable of this program, which sitar does not know.
        command.env_remove(VARIABLE);
        command.arg("pack").arg(&site).arg("-o").arg(output).stdout(Stdio::null());
        succeed(&mut command, "sitar pack")?;
        Ok(since.elapsed())
    };
    row(&format!("packing {files} pages"), pack_to(&pack)?);
    let first = page(&site, 0);
    fs::write(&first, text(files))?;
    row("packing again, one page changed", pack_to(&pack)?);
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
    print!("{table}");
    Ok(())
}

/// Returns the time from the program's start to the last byte of the first answer, the median of
/// several starts.
fn start(sitar: &Path, site: &Path, path: &str) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let since = Instant::now();
        let mut command = Command::new(sitar);
        command.env_remove(VARIABLE);
        command.arg("serve").arg(site).args(["--tls", "off", "--listen", "127.0.0.1:0"]);
        let server = announced(command)?;
        ask(server.port, path)?;
        times.push(since.elapsed());
        drop(server);
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn ask(port: u16, path: &str) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200 ") { Ok(()) } else { Err("the answer is not 200".into()) }
}

/// A folder that is removed again.
struct Work {
    folder: PathBuf,
}

impl Work {
    fn new() -> io::Result<Work> {
        let folder = target().join("packs");
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

/// Returns a page of about 2 KiB that is like the others and not the same.
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

/// Runs `command` to its end; an error names it as `what`.
fn succeed(command: &mut Command, what: &str) -> Result<()> {
    let status = command.status().map_err(|error| format!("{what}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what}: {status}").into()) }
}
