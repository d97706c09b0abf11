//! The entries of a queue, as bytes. Each begins with its length and kind, and numbers are
//! little-endian.
//!
//! An answer that takes long is two entries: what was asked, when it begins, and how it ended. So a
//! shard keeps nothing of a request but a number.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use sitar_http::{Method, Status};

use super::answer::{Answer, Cut, Texts};
use super::record::{LogId, LogTls, Record};
use crate::numbers::HttpVersion;
use crate::peer::Peer;

/// Bytes of an answer before its texts.
const FIXED: usize = 64;
/// Bytes of the end of an answer.
pub(super) const END_LEN: usize = 16;
/// More than the longest entry has: its texts have 12,636 bytes at most.
pub(super) const LONGEST: usize = 16 << 10;

const ANSWER: u8 = 1;
const END: u8 = 2;
/// An answer to a request that was first looked at in the same turn.
const THIS_TURN: u64 = u64::MAX;

/// An entry of a queue.
pub(super) enum Entry<'b> {
    /// An answer begins; it has ended as well if its number is 0.
    Answer(Stored<'b>),
    /// An answer with a number has ended.
    End(Ended),
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

/// A turn: what was gathered in it was handed to the kernel when it ended.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) start: Instant,
    pub(super) end: Instant,
    /// Bytes of its entries.
    pub(super) len: usize,
}

/// An answer as bytes.
#[derive(Clone, Copy)]
pub(super) struct Stored<'b>(&'b [u8]);

/// Writes an answer that has no number behind `out`. `start` is that of the request, if that was
/// not in this turn.
///
/// In words, since one store of eight bytes is an instruction, as one of a byte is.
#[inline(always)]
pub(super) fn write_answer(
    out: &mut Vec<u8>,
    answer: &Answer<'_>,
    texts: Texts<'_>,
    (log, start): (LogId, Option<u64>),
    client: Option<IpAddr>,
) {
    let target = texts.path.len() + texts.query.map_or(0, |query| query.len() + 1);
    let (referer, referer_len) = texts.referer.map_or((&b""[..], 0), |text| (text, text.len() + 1));
    let (agent, agent_len) = texts.user_agent.map_or((&b""[..], 0), |text| (text, text.len() + 1));
    let client_len = if client.is_some() { 16 } else { 0 };
    let len =
        FIXED + client_len + texts.token.len() + texts.host.len() + target + referer.len() + agent.len();
    let version: u64 = match answer.version {
        HttpVersion::Http10 => 10,
        HttpVersion::Http11 => 11,
        HttpVersion::Http2 => 20,
    };
    let (peer_kind, [peer, more]) = match answer.peer {
        None => (0, [0; 2]),
        Some(Peer::Unix) => (1, [0; 2]),
        Some(Peer::Ip(address)) => of_address(address),
    };
    let (client_kind, client) = client.map_or((0, [0; 2]), of_address);
    let method = u64::from(texts.method);
    let tls = answer.tls.map_or(0, |tls| {
        (1 + u64::from(tls.resumed)) | u64::from(tls.version) << 16 | u64::from(tls.cipher_suite) << 32
    });
    // No text is longer than a number of 16 bits says, nor all of them together.
    let words = [
        len as u64
            | u64::from(ANSWER) << 16
            | version << 24
            | u64::from(log.0) << 32
            | u64::from(answer.status.code()) << 48,
        start.unwrap_or(THIS_TURN),
        answer.length,
        (texts.host.len() as u64) << 32 | (target as u64) << 48,
        referer_len as u64
            | (agent_len as u64) << 16
            | method << 32
            | (texts.token.len() as u64) << 40
            | peer_kind << 48
            | client_kind << 56,
        tls,
        peer,
        more,
    ];
    out.extend_from_slice(words.map(u64::to_le_bytes).as_flattened());
    if client_kind > 0 {
        out.extend_from_slice(client.map(u64::to_le_bytes).as_flattened());
    }
    if !texts.token.is_empty() {
        out.extend_from_slice(texts.token);
    }
    out.extend_from_slice(texts.host);
    out.extend_from_slice(texts.path);
    if let Some(query) = texts.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    if !referer.is_empty() {
        out.extend_from_slice(referer);
    }
    if !agent.is_empty() {
        out.extend_from_slice(agent);
    }
}

/// The same for the answer to what could not be read: apart, so that the others are quicker.
#[cold]
#[inline(never)]
pub(super) fn write_other_answer(
    out: &mut Vec<u8>,
    answer: &Answer<'_>,
    texts: Texts<'_>,
    times: (LogId, Option<u64>),
    client: Option<IpAddr>,
) {
    write_answer(out, answer, texts, times, client);
}

/// Gives an answer a number, since it goes on.
pub(super) fn set_number(entry: &mut [u8], number: NonZeroU32) {
    if let Some(place) = entry.get_mut(24..28) {
        place.copy_from_slice(&number.get().to_le_bytes());
    }
}

/// Notes of an answer that it goes on, and that its end will not be known.
pub(super) fn set_not_followed(entry: &mut [u8]) {
    if let Some(place) = entry.get_mut(41) {
        *place = 1;
    }
}

/// Returns the end of an answer as bytes.
pub(super) fn end(Ended { number, unsent, cut }: Ended) -> [u8; END_LEN] {
    let mut entry = [0; END_LEN];
    entry[0..2].copy_from_slice(&(END_LEN as u16).to_le_bytes());
    (entry[2], entry[3]) = (END, cut);
    entry[4..8].copy_from_slice(&number.to_le_bytes());
    entry[8..16].copy_from_slice(&unsent.to_le_bytes());
    entry
}

/// Reads the first entry; returns it with its length. `None`: none is whole.
pub(super) fn read(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let len = usize::from(u16::from_le_bytes(array(bytes, 0)?));
    let entry = bytes.get(..len)?;
    let long = |at: usize| array(entry, at).map(u64::from_le_bytes);
    let read = match *entry.get(2)? {
        ANSWER if len >= FIXED => Entry::Answer(Stored(entry)),
        END => Entry::End(Ended {
            number: u32::from_le_bytes(array(entry, 4)?),
            unsent: long(8)?,
            cut: entry[3],
        }),
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
    pub(super) fn record(self, ended: Ended, start: Instant, end: Instant) -> Option<Record<'b>> {
        let bytes = self.0;
        let short = |at: usize| array(bytes, at).map(u16::from_le_bytes);
        let long = |at: usize| array(bytes, at).map(u64::from_le_bytes);
        let mut rest = bytes.get(FIXED..)?;
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
