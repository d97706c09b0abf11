//! Numbers as text: that of Prometheus (0.0.4), and OpenMetrics 1.0.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use sitar_server::{CountedMethod, Durations, HttpVersion};

use super::{Format, Numbers};

/// Everything that `/metrics` shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The sum of all workers, also of those that have ended.
    pub(crate) numbers: Numbers,
    /// Whether a worker serves and has told its numbers.
    pub(crate) is_up: bool,
    /// Whether the engine is io_uring.
    pub(crate) is_uring: bool,
    /// How often a worker has ended without being told to.
    pub(crate) restarts: u64,
    /// Whether the last reload has changed what is served, or the start has, and when it ended, in
    /// seconds since the epoch.
    pub(crate) reload: (bool, u64),
    /// When the supervisor was started, in seconds since the epoch.
    pub(crate) started: u64,
    /// Certificates: a name, and the end of the validity in seconds since the epoch.
    pub(crate) certificates: Vec<(String, u64)>,
    /// Sites, and the version of their content.
    pub(crate) sites: Vec<(String, String)>,
}

impl Facts {
    /// Returns certificates by name, each with the first end of those that have it.
    pub(super) fn first_ends(&self) -> BTreeMap<&str, u64> {
        let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, end) in &self.certificates {
            ends.entry(name).and_modify(|first| *first = (*first).min(*end)).or_insert(*end);
        }
        ends
    }
}

/// The type of a metric.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// A gauge that is always 1.
    Info,
}

struct Text {
    format: Format,
    out: String,
    /// The name of the present samples.
    name: String,
}

impl Text {
    /// Begins a metric. `unit` is the end of its name, where it has a unit.
    fn metric(&mut self, name: &str, kind: Kind, unit: Option<&str>, help: &str) {
        self.name = match kind {
            Kind::Counter => format!("{name}_total"),
            Kind::Gauge | Kind::Histogram => name.to_owned(),
            Kind::Info => format!("{name}_info"),
        };
        // OpenMetrics names the family, and Prometheus what its samples are called.
        let (of, word) = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => (name, "counter"),
            (Format::OpenMetrics, Kind::Info) => (name, "info"),
            (Format::Prometheus, Kind::Counter) => (&*self.name, "counter"),
            (_, Kind::Histogram) => (name, "histogram"),
            (_, Kind::Gauge | Kind::Info) => (&*self.name, "gauge"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "# HELP {of} {help}\n# TYPE {of} {word}");
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            let _ = writeln!(self.out, "# UNIT {of} {unit}");
        }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(&self.name);
        for (place, (name, value)) in labels.iter().enumerate() {
            self.out.push(if place == 0 { '{' } else { ',' });
            let _ = write!(self.out, "{name}=\"");
            escape(value, &mut self.out);
            self.out.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.out, "{end} {value}");
    }

    /// Durations in seconds, by their buckets.
    fn histogram(&mut self, name: &str, help: &str, durations: &Durations) {
        self.metric(name, Kind::Histogram, Some("seconds"), help);
        self.name = format!("{name}_bucket");
        let mut count = 0;
        for (bound, number) in durations.buckets() {
            self.sample(&[("le", bound)], number);
            count = number;
        }
        let total = durations.total();
        self.name = format!("{name}_sum");
        self.sample(&[], format_args!("{}.{:09}", total.as_secs(), total.subsec_nanos()));
        self.name = format!("{name}_count");
        self.sample(&[], count);
    }

    /// A metric without labels.
    fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.metric(name, kind, None, help);
        self.sample(&[], value);
    }
}

/// Adds the value of a label: in quotes, with `\`, `"` and line ends escaped.
fn escape(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            // Readers of lines may end one there.
            '\r' | '\0' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
}

/// Returns what `/metrics` answers.
pub(crate) fn text(facts: &Facts, format: Format) -> String {
    let mut text = Text { format, out: String::new(), name: String::new() };
    requests(&mut text, &facts.numbers);
    connections(&mut text, &facts.numbers);
    durations(&mut text, &facts.numbers);
    resources(&mut text, facts);
    logs(&mut text, &facts.numbers);
    server(&mut text, facts);
    if format == Format::OpenMetrics {
        text.out.push_str("# EOF\n");
    }
    text.out
}

fn requests(text: &mut Text, numbers: &Numbers) {
    text.metric(
        "sitar_http_requests",
        Kind::Counter,
        None,
        "Answers by site, status, method and version of HTTP; site is empty where no site answers.",
    );
    for (name, site) in &numbers.sites {
        for ((code, kind), count) in &site.answers {
            let (method, proto) = kind.map_or(("", ""), |(method, version): (CountedMethod, HttpVersion)| {
                (method.name(), version.name())
            });
            let code = code.to_string();
            let labels = [("site", &**name), ("code", &*code), ("method", method), ("proto", proto)];
            text.sample(&labels, count);
        }
    }
    let help = "Bytes of content in answers, whether or not their clients took all of it.";
    text.metric("sitar_http_response_bytes", Kind::Counter, Some("bytes"), help);
    for (name, site) in &numbers.sites {
        text.sample(&[("site", name)], site.content);
    }
}

fn connections(text: &mut Text, numbers: &Numbers) {
    text.metric("sitar_connections", Kind::Gauge, None, "Connections of clients by state.");
    text.sample(&[("state", "open")], numbers.open());
    for (name, counter, help) in [
        ("sitar_connections_accepted", "accepted", "Connections accepted."),
        ("sitar_connections_passed", "passed", "Of those accepted, connections that another process passed."),
        (
            "sitar_connections_refused",
            "refused",
            "Newcomers closed at once because there was no place for them.",
        ),
        ("sitar_connections_shed", "shed", "Connections closed because memory, buffers or places ran out."),
        ("sitar_connections_kernel_sealed", "kernel_sealed", "Connections whose records the kernel seals."),
        (
            "sitar_http2_floods",
            "calmed",
            "Connections of HTTP/2 closed because their clients made useless work.",
        ),
        ("sitar_password_hashes", "hashes", "Hashes of passwords computed."),
    ] {
        text.single(name, Kind::Counter, help, numbers.count(counter));
    }
    text.metric("sitar_connections_closed", Kind::Counter, None, "Connections that have ended, by reason.");
    for (reason, count) in &numbers.ends {
        text.sample(&[("reason", reason)], count);
    }
    let help = "TLS handshakes completed, by version, and by whether an earlier connection was resumed.";
    text.metric("sitar_tls_handshakes", Kind::Counter, None, help);
    for (version, counts) in ["1.2", "1.3"].into_iter().zip(&numbers.handshakes) {
        for (resumed, count) in ["false", "true"].into_iter().zip(counts) {
            text.sample(&[("version", version), ("resumed", resumed)], count);
        }
    }
}

fn durations(text: &mut Text, numbers: &Numbers) {
    let help =
        "Time from the first look at a request to the hand-over of its answer to the kernel, or to its end.";
    text.histogram("sitar_http_request_duration_seconds", help, &numbers.durations);
}

fn resources(text: &mut Text, facts: &Facts) {
    let numbers = &facts.numbers;
    if facts.is_uring {
        text.single("sitar_uring_enter", Kind::Counter, "Calls of io_uring_enter.", numbers.calls);
    }
    text.metric("sitar_send_buffers", Kind::Gauge, None, "Send buffers of all shards by state.");
    let free = numbers.send_buffers_free;
    text.sample(&[("state", "free")], free);
    text.sample(&[("state", "used")], numbers.send_buffers.saturating_sub(free));
    let help = "Memory by use: bodies of files, and what clients make connections hold.";
    text.metric("sitar_memory_bytes", Kind::Gauge, Some("bytes"), help);
    text.sample(&[("use", "bodies")], numbers.bodies);
    text.sample(&[("use", "connections")], numbers.held);
}

fn logs(text: &mut Text, numbers: &Numbers) {
    let count = |name: &str| numbers.records.get(name).copied().unwrap_or_default();
    text.single("sitar_log_written", Kind::Counter, "Records written to access logs.", count("written"));
    let help = "Records that sampling has left out of access logs.";
    text.single("sitar_log_sampled", Kind::Counter, help, count("sampled"));
    let help = "Records that are in no access log: the log could not be written, or its writer was too slow.";
    text.metric("sitar_log_dropped", Kind::Counter, None, help);
    text.sample(&[("reason", "not_writable")], count("failed"));
    text.sample(&[("reason", "too_slow")], count("dropped"));
}

fn server(text: &mut Text, facts: &Facts) {
    let help = "End of the validity of certificates; of several with the same name, the first.";
    text.metric("sitar_certificate_expiry_timestamp_seconds", Kind::Gauge, Some("seconds"), help);
    for (name, end) in facts.first_ends() {
        text.sample(&[("name", name)], end);
    }
    text.metric("sitar_site", Kind::Info, None, "Sites, and the version of their content.");
    let sites: BTreeMap<&str, &str> =
        facts.sites.iter().map(|(name, version)| (&**name, &**version)).collect();
    for (name, release) in sites {
        text.sample(&[("site", name), ("release", release)], 1);
    }
    let help = "Whether a worker serves and has told its numbers; if not, those here are old.";
    text.single("sitar_worker_up", Kind::Gauge, help, u8::from(facts.is_up));
    let help = "Workers that have ended without being told to.";
    text.single("sitar_worker_restarts", Kind::Counter, help, facts.restarts);
    let (is_ok, at) = facts.reload;
    let help = "Whether the last reload has been taken up; without one, whether the start has.";
    text.single("sitar_reload_success", Kind::Gauge, help, u8::from(is_ok));
    text.metric("sitar_reload_timestamp_seconds", Kind::Gauge, Some("seconds"), "When that ended.");
    text.sample(&[], at);
    text.metric("sitar_build", Kind::Info, None, "The version of sitar.");
    text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let help = "Start of the supervisor, since the Unix epoch.";
    text.metric("process_start_time_seconds", Kind::Gauge, Some("seconds"), help);
    text.sample(&[], facts.started);
}
