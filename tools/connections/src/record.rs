//! The records of the kernel's side, as `connections.bpf.c` lays them out.

use std::net::{Ipv6Addr, SocketAddr};

/// A connection, as its shard numbers it: unique within its thread for as long as it is open.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Id {
    pub(crate) tid: u32,
    pub(crate) number: u64,
}

/// One record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Record {
    /// The server has closed a connection.
    Ended(Id, Ended),
    /// TCP has.
    Tcp(Id, Tcp),
}

/// What the probes have said of a connection. Times are in nanoseconds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Ended {
    /// `None` where it has none of TCP.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) reason: String,
    pub(crate) lasted: u64,
    /// 0 without TLS.
    pub(crate) handshake: u64,
    pub(crate) requests: u64,
    /// Those that have ended, complete or not.
    pub(crate) answers: u64,
    /// Answers with a status from 400 on.
    pub(crate) errors: u64,
    /// Bytes of content that were given to the kernel.
    pub(crate) content: u64,
    /// Bytes of content that were due and not given to it.
    pub(crate) unsent: u64,
    /// The sum of the times of all answers.
    pub(crate) latency: u64,
    pub(crate) latency_max: u64,
}

/// What TCP says of a connection when it is over.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tcp {
    pub(crate) local_port: u16,
    /// Bytes sent, what was sent again among them.
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) received: u64,
    /// Bytes that were sent again.
    pub(crate) retransmitted: u64,
    /// The smoothed round trip time in microseconds.
    pub(crate) srtt_us: u32,
    /// Segments that were sent again.
    pub(crate) retransmits: u32,
}

const ENDED: u32 = 1;
const TCP: u32 = 2;

impl Record {
    /// Reads a record. `None` for one that is too short, or of no known kind.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Record> {
        let id = Id { number: u64_at(bytes, 8)?, tid: u32_at(bytes, 16)? };
        match u32_at(bytes, 0)? {
            ENDED => Some(Record::Ended(id, Ended::parse(bytes)?)),
            TCP => Some(Record::Tcp(id, Tcp::parse(bytes)?)),
            _ => None,
        }
    }
}

impl Ended {
    fn parse(bytes: &[u8]) -> Option<Ended> {
        let address: [u8; 16] = bytes.get(104..120)?.try_into().ok()?;
        let port = u16::from_ne_bytes(bytes.get(124..126)?.try_into().ok()?);
        let address = Ipv6Addr::from(address).to_canonical();
        let reason_len = usize::try_from(u32_at(bytes, 4)?).ok()?;
        let reason = bytes.get(128..152)?.get(..reason_len)?;
        Some(Ended {
            peer: (port != 0).then(|| SocketAddr::new(address, port)),
            reason: String::from_utf8_lossy(reason).into_owned(),
            lasted: u64_at(bytes, 24)?.saturating_sub(u64_at(bytes, 32)?),
            handshake: u64_at(bytes, 40)?,
            requests: u64_at(bytes, 48)?,
            answers: u64_at(bytes, 56)?,
            errors: u64_at(bytes, 64)?,
            content: u64_at(bytes, 72)?,
            unsent: u64_at(bytes, 80)?,
            latency: u64_at(bytes, 88)?,
            latency_max: u64_at(bytes, 96)?,
        })
    }
}

impl Tcp {
    fn parse(bytes: &[u8]) -> Option<Tcp> {
        Some(Tcp {
            local_port: u16::try_from(u32_at(bytes, 4)?).ok()?,
            sent: u64_at(bytes, 24)?,
            acked: u64_at(bytes, 32)?,
            received: u64_at(bytes, 40)?,
            retransmitted: u64_at(bytes, 48)?,
            srtt_us: u32_at(bytes, 56)?,
            retransmits: u32_at(bytes, 60)?,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_cut_or_unknown_is_none() {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(&2_u32.to_ne_bytes());
        bytes[4..8].copy_from_slice(&443_u32.to_ne_bytes());
        bytes[8..16].copy_from_slice(&7_u64.to_ne_bytes());
        bytes[16..20].copy_from_slice(&9_u32.to_ne_bytes());
        bytes[24..32].copy_from_slice(&1000_u64.to_ne_bytes());
        let tcp = Tcp { local_port: 443, sent: 1000, ..Tcp::default() };
        assert_eq!(Record::parse(&bytes), Some(Record::Tcp(Id { tid: 9, number: 7 }, tcp)));
        assert_eq!(Record::parse(&bytes[..63]), None);
        assert_eq!(Record::parse(&[]), None);
        bytes[0] = 1;
        assert_eq!(Record::parse(&bytes), None, "too short for this kind");
        bytes[0] = 3;
        assert_eq!(Record::parse(&bytes), None);
    }
}
