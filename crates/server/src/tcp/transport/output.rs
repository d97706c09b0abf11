//! What goes out: plaintext gathered into records, records gathered into one send.

use sitar_http::h1::{self, ResponseHead};
use sitar_io::{Region, Runs, Segment, SendBuf, TxBuf};
use sitar_tls::{Alert, Handshake, PLAINTEXT_MAX, RecordError, Records};
use std::ops::Range;

use crate::content::source::{Run, Source};

/// What lies between the socket and HTTP.
pub(crate) enum Layer {
    /// TLS is still being negotiated.
    Handshake(Handshake),
    /// TLS.
    Tls(Records),
    /// TLS whose records the kernel seals: what goes out is plain text, and each send ends a record.
    Kernel(Records),
    /// Nothing: plain HTTP.
    Plain,
}

/// Bodies up to this size are copied behind their head and share its record; larger ones are sealed straight from where
/// they lie, which reads and writes them once, in records of the size that suits the connection ([`Records::size_hint`]).
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

    fn around(layer: &Layer) -> (usize, usize) {
        match layer {
            Layer::Tls(records) => (records.prefix(), records.suffix()),
            Layer::Handshake(_) | Layer::Kernel(_) | Layer::Plain => (0, 0),
        }
    }

    /// Where the next plaintext byte goes, and how many fit.
    fn room(&mut self, layer: &Layer) -> &mut [u8] {
        let (prefix, suffix) = Output::around(layer);
        let start = self.sealed + prefix + self.open;
        let mut end = self.tx.len().saturating_sub(suffix);
        if let Layer::Tls(_) = layer {
            end = end.min(self.sealed + prefix + PLAINTEXT_MAX);
        }
        if self.tail.is_some() || start >= end {
            return &mut [];
        }
        &mut self.tx[start..end]
    }

    /// Ends the open record.
    pub(crate) fn seal(&mut self, layer: &mut Layer) -> Result<(), RecordError> {
        if self.open == 0 {
            return Ok(());
        }
        let len = std::mem::take(&mut self.open);
        self.sealed += match layer {
            Layer::Tls(records) => records.seal_in_place(&mut self.tx[self.sealed..], len)?,
            Layer::Handshake(_) | Layer::Kernel(_) | Layer::Plain => len,
        };
        Ok(())
    }

    /// Lets `write` put up to `need` bytes into one record. `false`: no room, nothing written.
    pub(crate) fn put_with(
        &mut self,
        layer: &mut Layer,
        need: usize,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Result<bool, RecordError> {
        if self.room(layer).len() < need {
            self.seal(layer)?;
            if self.room(layer).len() < need {
                return Ok(false);
            }
        }
        let Some(len) = write(self.room(layer)) else { return Ok(false) };
        self.open += len;
        Ok(true)
    }

    /// Lets `write` fill record after record, of the size that suits the connection ([`Records::size_hint`]), until it has
    /// nothing more to say or there is no room.
    pub(crate) fn fill(
        &mut self,
        layer: &mut Layer,
        mut write: impl FnMut(&mut [u8]) -> usize,
    ) -> Result<(), RecordError> {
        loop {
            let size = if let Layer::Tls(records) = layer { records.size_hint() } else { usize::MAX };
            let mut left = size.saturating_sub(self.open);
            if left < FILL_MIN || self.room(layer).len() < FILL_MIN {
                self.seal(layer)?;
                left = size.max(FILL_MIN);
                if self.room(layer).len() < FILL_MIN {
                    return Ok(());
                }
            }
            let room = self.room(layer);
            let len = room.len().min(left);
            match write(&mut room[..len]) {
                0 => return Ok(()),
                len => self.open += len,
            }
        }
    }

    /// Where in a fresh send buffer `len` bytes of content have to be put so that [`seal_runs`](Output::seal_runs) seals them there, in
    /// full records. `None` while records are to be small, and where nothing is sealed here.
    pub(crate) fn runs(layer: &Layer, len: usize) -> Option<Runs> {
        let Layer::Tls(records) = layer else { return None };
        let (start, gap) = (records.prefix(), records.suffix() + records.prefix());
        (records.size_hint() == PLAINTEXT_MAX).then_some(Runs { start, each: PLAINTEXT_MAX, gap, len })
    }

    /// Seals `len` bytes that lie where [`runs`](Output::runs) has said. The buffer must be fresh otherwise.
    pub(crate) fn seal_runs(&mut self, layer: &mut Layer, len: usize) -> Result<(), RecordError> {
        let mut left = len;
        while left > 0 {
            self.open = left.min(PLAINTEXT_MAX);
            left -= self.open;
            self.seal(layer)?;
        }
        Ok(())
    }

    /// A response head. `false`: no room, nothing written.
    pub(crate) fn head(&mut self, layer: &mut Layer, answer: &ResponseHead<'_>) -> Result<bool, RecordError> {
        self.put_with(layer, answer.room(), |room| h1::write_head(room, answer))
    }

    /// A whole answer that refuses a request. `false`: no room, nothing written.
    pub(crate) fn rejection(
        &mut self,
        layer: &mut Layer,
        rejection: &h1::Rejection,
        date: &[u8; 29],
        head_only: bool,
    ) -> Result<bool, RecordError> {
        self.put_with(layer, h1::REJECTION_MAX, |room| h1::write_rejection(room, rejection, date, head_only))
    }

    /// As much of a body as fits, from its start. Returns how much that was.
    pub(crate) fn body(&mut self, layer: &mut Layer, body: &[u8]) -> Result<usize, RecordError> {
        if body.len() <= COPY_MAX {
            let put = self.put_with(layer, body.len(), |room| {
                room[..body.len()].copy_from_slice(body);
                Some(body.len())
            })?;
            return Ok(if put { body.len() } else { 0 });
        }
        self.seal(layer)?;
        let mut taken = 0;
        while taken < body.len() {
            let rest = &body[taken..];
            let room = self.room(layer);
            let mut len = rest.len().min(room.len());
            if len < rest.len() && len < PIECE_MIN {
                break;
            }
            match layer {
                Layer::Tls(records) => {
                    len = len.min(records.size_hint());
                    self.sealed += records.seal_from(&rest[..len], &mut self.tx[self.sealed..])?;
                }
                Layer::Handshake(_) | Layer::Kernel(_) | Layer::Plain => {
                    room[..len].copy_from_slice(&rest[..len]);
                    self.sealed += len;
                }
            }
            taken += len;
        }
        Ok(taken)
    }

    /// As [`body`](Output::body), from a region. Where nothing is sealed here a large one is not copied but sent from where
    /// it lies.
    pub(crate) fn region(
        &mut self,
        layer: &mut Layer,
        region: &Region,
        range: &Range<usize>,
    ) -> Result<usize, RecordError> {
        if let (Layer::Plain | Layer::Kernel(_), COPY_MAX..) = (&layer, range.len()) {
            if self.tail.is_some() {
                return Ok(0);
            }
            let len = range.len().min(PLAIN_SEND_MAX);
            self.seal(layer)?;
            self.tail = Some((region.clone(), range.start..range.start + len));
            return Ok(len);
        }
        self.body(layer, &region[range.clone()])
    }

    /// As much of `source` as fits and is at hand. Returns what is left of it.
    pub(crate) fn source(
        &mut self,
        layer: &mut Layer,
        mut source: Source,
    ) -> Result<Option<Source>, RecordError> {
        loop {
            let taken = source.offer(|run| match run {
                Run::Bytes(bytes) => self.body(layer, bytes),
                Run::Region(region, range) => self.region(layer, region, &range),
            })?;
            source = match source.if_any() {
                Some(source) if taken > 0 => source,
                rest => return Ok(rest),
            };
        }
    }

    /// An alert. `false`: no room, nothing written. Only where it is sealed here.
    pub(crate) fn alert(&mut self, layer: &mut Layer, alert: Alert) -> Result<bool, RecordError> {
        self.control(layer, |records, room| records.seal_alert(alert, room))
    }

    /// The answer to a KeyUpdate. `false`: no room, nothing written.
    pub(crate) fn key_update(&mut self, layer: &mut Layer) -> Result<bool, RecordError> {
        self.control(layer, |records, room| records.seal_key_update(room))
    }

    fn control(
        &mut self,
        layer: &mut Layer,
        seal: impl FnOnce(&mut Records, &mut [u8]) -> Result<usize, RecordError>,
    ) -> Result<bool, RecordError> {
        self.seal(layer)?;
        let Layer::Tls(records) = layer else { return Ok(true) };
        if self.tx.len() - self.sealed < CONTROL_MAX {
            return Ok(false);
        }
        self.sealed += seal(records, &mut self.tx[self.sealed..])?;
        Ok(true)
    }

    /// Bytes that are on the wire as they are: a handshake's. `false`: no room, nothing written.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> bool {
        let Some(room) = self.tx.get_mut(self.sealed..self.sealed + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.sealed += bytes.len();
        true
    }

    /// Ends the open record and makes it all one send.
    pub(crate) fn finish(mut self, layer: &mut Layer) -> Result<SendBuf, RecordError> {
        self.seal(layer)?;
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
