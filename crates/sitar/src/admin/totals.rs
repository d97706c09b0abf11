//! The document of `numbers`: what a server has counted since it started, and what it holds now.
//!
//! Sizes are in bytes, and times say their unit. Sites are listed by their number of answers, and
//! [`SITES_MAX`] of them at most, so that a document has a bound.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::SCHEMA;
use super::document::Object;

/// Sites of a document, at most; those with the most answers.
pub(crate) const SITES_MAX: usize = 512;

/// Counts by their names.
pub type CountsByName = BTreeMap<String, u64>;
/// Answers by their status.
pub type CountsByStatus = BTreeMap<u16, u64>;

/// What a server has counted since it started, and what it holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The server's version.
    pub version: String,
    /// The number of the supervisor's process. With another one, counters have begun from zero.
    pub pid: u32,
    /// When it was started, in seconds since the epoch.
    pub started: u64,
    /// Milliseconds since then. Rates are differences of counters by differences of this.
    pub uptime_milliseconds: u64,
    /// How bytes are moved.
    pub engine: String,
    /// The number of the process that serves; `None`: none does at the moment.
    pub worker: Option<u32>,
    /// Whether it has told its numbers in time; if not, those here are the last that it told.
    pub is_up: bool,
    /// How often a worker has ended without being told to.
    pub worker_restarts: u64,
    /// Whether the last reload was taken up; true before the first one.
    pub is_reload_ok: bool,
    /// Connections: `open` now, and `accepted`, `passed`, `refused`, `shed`, `kernel_sealed`,
    /// `http2_floods` since the start.
    pub connections: CountsByName,
    /// Connections that have ended, by reason.
    pub closed: CountsByName,
    /// TLS handshakes: `tls12_full`, `tls12_resumed`, `tls13_full`, `tls13_resumed`.
    pub handshakes: CountsByName,
    /// Answers by status.
    pub answers: CountsByStatus,
    /// Bytes of content in answers.
    pub response_bytes: u64,
    /// Durations of answers; `None`: the server does not tell them.
    pub durations: Option<Histogram>,
    /// Calls of `io_uring_enter`; `None` with another engine.
    pub ring_enters: Option<u64>,
    /// Hashes of passwords computed.
    pub password_hashes: u64,
    /// Send buffers: `free`, `used`.
    pub send_buffers: CountsByName,
    /// Bytes of memory: `bodies` of files, and what clients make `connections` hold.
    pub memory: CountsByName,
    /// Records of access logs: `written`, `sampled`, `failed`, `dropped`.
    pub log_records: CountsByName,
    /// Sites, those with the most answers first.
    pub sites: Vec<SiteTotals>,
    /// Sites that are not listed.
    pub sites_left_out: u64,
    /// Certificates: a name, and the end of the validity in seconds since the epoch.
    pub certificates: Vec<(String, u64)>,
}

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// The upper bound of each bucket in microseconds, in ascending order.
    pub bounds: Vec<u64>,
    /// The number in each bucket, and in one more for those above all bounds.
    pub counts: Vec<u64>,
    /// The sum of all durations in microseconds.
    pub sum: u64,
}

/// What a site has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteTotals {
    /// Its name; empty for what no site answers.
    pub name: String,
    /// The version of its content; `None`: it has none, or is not served any more.
    pub release: Option<String>,
    /// Answers by status.
    pub answers: CountsByStatus,
    /// Bytes of content in them.
    pub response_bytes: u64,
}

impl Totals {
    /// Returns the document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = self.numbers();
        value["schema"] = SCHEMA.into();
        value["version"] = self.version.as_str().into();
        value["pid"] = self.pid.into();
        value
    }

    /// Returns what is not in the document of [`Request::Status`](super::Request::Status).
    pub(super) fn numbers(&self) -> Value {
        let certificates = self.certificates.iter();
        json!({
            "started": self.started,
            "uptime_milliseconds": self.uptime_milliseconds,
            "engine": self.engine,
            "worker": { "pid": self.worker, "up": self.is_up, "restarts": self.worker_restarts },
            "reload_ok": self.is_reload_ok,
            "connections": self.connections,
            "connections_closed": self.closed,
            "tls_handshakes": self.handshakes,
            "answers": by_status(&self.answers),
            "response_bytes": self.response_bytes,
            "durations": self.durations.as_ref().map(Histogram::to_json),
            "io_uring_enters": self.ring_enters,
            "password_hashes": self.password_hashes,
            "send_buffers": self.send_buffers,
            "memory_bytes": self.memory,
            "log_records": self.log_records,
            "sites": self.sites.iter().map(SiteTotals::to_json).collect::<Vec<_>>(),
            "sites_left_out": self.sites_left_out,
            "certificates": certificates
                .map(|(name, end)| json!({ "name": name, "not_after": end }))
                .collect::<Vec<_>>(),
        })
    }

    /// Returns how many TLS handshakes have ended well, and how many of them were resumed.
    pub(crate) fn handshakes(&self) -> (u64, u64) {
        let (mut all, mut resumed) = (0_u64, 0_u64);
        for (name, count) in &self.handshakes {
            all = all.saturating_add(*count);
            if name.ends_with("_resumed") {
                resumed = resumed.saturating_add(*count);
            }
        }
        (all, resumed)
    }
}

/// Reads the document of [`Request::Numbers`](super::Request::Numbers). `None`: it has another
/// shape.
#[must_use]
pub fn read_totals(document: &Value) -> Option<Totals> {
    let object = Object::of_schema(document)?;
    let worker = Object(document.get("worker")?);
    let pid = |value: u64| u32::try_from(value).ok();
    Some(Totals {
        version: object.text("version")?,
        pid: object.number("pid").and_then(pid)?,
        started: object.number("started")?,
        uptime_milliseconds: object.number("uptime_milliseconds")?,
        engine: object.text("engine")?,
        worker: worker.number("pid").and_then(pid),
        is_up: worker.truth("up")?,
        worker_restarts: worker.number("restarts")?,
        is_reload_ok: object.truth("reload_ok")?,
        connections: counts(document.get("connections")?)?,
        closed: counts(document.get("connections_closed")?)?,
        handshakes: counts(document.get("tls_handshakes")?)?,
        answers: read_by_status(document.get("answers")?)?,
        response_bytes: object.number("response_bytes")?,
        durations: object.optional("durations", Histogram::from_json)?,
        ring_enters: object.number("io_uring_enters"),
        password_hashes: object.number("password_hashes")?,
        send_buffers: counts(document.get("send_buffers")?)?,
        memory: counts(document.get("memory_bytes")?)?,
        log_records: counts(document.get("log_records")?)?,
        sites: object.list("sites", SiteTotals::from_json)?,
        sites_left_out: object.number("sites_left_out")?,
        certificates: object.list("certificates", |value| {
            Some((Object(value).text("name")?, Object(value).number("not_after")?))
        })?,
    })
}

impl Histogram {
    fn to_json(&self) -> Value {
        json!({ "bounds_microseconds": self.bounds, "counts": self.counts, "sum_microseconds": self.sum })
    }

    fn from_json(value: &Value) -> Option<Histogram> {
        let object = Object(value);
        Some(Histogram {
            bounds: object.list("bounds_microseconds", Value::as_u64)?,
            counts: object.list("counts", Value::as_u64)?,
            sum: object.number("sum_microseconds")?,
        })
    }
}

impl SiteTotals {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "release": self.release,
            "answers": by_status(&self.answers),
            "response_bytes": self.response_bytes,
        })
    }

    fn from_json(value: &Value) -> Option<SiteTotals> {
        let object = Object(value);
        Some(SiteTotals {
            name: object.text("name")?,
            release: object.text("release"),
            answers: read_by_status(value.get("answers")?)?,
            response_bytes: object.number("response_bytes")?,
        })
    }
}

/// Returns counts by status as an object.
fn by_status(counts: &CountsByStatus) -> Value {
    Value::Object(counts.iter().map(|(code, count)| (code.to_string(), (*count).into())).collect())
}

fn counts(value: &Value) -> Option<CountsByName> {
    let object: &Map<String, Value> = value.as_object()?;
    object.iter().map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect()
}

fn read_by_status(value: &Value) -> Option<CountsByStatus> {
    value.as_object()?.iter().map(|(code, count)| Some((code.parse().ok()?, count.as_u64()?))).collect()
}

/// Returns answers by the first digit of their status; the first is of 1xx. What has another first
/// digit is left out.
pub(crate) fn by_class(answers: &CountsByStatus) -> [u64; 5] {
    let mut classes = [0_u64; 5];
    for (code, count) in answers {
        if let Some(class) = usize::from(code / 100).checked_sub(1).and_then(|place| classes.get_mut(place)) {
            *class = class.saturating_add(*count);
        }
    }
    classes
}
