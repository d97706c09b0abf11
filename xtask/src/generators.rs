//! `cargo xtask generators`: sites of Hugo, Vite and Docusaurus as a browser sees them.
//!
//! Their sources lie in `xtask/sites`; they are built under `target/generators`, served as they are, as directory and as pack,
//! and visited with Chromium. A page must arrive where its generator links to, work, and complain about nothing; everything
//! that it requests must be answered with 200 and the media type of its name. Pictures go to `target/screenshots`.

mod browser;
mod build;
mod record;
mod sites;

use crate::Invocation;
use crate::program::{self, Result, Server};
use browser::Browser;
use record::Record;
use serde_json::{Value, json};
use sites::{SITES, Visit};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A page that has requested nothing for so long is at rest.
const REST: Duration = Duration::from_millis(500);

/// The command.
pub(crate) fn command(invocation: &Invocation) -> ExitCode {
    let wanted = match &invocation.args[..] {
        [] => None,
        [name] if SITES.iter().any(|site| site.name == name) => Some(name.as_str()),
        _ => {
            let names: Vec<&str> = SITES.iter().map(|site| site.name).collect();
            eprintln!("usage: cargo xtask generators [{}]", names.join("|"));
            return ExitCode::from(2);
        }
    };
    program::exit_code(run(&invocation.root, wanted))
}

fn run(root: &Path, wanted: Option<&str>) -> Result<bool> {
    let folder = root.join("target/generators");
    let home = folder.join("home");
    fs::create_dir_all(&home)?;
    build::needs(&["chromium", "openssl"])?;
    let program = program::find(root)?;
    let pictures = root.join("target/screenshots");
    fs::create_dir_all(&pictures)?;
    let mut tour = Tour { browser: None, pictures, pages: 0, answers: 0, faults: 0 };
    // Every server has its certificate from the same folder, so one browser visits them all.
    let mut look = |name: &str, tree: &Path, visits: &[Visit], picture: bool| -> Result<()> {
        let server = Server::start(program::sitar(&program, &home), [tree])?;
        println!("\n{name}");
        tour.site(&server, &folder, visits, name, picture)
    };

    look("broken", &root.join("xtask/sites/broken"), sites::BROKEN, false)?;
    for site in SITES.iter().filter(|site| wanted.is_none_or(|wanted| site.name == wanted)) {
        let tree = (site.build)(root, &folder)?;
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

struct Tour {
    browser: Option<Browser>,
    pictures: PathBuf,
    pages: usize,
    answers: usize,
    faults: usize,
}

impl Tour {
    fn site(
        &mut self,
        server: &Server,
        folder: &Path,
        visits: &[Visit],
        name: &str,
        picture: bool,
    ) -> Result<()> {
        let mut browser = match self.browser.take() {
            Some(browser) => browser,
            None => Browser::start(folder, &key_hash(server.port)?)?,
        };
        for visit in visits {
            let seen = Page::visit(&mut browser, &server.url(""), visit)?;
            println!("  {:<24} {} answers, {} of them immutable", visit.path, seen.answers, seen.immutable);
            self.pages += 1;
            self.answers += seen.answers;
            if picture && !visit.picture.is_empty() {
                let path = self.pictures.join(format!("{name}-{}.png", visit.picture));
                fs::write(&path, &seen.picture)?;
                println!("  {:<24} {}", "", path.display());
            }
            for fault in missing(visit.broken, seen.faults) {
                println!("    FAILED {fault}");
                self.faults += 1;
            }
        }
        self.browser = Some(browser);
        Ok(())
    }
}

/// The faults that were not expected, and those that were expected and not found.
fn missing(expected: &[&str], faults: Vec<String>) -> Vec<String> {
    let unfound = expected.iter().filter(|text| !faults.iter().any(|fault| fault.contains(**text)));
    let mut all: Vec<String> = unfound.map(|text| format!("not noticed: {text}")).collect();
    all.extend(faults.into_iter().filter(|fault| !expected.iter().any(|text| fault.contains(text))));
    all
}

/// What became of a visit.
struct Seen {
    answers: usize,
    /// Of the answers: those that browsers keep without asking again.
    immutable: usize,
    picture: Vec<u8>,
    faults: Vec<String>,
}

struct Page<'b> {
    browser: &'b mut Browser,
    session: String,
    record: Record,
}

impl Page<'_> {
    fn visit(browser: &mut Browser, origin: &str, visit: &Visit) -> Result<Seen> {
        let session = browser.open()?;
        let mut page = Page { browser, session, record: Record::default() };
        let url = format!("{origin}{}", visit.path);
        page.call("Page.navigate", &json!({ "url": url }))?;
        let mut faults = Vec::new();
        page.settle(&mut faults)?;
        page.expect(visit.arrives, visit.proof, &mut faults)?;
        let redirects: Vec<u64> = page.record.redirects.iter().map(|(_, status)| *status).collect();
        if redirects != visit.redirects {
            faults.push(format!("redirects {redirects:?}, not {:?}", visit.redirects));
        }
        if let Some(click) = &visit.click {
            // What a page keeps in its memory is gone when another document is loaded.
            let script = format!("window.kept = true; document.querySelector({}).click()", json!(click.on));
            page.evaluate(&script)?;
            page.settle(&mut faults)?;
            page.expect(click.arrives, click.proof, &mut faults)?;
            let kept = page.evaluate("window.kept === true")? == json!(true);
            if kept != click.stays || (page.record.documents() == 1) != click.stays {
                let how = if click.stays { "with" } else { "without" };
                faults.push(format!("{} is reached {how} another document", click.arrives));
            }
        }
        let picture = page.browser.screenshot(&page.session)?;
        faults.extend(page.record.faults(origin, visit.status));
        let (answers, immutable) = page.record.count(origin);
        let session = page.session;
        browser.call(&session, "Page.close", &json!({}))?;
        Ok(Seen { answers, immutable, picture, faults })
    }

    /// Waits until everything that the page wants is there.
    fn settle(&mut self, faults: &mut Vec<String>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut quiet = Instant::now();
        while !self.record.loaded || self.record.is_busy() || quiet.elapsed() < REST {
            if let Some(event) = self.browser.event(Duration::from_millis(50))? {
                self.record.add(&event);
                if event.method.starts_with("Network.") {
                    quiet = Instant::now();
                }
            }
            if Instant::now() > deadline {
                faults.push("the page does not come to rest".into());
                break;
            }
        }
        Ok(())
    }

    /// The page is at this path, and the expression becomes true.
    fn expect(&mut self, path: &str, proof: &str, faults: &mut Vec<String>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE / 3;
        loop {
            // Between two documents there may be nothing that could answer, or nothing to look at yet.
            let here = self.evaluate("location.pathname").unwrap_or_default();
            let proved = self.evaluate(proof).unwrap_or_default();
            if here == json!(path) && proved == json!(true) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let text = self.evaluate("document.title + ': ' + document.body.innerText.slice(0, 200)")?;
                faults.push(format!("at {here}, not {path}, or it is not so that {proof} ({text})"));
                return Ok(());
            }
            self.settle(faults)?;
        }
    }

    fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.browser.call(&self.session, method, params)
    }

    fn evaluate(&mut self, expression: &str) -> Result<Value> {
        self.browser.evaluate(&self.session, expression)
    }
}

/// Base64 of the SHA-256 of the public key that the server shows, so that exactly this key is trusted and no other.
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
