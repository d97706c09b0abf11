//! The record layer of an established connection (RFC 8446 §5, RFC 5246 §6.2 with RFC 5288 and RFC
//! 7905).
//!
//! Receiving and sending are two halves with a key each. A half holds its key only while it may be
//! used. A close or a failure drops it, so nothing can be sealed after close_notify or opened after
//! a bad MAC.

mod cipher;
mod error;
mod expanded;
mod kernel;
#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod memory_tests;
mod open;
pub(crate) mod properties;
mod seal;
mod secret;
#[cfg(test)]
mod tests;

pub use cipher::Aead;
pub(crate) use cipher::{Start, TrafficKey};
pub use error::RecordError;
pub use kernel::SealingKey;
pub use open::{Frame, Opened};

use crate::alert::Alert;
use crate::stack;
use open::Receiving;
use seal::Sending;
use std::fmt;

/// The record layer of one connection, both directions.
///
/// Neither opening nor sealing allocates, except with a new key: after the handshake, a KeyUpdate,
/// and [`drop_expanded_keys`](Self::drop_expanded_keys).
///
/// It is a pointer: the secrets stay where they were put first, so that only this place has to be
/// wiped.
pub struct Records(Box<Halves>);

struct Halves {
    version: Version,
    receiving: Receiving,
    sending: Sending,
}

impl Drop for Halves {
    fn drop(&mut self) {
        // The keys wipe themselves. The libraries' intermediate values are on the stack: HKDF
        // leaves secrets there, ring expanded keys, and aws-lc's ChaCha20 its key. This is not done
        // after each record, where it would cost more than the record.
        stack::overwrite();
    }
}

impl Records {
    /// Begins both directions.
    pub(crate) fn new(
        version: Version,
        receiving: &Start<'_>,
        sending: &Start<'_>,
    ) -> Result<Self, RecordError> {
        let (receiver, sender) = (Receiving::blank(version), Sending::blank(version));
        let mut halves = Box::new(Halves { version, receiving: receiver, sending: sender });
        halves.receiving.begin(receiving)?;
        halves.sending.begin(sending)?;
        Ok(Self(halves))
    }

    /// Returns the protocol version of the connection.
    #[must_use]
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Frees the memory of the expanded keys, 1.3 kB in all, while a connection is idle. The next
    /// record in each direction expands its key again, which takes 0.13 µs and an allocation.
    pub fn drop_expanded_keys(&mut self) {
        self.0.receiving.fold_key();
        self.0.sending.fold_key();
    }

    // Receiving.

    /// Finds the record at the start of `bytes` by its header. Nothing is decrypted and nothing
    /// changes.
    ///
    /// # Errors
    /// The header has a content type, a version or a length that no record may have here. The
    /// connection cannot go on, as there is no way to find the next record.
    pub fn frame(&self, bytes: &[u8]) -> Result<Frame, RecordError> {
        open::frame(self.0.version, bytes)
    }

    /// Decrypts one whole record, as [`frame`](Self::frame) delimited it, where it lies.
    ///
    /// # Errors
    /// Every error ends the receiving half: later calls return [`RecordError::Closed`], as they do
    /// after [`Opened::CloseNotify`] and [`Opened::Alert`]. [`RecordError::alert`] is the alert to
    /// send.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<Opened<'a>, RecordError> {
        let opened = self.0.receiving.open(record);
        if matches!(opened, Err(_) | Ok(Opened::CloseNotify | Opened::Alert(_))) {
            self.0.receiving.close();
        }
        opened
    }

    // Sending.

    /// Returns the bytes of a sealed record in front of the ciphertext.
    #[must_use]
    pub fn prefix(&self) -> usize {
        self.0.sending.prefix()
    }

    /// Returns the bytes of a sealed record behind the ciphertext of the given plaintext.
    #[must_use]
    pub fn suffix(&self) -> usize {
        self.0.sending.suffix()
    }

    /// Returns how many more records of data the sending key may seal; 0 once the sending half is
    /// closed.
    ///
    /// Before this runs out, TLS 1.3 goes on with [`seal_key_update`](Self::seal_key_update), and
    /// TLS 1.2 must close. A few seals are kept back so that either is still possible.
    #[must_use]
    pub fn seals_left(&self) -> u64 {
        self.0.sending.left()
    }

    /// Limits a sending key to fewer records than its AEAD allows, at least four; for tests of the
    /// limit.
    pub(crate) fn limit_seals(&mut self, max: u64) {
        self.0.sending.limit_seals(max.max(seal::SEALS_MIN));
    }

    /// Returns how many bytes of a large body the next record should hold: as much as fits into a
    /// segment of TCP for the first 64 KiB of a connection and after
    /// [`restart_small_records`](Self::restart_small_records), [`PLAINTEXT_MAX`] later. It is a
    /// hint; sealing takes any size.
    #[must_use]
    pub fn size_hint(&self) -> usize {
        self.0.sending.size_hint()
    }

    /// Makes the next records small again, when a connection has been idle for so long that TCP
    /// starts slowly again.
    pub fn restart_small_records(&mut self) {
        self.0.sending.restart_small_records();
    }

    /// Seals the plaintext at `record[prefix..prefix + len]` where it lies, and returns the length
    /// of the record.
    ///
    /// This consumes a sequence number: the same record is never sealed twice, and records must be
    /// sent in the order in which they were sealed.
    ///
    /// # Errors
    /// [`RecordError::PlaintextTooLong`] and [`RecordError::BufferTooSmall`] change nothing; see
    /// also [`RecordError::KeyExhausted`] and [`RecordError::Closed`].
    pub fn seal_in_place(&mut self, record: &mut [u8], len: usize) -> Result<usize, RecordError> {
        self.0.sending.seal_data_in_place(record, len)
    }

    /// Seals `plain` into `record`: reads it once and writes the record once. Returns the length of
    /// the record.
    ///
    /// # Errors
    /// As [`seal_in_place`](Self::seal_in_place).
    pub fn seal_from(&mut self, plain: &[u8], record: &mut [u8]) -> Result<usize, RecordError> {
        self.0.sending.seal_data(plain, record)
    }

    /// Returns whether a kernel seals what is sent, as [`key_taken`](Self::key_taken) reported.
    /// Sealing here is then an error.
    #[must_use]
    pub fn is_sealed_by_kernel(&self) -> bool {
        self.0.sending.is_sealed_by_kernel()
    }

    /// Returns the sending key, for a kernel that is to seal from the next record on (TLS 1.3
    /// only). Nothing can be sealed here until [`key_taken`](Self::key_taken) is called, so that no
    /// nonce is used on both sides.
    ///
    /// # Errors
    /// [`RecordError::NotInThisVersion`] in TLS 1.2; [`RecordError::Closed`] after an alert, and
    /// when it was offered already.
    pub fn offer_key(&mut self) -> Result<SealingKey, RecordError> {
        self.0.sending.offer_key()
    }

    /// Reports whether the kernel has taken the key that was [offered](Self::offer_key). If not,
    /// sealing goes on here.
    pub fn key_taken(&mut self, taken: bool) {
        self.0.sending.key_taken(taken);
    }

    /// Reports that the kernel was given `len` bytes to seal in one call. Its records count against
    /// [`seals_left`](Self::seals_left), rather too many than too few.
    pub fn count_kernel_send(&mut self, len: usize) {
        self.0.sending.count_kernel_send(len);
    }

    /// Returns the content of an alert record for the kernel to seal, which ends the sending half.
    ///
    /// # Errors
    /// [`RecordError::Closed`] when a kernel does not seal, or after an alert.
    pub fn kernel_alert(&mut self, alert: Alert) -> Result<[u8; 2], RecordError> {
        self.0.sending.kernel_alert(alert)
    }

    /// Returns the content of a KeyUpdate record (update_not_requested) for the kernel to seal with
    /// the key that it has, and the key that it must be given when that record has been sent,
    /// before anything else is.
    ///
    /// # Errors
    /// [`RecordError::Closed`] when a kernel does not seal, or after an alert.
    pub fn kernel_key_update(&mut self) -> Result<([u8; key_update::LEN], SealingKey), RecordError> {
        self.0.sending.kernel_key_update()
    }

    /// Seals an alert and closes the sending half, except for the warning
    /// [`Alert::NoRenegotiation`], which a close follows. Returns the length of the record.
    ///
    /// # Errors
    /// [`RecordError::BufferTooSmall`] changes nothing and the alert can be tried again.
    pub fn seal_alert(&mut self, alert: Alert, record: &mut [u8]) -> Result<usize, RecordError> {
        self.0.sending.seal_alert(alert, record)
    }

    /// Seals a KeyUpdate (update_not_requested) with the old key, then steps the sending key (RFC
    /// 8446 §4.6.3).
    ///
    /// One such answer is enough for any number of [`Opened::KeyUpdateRequested`] that came before
    /// it.
    ///
    /// # Errors
    /// [`RecordError::BufferTooSmall`] changes nothing; [`RecordError::NotInThisVersion`] in TLS
    /// 1.2.
    pub fn seal_key_update(&mut self, record: &mut [u8]) -> Result<usize, RecordError> {
        if self.0.version == Version::Tls12 {
            return Err(RecordError::NotInThisVersion);
        }
        self.0.sending.seal_key_update(record)
    }
}

impl fmt::Debug for Records {
    // By hand, so that no key can end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("version", &self.0.version).finish_non_exhaustive()
    }
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// TLS 1.2, RFC 5246.
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        })
    }
}

/// Content types (RFC 8446 §5.1).
pub mod content_type {
    /// alert.
    pub const ALERT: u8 = 21;
    /// handshake: KeyUpdate among them.
    pub const HANDSHAKE: u8 = 22;
    /// application_data.
    pub const APPLICATION_DATA: u8 = 23;
}

/// The KeyUpdate message (RFC 8446 §4.6.3).
pub(crate) mod key_update {
    /// HandshakeType.
    pub(crate) const TYPE: u8 = 24;
    /// KeyUpdateRequest: no answer is wanted.
    pub(crate) const NOT_REQUESTED: u8 = 0;
    /// KeyUpdateRequest: the receiver must send one, too.
    pub(crate) const REQUESTED: u8 = 1;
    /// Header and body.
    pub(crate) const LEN: usize = 5;
}

/// Bytes of plaintext in one record, at most: 2^14 (RFC 8446 §5.1, RFC 5246 §6.2.1).
pub const PLAINTEXT_MAX: usize = 1 << 14;

/// Bytes of the longest record that is accepted from the peer, header included.
///
/// TLS 1.3 allows 256 bytes of expansion (RFC 8446 §5.2). TLS 1.2 allows 2048 for the cipher, but
/// the AEADs add 24 at most and do not pad. A longer record could only carry too much plaintext,
/// which is the same error, found sooner.
pub const RECORD_MAX: usize = HEADER + PLAINTEXT_MAX + 256;

/// Bytes of the longest record that sealing makes, which is of TLS 1.2 with AES-GCM.
pub const SEALED_MAX: usize = HEADER + EXPLICIT_NONCE + PLAINTEXT_MAX + TAG;

/// Content type, version, length.
pub(crate) const HEADER: usize = 5;
/// Bytes of the tag, of every AEAD here.
pub(crate) const TAG: usize = 16;
/// Bytes of the nonce that TLS 1.2 AES-GCM carries in the record (RFC 5288 §3).
pub(crate) const EXPLICIT_NONCE: usize = 8;

const _: () = assert!(SEALED_MAX <= RECORD_MAX);
const _: () = assert!(RECORD_MAX - HEADER <= u16::MAX as usize);
