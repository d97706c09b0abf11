//! `cargo xtask tlsfuzzer CHECKOUT`: tlsfuzzer's scripts against `sitar serve`.
//!
//! The checkout of <https://github.com/tlsfuzzer/tlsfuzzer> stays outside of the tree. Its needs
//! (`pip install -r CHECKOUT/requirements.txt`) must be met by python3, or by the interpreter that
//! `$PYTHON` names. A probe that does not pass must be among the exceptions in `scripts.rs`, each
//! with its reason; anything else fails the run.

mod scripts;

use crate::program::{self, Places, Result, Server};
use scripts::{SCRIPTS, Script};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs all scripts, or the one that is `wanted`.
pub(crate) fn run(places: &Places, checkout: &Path, wanted: Option<&str>) -> Result<bool> {
    if !checkout.join("scripts").is_dir() {
        return Err(format!(
            "{} has no folder scripts; is it a checkout of https://github.com/tlsfuzzer/tlsfuzzer?",
            checkout.display()
        )
        .into());
    }
    let program = program::find(places)?;
    let server = start(places, &program)?;
    let (mut passed, mut excepted, mut unexpected) = (0, 0, 0);
    for script in SCRIPTS.iter().filter(|script| wanted.is_none_or(|wanted| script.name == wanted)) {
        let outcome = probe(checkout, script, server.port)?;
        let mut line = format!("{:<42} {:>4} pass", script.name, outcome.passed);
        passed += outcome.passed;
        for (reason, count) in &outcome.excepted {
            line.push_str(&format!("\n    {count:>4} not: {reason}"));
        }
        for name in &outcome.unexpected {
            line.push_str(&format!("\n    FAILED: {name}"));
        }
        excepted += outcome.excepted.values().sum::<usize>();
        unexpected += outcome.unexpected.len();
        println!("{line}");
    }
    println!("{passed} probes pass, {excepted} are exceptions with reasons, {unexpected} failed");
    Ok(unexpected == 0 && passed > 0)
}

/// The probes of one script, by how they ended.
struct Outcome {
    passed: usize,
    /// Number of probes for each reason.
    excepted: BTreeMap<&'static str, usize>,
    unexpected: Vec<String>,
}

/// Runs one script.
fn probe(checkout: &Path, script: &Script, port: u16) -> Result<Outcome> {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let inherited = std::env::var("PYTHONPATH").unwrap_or_default();
    let done = Command::new(python)
        .arg(checkout.join("scripts").join(format!("test-{}.py", script.name)))
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(script.args)
        .env("PYTHONPATH", format!("{}:{inherited}", checkout.display()))
        .current_dir(checkout)
        .output()?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    understand(&text, script).ok_or_else(|| {
        let said = String::from_utf8_lossy(&done.stderr);
        format!("{} did not run to its end: {}", script.name, said.lines().last().unwrap_or("")).into()
    })
}

/// Reads the summary at the end of a script's output.
fn understand(text: &str, script: &Script) -> Option<Outcome> {
    let passed = text.lines().find_map(|line| line.strip_prefix("PASS: ")?.trim().parse().ok())?;
    let failed = text.lines().find_map(|line| line.strip_prefix("FAIL: ")?.trim().parse::<usize>().ok())?;
    let mut outcome = Outcome { passed, excepted: BTreeMap::new(), unexpected: Vec::new() };
    let names = text.split_once("\nFAILED:\n").map_or("", |(_, names)| names);
    // As Python writes them: in quotes of either kind.
    for name in names.lines().filter_map(|line| Some(line.strip_prefix('\t')?.trim_matches(['\'', '"']))) {
        match script.exceptions.iter().find(|(pattern, _)| name.contains(pattern)) {
            Some((_, reason)) => *outcome.excepted.entry(reason).or_default() += 1,
            None => outcome.unexpected.push(name.to_owned()),
        }
    }
    if outcome.excepted.values().sum::<usize>() + outcome.unexpected.len() != failed {
        outcome.unexpected.push(format!("{failed} probes, of which not all are named"));
    }
    Some(outcome)
}

/// Starts a server with an RSA key, which all scripts expect, and a page at `/`.
fn start(places: &Places, program: &Path) -> Result<Server> {
    let folder = places.target.join("tlsfuzzer");
    fs::create_dir_all(folder.join("site"))?;
    fs::write(folder.join("site/index.html"), "<!doctype html><title>A page</title>\n")?;
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(&folder)
        .stderr(Stdio::null());
    program::succeed(&mut openssl, "openssl could not make a certificate")?;
    let mut sitar = program::sitar(program, &folder);
    sitar.current_dir(&folder);
    Server::start(sitar, ["site", "--shards", "1", "--tls-cert", "cert.pem", "--tls-key", "key.pem"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_understood() {
        let script = Script { name: "some", args: &[], exceptions: &[("brain", "not built")] };
        let text =
            "TOTAL: 6\nPASS: 3\nFAIL: 3\n====\nFAILED:\n\t'brainpool'\n\t\"no 'brain'\"\n\t'another'\n";
        let outcome = understand(text, &script).unwrap();
        assert_eq!(outcome.passed, 3);
        assert_eq!(outcome.excepted, BTreeMap::from([("not built", 2)]));
        assert_eq!(outcome.unexpected, ["another"]);
        let unnamed = understand("PASS: 3\nFAIL: 2\nFAILED:\n\t'brainpool'\n", &script).unwrap();
        assert_eq!(unnamed.unexpected.len(), 1);
        assert!(understand("Traceback", &script).is_none());
    }
}
