//! The floor plan and the house rules, checked: a direction that matters is enforced here, not by a
//! sentence.

use crate::Invocation;
use crate::metadata::{self, Metadata};
use crate::tree::{self, SourceFile};
use std::fmt;
use std::process::ExitCode;

/// Runs every rule and prints one line for each breach.
pub(crate) fn run(invocation: &Invocation) -> ExitCode {
    let breaches = tree::read(&invocation.root)
        .and_then(|files| Ok((metadata::load(&invocation.root)?, files)))
        .map(|(metadata, files)| check(&metadata, &files));
    match breaches {
        Ok(breaches) if breaches.is_empty() => {
            println!("tidy: nothing to say");
            ExitCode::SUCCESS
        }
        Ok(breaches) => {
            for breach in &breaches {
                eprintln!("{breach}");
            }
            eprintln!("tidy: {} to mend", breaches.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A rule broken, and where.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    path: String,
    /// 1-based; 0 when the whole file is meant.
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

fn breach(path: &str, line: usize, what: impl Into<String>) -> Breach {
    Breach { path: path.to_string(), line, what: what.into() }
}

fn check(metadata: &Metadata, files: &[SourceFile]) -> Vec<Breach> {
    let mut breaches = required_files(files);
    breaches.extend(directions(metadata, files));
    breaches.extend(foreign_packages(metadata));
    breaches.extend(lints(files));
    breaches.extend(stray_tests(files));
    for file in files {
        breaches.extend(words(file));
        breaches.extend(columns(file));
        if file.path.ends_with(".rs") {
            breaches.extend(length(file));
        }
    }
    breaches
}

fn required_files(files: &[SourceFile]) -> Vec<Breach> {
    let missing = |path: &&&str| !files.iter().any(|file| file.path == **path);
    REQUIRED
        .iter()
        .filter(missing)
        .map(|path| breach(path, 0, "is missing; every release needs it"))
        .collect()
}

/// A room imports only from the rooms named for it. Dependencies of tests count: a test that needs
/// the neighbor is a test of the floor above.
fn directions(metadata: &Metadata, files: &[SourceFile]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for member in &metadata.members {
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == member.name) else {
            breaches.push(breach(
                &member.manifest,
                0,
                format!("`{}` has no place in the floor plan", member.name),
            ));
            continue;
        };
        for dependency in &member.dependencies {
            let ours = ROOMS.iter().any(|(name, _)| name == dependency);
            if ours && !allowed.contains(&dependency.as_str()) {
                let may = if allowed.is_empty() { "none of ours".into() } else { allowed.join(", ") };
                let line = line_of(files, &member.manifest, dependency);
                let what = format!("`{}` must not depend on `{dependency}` (it may use {may})", member.name);
                breaches.push(breach(&member.manifest, line, what));
            }
        }
    }
    breaches
}

fn foreign_packages(metadata: &Metadata) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for package in &metadata.from_git {
        breaches.push(breach(
            "Cargo.lock",
            0,
            format!("{package} comes from git; only crates.io is allowed"),
        ));
    }
    for runtime in ASYNC_RUNTIMES {
        if let Some(member) = metadata.shipped.get(*runtime) {
            let what =
                format!("`{runtime}` is an async runtime, brought in by `{member}`; none may enter a worker");
            breaches.push(breach("Cargo.lock", 0, what));
        }
    }
    for (member, banned) in BANNED {
        let Some(linked) = metadata.linked.get(*member) else { continue };
        for package in banned.iter().filter(|package| linked.contains(**package)) {
            let what =
                format!("`{package}` is linked into `{member}`, which encodes nothing and parses no pages");
            breaches.push(breach("Cargo.lock", 0, what));
        }
    }
    breaches
}

/// The compiler refuses `unsafe` where a package has the workspace's lints. sitar-io has its own,
/// which differ in that alone.
fn lints(files: &[SourceFile]) -> Vec<Breach> {
    let text_of = |path: &str| files.iter().find(|file| file.path == path)?.text.as_deref();
    let mut breaches = Vec::new();
    for file in
        files.iter().filter(|file| file.path.ends_with("/Cargo.toml") && !file.path.starts_with("fuzz/"))
    {
        let inherits = file.text.as_deref().is_some_and(|text| text.contains("[lints]\nworkspace = true\n"));
        if !inherits && file.path != UNSAFE_MANIFEST {
            breaches.push(breach(
                &file.path,
                0,
                "takes the workspace's lints: `[lints]`, `workspace = true`",
            ));
        }
    }
    let (ours, its) =
        (text_of("Cargo.toml").unwrap_or_default(), text_of(UNSAFE_MANIFEST).unwrap_or_default());
    for tool in ["rust", "clippy"] {
        let mut wanted = table(ours, &format!("[workspace.lints.{tool}]"));
        wanted.retain(|line| *line != "unsafe_code = \"forbid\"");
        if wanted != table(its, &format!("[lints.{tool}]")) {
            let what = format!("[lints.{tool}] is the workspace's but for unsafe_code");
            breaches.push(breach(UNSAFE_MANIFEST, 0, what));
        }
    }
    breaches
}

/// A file of tests that is neither a module of its program nor one itself would never run, and
/// nothing would say so.
fn stray_tests(files: &[SourceFile]) -> Vec<Breach> {
    let text_of = |path: &str| files.iter().find(|file| file.path == path)?.text.as_deref();
    let mut breaches = Vec::new();
    for folder in ["", "crates/io/"] {
        let main = text_of(&format!("{folder}tests/main.rs")).unwrap_or_default();
        let manifest = text_of(&format!("{folder}Cargo.toml")).unwrap_or_default();
        for file in files {
            let name =
                file.path.strip_prefix(&format!("{folder}tests/")).and_then(|name| name.strip_suffix(".rs"));
            let Some(name) = name.filter(|name| *name != "main" && !name.contains('/')) else { continue };
            if !main.contains(&format!("mod {name};")) && !manifest.contains(&format!("name = \"{name}\"\n"))
            {
                let what = format!("is no module of {folder}tests/main.rs, so its tests do not run");
                breaches.push(breach(&file.path, 0, what));
            }
        }
    }
    breaches
}

/// The lines below a heading of TOML, without comments.
fn table<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}

fn length(file: &SourceFile) -> Option<Breach> {
    let is_test =
        file.path.starts_with("tests/") || file.path.contains("/tests/") || file.path.ends_with("/tests.rs");
    if is_test {
        return None;
    }
    let limit = if file.path == COMMAND_MAIN { COMMAND_MAIN_LINES_MAX } else { FILE_LINES_MAX };
    let lines = lines_without_tests(file.text.as_deref()?);
    let what = || format!("{lines} lines without tests; at most {limit}, so that it reads in one sitting");
    (lines > limit).then(|| breach(&file.path, 0, what()))
}

/// Lines outside of test modules that are written out in the file. rustfmt puts the braces where
/// this looks for them.
fn lines_without_tests(text: &str) -> usize {
    let (mut lines, mut counted) = (text.lines(), 0);
    while let Some(line) = lines.next() {
        let mut head = 1;
        let mut last = line;
        while line == "#[cfg(test)]" && last.starts_with("#[") {
            let Some(next) = lines.next() else { break };
            (last, head) = (next, head + 1);
        }
        if last != line && last.contains("mod ") && last.ends_with('{') {
            lines.by_ref().find(|line| *line == "}");
        } else {
            counted += head;
        }
    }
    counted
}

fn words(file: &SourceFile) -> Vec<Breach> {
    let Some(text) = &file.text else { return Vec::new() };
    let mut breaches = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for path in MACHINE_PATHS {
            if line.contains(path) {
                breaches.push(breach(&file.path, number + 1, format!("`{path}` is a path of one machine")));
            }
        }
        if has_issue_number(&line.to_lowercase()) {
            breaches.push(breach(
                &file.path,
                number + 1,
                "say the reason itself, not the number of an issue",
            ));
        }
    }
    breaches
}

/// Comments, and prose in Markdown, are lines that a narrow window holds. Tables and addresses
/// cannot be wrapped.
fn columns(file: &SourceFile) -> Vec<Breach> {
    let Some(text) = &file.text else { return Vec::new() };
    let is_of = |extension| file.path.ends_with(extension);
    let (is_rust, is_toml, is_prose) = (is_of(".rs"), is_of(".toml"), is_of(".md"));
    let mut breaches = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let is_comment = is_rust && start.starts_with("//") || is_toml && start.starts_with('#');
        let counts = is_comment || is_prose && !start.starts_with('|');
        if counts && !line.contains("://") && line.chars().count() > COLUMNS_MAX {
            let what = format!("{} columns; at most {COLUMNS_MAX}", line.chars().count());
            breaches.push(breach(&file.path, number + 1, what));
        }
    }
    breaches
}

/// The word with a number behind it; the word alone is English.
fn has_issue_number(lower: &str) -> bool {
    lower.match_indices("issue ").any(|(at, found)| {
        let rest = &lower[at + found.len()..];
        rest.strip_prefix('#').unwrap_or(rest).starts_with(|c: char| c.is_ascii_digit())
    })
}

/// 1-based line of the first mention, 0 when there is none.
fn line_of(files: &[SourceFile], path: &str, needle: &str) -> usize {
    files
        .iter()
        .find(|file| file.path == path)
        .and_then(|file| file.text.as_deref())
        .and_then(|text| text.lines().position(|line| line.trim_start().starts_with(needle)))
        .map_or(0, |position| position + 1)
}

/// Each room and the rooms below that it may import. `io`, `tls` and `http` know nothing of each
/// other.
const ROOMS: &[(&str, &[&str])] = &[
    ("sitar-io", &[]),
    ("sitar-tls", &[]),
    ("sitar-http", &[]),
    ("sitar-acme", &["sitar-tls"]),
    ("sitar-brotli", &[]),
    ("sitar-html", &[]),
    ("sitar-site", &["sitar-io", "sitar-http"]),
    ("sitar-publish", &["sitar-http", "sitar-site", "sitar-brotli", "sitar-html"]),
    ("sitar-server", &["sitar-io", "sitar-tls", "sitar-http", "sitar-site"]),
    ("sitar-engines", &["sitar-io", "sitar-server"]),
    // The program calls the command; the rest is for its tests.
    (
        "sitar",
        &[
            "sitar-command",
            "sitar-acme",
            "sitar-engines",
            "sitar-http",
            "sitar-io",
            "sitar-server",
            "sitar-site",
            "sitar-tls",
        ],
    ),
    (
        "sitar-command",
        &[
            "sitar-io",
            "sitar-tls",
            "sitar-http",
            "sitar-site",
            "sitar-publish",
            "sitar-server",
            "sitar-engines",
            "sitar-acme",
        ],
    ),
    // The floor of the bench seals as sitar does; what is counted of an answer is what a shard
    // calls.
    ("sitar-bench", &["sitar-tls", "sitar-http", "sitar-site", "sitar-server"]),
    // The floods are frames of HTTP/2.
    ("sitar-external", &["sitar-http"]),
    ("xtask", &[]),
];

/// Members, and what may not be linked into them from anywhere: a server encodes nothing and parses
/// no pages, so C encoders and an HTML parser are no part of what a peer can reach.
const BANNED: &[(&str, &[&str])] = &[(
    "sitar-server",
    &[
        "brotli",
        "brotli-decompressor",
        "flate2",
        "html5gum",
        "libdeflate-sys",
        "libdeflater",
        "sitar-publish",
        "zstd",
        "zstd-safe",
        "zstd-sys",
    ],
)];

const UNSAFE_MANIFEST: &str = "crates/io/Cargo.toml";
const ASYNC_RUNTIMES: &[&str] = &["async-std", "glommio", "monoio", "smol", "tokio", "tokio-uring"];
const FILE_LINES_MAX: usize = 500;
const COMMAND_MAIN: &str = "crates/program/src/main.rs";
const COMMAND_MAIN_LINES_MAX: usize = 100;
const REQUIRED: &[&str] =
    &["ARCHITECTURE.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "deny.toml"];

// Written in two parts, so that this file does not break its own rule.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "bash")];
const COLUMNS_MAX: usize = 100;

#[cfg(test)]
mod tests;
