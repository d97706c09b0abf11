//! Traffic secrets on their way from rustls to the record layer.

use crate::record::{Aead, RecordError, TrafficKey};
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;

/// Derives the keys that follow a KeyUpdate (RFC 8446 §7.2).
///
/// All that is kept of rustls after the handshake. Boxed, because most connections never use it.
pub(crate) struct KeySchedule(Box<KernelConnection<ServerConnectionData>>);

impl KeySchedule {
    pub(super) fn new(kernel: KernelConnection<ServerConnectionData>) -> Self {
        Self(Box::new(kernel))
    }

    /// The next receiving key and its first sequence number.
    pub(crate) fn next_receiving(&mut self) -> Result<(u64, TrafficKey), RecordError> {
        let (seq, secrets) = self.0.update_rx_secret().map_err(|_| RecordError::Crypto)?;
        Ok((seq, traffic_key(&secrets)?))
    }

    /// The next sending key and its first sequence number.
    pub(crate) fn next_sending(&mut self) -> Result<(u64, TrafficKey), RecordError> {
        let (seq, secrets) = self.0.update_tx_secret().map_err(|_| RecordError::Crypto)?;
        Ok((seq, traffic_key(&secrets)?))
    }
}

/// Expands a secret. The copy that rustls made is wiped when it drops it.
pub(crate) fn traffic_key(secrets: &ConnectionTrafficSecrets) -> Result<TrafficKey, RecordError> {
    let (aead, key, iv): (Aead, &AeadKey, &Iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Aead::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Aead::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Aead::ChaCha20Poly1305, key, iv),
        // The provider offers no other suite; the enum may grow.
        _ => return Err(RecordError::Crypto),
    };
    let iv = iv.as_ref().try_into().map_err(|_| RecordError::Crypto)?;
    TrafficKey::new(aead, key.as_ref(), iv)
}
