//! `cargo xtask redbot`: sitar's answers judged by REDbot, which knows HTTP's rules for caches,
//! ranges and negotiation.
//!
//! REDbot comes from PyPI into a virtual environment under `target/redbot`, each package in the
//! version that `redbot/requirements.txt` names. A small site is served twice: as a pack over
//! HTTPS, and as the directory that comes out of that pack over plain HTTP. A warning that is not
//! among the exceptions in `redbot/notes.rs` fails the run.

mod notes;

use crate::program::{self, Places, Result, Server};
use notes::{Level, Report};
use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Installs REDbot where it is not, serves the site and asks REDbot about each page.
pub(crate) fn run(places: &Places) -> Result<bool> {
    let redbot = environment(&places.target.join("redbot/venv"))?;
    let program = program::find(places)?;
    let folder = program::fresh_folder(places.target.join("redbot/work"))?;
    let (site, pack, unpacked) = (folder.join("site"), folder.join("site.tar"), folder.join("unpacked"));
    write_site(&site)?;
    let sitar = || program::sitar(&program, &folder);
    let mut packing = sitar();
    packing.arg("pack").arg(&site).arg("-o").arg(&pack).stdout(Stdio::null());
    program::succeed(&mut packing, "sitar pack")?;
    fs::create_dir_all(&unpacked)?;
    program::succeed(Command::new("tar").arg("-xf").arg(&pack).arg("-C").arg(&unpacked), "tar")?;

    let servers = [
        ("the pack, HTTPS", Server::start(sitar(), [&pack])?),
        (
            "the directory, plain HTTP",
            Server::start(sitar(), [unpacked.as_os_str(), "--tls".as_ref(), "off".as_ref()])?,
        ),
    ];
    let mut tally = Tally::default();
    for (name, server) in &servers {
        for page in PAGES {
            println!("\n{} ({name})", page.path);
            let report = ask(&redbot, &server.url(page.path))?;
            tally.add(page, &report);
        }
    }
    Ok(tally.finish())
}

/// An address and the notes that REDbot must have about it: a check that did not run is not clean.
struct Page {
    path: &'static str,
    status: u64,
    /// Identifiers of the notes, as in REDbot's and httplint's source.
    expected: &'static [&'static str],
}

const FILE: &[&str] = &["CL_CORRECT", "RANGE_CORRECT", "INM_304", "IMS_304", "FRESHNESS_NO_CACHE"];
const ENCODED: &[&str] =
    &["CL_CORRECT", "RANGE_CORRECT", "INM_304", "IMS_304", "FRESHNESS_NO_CACHE", "CONNEG_GZIP_GOOD"];
const FINGERPRINTED: &[&str] =
    &["CL_CORRECT", "RANGE_CORRECT", "INM_304", "IMS_304", "FRESHNESS_FRESH", "CONNEG_GZIP_GOOD"];

const PAGES: &[Page] = &[
    Page { path: "/", status: 200, expected: ENCODED },
    Page { path: "/style.css", status: 200, expected: ENCODED },
    Page { path: "/app.3f2a91bc.js", status: 200, expected: FINGERPRINTED },
    Page { path: "/picture.png", status: 200, expected: FILE },
    Page { path: "/large.bin", status: 200, expected: FILE },
    Page { path: "/docs/", status: 200, expected: ENCODED },
    Page { path: "/docs", status: 301, expected: &["CL_CORRECT", "STORE_NO_STORE"] },
    Page { path: "/nothing", status: 404, expected: &["CL_CORRECT", "CONNEG_GZIP_GOOD"] },
];

/// Blocks of 8 bytes in `large.bin`, which so has 10 MiB.
const LARGE: u64 = (10 << 20) / 8;

fn write_site(site: &Path) -> Result<()> {
    let page = |title: &str, line: &str| {
        let head = format!("<!doctype html>\n<html lang=\"en\">\n<title>{title}</title>\n");
        head + &format!("<p>{line}</p>\n").repeat(40)
    };
    let style: String = (0..400)
        .map(|number| format!(".c{number} {{ margin: {number}px; color: #{number:06x} }}\n"))
        .collect();
    // Bytes that no encoding makes smaller, the same in each run: hashes of the natural numbers.
    let hash = |number| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(number);
        hasher.finish().to_le_bytes()
    };
    let large: Vec<u8> = (0..LARGE).flat_map(hash).collect();
    fs::create_dir_all(site.join("docs"))?;
    fs::write(site.join("index.html"), page("A page", "Longer than the part of it that is asked for."))?;
    fs::write(site.join("docs/index.html"), page("A folder's page", "Found with a slash and without."))?;
    fs::write(site.join("404.html"), page("Nothing here", "There is no page of that name."))?;
    fs::write(site.join("style.css"), style)?;
    fs::write(site.join("app.3f2a91bc.js"), "document.title += ' and a script'\n".repeat(100))?;
    fs::write(site.join("picture.png"), include_bytes!("redbot/picture.png"))?;
    fs::write(site.join("large.bin"), large)?;
    Ok(())
}

/// Returns REDbot's program, which is installed if it is not there in the pinned version.
fn environment(venv: &Path) -> Result<PathBuf> {
    const REQUIREMENTS: &str = include_str!("redbot/requirements.txt");
    // Written last, so that an interrupted installation is made again.
    let stamp = venv.join("complete");
    let redbot = venv.join("bin/redbot");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == REQUIREMENTS) && redbot.is_file() {
        return Ok(redbot);
    }
    println!("redbot: making a virtual environment at {}", venv.display());
    program::fresh_folder(venv.to_owned())?;
    let made = Command::new("python3").args(["-m", "venv"]).arg(venv).stdout(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        let hint = "on Debian and Ubuntu: apt-get install python3-venv (Python 3.11 or newer)";
        return Err(format!("`python3 -m venv {}` failed; {hint}", venv.display()).into());
    }
    let requirements = venv.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS)?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-input", "-r"]).arg(&requirements);
    if !pip.status()?.success() {
        return Err("pip could not install REDbot (see above); it needs the network once, for PyPI".into());
    }
    fs::write(&stamp, REQUIREMENTS)?;
    Ok(redbot)
}

fn ask(redbot: &Path, url: &str) -> Result<Report> {
    // REDbot's own limit for a server that does not answer is longer.
    let done = Command::new("timeout").arg("60").arg(redbot).args(["-o", "har", url]).output()?;
    notes::understand(&String::from_utf8_lossy(&done.stdout)).map_err(|error| {
        let said = String::from_utf8_lossy(&done.stderr);
        format!("{url}: {error} ({}) {}", done.status, said.trim()).into()
    })
}

#[derive(Default)]
struct Tally {
    good: usize,
    info: usize,
    excepted: usize,
    failures: Vec<String>,
    /// The exceptions that were needed, by their place in the list.
    used: BTreeSet<usize>,
}

impl Tally {
    /// Prints the notes about a page and counts them.
    fn add(&mut self, page: &Page, report: &Report) {
        if report.status != page.status {
            self.fail(format!("{}: the status is {}, not {}", page.path, report.status, page.status));
        }
        for note in &report.notes {
            println!("  {:<4} {}", note.level.name(), note.summary);
            match note.level {
                Level::Good => self.good += 1,
                Level::Info => self.info += 1,
                Level::Warn | Level::Bad => match notes::exception(page.path, &note.id) {
                    Some((place, reason)) => {
                        println!("         excepted: {reason}");
                        self.excepted += 1;
                        self.used.insert(place);
                    }
                    None => self.fail(format!("{}: {}: {}", page.path, note.id, note.summary)),
                },
            }
        }
        for id in page.expected {
            if !report.notes.iter().any(|note| note.id == *id) {
                self.fail(format!("{}: REDbot does not say {id}", page.path));
            }
        }
    }

    fn fail(&mut self, what: String) {
        println!("  FAILED {what}");
        self.failures.push(what);
    }

    /// Prints the sum, and returns whether nothing failed.
    fn finish(mut self) -> bool {
        for exception in notes::unused(&self.used) {
            self.fail(format!("{exception}: the exception is not needed any more"));
        }
        println!(
            "\n{} notes are good, {} for information, {} exceptions with reasons, {} failed",
            self.good,
            self.info,
            self.excepted,
            self.failures.len()
        );
        self.failures.is_empty()
    }
}
