//! Traffic secrets on their way from rustls to the record layer.
//!
//! rustls hands over keys, but not the secrets that the next keys are derived from. Those stay in
//! what it calls a kernel connection, 0.8 kB for each of ours. But it passes the secrets to a key
//! log as soon as it has them. They are caught there, and at the hand-over the keys derived from
//! them must be the keys that rustls gives.

use super::identity::CertificateNames;
use crate::record::{Aead, RecordError, Start};
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{ConnectionTrafficSecrets, KeyLog};
use std::cell::RefCell;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The first traffic secrets of a TLS 1.3 connection, empty until they are known, the host name,
/// and the names in the certificate.
#[derive(Default)]
pub(super) struct Caught {
    pub(super) client: Zeroizing<Vec<u8>>,
    pub(super) server: Zeroizing<Vec<u8>>,
    /// The host name in the first ClientHello.
    pub(super) server_name: Option<Box<str>>,
    /// The names in the certificate that was chosen for it.
    pub(super) names: Option<Arc<CertificateNames>>,
}

/// The key log of every connection. Nothing is logged: a secret stays on this thread until
/// [`Caught::collect`].
#[derive(Debug)]
pub(super) struct Catcher;

thread_local! {
    static TOLD: RefCell<Caught> = RefCell::default();
}

impl KeyLog for Catcher {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        TOLD.with_borrow_mut(|told| match label {
            // As a whole, so that what is there is wiped.
            CLIENT => told.client = Zeroizing::new(secret.to_vec()),
            SERVER => told.server = Zeroizing::new(secret.to_vec()),
            _ => {}
        });
    }

    fn will_log(&self, label: &str) -> bool {
        matches!(label, CLIENT | SERVER)
    }
}

/// Leaves the host name of a ClientHello, and the names in the certificate that is chosen for it,
/// for [`Caught::collect`]. rustls shows them only to the code that chooses a certificate.
pub(super) fn tell_chosen(name: Option<&str>, names: Option<&Arc<CertificateNames>>) {
    TOLD.with_borrow_mut(|told| {
        told.server_name = name.map(str::to_ascii_lowercase).map(Box::from);
        told.names = names.cloned();
    });
}

impl Caught {
    /// Takes what this thread's last call into rustls left. It has to be called after each of them,
    /// so that nothing is left for the next connection.
    pub(super) fn collect(&mut self) {
        TOLD.with_borrow_mut(|told| {
            for (mine, told) in [(&mut self.client, &mut told.client), (&mut self.server, &mut told.server)] {
                if !told.is_empty() {
                    *mine = std::mem::take(told);
                }
            }
            let server_name = told.server_name.take();
            if self.server_name.is_none() {
                self.server_name = server_name;
            }
            if let Some(names) = told.names.take() {
                self.names = Some(names);
            }
        });
    }
}

/// The labels of the key log (RFC 9850 §2.1).
const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

/// Returns the key that rustls gives, in TLS 1.3 with the secret that it must come from.
///
/// All is borrowed: rustls wipes the copies that it made when it drops them.
pub(crate) fn start<'a>(
    seq: u64,
    given: &'a ConnectionTrafficSecrets,
    secret: Option<&'a [u8]>,
) -> Result<Start<'a>, RecordError> {
    let (aead, key, iv): (Aead, &AeadKey, &Iv) = match given {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Aead::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Aead::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Aead::ChaCha20Poly1305, key, iv),
        // The provider offers no other suite; the enum may grow.
        _ => return Err(RecordError::Crypto),
    };
    Ok(Start { seq, aead, key: key.as_ref(), iv: iv.as_ref(), secret })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::alone::{is_alone, snapshot};

    fn secret(seed: u8) -> Vec<u8> {
        (0..48_u8).map(|at| at.wrapping_mul(seed).rotate_left(3) ^ seed).collect()
    }

    #[test]
    fn what_is_told_is_collected_once() {
        let mut caught = Caught::default();
        caught.collect();
        assert!(caught.client.is_empty() && caught.server.is_empty());
        Catcher.log(CLIENT, &[], &[1; 32]);
        Catcher.log("EXPORTER_SECRET", &[], &[2; 32]);
        Catcher.log(SERVER, &[], &[3; 32]);
        caught.collect();
        assert_eq!((&caught.client[..], &caught.server[..]), (&[1; 32][..], &[3; 32][..]));
        // Nothing is left for another, and what is not told again stays.
        let mut other = Caught::default();
        other.collect();
        assert!(other.client.is_empty() && other.server.is_empty());
        caught.collect();
        assert_eq!(caught.client.len(), 32);
        assert!(Catcher.will_log(SERVER) && !Catcher.will_log("CLIENT_HANDSHAKE_TRAFFIC_SECRET"));
    }

    #[test]
    fn what_is_caught_leaves_nothing_in_memory() {
        if !is_alone() {
            return;
        }
        // All are made first, or they would lie where others have been.
        let [first, second, third, fourth, waits] =
            [101, 103, 107, 109, 113].map(|seed| Zeroizing::new(secret(seed)));
        let tell = |label, secret: &[u8]| Catcher.log(label, &[], secret);
        let mut caught = Caught::default();
        tell(CLIENT, &first);
        caught.collect();
        tell(CLIENT, &second);
        caught.collect();
        drop(caught);
        std::thread::scope(|scope| scope.spawn(|| tell(CLIENT, &third)).join().unwrap());
        // The second time before it has been collected.
        tell(SERVER, &fourth);
        tell(SERVER, &waits);
        drop([first, second, third, fourth, waits]);
        let Some(snapshot) = snapshot() else { return };
        let told = [("first", 101), ("second", 103), ("third", 107), ("fourth", 109), ("waits", 113)];
        let told = told.map(|(name, seed)| (name, secret(seed)));
        assert_eq!(snapshot.find(&told), [("waits", 3)], "its three parts, and nothing else");
    }
}
