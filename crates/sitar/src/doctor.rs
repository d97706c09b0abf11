//! `sitar doctor`: what this machine offers to sitar, what is missing, what that costs, and what to
//! type.
//!
//! Three steps that know nothing of each other: `facts` asks the machine, `findings` judges what it
//! said (pure, so every verdict is tested on facts that are written out), `print` shows the
//! findings to a person or to a program.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use crate::cli;
use crate::error::{Error, wants_color};
use crate::output;

mod facts;
mod findings;
mod print;

/// The exit code when something was found that costs or breaks something.
pub const EXIT_FOUND: u8 = 3;

/// One check and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable name, for programs.
    pub id: &'static str,
    /// The observation, as a value or half a sentence.
    pub found: String,
    /// The judgement of it.
    pub verdict: Verdict,
}

/// The judgement of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Fine,
    /// sitar works, and something costs more than it has to or does not work as well.
    Degraded(Problem),
    /// Something that sitar can use is not there at all.
    Missing(Problem),
}

/// A fault and its remedies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The missing thing.
    pub missing: String,
    /// The cost of its absence.
    pub cost: String,
    /// Remedies, each of which is enough.
    pub remedies: Vec<Remedy>,
}

/// One thing that helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// A description.
    pub what: String,
    /// The command to type; `None` where no single command does it.
    pub command: Option<String>,
}

/// Asks the machine and prints the findings.
///
/// # Errors
/// Standard output could not be written to.
pub fn run(arguments: &cli::Doctor) -> Result<ExitCode, Error> {
    let facts = facts::gather(arguments.connections, arguments.shards);
    let findings = findings::all(&facts);
    let stdout = io::stdout();
    let text = if arguments.json {
        print::json(&facts.kernel, &findings)
    } else {
        print::text(&findings, stdout.is_terminal() && wants_color())
    };
    output::print(&text)?;
    let fine = findings.iter().all(|finding| finding.verdict == Verdict::Fine);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}

impl Verdict {
    /// Stable name, for programs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Fine => "ok",
            Verdict::Degraded(_) => "degraded",
            Verdict::Missing(_) => "missing",
        }
    }

    /// Returns the problem, if there is one.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Verdict::Fine => None,
            Verdict::Degraded(problem) | Verdict::Missing(problem) => Some(problem),
        }
    }
}
