//! One screen, from what is known and a size: text without any escape.

use super::rates::{QUANTILES, Rates, SiteRates};
use super::text::{bytes, cell, columns, cut, duration, percent, rate, shown};
use crate::admin::{Totals, grouped, size, span};

/// A certificate that ends within this time is named, in seconds.
const ENDING: u64 = 21 * 24 * 60 * 60;
/// From this height on, parts have a line between them.
const SPACIOUS: usize = 20;
/// Columns of the name of a row.
const NAME: usize = 13;
/// From this width on, the table of sites has all columns.
const WIDE: usize = 60;
/// Columns of a release, at most, and of a site's name, at least, where both are shown.
const RELEASE: usize = 20;
const SITE: usize = 19;
/// Columns between two, and of all numbers with those behind each.
const GAP: usize = 2;
const NUMBERS: usize = 10 + 10 + 6 + 6 + 4 * GAP;

/// What sites are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// Answers in a second.
    #[default]
    Requests,
    /// Bytes of content in a second.
    Content,
    /// Answers with 5xx in a second, then those with 4xx.
    Errors,
}

impl Order {
    pub(super) fn next(self) -> Order {
        match self {
            Order::Requests => Order::Content,
            Order::Content => Order::Errors,
            Order::Errors => Order::Requests,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Order::Requests => "requests",
            Order::Content => "content",
            Order::Errors => "errors",
        }
    }

    fn key(self, site: &SiteRates) -> [f64; 2] {
        match self {
            Order::Requests => [site.requests, site.bytes],
            Order::Content => [site.bytes, site.requests],
            Order::Errors => [site.server_errors, site.client_errors],
        }
    }
}

/// Columns and lines of a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
}

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'v> {
    /// The last sample.
    pub(super) now: &'v Totals,
    pub(super) rates: Option<&'v Rates>,
    /// What the server warns of.
    pub(super) warnings: &'v [String],
    /// Why there is no newer sample.
    pub(super) failure: Option<&'v str>,
    /// The time, in seconds since the epoch.
    pub(super) clock: u64,
    pub(super) order: Order,
    /// Whether keys are read.
    pub(super) has_keys: bool,
}

/// How a line stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Heading,
    Alert,
}

/// A line of a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) style: Style,
    pub(super) text: String,
}

/// Returns the lines of a screen: no more than its height, none wider than its width, and without
/// control characters.
pub(super) fn frame(view: &View<'_>, size: Size) -> Vec<Line> {
    let Size { width, height } = size;
    let is_spacious = height >= SPACIOUS;
    let mut lines = vec![Line { style: Style::Heading, text: heading(view, width) }];
    lines.extend(rows(view, width).into_iter().take(height * 2 / 5));
    let mut alerts = alerts(view);
    let most = (height / 5).max(1);
    if alerts.len() > most {
        let more = alerts.len() + 1 - most;
        alerts.truncate(most - 1);
        alerts.push(format!("and {more} more; see: sitar status"));
    }
    let space = || is_spacious.then(|| Line { style: Style::Plain, text: String::new() });
    if !alerts.is_empty() {
        lines.extend(space());
        lines.extend(alerts.iter().map(|alert| Line { style: Style::Alert, text: cut(alert, width) }));
    }
    let space: Vec<Line> = space().into_iter().collect();
    let room = height.saturating_sub(lines.len() + space.len());
    let table = table(view, Size { width, height: room });
    if !table.is_empty() {
        lines.extend(space);
        lines.extend(table);
    }
    lines.truncate(height);
    lines
}

fn heading(view: &View<'_>, width: usize) -> String {
    let now = view.now;
    let worker = match now.worker {
        None => "no worker".to_owned(),
        Some(_) if !now.is_up => "worker silent".to_owned(),
        Some(pid) => format!("worker {pid}"),
    };
    let restarts = match now.worker_restarts {
        0 => None,
        1 => Some("1 restart".to_owned()),
        more => Some(format!("{} restarts", grouped(more))),
    };
    let first = format!("sitar {}", now.version);
    let parts = [
        Some(format!("up {}", span(now.uptime_milliseconds / 1000))),
        // Without what is said of it.
        now.engine.split(" (").next().map(str::to_owned),
        Some(worker),
        restarts,
        view.has_keys.then(|| "q: quit, s: sort".to_owned()),
    ];
    joined(&first, parts.into_iter().flatten().map(Part::from), width)
}

/// A part of a line, which is shown whole or not at all.
struct Part {
    text: String,
    weight: Weight,
}

/// What stays longest where a line is too narrow for all of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Nothing has happened.
    Zero,
    Plain,
    /// Something is wrong.
    Problem,
}

impl From<String> for Part {
    fn from(text: String) -> Part {
        Part { text, weight: Weight::Plain }
    }
}

impl Part {
    /// A rate, which is of that weight where it is not zero.
    fn rate(name: &str, number: f64, weight: Weight) -> Part {
        let weight = if number > 0.0 { weight } else { Weight::Zero };
        Part { text: format!("{name} {}/s", rate(number)), weight }
    }
}

/// Adds those parts to a text that have room.
fn joined(first: &str, parts: impl IntoIterator<Item = Part>, width: usize) -> String {
    let mut line = cut(first, width);
    let mut parts: Vec<Part> = parts.into_iter().collect();
    parts.iter_mut().for_each(|part| part.text = shown(&part.text));
    let wanted = |parts: &[Part]| parts.iter().map(|part| GAP + columns(&part.text)).sum::<usize>();
    while columns(&line) + wanted(&parts) > width {
        // The last of the lightest.
        let lightest = parts.iter().enumerate().rev().min_by_key(|(_, part)| part.weight);
        let Some((place, _)) = lightest else { break };
        parts.remove(place);
    }
    for part in parts {
        line.push_str("  ");
        line.push_str(&part.text);
    }
    line
}

/// Returns the rows of numbers, the most important first. One that has nothing to say is left out.
fn rows(view: &View<'_>, width: usize) -> Vec<Line> {
    let now = view.now;
    let in_memory = |name: &str| now.memory.get(name).copied().unwrap_or_default();
    let memory: Vec<Part> = vec![
        format!("{} of files", size(in_memory("bodies"))).into(),
        format!("{} for connections", size(in_memory("connections"))).into(),
    ];
    let buffer = |name: &str| now.send_buffers.get(name).copied().unwrap_or_default();
    let (used, all) = (buffer("used"), buffer("used").saturating_add(buffer("free")));
    let buffers = vec![format!("{} of {} send buffers in use", grouped(used), grouped(all)).into()];
    let rated = |parts: fn(&Rates) -> Vec<Part>| view.rates.map(parts).unwrap_or_default();
    let rows = [
        ("connections", connections(view)),
        ("requests", rated(requests)),
        ("content", rated(|rates| vec![format!("{}/s", bytes(rates.bytes)).into()])),
        ("durations", rated(durations)),
        ("handshakes", rated(handshakes)),
        ("memory", memory),
        ("buffers", buffers),
        ("ring", rated(ring)),
        ("access logs", rated(logs)),
    ];
    let with_something = rows.into_iter().filter(|(_, parts)| !parts.is_empty());
    let line = |(name, parts): (&str, Vec<Part>)| {
        let mut parts = parts.into_iter();
        let first = format!("{name:<NAME$}{}", parts.next().map(|part| part.text).unwrap_or_default());
        Line { style: Style::Plain, text: joined(&first, parts, width) }
    };
    with_something.map(line).collect()
}

fn connections(view: &View<'_>) -> Vec<Part> {
    let open = view.now.connections.get("open").copied().unwrap_or_default();
    let mut parts = vec![Part::from(format!("{} open", grouped(open)))];
    if let Some(rates) = view.rates {
        parts.extend([
            Part::rate("new", rates.accepted, Weight::Plain),
            Part::rate("refused", rates.refused, Weight::Problem),
            Part::rate("shed", rates.shed, Weight::Problem),
        ]);
    }
    parts
}

fn requests(rates: &Rates) -> Vec<Part> {
    // There is no answer with 1xx but before another one.
    let [_, success, redirection, client_errors, server_errors] = rates.classes;
    vec![
        format!("{}/s", rate(rates.classes.iter().sum())).into(),
        Part::rate("2xx", success, Weight::Plain),
        Part::rate("3xx", redirection, Weight::Plain),
        Part::rate("4xx", client_errors, Weight::Plain),
        Part::rate("5xx", server_errors, Weight::Problem),
    ]
}

fn durations(rates: &Rates) -> Vec<Part> {
    let Some(quantiles) = rates.quantiles else { return Vec::new() };
    let parts = QUANTILES.iter().zip(quantiles);
    let parts = parts.map(|((name, _), estimate)| format!("{name} {}", duration(estimate)));
    parts.chain(["(approximate)".to_owned()]).map(Part::from).collect()
}

fn handshakes(rates: &Rates) -> Vec<Part> {
    let resumed = rates.resumed.map(|share| format!("{} resumed", percent(share)));
    let all = format!("{}/s", rate(rates.handshakes));
    [all].into_iter().chain(resumed).map(Part::from).collect()
}

fn ring(rates: &Rates) -> Vec<Part> {
    let part = |enters: f64| format!("{enters:.2} io_uring_enter per request").into();
    rates.enters.map(part).into_iter().collect()
}

fn logs(rates: &Rates) -> Vec<Part> {
    if rates.written == 0.0 && rates.lost == 0.0 {
        return Vec::new();
    }
    let written = format!("{}/s written", rate(rates.written)).into();
    vec![written, Part::rate("lost", rates.lost, Weight::Problem)]
}

/// Returns what an operator should look at, the most urgent first.
fn alerts(view: &View<'_>) -> Vec<String> {
    let mut alerts = Vec::new();
    let now = view.now;
    if let Some(failure) = view.failure {
        alerts.push(format!("NO ANSWER, tried again: {failure}"));
    } else if now.worker.is_none() {
        alerts.push("NO WORKER serves: one is being started".to_owned());
    } else if !now.is_up {
        alerts.push("THE WORKER DOES NOT ANSWER: what is shown of it is old".to_owned());
    }
    if view.rates.is_some_and(|rates| rates.lost > 0.0) {
        alerts.push("RECORDS OF ACCESS LOGS ARE LOST: see sitar status for which".to_owned());
    }
    if !now.is_reload_ok {
        alerts.push("the last reload was REFUSED; what was served before is served".to_owned());
    }
    let ending = now.certificates.iter().filter(|(_, end)| *end < view.clock.saturating_add(ENDING));
    let mut ending: Vec<_> = ending.collect();
    ending.sort_by_key(|(_, end)| *end);
    alerts.extend(ending.into_iter().map(|(name, end)| match end.checked_sub(view.clock) {
        // The time first: the rest may be cut off.
        None | Some(0) => format!("EXPIRED: the certificate of {name}"),
        Some(left) => format!("EXPIRES in {}: the certificate of {name}", span(left)),
    }));
    alerts.extend(view.warnings.iter().map(|warning| format!("warning: {warning}")));
    alerts
}

/// Returns the table of sites, cut to a number of lines.
fn table(view: &View<'_>, size: Size) -> Vec<Line> {
    let Size { width, height } = size;
    let Some(rates) = view.rates.filter(|rates| !rates.sites.is_empty() && height >= 2) else {
        return Vec::new();
    };
    let mut sites: Vec<&SiteRates> = rates.sites.iter().collect();
    let key = |site: &SiteRates| view.order.key(site);
    sites.sort_by(|one, other| {
        let [first, second] = key(one);
        let [other_first, other_second] = key(other);
        let by_key = other_first.total_cmp(&first).then(other_second.total_cmp(&second));
        by_key.then_with(|| one.name.cmp(&other.name))
    });
    let columns = Columns::of(&sites, width);
    let title = format!("site, by {}", view.order.word());
    let head =
        columns.line(["requests/s", "content/s", "4xx/s", "5xx/s"].map(str::to_owned), &title, "release");
    let hidden = (sites.len() as u64).saturating_add(view.now.sites_left_out);
    let shown = sites.len().min(if sites.len() < height { sites.len() } else { height - 2 });
    let mut lines = vec![Line { style: Style::Heading, text: head }];
    lines.extend(sites.iter().take(shown).map(|site| {
        let numbers =
            [rate(site.requests), bytes(site.bytes), rate(site.client_errors), rate(site.server_errors)];
        let name = if site.name.is_empty() { "(no site)" } else { &site.name };
        let text = columns.line(numbers, name, site.release.as_deref().unwrap_or_default());
        Line { style: Style::Plain, text }
    }));
    if let more @ 1.. = hidden.saturating_sub(shown as u64)
        && lines.len() < height
    {
        let text = cut(&format!("and {} more", grouped(more)), width);
        lines.push(Line { style: Style::Plain, text });
    }
    lines
}

/// The columns of the table.
struct Columns {
    width: usize,
    /// Those of the name and of the release. `None`: the release is not shown.
    names: Option<(usize, usize)>,
}

impl Columns {
    /// Returns those for these sites.
    fn of(sites: &[&SiteRates], width: usize) -> Columns {
        let widest = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|text| columns(&shown(text))).max().unwrap_or_default()
        };
        let release = widest(&mut sites.iter().filter_map(|site| site.release.as_deref())).min(RELEASE);
        let room = width.saturating_sub(NUMBERS + release + GAP);
        let name = widest(&mut sites.iter().map(|site| &*site.name)).max(SITE);
        let fits = width >= WIDE && room >= SITE && release > 0;
        Columns { width, names: fits.then_some((name.min(room), release)) }
    }

    fn line(&self, numbers: [String; 4], name: &str, release: &str) -> String {
        let [requests, content, client_errors, server_errors] = numbers;
        let left = match self.width {
            WIDE.. => format!("{requests:>10}  {content:>10}  {client_errors:>6}  {server_errors:>6}  "),
            _ => format!("{requests:>10}  {server_errors:>6}  "),
        };
        let line = match self.names {
            Some((width, released)) => {
                format!("{left}{}  {}", cell(name, width), cut(release, released))
            }
            None => format!("{left}{name}"),
        };
        cut(line.trim_end(), self.width)
    }
}

/// Returns the lines as plain text.
pub(super) fn plain(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("{}\n", line.text)).collect()
}
