//! Answers of one site, by what they are counted by. Clients choose among a fixed number of
//! combinations, whatever they send.

use std::sync::{Arc, OnceLock};

use sitar_http::{Method, Status, Version};

use crate::counts::Counter;

/// A method as it is counted: clients may send any other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum CountedMethod {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// Any other, and where none could be read.
    Other,
}

/// A version of HTTP as it is counted.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1. Also where no version could be read: such an answer is of that one.
    Http11,
    /// HTTP/2.
    Http2,
}

impl CountedMethod {
    /// All, in their order.
    pub const ALL: [CountedMethod; 3] = [CountedMethod::Get, CountedMethod::Head, CountedMethod::Other];

    /// Returns the name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CountedMethod::Get => "get",
            CountedMethod::Head => "head",
            CountedMethod::Other => "other",
        }
    }
}

impl From<Method> for CountedMethod {
    fn from(method: Method) -> CountedMethod {
        match method {
            Method::Get => CountedMethod::Get,
            Method::Head => CountedMethod::Head,
            _ => CountedMethod::Other,
        }
    }
}

impl HttpVersion {
    /// All, in their order.
    pub const ALL: [HttpVersion; 3] = [HttpVersion::Http10, HttpVersion::Http11, HttpVersion::Http2];

    /// Returns the number as it is written: 1.0, 1.1 or 2.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            HttpVersion::Http10 => "1.0",
            HttpVersion::Http11 => "1.1",
            HttpVersion::Http2 => "2",
        }
    }
}

impl From<Version> for HttpVersion {
    fn from(version: Version) -> HttpVersion {
        match version {
            Version::Http10 => HttpVersion::Http10,
            Version::Http11 => HttpVersion::Http11,
        }
    }
}

/// Places for statuses, of which this server sends fewer. Powers of two, here and below, so that a
/// bit mask finds a place that is there.
const STATUSES: usize = 32;
/// Codes are below this.
const CODES: usize = 1024;
/// Combinations of a method, in two bits, and a version.
const KINDS: usize = 4 * HttpVersion::ALL.len();

/// The place of each code among the statuses. Places behind them are for no status.
static PLACES: [u8; CODES] = {
    let mut places = [STATUSES as u8 - 1; CODES];
    let (mut code, mut place) = (0, 0);
    while code < CODES {
        if Status::from_code(code as u16).is_some() {
            places[code] = place;
            place += 1;
        }
        code += 1;
    }
    assert!((place as usize) < STATUSES, "more statuses than places");
    places
};

/// The counters of one site on one shard.
///
/// Those of a status are made with its first answer: most sites send few of them, and there may be
/// thousands of sites, each on every shard.
#[derive(Debug, Default)]
pub(crate) struct SiteCounters {
    by_status: [OnceLock<Box<[Counter; KINDS]>>; STATUSES],
    /// Bytes of content.
    content: Counter,
}

impl SiteCounters {
    /// Counts an answer to a request whose method is `method & 3`, a [`CountedMethod`]. For the
    /// thread that writes these counters.
    #[inline]
    pub(crate) fn count(&self, status: Status, method: u16, version: HttpVersion, content: u64) {
        self.content.add(content);
        let kind = usize::from(method & 3) * HttpVersion::ALL.len() + version as usize;
        let place = usize::from(PLACES[usize::from(status.code()) % CODES]) % STATUSES;
        match self.by_status[place].get() {
            Some(kinds) => kinds.get(kind).into_iter().for_each(|counter| counter.add(1)),
            None => self.count_first(place, kind),
        }
    }

    /// Counts the first answer of its status.
    #[cold]
    #[inline(never)]
    fn count_first(&self, place: usize, kind: usize) {
        let kinds = self.by_status[place].get_or_init(Box::default);
        kinds.get(kind).into_iter().for_each(|counter| counter.add(1));
    }
}

/// The sum over the shards of a worker.
#[derive(Debug, Default)]
pub(super) struct Sum {
    counts: [[u64; KINDS]; STATUSES],
    content: u64,
}

impl Sum {
    /// Adds what one shard has counted.
    pub(super) fn add(&mut self, counters: &SiteCounters) {
        self.content += counters.content.get();
        for (sum, kinds) in self.counts.iter_mut().zip(&counters.by_status) {
            let Some(kinds) = kinds.get() else { continue };
            sum.iter_mut().zip(&**kinds).for_each(|(sum, counter)| *sum += counter.get());
        }
    }

    /// Returns what is not zero.
    pub(super) fn named(&self, name: Arc<str>) -> SiteNumbers {
        let statuses = (0..CODES).filter_map(|code| Status::from_code(u16::try_from(code).ok()?));
        let mut answers = Vec::new();
        for (status, kinds) in statuses.zip(&self.counts) {
            // In the order of their places.
            let all = CountedMethod::ALL
                .iter()
                .flat_map(|method| HttpVersion::ALL.map(|version| (*method, version)));
            for ((method, version), &count) in all.zip(kinds).filter(|(_, count)| **count > 0) {
                answers.push(Answers { status, method, version, count });
            }
        }
        SiteNumbers { name, answers, content: self.content }
    }
}

/// What a site has answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SiteNumbers {
    /// The [label](crate::Host::label) of its host; empty for what no site answers.
    pub name: Arc<str>,
    /// Its answers, sorted by status, method and version, without those that are zero.
    pub answers: Vec<Answers>,
    /// Bytes of content in its answers, as each was begun: one that its client did not take whole
    /// counts whole.
    pub content: u64,
}

/// A number of answers of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answers {
    /// The status.
    pub status: Status,
    /// The method of the requests.
    pub method: CountedMethod,
    /// The version of HTTP.
    pub version: HttpVersion,
    /// How many there were.
    pub count: u64,
}
