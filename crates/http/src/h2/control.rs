//! Frames that carry neither requests nor content.

use std::time::Instant;

use super::ContentSource;
use super::connection::{Connection, ConnectionError, Phase, SharedBuffers};
use super::flood::Flood;
use super::frame::{ACK, ErrorCode, Header, Kind, PAYLOAD_MAX, WINDOW_INITIAL, WINDOW_MAX, setting, u32_at};
use super::priority::Priority;
use super::stream::{Local, Remote};

/// Bytes of a request's content that may still come although its response has left.
const UNWANTED_MAX: u64 = 1 << 20;
/// Parameters in one SETTINGS frame. Fewer than ten are registered.
const SETTINGS_MAX: usize = 64;
/// The largest frame that a peer may allow (RFC 9113 §6.5.2).
const FRAME_MAX: u32 = (1 << 24) - 1;

impl<T: ContentSource> Connection<T> {
    /// PRIORITY (§6.3) is deprecated; only its form is checked.
    pub(super) fn on_priority(
        &mut self,
        shared: &mut SharedBuffers<T>,
        header: Header,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        self.floods.count(Flood::Priorities, now)?;
        if header.len == 5 {
            return Ok(());
        }
        match self.streams.find(header.stream) {
            Some(at) => self.stream_error(shared, at, ErrorCode::FrameSizeError, now),
            // A stream that is over has nothing left to end. Whether it is over may depend on when
            // its file was loaded, and that must not decide on the whole connection.
            None if header.stream <= self.ids.last_opened && !header.stream.is_multiple_of(2) => {
                Ok(self.floods.count(Flood::Ignored, now)?)
            }
            // One that was never opened cannot be reset.
            None => Err(ConnectionError::size("PRIORITY is 5 bytes long")),
        }
    }

    /// RST_STREAM (§6.4).
    pub(super) fn on_reset(
        &mut self,
        shared: &mut SharedBuffers<T>,
        header: Header,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        if header.stream > self.ids.last_opened {
            return Err(ConnectionError::protocol("RST_STREAM on a stream that was not opened"));
        }
        // Also where the response has left already: the work was done for nothing.
        self.floods.count(Flood::Resets, now)?;
        if let Some(at) = self.streams.find(header.stream) {
            self.streams.remove(at, &mut shared.lists);
        } else if let Some(at) = self.ids.reset.iter().position(|&id| id == header.stream) {
            self.ids.reset.remove(at);
        }
        Ok(())
    }

    /// SETTINGS (§6.5).
    pub(super) fn on_settings(
        &mut self,
        shared: &mut SharedBuffers<T>,
        header: Header,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), ConnectionError> {
        if header.has(ACK) {
            if self.settings_due.take().is_none() {
                self.floods.count(Flood::Ignored, now)?;
            }
            return Ok(());
        }
        self.floods.count(Flood::Settings, now)?;
        if payload.len() / 6 > SETTINGS_MAX {
            return Err(Flood::Settings.into());
        }
        for six in payload.chunks_exact(6) {
            self.on_setting(u16::from_be_bytes([six[0], six[1]]), u32_at(six, 2))?;
        }
        if self.phase == Phase::Settings {
            self.phase = Phase::Open;
        }
        self.enqueue(shared, Kind::Settings, ACK, 0, &[]);
        Ok(())
    }

    /// One setting (§6.5.2), in the order of arrival. HEADER_TABLE_SIZE binds an encoder that has a
    /// table, and MAX_CONCURRENT_STREAMS a server that pushes. MAX_HEADER_LIST_SIZE is advice that
    /// heads of this size need not follow.
    fn on_setting(&mut self, name: u16, value: u32) -> Result<(), ConnectionError> {
        match name {
            setting::ENABLE_PUSH if value > 1 => {
                Err(ConnectionError::protocol("ENABLE_PUSH is neither 0 nor 1"))
            }
            setting::INITIAL_WINDOW_SIZE => {
                let window = i64::from(value);
                if window > WINDOW_MAX {
                    return Err(ConnectionError::flow_control("an initial window beyond the maximum"));
                }
                // §6.9.2: for open streams too, which may leave them with less than nothing.
                let change = window - self.peer.initial_window;
                self.peer.initial_window = window;
                for stream in self.streams.iter_mut() {
                    if stream.window.shift(change).is_err() {
                        return Err(ConnectionError::flow_control("a window beyond the maximum"));
                    }
                }
                Ok(())
            }
            setting::MAX_FRAME_SIZE => {
                if !(PAYLOAD_MAX as u32..=FRAME_MAX).contains(&value) {
                    return Err(ConnectionError::protocol("a frame size out of range"));
                }
                self.peer.frame_max = value;
                Ok(())
            }
            // RFC 9218 §2.1
            setting::NO_RFC7540_PRIORITIES => {
                let off = match value {
                    0 => false,
                    1 => true,
                    _ => return Err(ConnectionError::protocol("NO_RFC7540_PRIORITIES is neither 0 nor 1")),
                };
                // Only the first SETTINGS may say so; there, absence means 0.
                if self.phase != Phase::Settings && self.peer.no_rfc7540_priorities.unwrap_or(false) != off {
                    return Err(ConnectionError::protocol("NO_RFC7540_PRIORITIES changed"));
                }
                self.peer.no_rfc7540_priorities = Some(off);
                Ok(())
            }
            // §6.5.2: an unknown setting is ignored.
            _ => Ok(()),
        }
    }

    /// PING (§6.7).
    pub(super) fn on_ping(
        &mut self,
        shared: &mut SharedBuffers<T>,
        header: Header,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), ConnectionError> {
        self.floods.count(Flood::Pings, now)?;
        if !header.has(ACK) {
            self.enqueue(shared, Kind::Ping, ACK, 0, payload);
        } else if let (Phase::Draining { .. }, true) = (self.phase, Connection::<T>::is_drain_ping(payload)) {
            self.finish_drain(shared);
        }
        Ok(())
    }

    /// GOAWAY (§6.8).
    pub(super) fn on_goaway(&mut self, now: Instant) -> Result<(), ConnectionError> {
        self.peer.is_leaving = true;
        // One or two are to be expected.
        Ok(self.floods.count(Flood::Ignored, now)?)
    }

    /// WINDOW_UPDATE (§6.9).
    pub(super) fn on_window_update(
        &mut self,
        shared: &mut SharedBuffers<T>,
        header: Header,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let increment = i64::from(u32_at(payload, 0) & 0x7fff_ffff);
        if header.stream == 0 {
            if increment == 0 {
                return Err(ConnectionError::protocol("a window opened by nothing"));
            }
            if self.windows.send.open(increment) {
                self.floods.count(Flood::Windows, now)?;
            }
            if self.windows.send.is_too_large() {
                return Err(ConnectionError::flow_control("the connection's window beyond the maximum"));
            }
            return Ok(());
        }
        if header.stream > self.ids.last_opened {
            return Err(ConnectionError::protocol("WINDOW_UPDATE on a stream that was not opened"));
        }
        let Some(at) = self.streams.find(header.stream) else {
            // §5.1: on a stream that has ended it may have crossed our last frames, or be about
            // what these brought. More than was sent counts against the peer; what some clients
            // send behind each request is forgiven with the response.
            match self.sent.unreturned.checked_sub(increment as u64) {
                Some(rest) if increment > 0 => self.sent.unreturned = rest,
                _ => self.floods.count(Flood::Windows, now)?,
            }
            return Ok(());
        };
        let stream = self.streams.at(at);
        if stream.window.open(increment) {
            self.floods.count(Flood::Windows, now)?;
        }
        let code = if increment == 0 {
            ErrorCode::ProtocolError
        } else if self.streams.at(at).window.is_too_large() {
            ErrorCode::FlowControlError
        } else {
            return Ok(());
        };
        self.stream_error(shared, at, code, now)
    }

    /// PRIORITY_UPDATE (RFC 9218 §7.1).
    pub(super) fn on_priority_update(&mut self, payload: &[u8], now: Instant) -> Result<(), ConnectionError> {
        // At least 4 bytes, as its header was checked for.
        let value = payload.get(4..).unwrap_or_default();
        self.floods.count(Flood::Priorities, now)?;
        let id = u32_at(payload, 0) & 0x7fff_ffff;
        if id.is_multiple_of(2) {
            return Err(ConnectionError::protocol("PRIORITY_UPDATE of a stream that no client opens"));
        }
        let priority = Priority::parse(value);
        if let Some(at) = self.streams.find(id) {
            self.streams.at(at).priority = priority;
        } else if id > self.ids.last_opened {
            self.streams.hint(id, priority, self.ids.last_opened);
        }
        Ok(())
    }

    /// Decides on content that is still to come for a request that has been answered (§8.1), when
    /// the client cannot go on without a new window. Up to a limit it gets one, because several
    /// clients (curl 7.88, httpx) lose a response behind which the stream is reset. Beyond the
    /// limit the stream is reset.
    pub(super) fn stop_if_answered(&mut self, shared: &mut SharedBuffers<T>, at: usize) {
        let stream = self.streams.at(at);
        let id = stream.id;
        let (Local::Finished, Remote::Open { window, received, expected }) =
            (&stream.local, &mut stream.remote)
        else {
            return;
        };
        let fits =
            expected.is_some_and(|expected| expected.saturating_sub(*received) <= (*window).max(0) as u64);
        if fits {
            return;
        }
        let total = expected.unwrap_or(*received);
        if total > UNWANTED_MAX {
            self.reset_at(shared, at, ErrorCode::NoError);
        } else if *window <= WINDOW_INITIAL / 2 {
            let more = (WINDOW_INITIAL - *window) as u32;
            *window = WINDOW_INITIAL;
            self.enqueue(shared, Kind::WindowUpdate, 0, id, &more.to_be_bytes());
        }
    }
}
