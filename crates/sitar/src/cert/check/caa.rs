//! CAA records (RFC 8659): which authorities may certify a name. libc asks for addresses only, so
//! the question is asked here.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::error::printable;

/// The type of the record in the DNS.
const CAA: u16 = 257;
/// The class of the Internet.
const IN: u16 = 1;
/// Bits of a head (RFC 1035 §4.1.1).
const RESPONSE: u16 = 0x8000;
const TRUNCATED: u16 = 0x0200;
const RECURSION: u16 = 0x0100;
const CODE: u16 = 0x000f;
/// The codes for a name that is not there, and for none.
const NO_SUCH_NAME: u16 = 3;
const HEAD: usize = 12;
/// The bit of a record that has to be understood (RFC 8659 §4.1).
const CRITICAL: u8 = 0x80;
/// Records that are looked at, at most.
const RECORDS_MAX: usize = 100;
/// The time for an answer, and how often it is asked for.
const PATIENCE: Duration = Duration::from_secs(3);
const TRIES: usize = 2;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) is_critical: bool,
    /// In lower case.
    pub(super) tag: String,
    pub(super) value: String,
}

/// An answer of the DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// These records; none: there are none of that name.
    Records(Vec<Record>),
    /// It did not fit, and has to be asked for by TCP.
    Truncated,
}

/// Returns whether an authority may certify a name.
pub(super) fn permits(records: &[Record], is_wildcard: bool, authority: &str) -> bool {
    let known = ["issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"];
    if records.iter().any(|record| record.is_critical && !known.contains(&&*record.tag)) {
        return false;
    }
    let has = |tag: &str| records.iter().any(|record| record.tag == tag);
    let tag = if is_wildcard && has("issuewild") { "issuewild" } else { "issue" };
    let is_named = |record: &Record| {
        let domain = record.value.split(';').next().unwrap_or_default().trim();
        domain.eq_ignore_ascii_case(authority)
    };
    !has(tag) || records.iter().any(|record| record.tag == tag && is_named(record))
}

/// Returns a question. `None`: the name does not fit into one.
fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(HEAD + name.len() + 6);
    for number in [id, RECURSION, 1, 0, 0, 0] {
        packet.extend_from_slice(&number.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(u8::try_from(label.len()).ok().filter(|len| *len < 64)?);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    for number in [CAA, IN] {
        packet.extend_from_slice(&number.to_be_bytes());
    }
    Some(packet)
}

/// Reads an answer to the question with that number. `None`: it is none.
pub(super) fn read(packet: &[u8], id: u16) -> Option<Result<Answer, u16>> {
    let mut reader = Reader { packet, at: 0 };
    let (found, flags, questions, answers) =
        (reader.number()?, reader.number()?, reader.number()?, reader.number()?);
    if found != id || flags & RESPONSE == 0 {
        return None;
    }
    if flags & TRUNCATED != 0 {
        return Some(Ok(Answer::Truncated));
    }
    match flags & CODE {
        0 => {}
        NO_SUCH_NAME => return Some(Ok(Answer::Records(Vec::new()))),
        code => return Some(Err(code)),
    }
    reader.at = HEAD;
    for _ in 0..questions {
        reader.skip_name()?;
        reader.bytes(4)?;
    }
    let mut records = Vec::new();
    for _ in 0..usize::from(answers).min(RECORDS_MAX) {
        reader.skip_name()?;
        let (kind, class) = (reader.number()?, reader.number()?);
        reader.bytes(4)?;
        let len = usize::from(reader.number()?);
        let data = reader.bytes(len)?;
        if kind == CAA && class == IN {
            let (&[flags, tag_len], rest) = data.split_first_chunk()?;
            let (tag, value) = rest.split_at_checked(usize::from(tag_len))?;
            records.push(Record {
                is_critical: flags & CRITICAL != 0,
                tag: String::from_utf8_lossy(tag).to_ascii_lowercase(),
                value: String::from_utf8_lossy(value).into_owned(),
            });
        }
    }
    Some(Ok(Answer::Records(records)))
}

/// Reads a packet.
struct Reader<'p> {
    packet: &'p [u8],
    at: usize,
}

impl<'p> Reader<'p> {
    fn bytes(&mut self, len: usize) -> Option<&'p [u8]> {
        let bytes = self.packet.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u16> {
        self.bytes(2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes)
    }

    /// Passes a name over, which ends with the root or with a pointer (RFC 1035 §4.1.4).
    fn skip_name(&mut self) -> Option<()> {
        loop {
            let &[len] = self.bytes(1)? else { return None };
            match len {
                0 => return Some(()),
                1..=63 => drop(self.bytes(len.into())?),
                0xc0.. => return self.bytes(1).map(drop),
                _ => return None,
            }
        }
    }
}

/// Returns the addresses of resolvers in the text of resolv.conf(5); without one, this machine's.
pub(super) fn resolvers(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok();
    let mut all: Vec<SocketAddr> =
        text.lines().filter_map(address).map(|address| (address, 53).into()).take(3).collect();
    if all.is_empty() {
        all.push(([127, 0, 0, 1], 53).into());
    }
    all
}

/// Returns the records that count for a name: its own, or those of the nearest name above that has
/// some (RFC 8659 §3), with that name. `None`: no name has any.
///
/// # Errors
/// No resolver answers.
pub(super) fn find(
    name: &str,
    resolvers: &[SocketAddr],
    random: &mut dyn FnMut() -> u16,
) -> Result<Option<(String, Vec<Record>)>, String> {
    let mut rest = name;
    loop {
        let records = ask(rest, resolvers, random)?;
        if !records.is_empty() {
            return Ok(Some((rest.to_owned(), records)));
        }
        match rest.split_once('.') {
            Some((_, above)) => rest = above,
            None => return Ok(None),
        }
    }
}

fn ask(name: &str, resolvers: &[SocketAddr], random: &mut dyn FnMut() -> u16) -> Result<Vec<Record>, String> {
    let mut last = "there is no resolver".to_owned();
    for resolver in resolvers.iter().cycle().take(resolvers.len() * TRIES) {
        let id = random();
        let packet = question(id, name).ok_or("the name is too long for the DNS")?;
        let answer = by_udp(*resolver, &packet, id).and_then(|answer| match answer {
            Ok(Answer::Truncated) => by_tcp(*resolver, &packet, id),
            other => Ok(other),
        });
        match answer {
            Ok(Ok(Answer::Records(records))) => return Ok(records),
            Ok(Ok(Answer::Truncated)) => last = format!("the resolver {resolver} gives no whole answer"),
            Ok(Err(code)) => last = format!("the resolver {resolver} answers with the error {code}"),
            Err(error) => last = format!("the resolver {resolver} does not answer: {error}"),
        }
    }
    Err(last)
}

fn by_udp(resolver: SocketAddr, packet: &[u8], id: u16) -> io::Result<Result<Answer, u16>> {
    let any: SocketAddr = match resolver {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // What comes from others is not received.
    socket.connect(resolver)?;
    socket.send(packet)?;
    let mut room = [0; 4096];
    let len = socket.recv(&mut room)?;
    read(room.get(..len).unwrap_or_default(), id).ok_or_else(no_answer)
}

fn by_tcp(resolver: SocketAddr, packet: &[u8], id: u16) -> io::Result<Result<Answer, u16>> {
    let mut stream = TcpStream::connect_timeout(&resolver, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let len = u16::try_from(packet.len()).map_err(|_| no_answer())?;
    stream.write_all(&[&len.to_be_bytes()[..], packet].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut answer)?;
    read(&answer, id).ok_or_else(no_answer)
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what it sends is no answer")
}

/// Returns a record as a file of a zone has it.
pub(super) fn shown(record: &Record) -> String {
    let flags = if record.is_critical { 128 } else { 0 };
    format!("{flags} {} \"{}\"", printable(record.tag.as_ref()), printable(record.value.as_ref()))
}

/// Holds what any bytes are read as to the bounds.
pub fn check_answer(bytes: &[u8]) {
    let id = bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    if let Some(Ok(Answer::Records(records))) = read(bytes, id) {
        assert!(records.len() <= RECORDS_MAX);
        // A byte that is no UTF-8 becomes a character of three. Data does not overlap.
        let len: usize = records.iter().map(|record| record.tag.len() + record.value.len()).sum();
        assert!(len <= 3 * bytes.len());
        for record in &records {
            assert!(!shown(record).chars().any(char::is_control));
        }
        let _ = (permits(&records, false, "a.example"), permits(&records, true, "a.example"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(tag: &str, value: &str) -> Record {
        Record { is_critical: false, tag: tag.into(), value: value.into() }
    }

    #[test]
    fn a_question_is_that_of_the_rfc() {
        let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\x01\x01\0\x01";
        assert_eq!(question(0x1234, "a.example").unwrap(), expected);
        assert_eq!(question(1, &"a".repeat(64)), None);
    }

    #[test]
    fn answers() {
        let head = |flags: &[u8; 2], count: u8| {
            [&b"\x12\x34"[..], flags, b"\0\x01\0", &[count], b"\0\0\0\0\x01a\x07example\0\x01\x01\0\x01"]
                .concat()
        };
        // The name is a pointer to the question's; an alias comes before.
        let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e";
        let issue = b"\xc0\x0c\x01\x01\0\x01\0\0\0\x3c\0\x16\x80\x05IssueletsEncrypt.org";
        let whole = [&head(b"\x81\x80", 2)[..], alias, issue].concat();
        let records =
            vec![Record { is_critical: true, tag: "issue".into(), value: "letsEncrypt.org".into() }];
        assert_eq!(read(&whole, 0x1234), Some(Ok(Answer::Records(records))));
        assert_eq!(read(&whole, 0x1235), None);
        assert_eq!(read(&head(b"\x83\x80", 0), 0x1234), Some(Ok(Answer::Truncated)));
        assert_eq!(read(&head(b"\x81\x83", 0), 0x1234), Some(Ok(Answer::Records(Vec::new()))));
        assert_eq!(read(&head(b"\x81\x82", 0), 0x1234), Some(Err(2)));
        // A question.
        assert_eq!(read(&head(b"\x01\0", 0), 0x1234), None);
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len], 0x1234), None, "{len}");
        }
    }

    #[test]
    fn who_may_certify() {
        let ours = "letsencrypt.org";
        for (records, names, wildcards) in [
            (vec![], true, true),
            (vec![record("iodef", "mailto:a@example.com")], true, true),
            (vec![record("issue", "LetsEncrypt.org; validationmethods=dns-01")], true, true),
            (vec![record("issue", "ca.example")], false, false),
            (vec![record("issue", "ca.example"), record("issue", " letsencrypt.org ")], true, true),
            (vec![record("issue", ";")], false, false),
            (vec![record("issue", "letsencrypt.org"), record("issuewild", ";")], true, false),
            (vec![record("issue", ";"), record("issuewild", "letsencrypt.org")], false, true),
            (vec![Record { is_critical: true, ..record("new", "x") }], false, false),
        ] {
            assert_eq!(permits(&records, false, ours), names, "{records:?}");
            assert_eq!(permits(&records, true, ours), wildcards, "{records:?}");
        }
    }

    #[test]
    fn resolvers_of_a_file() {
        let text = "# nameserver 192.0.2.9\nsearch example\n nameserver 192.0.2.1\nnameserver ::1\n";
        assert_eq!(resolvers(text), ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!(resolvers(""), ["127.0.0.1:53".parse().unwrap()]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            check_answer(&bytes);
        }
    }
}
