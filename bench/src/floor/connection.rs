//! One connection of the floor.

use super::heads::Heads;
use crate::Result;
use sitar_tls::{
    Config, Frame, Handshake, HandshakeStep, Opened, PLAINTEXT_MAX, RECORD_MAX, Records, SEALED_MAX,
};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Bytes received at once: four of the longest records.
const INPUT: usize = 4 * RECORD_MAX;
/// Records sealed and sent at once.
const RECORDS: usize = 4;

/// Buffers that one connection after the other uses.
pub(super) struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch { input: vec![0; INPUT], output: vec![0; RECORDS * SEALED_MAX] }
    }
}

/// The only answer, repeated until it fills a record, so that many small answers leave as one.
pub(super) struct Answer {
    bytes: Vec<u8>,
    /// The length of one answer.
    len: usize,
}

impl Answer {
    pub(super) fn new(status: u16, body: &[u8]) -> Answer {
        let length =
            if status == 304 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let mut bytes = format!("HTTP/1.1 {status} Floor\r\n{length}\r\n").into_bytes();
        if status != 304 {
            bytes.extend_from_slice(body);
        }
        let len = bytes.len();
        if len < PLAINTEXT_MAX {
            bytes = bytes.repeat(PLAINTEXT_MAX / len + 2);
        }
        Answer { bytes, len }
    }
}

/// The table's action after a connection's turn.
pub(super) enum Next {
    Wait,
    Close,
}

enum Layer {
    Plain,
    Handshake(Box<Handshake>),
    Records(Records),
}

pub(super) struct Connection {
    stream: TcpStream,
    /// `None` only while its handshake is being worked on.
    layer: Option<Layer>,
    /// The beginning of a record.
    part: Vec<u8>,
    heads: Heads,
    /// Bytes of answers that are still to be sealed, or sent without TLS, and where in the answer
    /// they begin.
    owed: u64,
    at: usize,
    /// Sealed bytes that the kernel has not taken yet.
    unsent: Vec<u8>,
}

/// The connection cannot go on. The reason does not matter.
struct Over;

impl<E: std::error::Error> From<E> for Over {
    fn from(_: E) -> Over {
        Over
    }
}

impl Connection {
    pub(super) fn new(stream: TcpStream, tls: Option<&Config>) -> Result<Connection> {
        let layer = match tls {
            Some(config) => Layer::Handshake(Box::new(Handshake::new(config)?)),
            None => Layer::Plain,
        };
        let (part, unsent) = (Vec::new(), Vec::new());
        Ok(Connection { stream, layer: Some(layer), part, heads: Heads::default(), owed: 0, at: 0, unsent })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn waits_for_room(&self) -> bool {
        self.owed > 0 || !self.unsent.is_empty()
    }

    /// Takes a turn when the descriptor is ready.
    pub(super) fn turn(&mut self, answer: &Answer, scratch: &mut Scratch) -> Next {
        let done = if self.waits_for_room() { Ok(()) } else { self.receive(answer, &mut scratch.input) };
        match done.and_then(|()| self.send(answer, &mut scratch.output)) {
            Ok(()) => Next::Wait,
            Err(Over) => Next::Close,
        }
    }

    fn receive(&mut self, answer: &Answer, input: &mut [u8]) -> std::result::Result<(), Over> {
        let kept = self.part.len();
        input[..kept].copy_from_slice(&self.part);
        self.part.clear();
        let got = match self.stream.read(&mut input[kept..]) {
            Ok(0) => return Err(Over),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return Err(Over),
        };
        self.take(answer, &mut input[..kept + got])
    }

    fn take(&mut self, answer: &Answer, bytes: &mut [u8]) -> std::result::Result<(), Over> {
        match self.layer.take().ok_or(Over)? {
            Layer::Plain => {
                self.owed += self.heads.count(bytes) * answer.len as u64;
                self.layer = Some(Layer::Plain);
                Ok(())
            }
            Layer::Records(mut records) => {
                let done = self.open(answer, &mut records, bytes);
                self.layer = Some(Layer::Records(records));
                done
            }
            Layer::Handshake(handshake) => match handshake.on_bytes(bytes, &mut self.unsent) {
                HandshakeStep::More(handshake) => {
                    self.layer = Some(Layer::Handshake(Box::new(handshake)));
                    Ok(())
                }
                HandshakeStep::Done(established) => {
                    self.layer = Some(Layer::Records(established.records));
                    let mut rest = established.rest;
                    if rest.is_empty() { Ok(()) } else { self.take(answer, &mut rest) }
                }
                HandshakeStep::Failed(_) => Err(Over),
            },
        }
    }

    fn open(
        &mut self,
        answer: &Answer,
        records: &mut Records,
        bytes: &mut [u8],
    ) -> std::result::Result<(), Over> {
        let mut at = 0;
        while at < bytes.len() {
            let Frame::Whole(len) = records.frame(&bytes[at..])? else { break };
            match records.open(&mut bytes[at..at + len])? {
                Opened::Data(data) => self.owed += self.heads.count(data) * answer.len as u64,
                Opened::Nothing => {}
                Opened::KeyUpdateRequested | Opened::CloseNotify | Opened::Alert(_) => return Err(Over),
            }
            at += len;
        }
        self.part.extend_from_slice(&bytes[at..]);
        Ok(())
    }

    /// Sends until there is nothing to send, or no room.
    fn send(&mut self, answer: &Answer, output: &mut [u8]) -> std::result::Result<(), Over> {
        if !self.unsent.is_empty() {
            let sent = write(&mut self.stream, &self.unsent)?;
            self.unsent.drain(..sent);
            if !self.unsent.is_empty() {
                return Ok(());
            }
            self.unsent.shrink_to_fit();
        }
        while self.owed > 0 {
            let whole = match self.layer.as_mut() {
                Some(Layer::Records(records)) => {
                    let len = seal(records, answer, output, &mut self.owed, &mut self.at)?;
                    let sent = write(&mut self.stream, &output[..len])?;
                    self.unsent.extend_from_slice(&output[sent..len]);
                    sent == len
                }
                _ => {
                    let piece = piece(answer, self.at, self.owed, usize::MAX);
                    let sent = write(&mut self.stream, piece)?;
                    let whole = sent == piece.len();
                    advance(answer, sent, &mut self.owed, &mut self.at);
                    whole
                }
            };
            if !whole {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn piece(answer: &Answer, at: usize, owed: u64, max: usize) -> &[u8] {
    let rest = &answer.bytes[at..];
    &rest[..rest.len().min(max).min(usize::try_from(owed).unwrap_or(usize::MAX))]
}

fn advance(answer: &Answer, len: usize, owed: &mut u64, at: &mut usize) {
    *owed -= len as u64;
    *at = (*at + len) % answer.len;
}

/// Seals as many records as are owed and fit. Returns their length.
fn seal(
    records: &mut Records,
    answer: &Answer,
    output: &mut [u8],
    owed: &mut u64,
    at: &mut usize,
) -> std::result::Result<usize, Over> {
    let mut used = 0;
    for _ in 0..RECORDS {
        let plain = piece(answer, *at, *owed, PLAINTEXT_MAX);
        if plain.is_empty() {
            break;
        }
        used += records.seal_from(plain, &mut output[used..])?;
        advance(answer, plain.len(), owed, at);
    }
    Ok(used)
}

/// Returns the number of bytes that the kernel took, 0 when it has no room.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> std::result::Result<usize, Over> {
    match stream.write(bytes) {
        Ok(sent) => Ok(sent),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(_) => Err(Over),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_owed_follow_each_other_without_a_seam() {
        let answer = Answer::new(200, b"body");
        let one = b"HTTP/1.1 200 Floor\r\nContent-Length: 4\r\n\r\nbody";
        assert_eq!(answer.len, one.len());
        let (mut owed, mut at, mut sent) = (10 * one.len() as u64, 0, Vec::new());
        while owed > 0 {
            let plain = piece(&answer, at, owed, 100);
            sent.extend_from_slice(plain);
            advance(&answer, plain.len(), &mut owed, &mut at);
        }
        assert_eq!(sent, one.repeat(10));
    }

    #[test]
    fn a_large_answer_is_kept_once_and_not_modified_has_no_body() {
        assert_eq!(Answer::new(200, &[7; 1 << 20]).bytes.len(), Answer::new(200, &[7; 1 << 20]).len);
        let answer = Answer::new(304, b"body");
        assert_eq!(&answer.bytes[..answer.len], b"HTTP/1.1 304 Floor\r\n\r\n");
    }
}
