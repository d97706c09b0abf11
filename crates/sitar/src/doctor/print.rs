//! Findings for a person and for a program.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sitar_site::Printable;

use super::{Finding, Verdict};

/// Version of the JSON's shape: a member that goes or changes its meaning raises it, one that comes
/// does not.
const SCHEMA: u32 = 1;

/// One line for each finding, and what to do below those that need it; `color` adds terminal
/// escapes.
pub(super) fn text(findings: &[Finding], color: bool) -> String {
    let width = findings.iter().map(|finding| finding.id.len()).max().unwrap_or(0);
    let mut text = format!("sitar {} looks at this machine\n\n", env!("CARGO_PKG_VERSION"));
    // Writing to a String cannot fail.
    for finding in findings {
        let (on, off) = match (&finding.verdict, color) {
            (_, false) => ("", ""),
            (Verdict::Fine, true) => ("\x1b[32m", "\x1b[0m"),
            (Verdict::Degraded(_), true) => ("\x1b[33m", "\x1b[0m"),
            (Verdict::Missing(_), true) => ("\x1b[1;31m", "\x1b[0m"),
        };
        let (name, found) = (finding.verdict.name(), Printable(&finding.found));
        let _ = writeln!(text, "{on}{name:<8}{off}  {:<width$}  {found}", finding.id);
        let Some(problem) = finding.verdict.problem() else { continue };
        let indent = " ".repeat(8 + 2 + width + 2);
        let _ = writeln!(text, "{indent}missing: {}", Printable(&problem.missing));
        let _ = writeln!(text, "{indent}costs:   {}", Printable(&problem.cost));
        for remedy in &problem.remedies {
            let _ = writeln!(text, "{indent}fix:     {}", Printable(&remedy.what));
            if let Some(command) = &remedy.command {
                let _ = writeln!(text, "{indent}         $ {}", Printable(command));
            }
        }
    }
    let count = |wanted: &str| findings.iter().filter(|finding| finding.verdict.name() == wanted).count();
    let _ = writeln!(
        text,
        "\n{} checks: {} ok, {} degraded, {} missing",
        findings.len(),
        count("ok"),
        count("degraded"),
        count("missing")
    );
    text
}

/// The same for a program; the shape is described in the handbook.
pub(super) fn json(kernel: &str, findings: &[Finding]) -> String {
    let worst = ["missing", "degraded"]
        .into_iter()
        .find(|wanted| findings.iter().any(|finding| finding.verdict.name() == *wanted));
    let value = json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": kernel,
        "state": worst.unwrap_or("ok"),
        "findings": findings.iter().map(finding).collect::<Vec<Value>>(),
    });
    format!("{value:#}\n")
}

fn finding(finding: &Finding) -> Value {
    let problem = finding.verdict.problem();
    let remedies: Vec<Value> = problem
        .into_iter()
        .flat_map(|problem| &problem.remedies)
        .map(|remedy| json!({ "what": remedy.what, "command": remedy.command }))
        .collect();
    json!({
        "id": finding.id,
        "state": finding.verdict.name(),
        "found": finding.found,
        "missing": problem.map(|problem| &problem.missing),
        "cost": problem.map(|problem| &problem.cost),
        "fixes": remedies,
    })
}

#[cfg(test)]
mod tests;
