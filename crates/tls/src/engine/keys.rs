//! Traffic secrets on their way from rustls to the record layer.
//!
//! rustls hands over keys, but not the secrets that the next keys are derived from: those stay in what it calls a kernel
//! connection, 0.8 kB for each of ours. It does tell a key log the secrets, though, as soon as it has them. So they are caught
//! there, and at the hand-over the keys derived from them must be the keys that rustls gives.

use crate::record::{Aead, RecordError, Secret, TrafficKey};
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{ConnectionTrafficSecrets, KeyLog};
use std::cell::RefCell;
use zeroize::Zeroizing;

/// The first traffic secrets of a TLS 1.3 connection; empty as long as they have not been told.
#[derive(Default)]
pub(super) struct Caught {
    pub(super) client: Zeroizing<Vec<u8>>,
    pub(super) server: Zeroizing<Vec<u8>>,
}

/// The key log of every connection. Nothing is logged: what is told lies on this thread until [`Caught::collect`].
#[derive(Debug)]
pub(super) struct Catcher;

thread_local! {
    static TOLD: RefCell<Caught> = RefCell::default();
}

impl KeyLog for Catcher {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        TOLD.with_borrow_mut(|told| match label {
            CLIENT => *told.client = secret.to_vec(),
            SERVER => *told.server = secret.to_vec(),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER)
    }
}

impl Caught {
    /// Takes what this thread's last call into rustls told. To be called after each, so that nothing is left for the next
    /// connection.
    pub(super) fn collect(&mut self) {
        TOLD.with_borrow_mut(|told| {
            for (mine, told) in [(&mut self.client, &mut told.client), (&mut self.server, &mut told.server)] {
                if !told.is_empty() {
                    *mine = std::mem::take(told);
                }
            }
        });
    }
}

/// The labels of the key log (RFC 9850 §2.1).
const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

/// The key that rustls gives; in TLS 1.3 with the secret that it must come from. The copy that rustls made is wiped when it
/// drops it.
pub(crate) fn traffic_key(
    given: &ConnectionTrafficSecrets,
    secret: Option<&[u8]>,
) -> Result<TrafficKey, RecordError> {
    let (aead, key, iv): (Aead, &AeadKey, &Iv) = match given {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Aead::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Aead::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Aead::ChaCha20Poly1305, key, iv),
        // The provider offers no other suite; the enum may grow.
        _ => return Err(RecordError::Crypto),
    };
    let iv = iv.as_ref().try_into().map_err(|_| RecordError::Crypto)?;
    let given = TrafficKey::new(aead, key.as_ref(), iv)?;
    let Some(secret) = secret else { return Ok(given) };
    let derived = TrafficKey::of(aead, Secret::new(aead, secret)?)?;
    if derived.is(&given) { Ok(derived) } else { Err(RecordError::Crypto) }
}
