//! `cargo xtask generators`: sites of Hugo, Vite and Docusaurus in a browser.
//!
//! Their sources lie in `tests/external/sites`. They are built under `target/generators`, served as
//! they are, as directory and as pack, and visited with Chromium, which Playwright drives
//! (`tests/external/browser`). A page must arrive where its generator links to, work, and complain
//! about nothing; each of its requests must be answered by 200 and the media type of its name.
//! Pictures go to `target/screenshots`.

mod build;
mod record;
mod sites;

use crate::program::{self, Places, Result, Server, found};
use clap::builder::PossibleValuesParser;
use record::Record;
use serde_json::{Value, json};
use sites::{SITES, Visit};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns the names of the sites, for the command line.
pub(crate) fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SITES.iter().map(|site| site.name))
}

/// Builds, serves and visits the sites, or the one that is `wanted`.
pub(crate) fn run(places: &Places, wanted: Option<&str>) -> Result<bool> {
    let folder = places.target.join("generators");
    let home = folder.join("home");
    fs::create_dir_all(&home)?;
    build::needs(&["chromium", "openssl"])?;
    let program = program::find(places)?;
    let pictures = places.target.join("screenshots");
    fs::create_dir_all(&pictures)?;
    let script = build::browser(places, &folder)?;
    let mut tour = Tour { script, pictures, pages: 0, answers: 0, faults: 0 };
    let mut look = |name: &str, tree: &Path, visits: &[Visit], picture: bool| -> Result<()> {
        let server = Server::start(program::sitar(&program, &home), [tree])?;
        println!("\n{name}");
        tour.site(&server, visits, name, picture)
    };

    look("broken", &places.external().join("sites/broken"), sites::BROKEN, false)?;
    for site in SITES.iter().filter(|site| wanted.is_none_or(|wanted| site.name == wanted)) {
        let tree = (site.build)(places, &folder)?;
        look(site.name, &tree, site.visits, true)?;
        let pack = folder.join(format!("{}.tar", site.name));
        let mut packing = program::sitar(&program, &home);
        program::succeed(
            packing.arg("pack").arg(&tree).arg("-o").arg(&pack).stdout(Stdio::null()),
            "sitar pack",
        )?;
        look(&format!("{}, packed", site.name), &pack, site.visits, false)?;
    }
    println!("\n{} pages, {} answers, {} faults", tour.pages, tour.answers, tour.faults);
    Ok(tour.faults == 0)
}

/// All visits so far.
struct Tour {
    /// The browser's script.
    script: PathBuf,
    pictures: PathBuf,
    pages: usize,
    answers: usize,
    faults: usize,
}

impl Tour {
    fn site(&mut self, server: &Server, visits: &[Visit], name: &str, picture: bool) -> Result<()> {
        let picture = |visit: &Visit| {
            let wanted = picture && !visit.picture.is_empty();
            wanted.then(|| self.pictures.join(format!("{name}-{}.png", visit.picture)))
        };
        let origin = server.url("");
        let order = json!({
            "program": found("chromium"),
            "key": key_hash(server.port)?,
            "origin": origin,
            "visits": visits.iter().map(|visit| visit.order(picture(visit).as_deref())).collect::<Vec<_>>(),
        });
        let reports = drive(&self.script, &order)?;
        let reports = reports.as_array().filter(|reports| reports.len() == visits.len());
        for (visit, report) in visits.iter().zip(reports.ok_or("a visit without a report")?) {
            let record = Record::read(report).ok_or("a report that lacks something")?;
            let (answers, immutable) = record.count(&origin);
            println!("  {:<24} {answers} answers, {immutable} of them immutable", visit.path);
            self.pages += 1;
            self.answers += answers;
            if let Some(path) = picture(visit) {
                println!("  {:<24} {}", "", path.display());
            }
            for fault in missing(visit.broken, faults(visit, &origin, &record)) {
                println!("    FAILED {fault}");
                self.faults += 1;
            }
        }
        Ok(())
    }
}

/// Runs the browser's script to its end.
fn drive(script: &Path, order: &Value) -> Result<Value> {
    let mut node = Command::new("node");
    let mut node = node.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    node.stdin.take().ok_or("no stdin")?.write_all(order.to_string().as_bytes())?;
    let done = node.wait_with_output()?;
    if !done.status.success() {
        return Err(format!("{}: {}", script.display(), done.status).into());
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// Returns all faults of a visit.
fn faults(visit: &Visit, origin: &str, record: &Record) -> Vec<String> {
    let mut faults = record.own.clone();
    if record.redirects() != visit.redirects {
        faults.push(format!("redirects {:?}, not {:?}", record.redirects(), visit.redirects));
    }
    if let Some(click) = &visit.click
        && (record.kept != Some(click.stays) || (record.documents() == 1) != click.stays)
    {
        let how = if click.stays { "with" } else { "without" };
        faults.push(format!("{} is reached {how} another document", click.arrives));
    }
    faults.extend(record.faults(origin, visit.status));
    faults
}

/// Returns the faults that were not expected, and the expected ones that were not found.
fn missing(expected: &[&str], faults: Vec<String>) -> Vec<String> {
    let unfound = expected.iter().filter(|text| !faults.iter().any(|fault| fault.contains(**text)));
    let mut all: Vec<String> = unfound.map(|text| format!("not noticed: {text}")).collect();
    all.extend(faults.into_iter().filter(|fault| !expected.iter().any(|text| fault.contains(text))));
    all
}

/// Returns the Base64 of the SHA-256 of the server's public key, so that exactly this key is
/// trusted.
fn key_hash(port: u16) -> Result<String> {
    let script = "openssl s_client -connect 127.0.0.1:$1 </dev/null 2>/dev/null | openssl x509 -pubkey -noout \
                  | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | openssl base64 -A";
    let done = Command::new("sh").args(["-c", script, "sh", &port.to_string()]).output()?;
    let hash = String::from_utf8(done.stdout)?;
    // 32 bytes are 44 symbols.
    if hash.len() == 44 { Ok(hash) } else { Err("openssl did not find the server's key".into()) }
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn an_expected_fault_must_be_there() {
        let faults = || vec!["/a.png: answered 404, not 200".to_owned(), "Uncaught".to_owned()];
        assert_eq!(missing(&["a.png: answered 404", "Uncaught"], faults()), [""; 0]);
        assert_eq!(missing(&["a.png"], faults()), ["Uncaught"]);
        assert_eq!(missing(&["a.png", "Uncaught", "b.png"], faults()), ["not noticed: b.png"]);
    }
}
