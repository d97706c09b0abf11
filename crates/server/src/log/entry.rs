//! The entries of a queue, as bytes. Each begins with its length and kind, and numbers are
//! little-endian.
//!
//! An answer that takes long is two entries: what was asked, when it begins, and how it ended. So a
//! shard keeps nothing of a request but a number. The end of a turn is an entry as well, with the
//! time: all that was gathered in the turn is handed to the kernel then.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use sitar_http::Status;

use super::answer::{Answer, Cut};
use super::record::{LogId, LogTls, LogVersion, Record};
use crate::peer::Peer;

/// Bytes of an answer before its texts.
const FIXED: usize = 80;
/// Bytes of the end of an answer.
pub(super) const END_LEN: usize = 16;
/// Bytes of the end of a turn.
pub(super) const TURN_LEN: usize = 16;
/// More than the longest entry has: its texts have 12,620 bytes at most.
pub(super) const LONGEST: usize = 16 << 10;

const ANSWER: u8 = 1;
const END: u8 = 2;
const TURN: u8 = 3;

/// An entry of a queue.
pub(super) enum Entry<'b> {
    /// An answer begins; it has ended as well if its number is 0.
    Answer(Stored<'b>),
    /// An answer with a number has ended.
    End(Ended),
    /// The end of a turn, in nanoseconds since the epoch of the log.
    Turn(u64),
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
}

/// An answer as bytes.
#[derive(Clone, Copy)]
pub(super) struct Stored<'b>(&'b [u8]);

/// Replaces what is in `out` with an answer that has no number.
#[inline]
pub(super) fn write_answer(
    out: &mut Vec<u8>,
    answer: &Answer<'_>,
    (log, start): (LogId, u64),
    client: Option<IpAddr>,
) {
    let texts = answer.requested.texts();
    let query = texts.query.unwrap_or_default();
    let target = texts.path.len() + texts.query.map_or(0, |query| query.len() + 1);
    let (referer, user_agent) = (texts.referer.unwrap_or_default(), texts.user_agent.unwrap_or_default());
    let len = FIXED + texts.method.len() + texts.host.len() + target + referer.len() + user_agent.len();
    // No text is longer than a number of 16 bits says, nor all of them together.
    let short = |len: usize| (len as u16).to_le_bytes();
    let field = |value: Option<&[u8]>| value.map_or(0, |value| value.len() as u16 + 1).to_le_bytes();
    let (peer_kind, peer) = match answer.peer {
        None => (0, [0; 16]),
        Some(Peer::Unix) => (1, [0; 16]),
        Some(Peer::Ip(address)) => of_address(address),
    };
    let (client_kind, client) = client.map_or((0, [0; 16]), of_address);
    let mut fixed = [0; FIXED];
    fixed[0..2].copy_from_slice(&short(len));
    fixed[2] = ANSWER;
    fixed[3] = match answer.version {
        LogVersion::Http10 => 10,
        LogVersion::Http11 => 11,
        LogVersion::Http2 => 20,
    };
    fixed[4..6].copy_from_slice(&log.0.to_le_bytes());
    fixed[6..8].copy_from_slice(&answer.status.code().to_le_bytes());
    fixed[8..16].copy_from_slice(&start.to_le_bytes());
    fixed[16..24].copy_from_slice(&answer.length.to_le_bytes());
    (fixed[28], fixed[29], fixed[30]) = (peer_kind, client_kind, texts.method.len() as u8);
    fixed[32..34].copy_from_slice(&short(texts.host.len()));
    fixed[34..36].copy_from_slice(&short(target));
    fixed[36..38].copy_from_slice(&field(texts.referer));
    fixed[38..40].copy_from_slice(&field(texts.user_agent));
    if let Some(tls) = answer.tls {
        fixed[31] = 1 + u8::from(tls.resumed);
        fixed[40..42].copy_from_slice(&tls.version.to_le_bytes());
        fixed[42..44].copy_from_slice(&tls.cipher_suite.to_le_bytes());
    }
    fixed[48..64].copy_from_slice(&peer);
    fixed[64..80].copy_from_slice(&client);
    out.clear();
    out.extend_from_slice(&fixed);
    out.extend_from_slice(texts.method);
    out.extend_from_slice(texts.host);
    out.extend_from_slice(texts.path);
    if texts.query.is_some() {
        out.push(b'?');
        out.extend_from_slice(query);
    }
    out.extend_from_slice(referer);
    out.extend_from_slice(user_agent);
}

/// Gives an answer a number, since it goes on.
pub(super) fn set_number(entry: &mut [u8], number: NonZeroU32) {
    if let Some(place) = entry.get_mut(24..28) {
        place.copy_from_slice(&number.get().to_le_bytes());
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

/// Returns the end of a turn as bytes.
pub(super) fn turn(time: u64) -> [u8; TURN_LEN] {
    let mut entry = [0; TURN_LEN];
    entry[0..2].copy_from_slice(&(TURN_LEN as u16).to_le_bytes());
    entry[2] = TURN;
    entry[8..16].copy_from_slice(&time.to_le_bytes());
    entry
}

/// Reads the first entry; returns it with its length. `None`: none is whole.
pub(super) fn read(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let len = usize::from(u16::from_le_bytes(array(bytes, 0)?));
    let entry = bytes.get(..len)?;
    let read = match *entry.get(2)? {
        ANSWER if len >= FIXED => Entry::Answer(Stored(entry)),
        END => Entry::End(Ended {
            number: u32::from_le_bytes(array(entry, 4)?),
            unsent: u64::from_le_bytes(array(entry, 8)?),
            cut: entry[3],
        }),
        TURN => Entry::Turn(u64::from_le_bytes(array(entry, 8)?)),
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

    pub(super) fn number(self) -> u32 {
        array(self.0, 24).map_or(0, u32::from_le_bytes)
    }

    /// Returns it as a record that ended so, at `end` nanoseconds after `epoch`.
    pub(super) fn record(self, ended: Ended, epoch: Instant, end: u64) -> Option<Record<'b>> {
        let bytes = self.0;
        let short = |at: usize| array(bytes, at).map(u16::from_le_bytes);
        let long = |at: usize| array(bytes, at).map(u64::from_le_bytes);
        let mut rest = bytes.get(FIXED..)?;
        let mut next = |len: usize| {
            let (text, later) = rest.split_at_checked(len)?;
            rest = later;
            Some(text)
        };
        let method = next(usize::from(bytes[30]))?;
        let host = next(usize::from(short(32)?))?;
        let target = next(usize::from(short(34)?))?;
        let mut field = |at: usize| {
            let len = usize::from(short(at)?);
            if len == 0 { Some(None) } else { next(len - 1).map(Some) }
        };
        let (referer, user_agent) = (field(36)?, field(38)?);
        let start = long(8)?;
        Some(Record {
            log: LogId(short(4)?),
            start: epoch + Duration::from_nanos(start),
            duration: Duration::from_nanos(end.saturating_sub(start)),
            peer: match bytes[28] {
                0 => None,
                1 => Some(Peer::Unix),
                kind => Some(Peer::Ip(to_address(kind, array(bytes, 48)?))),
            },
            client: match bytes[29] {
                0 => None,
                kind => Some(to_address(kind, array(bytes, 64)?)),
            },
            version: match bytes[3] {
                10 => LogVersion::Http10,
                20 => LogVersion::Http2,
                _ => LogVersion::Http11,
            },
            method,
            host,
            target,
            status: Status::from_code(short(6)?)?,
            length: long(16)?.saturating_sub(ended.unsent),
            tls: match bytes[31] {
                0 => None,
                more => Some(LogTls { version: short(40)?, cipher_suite: short(42)?, resumed: more == 2 }),
            },
            referer,
            user_agent,
            cut: Cut::name(ended.cut),
        })
    }
}

fn of_address(address: IpAddr) -> (u8, [u8; 16]) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        IpAddr::V6(address) => (6, address.octets()),
    }
}

fn to_address(kind: u8, bytes: [u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = bytes;
    if kind == 4 { IpAddr::from([a, b, c, d]) } else { IpAddr::from(bytes) }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
