//! No misuse compiles. Each file `compile_fail/NAME.rs` is a program with one mistake;
//! `NAME.twin.rs` is the same program without it. The mistake must be refused with the error code
//! pinned in the file's first line, at the line marked `//~` and nowhere else; the twin must
//! compile without a word, so that a case cannot fail for another reason. `docs/break-it.md` shows
//! the same files, and a test here keeps it to them.
// Starting programs and writing files is beyond an interpreter.
#![cfg(not(miri))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

/// Lines that a mistake and its twin may differ in, counted on each side. Enough for a signature, a
/// call and its result.
const DIFFERENT_LINES_MAX: usize = 4;

/// A program of `tests/compile_fail`, read.
struct Program {
    /// The pin of the first line: error codes, or `compiles`.
    pinned: BTreeSet<String>,
    /// Numbers of the lines marked `//~`, from 1.
    marked: BTreeSet<u64>,
    /// The program as the documentation shows it: without pin and marks.
    shown: String,
    path: PathBuf,
}

impl Program {
    fn read(path: &Path) -> Program {
        let text = std::fs::read_to_string(path).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        let pinned = first.strip_prefix("//@ ").unwrap_or_else(|| panic!("{}: no pin", path.display()));
        let marked = (1..).zip(text.lines()).filter(|(_, line)| line.ends_with(" //~"));
        Program {
            pinned: pinned.split_whitespace().map(String::from).collect(),
            marked: marked.map(|(number, _)| number).collect(),
            shown: rest.replace(" //~\n", "\n"),
            path: path.to_owned(),
        }
    }

    /// Returns how many of this program's lines are not in `other`.
    fn lines_beyond(&self, other: &Program) -> usize {
        let mut theirs: Vec<&str> = other.shown.lines().map(str::trim).collect();
        let mine = self.shown.lines().map(str::trim).filter(|line| !line.is_empty());
        let beyond = mine.filter(|line| match theirs.iter().position(|their| their == line) {
            Some(at) => {
                theirs.swap_remove(at);
                false
            }
            None => true,
        });
        beyond.count()
    }
}

/// Every case by its name: the mistake and its twin.
fn cases() -> BTreeMap<String, (Program, Program)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let (mut mistakes, mut twins) = (BTreeMap::new(), BTreeMap::new());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let name = file.strip_suffix(".rs").unwrap_or_else(|| panic!("{file}: not a program"));
        match name.strip_suffix(".twin") {
            Some(name) => twins.insert(name.to_owned(), Program::read(&path)),
            None => mistakes.insert(name.to_owned(), Program::read(&path)),
        };
    }
    assert_eq!(mistakes.keys().collect::<Vec<_>>(), twins.keys().collect::<Vec<_>>(), "each has a twin");
    mistakes.into_iter().zip(twins).map(|((name, mistake), (_, twin))| (name, (mistake, twin))).collect()
}

/// Something that rustc said.
struct Said {
    /// `error` or `warning`.
    level: String,
    code: Option<String>,
    message: String,
    /// Lines of the primary spans, from 1.
    lines: Vec<u64>,
}

/// The library that every program here is linked against: this library's own metadata, made by
/// cargo in a folder of its own, so that neither a stale build nor one with other flags can be
/// picked up by mistake.
struct Library {
    metadata: PathBuf,
    dependencies: PathBuf,
    out: PathBuf,
}

impl Library {
    fn build() -> Library {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_fail");
        let output = Command::new(env!("CARGO"))
            .args(["check", "--package", env!("CARGO_PKG_NAME"), "--lib"])
            // Whatever this test was built from is on this machine already.
            .args(["--offline", "--quiet", "--message-format=json", "--target-dir"])
            .arg(&folder)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            // Flags of a sanitizer or of coverage would ask for another standard library.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_BUILD_TARGET")
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}\n{stdout}", String::from_utf8_lossy(&output.stderr));
        let metadata = stdout.lines().find_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            let ours = message["reason"] == "compiler-artifact" && message["target"]["name"] == "sitar_io";
            let files = message["filenames"].as_array().filter(|_| ours)?;
            files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".rmeta")).map(PathBuf::from)
        });
        let metadata = metadata.expect("cargo says where it put the library");
        let out = folder.join("out");
        std::fs::create_dir_all(&out).unwrap();
        Library { dependencies: metadata.parent().unwrap().to_owned(), metadata, out }
    }

    /// Compiles a program as far as the borrow checker, and beyond it nothing.
    fn compile(&self, program: &Program) -> Vec<Said> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(rustc)
            .args(["--edition=2024", "--crate-type=lib", "--crate-name=program", "--emit=metadata"])
            .arg("--error-format=json")
            .arg(format!("--extern=sitar_io={}", self.metadata.display()))
            .arg(format!("-Ldependency={}", self.dependencies.display()))
            .arg("-o")
            .arg(self.out.join(program.path.with_extension("rmeta").file_name().unwrap()))
            .arg(&program.path)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let said: Vec<Said> = stderr.lines().filter_map(said).collect();
        let refused = said.iter().any(|said| said.level == "error");
        assert_eq!(output.status.success(), !refused, "{}: {stderr}", program.path.display());
        said
    }
}

/// Reads one line of rustc's. Notes and the closing "aborting due to" (which has no span) say
/// nothing of their own.
fn said(line: &str) -> Option<Said> {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
    let level = value["level"].as_str().filter(|level| matches!(*level, "error" | "warning"))?;
    let spans = value["spans"].as_array().filter(|spans| !spans.is_empty())?;
    Some(Said {
        level: level.to_owned(),
        code: value["code"]["code"].as_str().map(String::from),
        message: value["message"].as_str().unwrap_or_default().to_owned(),
        lines: spans
            .iter()
            .filter(|span| span["is_primary"] == true)
            .filter_map(|span| span["line_start"].as_u64())
            .collect(),
    })
}

/// Returns what is wrong with a case.
fn verdict(library: &Library, mistake: &Program, twin: &Program) -> Result<(), String> {
    let said = library.compile(mistake);
    let errors: Vec<&Said> = said.iter().filter(|said| said.level == "error").collect();
    let codes: BTreeSet<String> =
        errors.iter().map(|said| said.code.clone().unwrap_or_else(|| said.message.clone())).collect();
    if codes != mistake.pinned {
        return Err(format!("rustc says {codes:?}, pinned are {:?}", mistake.pinned));
    }
    let lines: BTreeSet<u64> = errors.iter().flat_map(|said| said.lines.iter().copied()).collect();
    if lines != mistake.marked {
        return Err(format!("errors at lines {lines:?}, marked are {:?}", mistake.marked));
    }
    if let Some(said) = library.compile(twin).first() {
        return Err(format!("the twin: {}: {}", said.level, said.message));
    }
    if twin.pinned != BTreeSet::from(["compiles".to_owned()]) || !twin.marked.is_empty() {
        return Err("the twin's first line is `//@ compiles`, and it marks nothing".into());
    }
    let beyond = (mistake.lines_beyond(twin), twin.lines_beyond(mistake));
    if beyond.0.max(beyond.1) > DIFFERENT_LINES_MAX {
        return Err(format!("not the same program: {beyond:?} lines differ"));
    }
    Ok(())
}

#[test]
fn every_mistake_is_refused_for_its_own_reason_and_its_twin_compiles() {
    let cases = cases();
    assert!(cases.len() >= 20, "only {} cases", cases.len());
    let library = Library::build();
    let (queue, wrong) = (Mutex::new(cases.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    // A statement of its own, so that the lock is not held while rustc runs.
                    let next = queue.lock().unwrap().next();
                    let Some((name, (mistake, twin))) = next else { break };
                    if let Err(why) = verdict(&library, mistake, twin) {
                        wrong.lock().unwrap().push(format!("{name}: {why}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The cases that the page shows: name, fence, program, and rustc's answer.
fn shown(page: &str) -> Vec<(String, String, String, String)> {
    page.split("<!-- case: ")
        .skip(1)
        .map(|section| {
            let (name, rest) = section.split_once(" -->\n```").unwrap();
            let (fence, rest) = rest.split_once('\n').unwrap();
            let (program, rest) = rest.split_once("```\n").unwrap();
            let answer = rest.strip_prefix("\n```text\n").unwrap_or_else(|| panic!("{name}: no answer"));
            let answer = answer.split_once("\n```").unwrap().0;
            (name.to_owned(), fence.to_owned(), program.to_owned(), answer.to_owned())
        })
        .collect()
}

#[test]
fn the_break_it_page_shows_these_cases_and_no_others() {
    let cases = cases();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/break-it.md");
    let shown = shown(&std::fs::read_to_string(page).unwrap());
    let mut names: Vec<&String> = shown.iter().map(|(name, ..)| name).collect();
    names.sort();
    assert_eq!(names, cases.keys().collect::<Vec<_>>(), "each case once");
    for (name, fence, program, answer) in &shown {
        let (mistake, _) = &cases[name];
        let code = mistake.pinned.first().unwrap();
        assert_eq!(program, &mistake.shown, "{name}");
        assert_eq!(fence, &format!("rust,compile_fail,{code}"), "{name}");
        // Its wording is rustc's, which changes between releases; its code does not.
        assert!(answer.starts_with(&format!("error[{code}]: ")), "{name}: {answer}");
    }
}
