//! The entries of a queue: words, of which the first begins with their number and the kind. The
//! reader makes bytes of them, whose numbers are little-endian.
//!
//! An answer that takes long is two entries: what was asked, when it begins, and how it ended. So a
//! shard keeps nothing of a request but a number.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sitar_http::{Method, Status};

use super::answer::{Answer, Cut, Texts};
use super::record::{LogId, LogTls, Record};
use super::trace::TraceIds;
use crate::numbers::HttpVersion;
use crate::peer::Peer;

/// Words of an answer before its texts.
const FIXED: usize = 8;
/// The same in bytes.
const FIXED_LEN: usize = 8 * FIXED;
/// Words of the end of an answer.
pub(super) const END: usize = 2;
/// Words of a change of traces.
pub(super) const TRACES: usize = 3;
/// More words than the longest entry has: its texts have 12,636 bytes at most.
pub(super) const LONGEST: usize = 2 << 10;

const KIND_ANSWER: u8 = 1;
const KIND_END: u8 = 2;
const KIND_TRACES: u8 = 3;
/// The part of the byte that is the kind. The rest are the traces that took an answer.
const KIND: u8 = 15;
/// An answer to a request that was first looked at in the same turn.
const THIS_TURN: u64 = u64::MAX;

/// An entry of a queue.
pub(super) enum Entry<'b> {
    /// An answer begins; it has ended as well if its number is 0.
    Answer(Stored<'b>),
    /// An answer with a number has ended.
    End(Ended),
    /// From here on the marks of answers stand for these traces.
    Traces(TraceIds),
}

/// The end of an answer that took long.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    /// Of the answer: not 0.
    pub(super) number: u32,
    /// Bytes of its content that were not handed to the kernel.
    pub(super) unsent: u64,
    /// [`Cut::number`].
    pub(super) cut: u8,
}

impl Ended {
    /// All of the answer was handed over when it began.
    pub(super) const NOTHING: Ended = Ended { number: 0, unsent: 0, cut: Cut::NONE };
    /// How much is handed over later is not known.
    pub(super) const NOT_FOLLOWED: Ended = Ended { number: 0, unsent: u64::MAX, cut: Cut::NOT_FOLLOWED };
}

/// An answer as bytes.
#[derive(Clone, Copy)]
pub(super) struct Stored<'b>(&'b [u8]);

/// Writes an answer that has no number. Returns how many words it has. `start` is that of the
/// request, if that was not in this turn.
///
/// What is known is stored at once: kept until the end, it would take more registers than there
/// are.
#[inline(always)]
pub(super) fn write_answer(
    slots: &[AtomicU64; LONGEST],
    answer: &Answer<'_>,
    texts: Texts<'_>,
    (log, start): (LogId, Option<u64>),
    client: Option<IpAddr>,
) -> usize {
    let store = |at: usize, word: u64| slots[at].store(word, Ordering::Relaxed);
    store(1, start.unwrap_or(THIS_TURN));
    store(2, answer.length);
    let (peer_kind, peer) = match answer.peer {
        None => (0, [0; 2]),
        Some(Peer::Unix) => (1, [0; 2]),
        Some(Peer::Ip(address)) => of_address(address),
    };
    store(6, peer[0]);
    store(7, peer[1]);
    let mut out = Words { slots, at: FIXED };
    let mut kinds = u64::from(texts.method) << 32 | peer_kind << 48;
    if let Some(client) = client {
        let (kind, [client, more]) = of_address(client);
        kinds |= kind << 56;
        out.word(client);
        out.word(more);
    }
    // No text is longer than a number of 16 bits says, nor all of them together.
    if !texts.token.is_empty() {
        kinds |= (texts.token.len() as u64) << 40;
        out.text(texts.token);
    }
    out.text(texts.host);
    out.text(texts.path);
    store(3, (texts.host.len() as u64) << 32 | (texts.path.len() as u64) << 48);
    let mut tls = answer.tls.map_or(0, |tls| {
        (1 + u64::from(tls.resumed)) | u64::from(tls.version) << 16 | u64::from(tls.cipher_suite) << 32
    });
    if let Some(query) = texts.query {
        tls |= (query.len() as u64 + 1) << 48;
        out.text(query);
    }
    store(5, tls);
    if let Some(referer) = texts.referer {
        kinds |= referer.len() as u64 + 1;
        out.text(referer);
    }
    if let Some(user_agent) = texts.user_agent {
        kinds |= (user_agent.len() as u64 + 1) << 16;
        out.long_text(user_agent);
    }
    store(4, kinds);
    let version: u64 = match answer.version {
        HttpVersion::Http10 => 10,
        HttpVersion::Http11 => 11,
        HttpVersion::Http2 => 20,
    };
    let ids = u64::from(log.0) << 32 | u64::from(answer.status.code()) << 48;
    store(0, out.at as u64 | u64::from(KIND_ANSWER) << 16 | version << 24 | ids);
    out.at
}

/// The words of an entry, one after the other.
struct Words<'s> {
    slots: &'s [AtomicU64; LONGEST],
    at: usize,
}

impl Words<'_> {
    #[inline(always)]
    fn word(&mut self, word: u64) {
        // There are more than the longest entry needs, so this leaves `at` as it is.
        self.slots[self.at % LONGEST].store(word, Ordering::Relaxed);
        self.at += 1;
    }

    /// Adds a text that is long, with zeros behind it up to a whole word: four words at a time,
    /// since a check of the place takes longer than a word.
    #[inline(always)]
    fn long_text(&mut self, text: &[u8]) {
        let (fours, rest) = text.as_chunks::<32>();
        for four in fours {
            let slots = self.slots.get(self.at..).and_then(<[AtomicU64]>::first_chunk::<4>);
            let (Some(slots), (words, _)) = (slots, four.as_chunks::<8>()) else { return };
            for (slot, word) in slots.iter().zip(words) {
                slot.store(u64::from_le_bytes(*word), Ordering::Relaxed);
            }
            self.at += 4;
        }
        self.text(rest);
    }

    /// Adds a text, with zeros behind it up to a whole word.
    #[inline(always)]
    fn text(&mut self, text: &[u8]) {
        let (whole, tail) = text.as_chunks::<8>();
        for chunk in whole {
            self.word(u64::from_le_bytes(*chunk));
        }
        if !tail.is_empty() {
            self.word(last_word(text, tail));
        }
    }
}

/// Returns the bytes of `tail`, the end of a text behind its last whole word, as a word. In pieces
/// that overlap, since a loop over bytes takes longer.
#[inline(always)]
fn last_word(text: &[u8], tail: &[u8]) -> u64 {
    let bits = |len: usize| 8 * len as u32;
    if let Some(last) = text.last_chunk() {
        return u64::from_le_bytes(*last) >> (64 - bits(tail.len()));
    }
    if let (Some(first), Some(last)) = (tail.first_chunk(), tail.last_chunk()) {
        let word = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
        return word(first) | word(last) << bits(tail.len() - 4);
    }
    tail.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The same for the answer to what could not be read: apart, so that the others are quicker.
#[cold]
#[inline(never)]
pub(super) fn write_other_answer(
    slots: &[AtomicU64; LONGEST],
    answer: &Answer<'_>,
    texts: Texts<'_>,
    times: (LogId, Option<u64>),
    client: Option<IpAddr>,
) -> usize {
    write_answer(slots, answer, texts, times, client)
}

/// Gives the answer that begins at the slots a number, since it goes on.
pub(super) fn set_number(slots: &[AtomicU64], number: NonZeroU32) {
    set(slots.get(3), number.get().into());
}

/// Notes of an answer that it goes on, and that its end will not be known.
pub(super) fn set_not_followed(slots: &[AtomicU64]) {
    set(slots.get(5), 1 << 8);
}

/// Marks an answer with the traces that took it, a bit for the place of each.
pub(super) fn set_traces(slots: &[AtomicU64], chosen: u8) {
    set(slots.first(), u64::from(chosen) << 20);
}

fn set(slot: Option<&AtomicU64>, bits: u64) {
    if let Some(slot) = slot {
        slot.store(slot.load(Ordering::Relaxed) | bits, Ordering::Relaxed);
    }
}

/// Returns the end of an answer as words.
pub(super) fn end(Ended { number, unsent, cut }: Ended) -> [u64; END] {
    [END as u64 | u64::from(KIND_END) << 16 | u64::from(cut) << 24 | u64::from(number) << 32, unsent]
}

/// Returns a change of traces as words.
pub(super) fn traces(ids: TraceIds) -> [u64; TRACES] {
    let [a, b, c, d] = ids.map(u64::from);
    [TRACES as u64 | u64::from(KIND_TRACES) << 16, a | b << 32, c | d << 32]
}

/// Adds an entry to `out`, as bytes.
pub(super) fn unpack(slots: &[AtomicU64], out: &mut Vec<u8>) {
    let first = slots.first().map_or(0, |slot| slot.load(Ordering::Relaxed));
    match (first >> 16) as u8 & KIND {
        KIND_ANSWER => unpack_answer(slots, out),
        KIND_TRACES => _ = load_text(slots, TRACES * 8, out),
        _ => _ = load_text(slots, END * 8, out),
    }
}

/// Adds the text of this many bytes that begins at the slots to `out`. Returns the slots behind it.
fn load_text<'s>(slots: &'s [AtomicU64], len: usize, out: &mut Vec<u8>) -> &'s [AtomicU64] {
    let start = out.len();
    let (text, rest) = slots.split_at_checked(len.div_ceil(8)).unwrap_or_default();
    text.iter().for_each(|slot| out.extend_from_slice(&slot.load(Ordering::Relaxed).to_le_bytes()));
    out.truncate(start + len);
    rest
}

/// Adds an answer, whose texts follow each other without zeros between them, and the query the
/// path as it was asked for.
fn unpack_answer(slots: &[AtomicU64], out: &mut Vec<u8>) {
    let start = out.len();
    let mut rest = load_text(slots, FIXED_LEN, out);
    let fixed: [u8; FIXED_LEN] = array(out, start).unwrap_or([0; FIXED_LEN]);
    let short = |at: usize| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
    if fixed[39] > 0 {
        rest = load_text(rest, 16, out);
    }
    rest = load_text(rest, usize::from(fixed[37]), out);
    rest = load_text(rest, short(28), out);
    let target = out.len();
    rest = load_text(rest, short(30), out);
    if let Some(query) = short(46).checked_sub(1) {
        out.push(b'?');
        rest = load_text(rest, query, out);
    }
    let target = out.len() - target;
    rest = load_text(rest, short(32).saturating_sub(1), out);
    load_text(rest, short(34).saturating_sub(1), out);
    let len = out.len() - start;
    if let Some(entry) = out.get_mut(start..start + FIXED_LEN) {
        entry[0..2].copy_from_slice(&(len as u16).to_le_bytes());
        entry[30..32].copy_from_slice(&(target as u16).to_le_bytes());
    }
}

/// Reads the first entry; returns it with its length. `None`: none is whole.
pub(super) fn read(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let kind = *bytes.get(2)? & KIND;
    let len = match kind {
        KIND_END => END * 8,
        KIND_TRACES => TRACES * 8,
        _ => usize::from(u16::from_le_bytes(array(bytes, 0)?)),
    };
    let entry = bytes.get(..len)?;
    let long = |at: usize| array(entry, at).map(u64::from_le_bytes);
    let id = |at: usize| array(entry, at).map(u32::from_le_bytes);
    let read = match kind {
        KIND_ANSWER if len >= FIXED_LEN => Entry::Answer(Stored(entry)),
        KIND_END => Entry::End(Ended {
            number: u32::from_le_bytes(array(entry, 4)?),
            unsent: long(8)?,
            cut: entry[3],
        }),
        KIND_TRACES => Entry::Traces([id(8)?, id(12)?, id(16)?, id(20)?]),
        _ => return None,
    };
    Some((read, len))
}

impl<'b> Stored<'b> {
    /// An answer that was kept as bytes.
    pub(super) fn kept(bytes: &'b [u8]) -> Option<Stored<'b>> {
        if let Some((Entry::Answer(answer), _)) = read(bytes) { Some(answer) } else { None }
    }

    pub(super) fn bytes(self) -> &'b [u8] {
        self.0
    }

    /// Returns its end, where it has no number.
    pub(super) fn ended(self) -> Ended {
        if self.0[41] == 0 { Ended::NOTHING } else { Ended::NOT_FOLLOWED }
    }

    /// Returns the traces that took it, where the marks stand for these.
    pub(super) fn traces(self, ids: TraceIds) -> TraceIds {
        let (mut chosen, mut traces) = (self.0[2] >> 4, ids);
        for id in &mut traces {
            if chosen & 1 == 0 {
                *id = 0;
            }
            chosen >>= 1;
        }
        traces
    }

    pub(super) fn number(self) -> u32 {
        array(self.0, 24).map_or(0, u32::from_le_bytes)
    }

    /// Returns when its request was first looked at, if the answer began in a turn that began at
    /// `turn`.
    pub(super) fn start(self, turn: Instant, epoch: Instant) -> Instant {
        match array(self.0, 8).map(u64::from_le_bytes) {
            None | Some(THIS_TURN) => turn,
            Some(start) => epoch + Duration::from_nanos(start),
        }
    }

    /// Returns it as a record from `start` to `end`.
    pub(super) fn record(
        self,
        traces: TraceIds,
        ended: Ended,
        (start, end): (Instant, Instant),
    ) -> Option<Record<'b>> {
        let bytes = self.0;
        let short = |at: usize| array(bytes, at).map(u16::from_le_bytes);
        let long = |at: usize| array(bytes, at).map(u64::from_le_bytes);
        let mut rest = bytes.get(FIXED_LEN..)?;
        let mut next = |len: usize| {
            let (text, later) = rest.split_at_checked(len)?;
            rest = later;
            Some(text)
        };
        let client = match bytes[39] {
            0 => None,
            kind => Some(to_address(kind, array(next(16)?, 0)?)),
        };
        let token = next(usize::from(bytes[37]))?;
        let host = next(usize::from(short(28)?))?;
        let target = next(usize::from(short(30)?))?;
        let mut field = |at: usize| {
            let len = usize::from(short(at)?);
            if len == 0 { Some(None) } else { next(len - 1).map(Some) }
        };
        let (referer, user_agent) = (field(32)?, field(34)?);
        Some(Record {
            log: LogId(short(4)?),
            traces,
            start,
            duration: end.saturating_duration_since(start),
            peer: match bytes[38] {
                0 => None,
                1 => Some(Peer::Unix),
                kind => Some(Peer::Ip(to_address(kind, array(bytes, 48)?))),
            },
            client,
            version: match bytes[3] {
                10 => HttpVersion::Http10,
                20 => HttpVersion::Http2,
                _ => HttpVersion::Http11,
            },
            method: match bytes[36] {
                number if number > 0 && token.is_empty() => name_of(number - 1),
                _ => token,
            },
            host,
            target,
            status: Status::from_code(short(6)?)?,
            length: long(16)?.saturating_sub(ended.unsent),
            tls: match bytes[40] {
                0 => None,
                more => Some(LogTls { version: short(42)?, cipher_suite: short(44)?, resumed: more == 2 }),
            },
            referer,
            user_agent,
            cut: Cut::name(ended.cut),
        })
    }
}

/// Returns the name of the method with this number; nothing for one that is unknown.
fn name_of(number: u8) -> &'static [u8] {
    let known = Method::ALL.into_iter().find(|method| *method as u8 == number);
    known.filter(|method| *method != Method::Unknown).map_or(b"", |method| method.name().as_bytes())
}

/// Returns the kind and the bytes of an address, in two words.
fn of_address(address: IpAddr) -> (u64, [u64; 2]) {
    match address {
        IpAddr::V4(address) => (4, [u64::from(u32::from_le_bytes(address.octets())), 0]),
        IpAddr::V6(address) => {
            let bits = u128::from_le_bytes(address.octets());
            (6, [bits as u64, (bits >> 64) as u64])
        }
    }
}

fn to_address(kind: u8, bytes: [u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = bytes;
    if kind == 4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(bytes) }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
