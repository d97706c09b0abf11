//! The run as text, for a terminal and for `bench/RESULTS.md`.

use super::results::{Ratio, Row, Table, Verdict, is_ours, verdict};
use crate::cases::{Against, TARGETS, Target};
use crate::participants::{FLOOR, Participant, SITAR};
use crate::prose::wrapped;
use crate::run::{CIPHER, LOAD_CORE, Run, SERVER_CORE};
use crate::stats::{Estimate, figure};
use std::fmt::Write as _;

fn estimate(value: Estimate) -> String {
    if value.low == value.high {
        return format!("**{}**", figure(value.median));
    }
    format!("**{}** ({} … {})", figure(value.median), figure(value.low), figure(value.high))
}

/// Returns a ratio with two places, and its interval.
pub(super) fn ratio(ratio: &Ratio) -> String {
    let Estimate { median, low, high } = ratio.value;
    if low == high { format!("{median:.2}") } else { format!("{median:.2} ({low:.2} … {high:.2})") }
}

/// Returns the figures of one case, for the terminal.
pub(super) fn table(table: &Table) -> String {
    let mut text = format!("\n{} [{}]\n", table.name, table.unit);
    for row in &table.rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<22} {}", row.name, cells(row).join("  "));
    }
    for against in [Against::Floor, Against::Best] {
        if let Some(found) = table.ratio(SITAR, against) {
            let _ = writeln!(text, "  {SITAR} / {:<14} {}", found.to, ratio(&found));
        }
    }
    text.replace("**", "")
}

/// Returns median, requests per second, system calls per request, memory.
fn cells(row: &Row) -> Vec<String> {
    let mut cells = vec![Estimate::of(&row.figures).map_or("–".into(), estimate)];
    cells.push(Estimate::of(&row.rates).map_or("–".into(), |rate| format!("{:.0}/s", rate.median)));
    cells.push(match &row.calls {
        Some(Ok(calls)) => format!("{} calls", figure(*calls)),
        _ => "–".into(),
    });
    cells.push(
        row.resident.map_or("–".into(), |bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))),
    );
    cells
}

/// Returns the whole report.
pub(super) fn markdown(run: &Run, tables: &[Table]) -> String {
    let mut text = preamble(run);
    text += &bounds(run, tables);
    text += &losses(tables);
    text += &overview(run, tables);
    text += "\n## Each case\n";
    for table in tables {
        text += &details(table);
    }
    text
}

fn preamble(run: &Run) -> String {
    let quick = if run.quick {
        wrapped(
            "**A quick run: few short rounds, fewer files and connections. It shows that everything works, and \
             little else.**",
            "",
        ) + "\n"
    } else {
        String::new()
    };
    let versions: Vec<String> = run.participants.iter().filter(|one| one.is_peer()).map(version).collect();
    let absent =
        if run.absent.is_empty() { String::new() } else { format!(" Absent: {}.", run.absent.join(", ")) };
    let conditions = format!(
        "`{}` on {}, {}. Peers: {}.{absent} One worker each on core {SERVER_CORE}, the load on core {LOAD_CORE}, \
         loopback; {} rounds of {} s in turn; {CIPHER} and X25519 (checked as negotiated), a P-256 certificate; every \
         status and length checked. Idle and slow connections: one server after the other, {} rounds, their memory \
         once and their content by its beginning. CPU is that of all threads of a server, its kernel threads included; \
         what opening the TLS connections of a round costs is measured before each round and taken off. Medians, in \
         brackets the bootstrap's 95 % interval; ratios are taken round by round. The floor accepts, does the \
         handshake, seals and sends, and does no HTTP (`bench/src/floor.rs`). Load average before and after: {}, {}.",
        run.command,
        run.machine,
        run.date,
        versions.join(", "),
        run.rounds,
        run.seconds,
        run.rounds.min(super::idle::ROUNDS_MAX),
        run.load_before,
        run.load_after,
    );
    let files = "All figures: [results.json](results.json). Pictures: [results.svg](results.svg). What was tried, and \
                 what it gave: [LOG.md](LOG.md).";
    let (conditions, files) = (wrapped(&conditions, ""), wrapped(files, ""));
    format!("# Last run\n\n{quick}{conditions}\n{files}") + &repeated(run)
}

/// Returns the list of work that failed, and was done once more or left out.
fn repeated(run: &Run) -> String {
    let list = run.repeated.borrow();
    if list.is_empty() {
        return String::new();
    }
    let lines: String = list.iter().map(|what| wrapped(&format!("- {what}"), "  ")).collect();
    format!("\nFailed at first, and was done once more or left out:\n\n{lines}")
}

fn version(participant: &Participant) -> String {
    let Participant { name, version, .. } = participant;
    if version.to_lowercase().contains(&name.to_lowercase()) {
        version.clone()
    } else {
        format!("{name} ({version})")
    }
}

/// Returns the table of bounds, met or missed.
fn bounds(run: &Run, tables: &[Table]) -> String {
    let mut text = String::from("\n## Bounds\n\n| | to | at most | measured | |\n|---|---|---|---|---|\n");
    // Of a part of the cases, only that part.
    let part = run.command.contains(" --case ");
    let asked = |target: &&Target| !part || tables.iter().any(|table| table.name == target.table);
    for target in TARGETS.iter().filter(asked) {
        let who = if target.who == SITAR { String::new() } else { format!(" ({})", target.who) };
        let (to, measured, met) = match verdict(tables, target) {
            Verdict::Measured { value, to, met } => {
                let text = ratio(&Ratio { to: String::new(), value });
                (to, text, if met { "met" } else { "**missed**" }.to_owned())
            }
            Verdict::Absent(why) => (against(target.against), "–".into(), why),
        };
        let _ = writeln!(text, "| {}{who} | {to} | {:.2} | {measured} | {met} |", target.table, target.most);
    }
    text
}

fn against(against: Against) -> String {
    match against {
        Against::Floor => FLOOR.into(),
        Against::Best => "the best peer".into(),
        Against::Named(name) => name.into(),
        Against::Nothing => "–".into(),
    }
}

/// Returns the list of cases in which a peer is better.
fn losses(tables: &[Table]) -> String {
    let lost: Vec<String> = tables
        .iter()
        .filter_map(|table| Some((table, table.ratio(SITAR, Against::Best)?)))
        .filter(|(_, found)| found.value.median > 1.0)
        .map(|(table, found)| format!("- {}: {} times {}'s\n", table.name, ratio(&found), found.to))
        .collect();
    let text = if lost.is_empty() { "Nowhere in this run.\n".to_owned() } else { lost.concat() };
    format!("\n## Where sitar loses to a peer\n\n{text}")
}

/// Returns the table of all cases, medians only.
fn overview(run: &Run, tables: &[Table]) -> String {
    let names: Vec<&str> = run.participants.iter().map(|one| one.name.as_str()).collect();
    let mut text = format!(
        "\n## Medians\n\n| | {} | sitar / floor | sitar / best peer |\n|---|{}---|---|\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for table in tables.iter().filter(|table| table.rows.len() > 1) {
        let _ = write!(text, "| {}, {}", table.name, table.unit);
        for name in &names {
            let median = table.row(name).and_then(|row| Estimate::of(&row.figures));
            let shown = median.map_or("".into(), |estimate| figure(estimate.median));
            let shown = if is_ours(name) && !shown.is_empty() { format!("**{shown}**") } else { shown };
            let _ = write!(text, " | {shown}");
        }
        let of = |against| table.ratio(SITAR, against);
        let floor = of(Against::Floor).map_or("".into(), |found| ratio(&found));
        let best = of(Against::Best).map_or("".into(), |found| format!("{} {}", ratio(&found), found.to));
        let _ = writeln!(text, " | {floor} | {best} |");
    }
    text
}

fn details(table: &Table) -> String {
    let mut text = format!("\n### {}\n\n", table.name);
    if !table.note.is_empty() {
        let _ = writeln!(text, "{}.\n", capital(table.note));
    }
    let _ = writeln!(
        text,
        "| | {} | requests/s | system calls per request | resident |\n|---|---|---|---|---|",
        table.unit
    );
    for row in &table.rows {
        let cells = cells(row).join(" | ").replace("/s |", " |").replace(" calls", "");
        let _ = writeln!(text, "| {} | {cells} |", row.name);
    }
    let why = table.rows.iter().find_map(|row| row.calls.as_ref()?.as_ref().err());
    if let Some(why) = why {
        let _ = writeln!(text, "\nNo system calls: {why}.");
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::results::tests::table as some_table;

    #[test]
    fn an_estimate_has_its_interval() {
        assert_eq!(estimate(Estimate { median: 2.0, low: 1.0, high: 3.0 }), "**2.00** (1.00 … 3.00)");
    }

    #[test]
    fn a_report_says_what_is_missed_and_lost() {
        let mut lost = some_table();
        lost.rows[1].figures = vec![9.0; 3];
        let run = Run { command: "cargo xtask bench".into(), ..Run::default() };
        let text = markdown(&run, &[lost]);
        assert!(text.contains("| h1 TLS 1 KiB | h2o | 0.90 | 1.12 | **missed** |"), "{text}");
        assert!(text.contains("- h1 TLS 1 KiB: 1.12 times h2o's"), "{text}");
        assert!(text.contains("| h1 TLS 16 KiB | floor | 1.08 | – | not measured in this run |"), "{text}");
        assert!(markdown(&run, &[some_table()]).contains("Nowhere in this run."));
    }

    #[test]
    fn a_quick_run_says_so() {
        assert!(markdown(&Run { quick: true, ..Run::default() }, &[]).contains("A quick run"));
        assert!(!markdown(&Run::default(), &[]).contains("A quick run"));
    }
}
