//! Request bodies that are skipped, so that the next request is found (RFC 9112 §6 and §7.1).

use super::{Framing, Limits, Rejection};
use crate::Status;
use crate::chars::{self, TOKEN, VALUE};

/// Bytes of chunk extensions and trailer fields in one body. RFC 9112 §7.1.1 asks for a limit;
/// clients send hardly any.
const EXTRAS_MAX: u32 = 8 * 1024;
/// Digits of a chunk size, leading zeros included: as many as 64 bits need.
const SIZE_DIGITS_MAX: u8 = 16;

const MALFORMED: Rejection = Rejection::bad("the chunked body is malformed");
const TOO_LARGE: Rejection = Rejection::new(Status::CONTENT_TOO_LARGE, "the request body is too large");

/// Skips one request body.
///
/// Chunked bodies are read strictly: CR LF and nothing else ends a line, sizes have at most 16
/// digits, extensions and trailer fields hold no control characters and at most 8 KiB together. The
/// content of an extension is ignored.
#[derive(Clone, Debug)]
pub struct BodyDrain {
    state: State,
    /// Bytes of chunk data that may still be announced.
    data_left: u64,
    extras_left: u32,
}

/// The part of a body that [`BodyDrain::feed`] was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The body goes on; all of the bytes belong to it.
    Part,
    /// The body is over; this many of the bytes belong to it.
    Whole(usize),
}

/// The states of RFC 9112 §7.1. Each CR is consumed by the state before the one that waits for its
/// LF:
///
/// ```text
/// chunk    Size ─▶ [BeforeExtension ─▶ Extension] ─▶ SizeLf ─▶ Data ─▶ DataCr ─▶ DataLf ─▶ chunk
///                                                       └─ size 0 ─▶ LineStart
/// trailer  LineStart ─▶ TrailerName ─▶ TrailerValue ─▶ TrailerLf ─▶ LineStart
/// end      LineStart ─▶ EndLf ─▶ Done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A body of known length, of which this many bytes are left.
    Length(u64),
    Size {
        size: u64,
        digits: u8,
    },
    BeforeExtension {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data(u64),
    DataCr,
    DataLf,
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl BodyDrain {
    /// Returns the body to skip behind a head with this framing; `None` when there is none.
    ///
    /// # Errors
    /// 413 when the announced length is over the limit.
    pub fn new(framing: Framing, limits: &Limits) -> Result<Option<BodyDrain>, Rejection> {
        let state = match framing {
            Framing::None | Framing::Length(0) => return Ok(None),
            Framing::Length(length) if length > limits.body => return Err(TOO_LARGE),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Ok(Some(BodyDrain { state, data_left: limits.body, extras_left: EXTRAS_MAX }))
    }

    /// Takes bytes that followed the head.
    ///
    /// # Errors
    /// 400 for a malformed chunked body, 413 or 431 for one that is too large. The boundary to the
    /// next request is then lost.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Drained, Rejection> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            match self.state {
                State::Length(left) => {
                    let (taken, left) = take(&bytes[at..], left);
                    at += taken;
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                }
                State::Data(left) => {
                    let (taken, left) = take(&bytes[at..], left);
                    at += taken;
                    self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                }
                state => {
                    self.state = self.step(state, bytes[at])?;
                    at += 1;
                }
            }
        }
        Ok(if self.state == State::Done { Drained::Whole(at) } else { Drained::Part })
    }

    /// Takes one byte that is not data.
    fn step(&mut self, state: State, byte: u8) -> Result<State, Rejection> {
        Ok(match (state, byte) {
            (State::Size { size, digits }, _) if chars::is(byte, chars::HEX) => {
                self.digit(size, digits, byte)?
            }
            (State::Size { digits: 0, .. }, _) => return Err(MALFORMED),
            (State::Size { size, .. } | State::BeforeExtension { size }, b' ' | b'\t') => {
                self.extra(Rejection::bad("the chunk extensions are too large"))?;
                State::BeforeExtension { size }
            }
            // Whitespace after a size is allowed only before an extension.
            (State::Size { size, .. } | State::BeforeExtension { size }, b';') => State::Extension { size },
            (State::Size { size, .. } | State::Extension { size }, b'\r') => self.announced(size)?,
            (State::Extension { size }, _) if chars::is(byte, VALUE) => {
                self.extra(Rejection::bad("the chunk extensions are too large"))?;
                State::Extension { size }
            }
            (State::SizeLf { size: 0 } | State::TrailerLf, b'\n') => State::LineStart,
            (State::SizeLf { size }, b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::LineStart, b'\r') => State::EndLf,
            (State::EndLf, b'\n') => State::Done,
            (State::LineStart | State::TrailerName, _) if chars::is(byte, TOKEN) => {
                self.trailer(State::TrailerName)?
            }
            (State::TrailerName, b':') => self.trailer(State::TrailerValue)?,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, _) if chars::is(byte, VALUE) => self.trailer(State::TrailerValue)?,
            _ => return Err(MALFORMED),
        })
    }

    fn digit(&self, size: u64, digits: u8, byte: u8) -> Result<State, Rejection> {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        if digits == SIZE_DIGITS_MAX {
            return Err(TOO_LARGE);
        }
        // Sixteen digits fit, so nothing is shifted out.
        let size = size << 4 | u64::from(value);
        if size > self.data_left { Err(TOO_LARGE) } else { Ok(State::Size { size, digits: digits + 1 }) }
    }

    /// Takes the size of a chunk, whose line is over but for its LF.
    fn announced(&mut self, size: u64) -> Result<State, Rejection> {
        self.data_left = self.data_left.checked_sub(size).ok_or(TOO_LARGE)?;
        Ok(State::SizeLf { size })
    }

    fn trailer(&mut self, next: State) -> Result<State, Rejection> {
        self.extra(Rejection::new(
            Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the trailer section is too large",
        ))?;
        Ok(next)
    }

    fn extra(&mut self, too_many: Rejection) -> Result<(), Rejection> {
        self.extras_left = self.extras_left.checked_sub(1).ok_or(too_many)?;
        Ok(())
    }
}

/// Returns how many of `bytes` belong to a run of `left` bytes, and how many of the run are left
/// then.
fn take(bytes: &[u8], left: u64) -> (usize, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (taken, left - taken as u64)
}

#[cfg(test)]
mod tests;
