//! Output: plaintext gathered into records, records gathered into one send.

use sitar_http::h1::{self, ResponseHead};
use sitar_io::{Region, Runs, Segment, SendBuf, TxBuf};
use sitar_tls::{Alert, PLAINTEXT_MAX, RecordError, Records};
use std::ops::Range;

use super::security::Security;
use crate::content::source::{Run, Source};

/// Bodies up to this size are copied behind their head and share its record; larger ones are sealed
/// straight from where they lie, which reads and writes them once, in records of the size that
/// suits the connection ([`Records::size_hint`]).
pub(crate) const COPY_MAX: usize = 4096;
/// A body is not cut into a record smaller than this to fill the rest of a buffer.
const PIECE_MIN: usize = 4096;
/// With less room than this in a record the next one is begun: a frame with a kilobyte of content.
const FILL_MIN: usize = 1024 + 9;
/// Bytes of a region in one plain send, so that progress can be seen.
const PLAIN_SEND_MAX: usize = 64 << 10;
/// Room that an alert or a key update takes.
const CONTROL_MAX: usize = 64;
/// The head of an answer is never cut: see [`sitar_http::FIELDS_MAX`].
const _: () = assert!(sitar_http::FIELDS_MAX + h1::HEAD_OVERHEAD_MAX <= PLAINTEXT_MAX);

/// Whether something found its room.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Put {
    Done,
    /// Nothing was written; what is gathered goes first.
    NoRoom,
}

/// A send buffer being filled: sealed bytes, then at most one record that is still open.
pub(crate) struct Output {
    tx: TxBuf,
    /// Sealed bytes at the front.
    sealed: usize,
    /// Plaintext in the open record behind them.
    open: usize,
    /// Sent behind the buffer (where nothing is sealed here), after which nothing more fits.
    tail: Option<(Region, Range<usize>)>,
}

impl Output {
    pub(crate) fn new(tx: TxBuf) -> Output {
        Output { tx, sealed: 0, open: 0, tail: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sealed == 0 && self.open == 0 && self.tail.is_none()
    }

    fn around(security: &Security) -> (usize, usize) {
        match security {
            Security::Tls(records) => (records.prefix(), records.suffix()),
            Security::Handshaking(_) | Security::Kernel(_) | Security::Plain | Security::Failed => (0, 0),
        }
    }

    /// Returns the room for the next bytes of plaintext.
    fn room(&mut self, security: &Security) -> &mut [u8] {
        let (prefix, suffix) = Output::around(security);
        let start = self.sealed + prefix + self.open;
        let mut end = self.tx.len().saturating_sub(suffix);
        if let Security::Tls(_) = security {
            end = end.min(self.sealed + prefix + PLAINTEXT_MAX);
        }
        if self.tail.is_some() || start >= end {
            return &mut [];
        }
        &mut self.tx[start..end]
    }

    /// Ends the open record.
    pub(crate) fn seal(&mut self, security: &mut Security) -> Result<(), RecordError> {
        if self.open == 0 {
            return Ok(());
        }
        let len = std::mem::take(&mut self.open);
        self.sealed += match security {
            Security::Tls(records) => records.seal_in_place(&mut self.tx[self.sealed..], len)?,
            Security::Handshaking(_) | Security::Kernel(_) | Security::Plain | Security::Failed => len,
        };
        Ok(())
    }

    /// Lets `write` put up to `need` bytes into one record.
    pub(crate) fn put_with(
        &mut self,
        security: &mut Security,
        need: usize,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<Put, RecordError> {
        if self.room(security).len() < need {
            self.seal(security)?;
            if self.room(security).len() < need {
                return Ok(Put::NoRoom);
            }
        }
        let Some(len) = write(self.room(security)) else { return Ok(Put::NoRoom) };
        self.open += len;
        Ok(Put::Done)
    }

    /// Lets `write` fill record after record, of the size that suits the connection
    /// ([`Records::size_hint`]), until it has nothing more to say or there is no room.
    pub(crate) fn fill(
        &mut self,
        security: &mut Security,
        mut write: impl FnMut(&mut [u8]) -> usize,
    ) -> Result<(), RecordError> {
        loop {
            let size = if let Security::Tls(records) = security { records.size_hint() } else { usize::MAX };
            let mut left = size.saturating_sub(self.open);
            if left < FILL_MIN || self.room(security).len() < FILL_MIN {
                self.seal(security)?;
                left = size.max(FILL_MIN);
                if self.room(security).len() < FILL_MIN {
                    return Ok(());
                }
            }
            let room = self.room(security);
            let len = room.len().min(left);
            match write(&mut room[..len]) {
                0 => return Ok(()),
                len => self.open += len,
            }
        }
    }

    /// Returns where in a fresh send buffer `len` bytes of content have to be put so that
    /// [`seal_runs`](Output::seal_runs) seals them there, in full records. `None` while records are
    /// to be small, and where nothing is sealed here.
    pub(crate) fn runs(security: &Security, len: usize) -> Option<Runs> {
        let Security::Tls(records) = security else { return None };
        let (start, gap) = (records.prefix(), records.suffix() + records.prefix());
        (records.size_hint() == PLAINTEXT_MAX).then_some(Runs { start, each: PLAINTEXT_MAX, gap, len })
    }

    /// Seals `len` bytes that lie where [`runs`](Output::runs) has said. The buffer must be fresh
    /// otherwise.
    pub(crate) fn seal_runs(&mut self, security: &mut Security, len: usize) -> Result<(), RecordError> {
        let mut left = len;
        while left > 0 {
            self.open = left.min(PLAINTEXT_MAX);
            left -= self.open;
            self.seal(security)?;
        }
        Ok(())
    }

    /// A response head.
    pub(crate) fn head(
        &mut self,
        security: &mut Security,
        answer: &ResponseHead<'_>,
    ) -> Result<Put, RecordError> {
        self.put_with(security, answer.room(), |room| h1::write_head(room, answer))
    }

    /// A whole answer that refuses a request.
    pub(crate) fn rejection(
        &mut self,
        security: &mut Security,
        rejection: &h1::Rejection,
        date: &[u8; 29],
        head_only: bool,
    ) -> Result<Put, RecordError> {
        self.put_with(security, h1::REJECTION_MAX, |room| {
            h1::write_rejection(room, rejection, date, head_only)
        })
    }

    /// Takes as much of a body as fits, from its start. Returns how much that was.
    pub(crate) fn body(&mut self, security: &mut Security, body: &[u8]) -> Result<usize, RecordError> {
        if body.len() <= COPY_MAX {
            let put = self.put_with(security, body.len(), |room| {
                room[..body.len()].copy_from_slice(body);
                Some(body.len())
            })?;
            return Ok(if put == Put::Done { body.len() } else { 0 });
        }
        self.seal(security)?;
        let mut taken = 0;
        while taken < body.len() {
            let rest = &body[taken..];
            let room = self.room(security);
            let mut len = rest.len().min(room.len());
            if len < rest.len() && len < PIECE_MIN {
                break;
            }
            match security {
                Security::Tls(records) => {
                    len = len.min(records.size_hint());
                    self.sealed += records.seal_from(&rest[..len], &mut self.tx[self.sealed..])?;
                }
                Security::Handshaking(_) | Security::Kernel(_) | Security::Plain | Security::Failed => {
                    room[..len].copy_from_slice(&rest[..len]);
                    self.sealed += len;
                }
            }
            taken += len;
        }
        Ok(taken)
    }

    /// Does as [`body`](Output::body), from a region. Where nothing is sealed here a large one is
    /// not copied but sent from where it lies.
    pub(crate) fn region(
        &mut self,
        security: &mut Security,
        region: &Region,
        range: &Range<usize>,
    ) -> Result<usize, RecordError> {
        if let (Security::Plain | Security::Kernel(_), COPY_MAX..) = (&security, range.len()) {
            if self.tail.is_some() {
                return Ok(0);
            }
            let len = range.len().min(PLAIN_SEND_MAX);
            self.seal(security)?;
            self.tail = Some((region.clone(), range.start..range.start + len));
            return Ok(len);
        }
        self.body(security, &region[range.clone()])
    }

    /// Takes as much of `source` as fits and is at hand. Returns what is left of it.
    pub(crate) fn source(
        &mut self,
        security: &mut Security,
        mut source: Source,
    ) -> Result<Option<Source>, RecordError> {
        loop {
            let taken = source.offer(|run| match run {
                Run::Bytes(bytes) => self.body(security, bytes),
                Run::Region(region, range) => self.region(security, region, &range),
            })?;
            source = match source.if_any() {
                Some(source) if taken > 0 => source,
                rest => return Ok(rest),
            };
        }
    }

    /// An alert. Only where it is sealed here.
    pub(crate) fn alert(&mut self, security: &mut Security, alert: Alert) -> Result<Put, RecordError> {
        self.control(security, |records, room| records.seal_alert(alert, room))
    }

    /// The answer to a KeyUpdate.
    pub(crate) fn key_update(&mut self, security: &mut Security) -> Result<Put, RecordError> {
        self.control(security, |records, room| records.seal_key_update(room))
    }

    fn control(
        &mut self,
        security: &mut Security,
        seal: impl FnOnce(&mut Records, &mut [u8]) -> Result<usize, RecordError>,
    ) -> Result<Put, RecordError> {
        self.seal(security)?;
        let Security::Tls(records) = security else { return Ok(Put::Done) };
        if self.tx.len() - self.sealed < CONTROL_MAX {
            return Ok(Put::NoRoom);
        }
        self.sealed += seal(records, &mut self.tx[self.sealed..])?;
        Ok(Put::Done)
    }

    /// Bytes that are on the wire as they are: a handshake's.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Put {
        let Some(room) = self.tx.get_mut(self.sealed..self.sealed + bytes.len()) else { return Put::NoRoom };
        room.copy_from_slice(bytes);
        self.sealed += bytes.len();
        Put::Done
    }

    /// Ends the open record and makes it all one send.
    pub(crate) fn finish(mut self, security: &mut Security) -> Result<SendBuf, RecordError> {
        self.seal(security)?;
        self.tx.set_filled(self.sealed);
        Ok(match self.tail {
            None => SendBuf::Tx(self.tx),
            Some((region, range)) if self.sealed == 0 => SendBuf::Shared(region, range),
            Some((region, range)) => {
                SendBuf::Gather([Some(Segment::Tx(self.tx)), Some(Segment::Shared(region, range))])
            }
        })
    }
}
