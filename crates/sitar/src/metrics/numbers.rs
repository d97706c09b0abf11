//! The numbers of workers: how they are told, and how those of several are added up.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sitar_http::Status;
use sitar_server::{CountedMethod, Counts, Durations, Ends, HttpVersion, WorkerNumbers};

use crate::handover::said;

/// With more sites than this, answers are told by site and status only: all of them together have
/// to fit into one message, whatever clients have asked.
const DETAILED_MAX: usize = 128;
/// Sites of a sum. With more, those are dropped that the last worker does not have.
const SITES_MAX: usize = 4097;
/// The most characters of a site's name, which may be a path.
const NAME_MAX: usize = 4096;

/// A method and a version of HTTP by their places; `None`: they are not told apart.
pub(super) type Kind = Option<(CountedMethod, HttpVersion)>;

/// The numbers of a worker, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Counters by their names.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// Connections that have ended, by reason.
    pub(super) ends: BTreeMap<&'static str, u64>,
    /// TLS handshakes of 1.2 and 1.3, whole and resumed.
    pub(super) handshakes: [[u64; 2]; 2],
    /// System calls of the engine.
    pub(super) calls: u64,
    pub(super) send_buffers: u64,
    pub(super) send_buffers_free: u64,
    /// Bytes that peers make shards hold, and bytes of bodies in memory.
    pub(super) held: u64,
    pub(super) bodies: u64,
    pub(super) durations: Durations,
    /// Records of access logs, by what has become of them.
    pub(super) records: BTreeMap<&'static str, u64>,
    pub(super) sites: BTreeMap<String, Site>,
}

/// What becomes of a record: it is written; it is left out by sampling; its log could not be
/// written; its shard had no room for it.
pub(crate) const RECORDS: [&str; 4] = ["written", "sampled", "failed", "dropped"];

/// The answers of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Site {
    /// Bytes of content.
    pub(super) content: u64,
    pub(super) answers: BTreeMap<(u16, Kind), u64>,
}

impl Numbers {
    /// Those of the worker in this process, and of its records, in the order of [`RECORDS`].
    pub(crate) fn of(worker: &WorkerNumbers, records: [u64; RECORDS.len()]) -> Numbers {
        let mut numbers = Numbers {
            ends: worker.counts.ends.named().into_iter().collect(),
            calls: worker.calls,
            send_buffers: worker.send_buffers,
            send_buffers_free: worker.send_buffers_free,
            held: worker.held,
            bodies: worker.bodies,
            durations: worker.durations,
            records: RECORDS.into_iter().zip(records).collect(),
            ..Numbers::default()
        };
        numbers.counts = worker.counts.named().into_iter().filter(|(name, _)| is_no_end(name)).collect();
        for (place, one) in numbers.handshakes.iter_mut().zip(&worker.handshakes) {
            *place = [one.whole, one.resumed];
        }
        let is_detailed = worker.sites.len() <= DETAILED_MAX;
        for site in &worker.sites {
            let name = site.name.chars().take(NAME_MAX).collect();
            let sum: &mut Site = numbers.sites.entry(name).or_default();
            add(&mut sum.content, site.content);
            for one in &site.answers {
                let kind = is_detailed.then_some((one.method, one.version));
                add(sum.answers.entry((one.status.code(), kind)).or_default(), one.count);
            }
        }
        numbers
    }

    pub(crate) fn to_json(&self) -> Value {
        let object = |counts: &BTreeMap<&'static str, u64>| -> Map<String, Value> {
            counts.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect()
        };
        let sites = self.sites.iter().map(|(name, site)| {
            let answers = site.answers.iter().map(|((code, kind), count)| match kind {
                Some((method, version)) => json!([code, count, *method as u8, *version as u8]),
                None => json!([code, count]),
            });
            json!([name, site.content, answers.collect::<Vec<_>>()])
        });
        let (buckets, nanoseconds) = self.durations.parts();
        json!({
            "counts": object(&self.counts),
            "ends": object(&self.ends),
            "handshakes": self.handshakes,
            "calls": self.calls,
            "send_buffers": [self.send_buffers, self.send_buffers_free],
            "held": self.held,
            "bodies": self.bodies,
            "durations": [buckets, nanoseconds],
            "records": object(&self.records),
            "sites": sites.collect::<Vec<_>>(),
        })
    }

    /// Reads what a worker tells, which is not believed: what is unknown in it is left out. `None`:
    /// it tells no numbers.
    pub(crate) fn from_json(value: &Value) -> Option<Numbers> {
        let known = |from: &str, names: &mut dyn Iterator<Item = &'static str>| {
            let from = value.get(from)?.as_object()?;
            Some(names.filter_map(|name| Some((name, from.get(name)?.as_u64()?))).collect())
        };
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let pair = |value: &Value| Some([value.get(0)?.as_u64()?, value.get(1)?.as_u64()?]);
        let counts = Counts::default().named();
        let [send_buffers, send_buffers_free] = pair(value.get("send_buffers")?)?;
        let handshakes = value.get("handshakes")?;
        let mut sites = BTreeMap::new();
        for site in value.get("sites")?.as_array()?.iter().take(SITES_MAX) {
            let name = said(site.get(0)?.as_str()?);
            let mut known = Site { content: site.get(1)?.as_u64()?, answers: BTreeMap::new() };
            let answers = site.get(2)?.as_array()?;
            known.answers.extend(answers.iter().filter_map(read_answer));
            sites.insert(name, known);
        }
        Some(Numbers {
            counts: known("counts", &mut counts.iter().map(|(name, _)| *name).filter(is_no_end))?,
            ends: known("ends", &mut Ends::default().named().iter().map(|(name, _)| *name))?,
            handshakes: [pair(handshakes.get(0)?)?, pair(handshakes.get(1)?)?],
            calls: number("calls")?,
            send_buffers,
            send_buffers_free,
            held: number("held")?,
            bodies: number("bodies")?,
            durations: read_durations(value.get("durations")?)?,
            records: known("records", &mut RECORDS.into_iter())?,
            sites,
        })
    }

    /// Adds the numbers of another worker.
    pub(crate) fn add(&mut self, other: &Numbers) {
        self.add_counters(other);
        for (sum, number) in [
            (&mut self.send_buffers, other.send_buffers),
            (&mut self.send_buffers_free, other.send_buffers_free),
            (&mut self.held, other.held),
            (&mut self.bodies, other.bodies),
        ] {
            add(sum, number);
        }
    }

    /// Adds what a worker has counted that has ended: what it held is free.
    pub(crate) fn add_ended(&mut self, other: &Numbers) {
        self.add_counters(other);
        // It holds no connection any more, whatever it has said of their ends.
        let open = self.open();
        add(self.ends.entry("own_faults").or_default(), open);
    }

    fn add_counters(&mut self, other: &Numbers) {
        for (name, count) in &other.counts {
            add(self.counts.entry(name).or_default(), *count);
        }
        for (name, count) in &other.ends {
            add(self.ends.entry(name).or_default(), *count);
        }
        for (name, count) in &other.records {
            add(self.records.entry(name).or_default(), *count);
        }
        let both = self.handshakes.iter_mut().flatten().zip(other.handshakes.iter().flatten());
        both.for_each(|(sum, count)| add(sum, *count));
        self.durations += other.durations;
        add(&mut self.calls, other.calls);
        if self.sites.len() + other.sites.len() > SITES_MAX {
            self.sites.retain(|name, _| other.sites.contains_key(name));
        }
        for (name, site) in &other.sites {
            let sum = self.sites.entry(name.clone()).or_default();
            add(&mut sum.content, site.content);
            for (answer, count) in &site.answers {
                add(sum.answers.entry(*answer).or_default(), *count);
            }
        }
    }

    /// Whether these were told later than `other`, of the same worker.
    pub(crate) fn is_later_than(&self, other: &Numbers) -> bool {
        let sum = |numbers: &Numbers| {
            let Numbers { counts, ends, records, handshakes, durations, .. } = numbers;
            let all = counts.values().chain(ends.values()).chain(records.values());
            let (buckets, nanoseconds) = durations.parts();
            let all = all.chain(handshakes.iter().flatten()).chain(&buckets).chain([&nanoseconds]);
            all.fold(numbers.calls, |sum, count| sum.saturating_add(*count))
        };
        sum(self) >= sum(other)
    }

    /// Returns the counter of a name.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    /// Returns the number of open connections.
    pub(super) fn open(&self) -> u64 {
        let ended = self.ends.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        self.count("accepted").saturating_sub(ended)
    }
}

/// Adds what another process has told, which may be any number.
fn add(sum: &mut u64, number: u64) {
    *sum = sum.saturating_add(number);
}

/// Whether a counter is none of the reasons for which connections end.
fn is_no_end(name: &&str) -> bool {
    Ends::default().named().iter().all(|(end, _)| end != name)
}

fn read_durations(value: &Value) -> Option<Durations> {
    let buckets = value.get(0)?.as_array()?.iter().map(Value::as_u64).collect::<Option<Vec<_>>>()?;
    Some(Durations::new(buckets.try_into().ok()?, value.get(1)?.as_u64()?))
}

fn read_answer(value: &Value) -> Option<((u16, Kind), u64)> {
    let at = |place: usize| value.get(place).and_then(Value::as_u64);
    let place = |place: usize| at(place).and_then(|place| usize::try_from(place).ok());
    let status = Status::from_code(u16::try_from(at(0)?).ok()?)?;
    let kind = match (place(2), place(3)) {
        (Some(method), Some(version)) => {
            Some((*CountedMethod::ALL.get(method)?, *HttpVersion::ALL.get(version)?))
        }
        _ => None,
    };
    Some(((status.code(), kind), at(1)?))
}
