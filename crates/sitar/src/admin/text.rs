//! The documents for people: aligned, at most [`COLUMNS`] wide where words allow it.

use std::fmt::Write as _;

use sitar_site::Printable;
use time::OffsetDateTime;

use super::document::{Certificate, Reload, Site, SiteContent, SiteEncodings, SiteState, Status};
use super::totals::{Totals, by_class};
use crate::error::Error;

/// Columns of a line.
const COLUMNS: usize = 100;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Returns the text of `sitar status`. The numbers may be missing, for a reason.
pub(super) fn status(status: &Status, numbers: &Result<Totals, Error>) -> String {
    let mut text = Text::default();
    let Status { version, pid, uptime_seconds, .. } = status;
    text.line(0, &format!("sitar {version}, process {pid}, running for {}", span(*uptime_seconds)));
    if let Some(config) = &status.config {
        text.line(0, &format!("configuration {config}"));
    }
    if let Some(worker) = &status.worker {
        let ended = match status.worker_restarts {
            0 => String::new(),
            1 => "; one before it has ended without being told to".to_owned(),
            more => format!("; {more} before it have ended without being told to"),
        };
        text.line(0, &format!("worker process {}{ended}", worker.pid));
        text.line(0, &format!("engine {}", worker.engine));
        text.line(0, &format!("sandbox {}", worker.sandbox));
        if let Some(refused) = &worker.refused {
            text.line(0, &format!("REFUSED by the sandbox: {refused}"));
        }
    }
    match &status.last_reload {
        Some(reload) if reload.ok => text.line(0, &format!("last reload {}", time(reload.at))),
        Some(reload) => {
            text.line(
                0,
                &format!(
                    "last reload {}: REFUSED; what was served before is served, because of {}",
                    time(reload.at),
                    counted(reload.problems.len(), "problem")
                ),
            );
            for problem in &reload.problems {
                let (what, causes, hints) = problem.parts();
                text.line(1, &format!("error: {what}"));
                causes.iter().for_each(|cause| text.line(2, &format!("cause: {cause}")));
                hints.iter().for_each(|hint| text.line(2, &format!("hint: {hint}")));
            }
        }
        None => {}
    }
    self::numbers(&mut text, status, numbers);
    text.section("Listeners", &status.listeners, |text| {
        let width = widest(status.listeners.iter().map(|listener| &*listener.address));
        for listener in &status.listeners {
            let role = match &*listener.role {
                "redirect" => "redirects to https",
                role => role,
            };
            text.row(&listener.address, width, role);
        }
    });
    text.section("Sites", &status.sites, |text| {
        let width = widest(status.sites.iter().map(|site| &*site.name));
        status.sites.iter().for_each(|one| site(text, one, width));
    });
    text.section("Certificates", &status.certificates, |text| {
        status.certificates.iter().for_each(|one| certificate(text, one));
    });
    text.section("Warnings", &status.warnings, |text| {
        status.warnings.iter().for_each(|warning| text.line(1, warning));
    });
    text.0
}

fn numbers(text: &mut Text, status: &Status, numbers: &Result<Totals, Error>) {
    let rows = match numbers {
        Ok(totals) => rows(totals),
        Err(error) => vec![("numbers", format!("not to be had: {}", error.sentence()))],
    };
    text.section("Since the start", &rows, |text| {
        if numbers.as_ref().is_ok_and(|totals| !totals.is_up) {
            text.line(1, "NO ANSWER of the worker in time: these are the last numbers that it told");
        }
        let width = widest(rows.iter().map(|(name, _)| *name));
        rows.iter().for_each(|(name, row)| text.row(name, width, row));
    });
    text.section("Access logs of this worker", &status.logs, |text| {
        let width = widest(status.logs.iter().map(|log| &*log.name));
        for log in &status.logs {
            let records = with_others(
                format!("{} written", counted(log.written, "record")),
                [(log.sampled, "left out by sampling"), (log.failed, "LOST: not writable")],
            );
            text.row(&log.name, width, &records);
        }
        if status.logs_dropped > 0 {
            let dropped = counted(status.logs_dropped, "record");
            text.line(1, &format!("{dropped} LOST: they came faster than they are written"));
        }
    });
}

/// Returns a name and a line for what has been counted; nothing for what has not happened.
fn rows(totals: &Totals) -> Vec<(&'static str, String)> {
    let connection = |name: &str| totals.connections.get(name).copied().unwrap_or_default();
    let mut rows = Vec::new();
    let open = format!("{} open, {} accepted", grouped(connection("open")), grouped(connection("accepted")));
    let others = [(connection("refused"), "refused"), (connection("shed"), "shed")];
    if totals.connections.values().any(|count| *count > 0) {
        rows.push(("connections", with_others(open, others)));
    }
    if let (all @ 1.., resumed) = totals.handshakes() {
        rows.push(("handshakes", with_others(grouped(all), [(resumed, "of them resumed")])));
    }
    let classes = by_class(&totals.answers);
    let names = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let answered = classes.iter().zip(names).filter(|(count, _)| **count > 0);
    let answered: Vec<String> =
        answered.map(|(count, name)| format!("{name}: {}", grouped(*count))).collect();
    if !answered.is_empty() {
        rows.push((
            "answers",
            format!("{}; {} of content", answered.join(", "), size(totals.response_bytes)),
        ));
    }
    let memory = |name: &str| totals.memory.get(name).copied().unwrap_or_default();
    let (bodies, connections) = (memory("bodies"), memory("connections"));
    if bodies > 0 || connections > 0 {
        let row = format!("{} of files, {} for connections", size(bodies), size(connections));
        rows.push(("memory", row));
    }
    let records = |name: &str| totals.log_records.get(name).copied().unwrap_or_default();
    let lost = records("failed").saturating_add(records("dropped"));
    let all = records("written").saturating_add(records("sampled")).saturating_add(lost);
    if all > 0 {
        let others = [(records("sampled"), "left out by sampling"), (lost, "LOST")];
        let written = format!("{} written to access logs", grouped(records("written")));
        rows.push(("records", with_others(written, others)));
    }
    rows
}

/// Adds those counts that are not zero to a line.
fn with_others<const N: usize>(mut line: String, others: [(u64, &str); N]) -> String {
    for (count, what) in others {
        if count > 0 {
            // Writing to a String cannot fail.
            let _ = write!(line, ", {} {what}", grouped(count));
        }
    }
    line
}

/// Returns the text of `sitar reload` where it is done.
pub(super) fn reload(reload: &Reload) -> String {
    let mut text = Text::default();
    if reload.changes.is_empty() {
        text.line(0, "reloaded; nothing is different");
    } else {
        text.line(0, "reloaded:");
        reload.changes.iter().for_each(|change| text.line(1, change));
    }
    text.0
}

fn site(text: &mut Text, site: &Site, width: usize) {
    let state = match (&site.state, &site.content) {
        (SiteState::Unavailable(_), _) => "UNAVAILABLE".to_owned(),
        (SiteState::Serving, SiteContent::Redirect { to }) => format!("redirects to {to}"),
        (SiteState::Serving, SiteContent::Files { files, version, .. }) => {
            let files = files.map(|files| counted(files, "file"));
            let since = site.since.map(|since| format!("since {}", time(since)));
            let parts = [Some("serving".to_owned()), files, version.clone(), since];
            parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
        }
    };
    text.row(&site.name, width, &state);
    if let SiteState::Unavailable(reason) = &site.state {
        text.line(2, &format!("reason: {reason}"));
    }
    let others: Vec<&str> = site.hosts.iter().map(|host| &**host).filter(|host| *host != site.name).collect();
    if site.hosts.is_empty() && !site.is_default {
        text.line(2, "every host");
    } else if !others.is_empty() {
        text.line(2, &format!("also {}", others.join(", ")));
    }
    if site.is_default {
        text.line(2, "hosts that no other site has");
    }
    if let SiteContent::Files { root, .. } = &site.content {
        text.line(2, root);
    }
    if let (Some(encodings), SiteContent::Files { files, .. }) = (&site.encodings, &site.content) {
        text.line(2, &encoded(encodings, *files));
    }
}

/// Returns the line for the encodings of a site with this number of files.
fn encoded(encodings: &SiteEncodings, files: Option<u64>) -> String {
    let SiteEncodings { files: encoded, saved, is_packing } = *encodings;
    let all = match files {
        Some(all) => format!("{} of {}", grouped(encoded), counted(all, "file")),
        None => counted(encoded, "file"),
    };
    let kib = grouped(saved.div_ceil(1024));
    let more = if is_packing { "; more are being made" } else { "" };
    format!("encodings for {all}, {kib} KiB saved{more}")
}

fn certificate(text: &mut Text, certificate: &Certificate) {
    let names = certificate.names.join(", ");
    text.line(1, if names.is_empty() { "(no names)" } else { &names });
    text.line(2, certificate.chain.as_deref().unwrap_or("made by sitar"));
    if let Some(not_after) = certificate.not_after {
        let when = match certificate.days_left {
            Some(..0) => format!("EXPIRED on {}", date(not_after)),
            Some(0) => format!("expires on {}, in less than a day", date(not_after)),
            Some(1) => format!("expires on {}, in 1 day", date(not_after)),
            Some(days) => format!("expires on {}, in {days} days", date(not_after)),
            None => format!("expires on {}", date(not_after)),
        };
        text.line(2, &when);
    }
    // Without its colons it fits into a line.
    text.line(2, &format!("SHA-256 {}", certificate.sha256.replace(':', "")));
    for warning in &certificate.warnings {
        text.line(2, &format!("warning: {warning}"));
    }
}

/// Lines that are written one after the other.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Appends a line, with `depth` steps before it, and broken between words where it is too long.
    fn line(&mut self, depth: usize, line: &str) {
        let mut indent = STEP * depth;
        let line = Printable(line).to_string();
        let mut column = 0;
        for word in line.split(' ') {
            let width = word.chars().count();
            if column > 0 && column + 1 + width > COLUMNS {
                self.0.push('\n');
                column = 0;
                // What goes on stands deeper than what begins.
                indent = STEP * (depth + 2);
            }
            if column == 0 {
                self.0.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else {
                self.0.push(' ');
                column += 1;
            }
            self.0.push_str(word);
            column += width;
        }
        self.0.push('\n');
    }

    /// Appends a line of two columns; two lines where it would be too long.
    fn row(&mut self, name: &str, width: usize, rest: &str) {
        let shown = Printable(name).to_string();
        let columns = STEP + shown.chars().count().max(width) + STEP + rest.chars().count();
        if columns > COLUMNS {
            self.line(1, name);
            self.line(2, rest);
        } else {
            // Writing to a String cannot fail.
            let _ = writeln!(self.0, "  {shown:<width$}  {}", Printable(rest));
        }
    }

    /// Appends a part with its heading; nothing where there is nothing to show.
    fn section<T>(&mut self, heading: &str, items: &[T], show: impl FnOnce(&mut Text)) {
        if !items.is_empty() {
            self.0.push('\n');
            self.line(0, heading);
            show(self);
        }
    }
}

/// Columns of one step of indentation.
const STEP: usize = 2;
/// Columns of the first of two, at most.
const NAME_COLUMNS: usize = 40;

/// Returns the width of a column for these names.
fn widest<'n>(names: impl Iterator<Item = &'n str>) -> usize {
    names.map(|name| Printable(name).to_string().chars().count()).max().unwrap_or(0).min(NAME_COLUMNS)
}

/// Returns a number with what is counted.
fn counted(count: impl TryInto<u64>, what: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {what}"),
        count => format!("{} {what}s", grouped(count)),
    }
}

/// Returns a number with a comma before each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number of bytes in the largest unit of which there is at least one.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let place = units.len().min(bytes.max(1).ilog2() as usize / 10 + 1) - 1;
    let unit = units.get(place).copied().unwrap_or_default();
    if place == 0 {
        return format!("{bytes} {unit}");
    }
    // Tenths, rounded down.
    let tenths = (u128::from(bytes) * 10) >> (10 * place);
    match tenths / 10 {
        whole @ 100.. => format!("{whole} {unit}"),
        whole => format!("{whole}.{} {unit}", tenths % 10),
    }
}

/// Returns a length of time in its two largest units.
pub(crate) fn span(seconds: u64) -> String {
    let units = [
        (seconds / DAY, "day"),
        (seconds % DAY / HOUR, "hour"),
        (seconds % HOUR / MINUTE, "minute"),
        (seconds % MINUTE, "second"),
    ];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let shown: Vec<String> = units
        .iter()
        .enumerate()
        .filter(|(at, (count, _))| *at == first || (*at == first + 1 && *count > 0))
        .map(|(_, (count, unit))| counted(*count, unit))
        .collect();
    shown.join(" ")
}

fn clock(seconds: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()
}

/// Returns a day as `2030-01-31`, in UTC.
fn date(seconds: u64) -> String {
    clock(seconds).map_or_else(|| "a day that no calendar has".to_owned(), |time| time.date().to_string())
}

/// Returns a time as `2030-01-31 23:59:59 UTC`.
pub(crate) fn time(seconds: u64) -> String {
    match clock(seconds) {
        Some(time) => {
            let (hour, minute, second) = time.to_hms();
            format!("{} {hour:02}:{minute:02}:{second:02} UTC", time.date())
        }
        None => "at a time that no calendar has".to_owned(),
    }
}

#[cfg(test)]
mod tests;
