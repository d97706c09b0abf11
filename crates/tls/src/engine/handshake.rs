//! The handshake: rustls negotiates, one record at a time, until our record layer can take over.

use super::chooser::{Choice, Chooser};
use super::clients::ClientCa;
use super::config::Config;
use super::encode::encode;
use super::error::{Cause, HandshakeError, Reason};
use super::established::Established;
use super::first_bytes::{FirstBytes, first_bytes};
use super::keys::{Caught, start};
use crate::alert::Alert;
use crate::fault::PeerFault;
use crate::record::{PLAINTEXT_MAX, RecordError, Records, Version};
use crate::stack;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{Error, HandshakeKind, PeerMisbehaved, ProtocolVersion, ServerConfig};
use std::fmt;
use std::sync::Arc;

/// A connection that is still negotiating.
pub struct Handshake {
    /// In a box, because it is large and goes with the handshake.
    rustls: Box<UnbufferedServerConnection>,
    /// Bytes from the peer that rustls has not consumed, at most [`INPUT_MAX`].
    input: Vec<u8>,
    /// The length of `input` that rustls has been shown: whole records, never one more than it
    /// asked for. Otherwise it would decrypt data that belongs to the record layer.
    shown: usize,
    /// Nothing has been given to rustls yet, so this could still be plain HTTP.
    first: bool,
    /// rustls has been shown a record, and may hold the state of a negotiation.
    has_begun: bool,
    /// The last flight may be followed by encrypted records, so from here on only rustls sends
    /// alerts.
    sealing: bool,
    caught: Caught,
    seals_max: Option<u64>,
    /// Finds the configuration of the host; `None`: it is found, or there is only one.
    chooser: Option<Box<Chooser>>,
    /// What has to certify the client, and the configuration in which it does.
    certifier: Option<(ClientCa, Arc<ServerConfig>)>,
    /// It answers a challenge.
    is_challenge: bool,
}

impl Handshake {
    /// Starts a handshake, which waits for a ClientHello.
    ///
    /// # Errors
    /// [`HandshakeError::Ours`], should the TLS library refuse the configuration.
    pub fn new(config: &Config) -> Result<Self, HandshakeError> {
        let rustls =
            UnbufferedServerConnection::new(config.server().clone()).map_err(HandshakeError::from_rustls)?;
        Ok(Self {
            rustls: Box::new(rustls),
            input: Vec::new(),
            shown: 0,
            first: true,
            has_begun: false,
            sealing: false,
            caught: Caught::default(),
            seals_max: config.seals_max(),
            chooser: config.chooser().map(Box::new),
            certifier: None,
            is_challenge: false,
        })
    }

    /// Returns the bytes of memory that the handshake holds: input, and no less than what the TLS
    /// library has taken for its state.
    #[must_use]
    pub fn memory(&self) -> usize {
        let state = if self.has_begun { STATE } else { STATE_AT_FIRST };
        let choosing = if self.chooser.is_some() { CHOOSING + self.input.capacity() } else { 0 };
        let certified = if self.certifier.is_some() { CERTIFIED } else { 0 };
        size_of::<UnbufferedServerConnection>() + state + choosing + certified + self.input.capacity()
    }

    /// Takes bytes from the peer, in pieces of any size, and appends to `out` what must be sent. On
    /// failure that is the alert; when done, it has to be sent before the first record that is
    /// sealed.
    pub fn on_bytes(self, input: &[u8], out: &mut Vec<u8>) -> HandshakeStep {
        let mut has_worked = false;
        let step = stack::below(|| self.work(input, out, &mut has_worked));
        // Not for each piece of a record: most pieces that a slow or hostile peer sends cause no
        // computation.
        if has_worked {
            stack::overwrite();
        }
        step
    }

    /// `has_worked` is set as soon as rustls has been given a record.
    fn work(mut self, mut input: &[u8], out: &mut Vec<u8>, has_worked: &mut bool) -> HandshakeStep {
        loop {
            // In portions, so that the input that is kept stays bounded however much comes at once.
            let room = INPUT_MAX - self.input.len();
            let (portion, later) = input.split_at(room.min(input.len()));
            if portion.is_empty() && !input.is_empty() {
                self.alert_in_clear(Alert::DecodeError, out);
                return HandshakeStep::Failed(HandshakeError::TooLarge);
            }
            let seen = self.looked_at();
            self.input.extend_from_slice(portion);
            input = later;

            if self.first {
                match first_bytes(&self.input) {
                    FirstBytes::PlainHttp => {
                        let head = self.input.starts_with(b"HEAD ");
                        return HandshakeStep::Failed(HandshakeError::PlainHttp { head });
                    }
                    FirstBytes::Unclear => return HandshakeStep::More(self),
                    FirstBytes::NotHttp => self.first = false,
                }
            }
            match self.choose(seen) {
                Ok(true) => {}
                Ok(false) if input.is_empty() => return HandshakeStep::More(self),
                Ok(false) => continue,
                Err(error) => return HandshakeStep::Failed(error),
            }
            match self.advance(out, has_worked) {
                Ok(Progress::Blocked) if input.is_empty() => return HandshakeStep::More(self),
                Ok(Progress::Blocked) => {}
                Ok(Progress::Complete) => {
                    let established = self.complete(input, out).map(Box::new);
                    return established.map_or_else(HandshakeStep::Failed, HandshakeStep::Done);
                }
                Err(Failure { error, alert }) => {
                    let before = out.len();
                    self.flush(out);
                    if out.len() == before && matches!(error, HandshakeError::Peer(_)) {
                        self.alert_in_clear(alert, out);
                    }
                    return HandshakeStep::Failed(error);
                }
            }
        }
    }

    /// Returns how many bytes the chooser has seen: none before the first ones are known not to be
    /// HTTP.
    fn looked_at(&self) -> usize {
        if self.first { 0 } else { self.input.len() }
    }

    /// Finds the configuration of the host, if that has not been done. Returns whether it is known;
    /// for that, the whole first message is needed. `seen` bytes have been looked at.
    fn choose(&mut self, seen: usize) -> Result<bool, HandshakeError> {
        let Some(chooser) = &mut self.chooser else { return Ok(true) };
        match chooser.look(&self.input[seen..]) {
            Choice::More => return Ok(false),
            Choice::Server => {}
            Choice::Guarded(guarded) => {
                self.begin_with(&guarded.server)?;
                self.certifier = Some((guarded.ca, guarded.server));
            }
            Choice::Challenge(server) => {
                self.begin_with(&server)?;
                self.is_challenge = true;
            }
        }
        self.chooser = None;
        Ok(true)
    }

    /// Negotiates in another configuration, from the first message on.
    fn begin_with(&mut self, server: &Arc<ServerConfig>) -> Result<(), HandshakeError> {
        let rustls = UnbufferedServerConnection::new(Arc::clone(server));
        *self.rustls = rustls.map_err(HandshakeError::from_rustls)?;
        Ok(())
    }

    /// Lets rustls work until it needs more than there is.
    fn advance(&mut self, out: &mut Vec<u8>, has_worked: &mut bool) -> Result<Progress, Failure> {
        let out_start = out.len();
        loop {
            let UnbufferedStatus { discard, state } =
                self.rustls.process_tls_records(&mut self.input[..self.shown]);
            self.caught.collect();
            let turn = match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let start = out.len();
                    encode(&mut data, out)?;
                    self.sealing |= seals(&out[start..]);
                    Turn::Again
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // It is in `out`, which the caller sends before anything else.
                    data.done();
                    Turn::Again
                }
                Ok(ConnectionState::BlockedHandshake) => Turn::NeedsInput,
                Ok(ConnectionState::WriteTraffic(_)) => Turn::Complete,
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    return Err(HandshakeError::Closed.into());
                }
                // ReadTraffic and ReadEarlyData: neither can come as long as records are shown
                // singly and early data is refused. Better an error than data that is lost.
                Ok(_) => {
                    return Err(HandshakeError::ours("data before the end of the handshake").into());
                }
                Err(error) => return Err(Failure::from_rustls(error)),
            };
            self.discard(discard);
            if out.len() - out_start > OUTPUT_MAX {
                return Err(HandshakeError::ours("the handshake sends too much").into());
            }
            match turn {
                Turn::Again => {}
                Turn::Complete => return Ok(Progress::Complete),
                Turn::NeedsInput => {
                    self.check_next()?;
                    if !self.show_one_more() {
                        return Ok(Progress::Blocked);
                    }
                    *has_worked = true;
                    self.has_begun = true;
                }
            }
        }
    }

    fn discard(&mut self, discard: usize) {
        let discard = discard.min(self.shown);
        self.input.drain(..discard);
        self.shown -= discard;
        // The wait for the next flight is the longest one, and a peer may never end it.
        if self.input.is_empty() {
            self.input = Vec::new();
        }
    }

    /// Shows rustls the next record if it is whole.
    fn show_one_more(&mut self) -> bool {
        let Some(&[content_type, major, _, high, low]) = self.input[self.shown..].first_chunk() else {
            return false;
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let end = if !CONTENT_TYPES.contains(&content_type) || major != 3 || len > RECORD_BODY_MAX {
            // rustls refuses it by its header, with the right alert: no need to wait for a body
            // that may never come.
            self.input.len()
        } else {
            self.shown + HEADER + len
        };
        let more = end <= self.input.len() && end > self.shown;
        if more {
            self.shown = end;
        }
        more
    }

    /// Checks the next record, as long as nothing is encrypted, for faults that rustls accepts or
    /// answers by another alert.
    fn check_next(&self) -> Result<(), Failure> {
        let Some(&[content_type, _, _, high, low]) = self.input[self.shown..].first_chunk() else {
            return Ok(());
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (fault, why, alert) = match content_type {
            // RFC 8446 §5.1: 2^14 bytes in the clear.
            HANDSHAKE if len > PLAINTEXT_MAX => {
                (PeerFault::RecordTooLong, "peer sent a record that is too long", Alert::RecordOverflow)
            }
            // RFC 5246 §7.1, RFC 8446 §5: one byte, of which rustls sees that it is 1.
            CHANGE_CIPHER_SPEC if len != 1 => (
                PeerFault::UnexpectedMessage,
                "peer sent a wrong change_cipher_spec",
                Alert::UnexpectedMessage,
            ),
            _ => return Ok(()),
        };
        if self.sealing {
            return Ok(());
        }
        Err(Failure { error: HandshakeError::Peer(Reason(Cause::Peer(fault, why))), alert })
    }

    /// Appends what rustls has queued before an error, the alert last.
    fn flush(&mut self, out: &mut Vec<u8>) {
        for _ in 0..FLUSH_MAX {
            // Only as long as something is queued: then rustls does not look at the input, of which
            // it may still hold positions that are no longer right.
            if !self.rustls.wants_write() {
                return;
            }
            let Ok(ConnectionState::EncodeTlsData(mut data)) = self.rustls.process_tls_records(&mut []).state
            else {
                return;
            };
            if encode(&mut data, out).is_err() {
                return;
            }
        }
    }

    /// Appends an alert in the clear, where rustls is not asked or sends none.
    fn alert_in_clear(&self, alert: Alert, out: &mut Vec<u8>) {
        if !self.sealing {
            let [level, code] = alert.encode();
            out.extend_from_slice(&[ALERT, 3, 3, 0, 2, level, code]);
        }
    }

    /// Ends the handshake; or, with an alert, the connection.
    fn complete(self, later: &[u8], out: &mut Vec<u8>) -> Result<Established, HandshakeError> {
        let certified = self.is_certified_still();
        let mut established = self.hand_over(later)?;
        certified.inspect_err(|_| {
            let mut record = [0; ALERT_ROOM];
            let sealed = established.records.seal_alert(Alert::CertificateExpired, &mut record);
            out.extend_from_slice(&record[..sealed.unwrap_or(0)]);
        })?;
        Ok(established)
    }

    /// Checks the client's certificate where it came by a ticket: rustls takes it as it was, and
    /// gives the connection new tickets.
    fn is_certified_still(&self) -> Result<(), HandshakeError> {
        let Some((ca, config)) = &self.certifier else { return Ok(()) };
        if self.rustls.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        let chain = self.rustls.peer_certificates().unwrap_or_default();
        ca.check(chain, config.time_provider.current_time()).map_err(HandshakeError::from_rustls)
    }

    /// Takes the secrets out of rustls and drops the rest of it.
    fn hand_over(self, later: &[u8]) -> Result<Established, HandshakeError> {
        let alpn = self.rustls.alpn_protocol().map(<[u8]>::to_vec);
        let resumed = self.rustls.handshake_kind() == Some(HandshakeKind::Resumed);
        let suite = self.rustls.negotiated_cipher_suite().map_or(0, |suite| suite.suite().into());
        let key_exchange =
            self.rustls.negotiated_key_exchange_group().and_then(|group| group.name().as_str());
        let version = match self.rustls.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
            Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
            _ => return Err(HandshakeError::ours("a version that was not offered")),
        };
        let mut rest = self.input;
        rest.extend_from_slice(later);

        let (secrets, _) =
            self.rustls.dangerous_into_kernel_connection().map_err(HandshakeError::from_rustls)?;
        let (client, server) = match version {
            Version::Tls13 => (Some(&**self.caught.client), Some(&**self.caught.server)),
            Version::Tls12 => (None, None),
        };
        let keys = |error: RecordError| HandshakeError::Ours(Reason(Cause::Record(error)));
        let receiving = start(secrets.rx.0, &secrets.rx.1, client).map_err(keys)?;
        let sending = start(secrets.tx.0, &secrets.tx.1, server).map_err(keys)?;
        let mut records = Records::new(version, &receiving, &sending).map_err(keys)?;
        if let Some(max) = self.seals_max {
            records.limit_seals(max);
        }
        let Caught { server_name, names, .. } = self.caught;
        let client_ca = self.certifier.map(|(ca, _)| ca);
        let is_challenge = self.is_challenge;
        Ok(Established {
            records,
            alpn,
            server_name,
            names,
            client_ca,
            is_challenge,
            resumed,
            version,
            suite,
            key_exchange,
            rest,
        })
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("input", &self.input.len()).finish_non_exhaustive()
    }
}

/// The state of a handshake after some bytes.
#[derive(Debug)]
pub enum HandshakeStep {
    /// It needs more from the peer.
    More(Handshake),
    /// It is complete.
    Done(Box<Established>),
    /// It is over; `out` holds the alert, if one can be sent.
    Failed(HandshakeError),
}

enum Progress {
    Blocked,
    Complete,
}

/// An error, and the alert to send where rustls sends none.
struct Failure {
    error: HandshakeError,
    alert: Alert,
}

impl Failure {
    fn from_rustls(error: Error) -> Self {
        use PeerMisbehaved::{MessageInterleavedWithHandshakeMessage, TooManyEmptyFragments};
        let alert = match &error {
            // RFC 8446 §5.1.
            Error::PeerMisbehaved(MessageInterleavedWithHandshakeMessage | TooManyEmptyFragments) => {
                Alert::UnexpectedMessage
            }
            // For example a message whose header announces too much.
            _ => Alert::DecodeError,
        };
        Self { error: HandshakeError::from_rustls(error), alert }
    }
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self { error, alert: Alert::DecodeError }
    }
}

enum Turn {
    Again,
    NeedsInput,
    Complete,
}

/// Returns whether there is a change_cipher_spec or an encrypted record of TLS 1.3 among these
/// records.
fn seals(mut records: &[u8]) -> bool {
    while let Some(&[content_type, _, _, high, low]) = records.first_chunk() {
        if matches!(content_type, CHANGE_CIPHER_SPEC | APPLICATION_DATA) {
            return true;
        }
        let len = HEADER + usize::from(u16::from_be_bytes([high, low]));
        records = records.get(len..).unwrap_or_default();
    }
    false
}

const HEADER: usize = 5;

/// Bytes of a sealed alert, at most.
const ALERT_ROOM: usize = 64;
/// RFC 8446 §5.1.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// RFC 8446 §5.1, and heartbeat.
const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// rustls takes no record body of this size or more, in either version.
const RECORD_BODY_MAX: usize = (1 << 14) + 2048 - 1;

/// Bytes of the peer that are kept. rustls takes handshake messages up to 64 KiB, but a client
/// without a certificate sends a few kB at most, with post-quantum key shares and tickets. A record
/// must fit.
const INPUT_MAX: usize = 32 * 1024;

/// Bytes that rustls 0.23 and aws-lc hold on the heap for a handshake, at most: before the first
/// record (980 were measured, by resident memory), and after it (3,900 with TLS 1.3, 2,200 with
/// 1.2).
const STATE_AT_FIRST: usize = 1024;
const STATE: usize = 4096;

/// Bytes of the connection that reads the first message for the name in it, besides the message.
const CHOOSING: usize = 8 * 1024;
/// Bytes of a client's certificates that rustls keeps until the end, at most.
const CERTIFIED: usize = INPUT_MAX;

/// Bytes sent in answer to one piece of input: the certificate chain, which is bounded where it is
/// read, and the rest of the flight.
const OUTPUT_MAX: usize = 64 * 1024;

/// Turns in which to fetch what rustls has queued when it fails: more than there can be.
const FLUSH_MAX: usize = 8;

const _: () = assert!(INPUT_MAX > HEADER + RECORD_BODY_MAX);
