//! TLS 1.3 decryption during the handshake, with checks of RFC 8446 for which rustls sends the
//! wrong alert or none.
//!
//! An alert or a handshake message without content (§5.4), a record that is all padding (§5.4) and
//! a record between the fragments of a handshake message (§5.1) are to be answered by
//! unexpected_message. rustls 0.23 answers the first by decode_error and the others by nothing. All
//! are found here, as soon as a record is decrypted.

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::{
    ConnectionTrafficSecrets, ContentType, Error, PeerMisbehaved, SupportedCipherSuite, Tls13CipherSuite,
};
use std::sync::OnceLock;

/// Returns the given suites, those of TLS 1.3 wrapped.
pub(super) fn strict(suites: Vec<SupportedCipherSuite>) -> Vec<SupportedCipherSuite> {
    suites.into_iter().map(wrapped).collect()
}

/// Returns the wrapped suite. Suites live for ever, so each is wrapped once in a process.
fn wrapped(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    static WRAPPED: [OnceLock<Tls13CipherSuite>; 3] = [const { OnceLock::new() }; 3];
    let SupportedCipherSuite::Tls13(inner) = suite else { return suite };
    for place in &WRAPPED {
        let wrapped = place.get_or_init(|| wrap(inner));
        if wrapped.common.suite == inner.common.suite {
            return SupportedCipherSuite::Tls13(wrapped);
        }
    }
    suite
}

fn wrap(inner: &'static Tls13CipherSuite) -> Tls13CipherSuite {
    let rustls::crypto::CipherSuiteCommon { suite, hash_provider, confidentiality_limit } = inner.common;
    Tls13CipherSuite {
        common: rustls::crypto::CipherSuiteCommon { suite, hash_provider, confidentiality_limit },
        hkdf_provider: inner.hkdf_provider,
        aead_alg: Box::leak(Box::new(Strict(inner.aead_alg))),
        quic: None,
    }
}

struct Strict(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for Strict {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.0.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(StrictDecrypter { inner: self.0.decrypter(key, iv), messages: Messages::default() })
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

struct StrictDecrypter {
    inner: Box<dyn MessageDecrypter>,
    messages: Messages,
}

impl MessageDecrypter for StrictDecrypter {
    fn decrypt<'a>(
        &mut self,
        msg: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        // The only error of a decrypter that rustls turns into unexpected_message.
        let refused = PeerMisbehaved::IllegalMiddleboxChangeCipherSpec;
        let plain = match self.inner.decrypt(msg, seq) {
            Err(Error::PeerMisbehaved(PeerMisbehaved::IllegalTlsInnerPlaintext)) => {
                return Err(refused.into());
            }
            decrypted => decrypted?,
        };
        let is_right = match plain.typ {
            ContentType::Handshake => !plain.payload.is_empty(),
            ContentType::Alert => !plain.payload.is_empty() && self.messages.is_whole(),
            _ => self.messages.is_whole(),
        };
        if !is_right {
            return Err(refused.into());
        }
        if plain.typ == ContentType::Handshake {
            self.messages.pass(plain.payload);
        }
        Ok(plain)
    }
}

/// A tracker of the boundaries between handshake messages.
#[derive(Default)]
struct Messages {
    /// The header of the present message (RFC 8446 §4), as far as it has come.
    header: [u8; HEADER],
    len: usize,
    /// Bytes of its body to come, once the header is whole.
    missing: usize,
}

impl Messages {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.missing == 0 {
                let taken = bytes.len().min(HEADER - self.len);
                self.header[self.len..self.len + taken].copy_from_slice(&bytes[..taken]);
                self.len += taken;
                bytes = &bytes[taken..];
                if self.len < HEADER {
                    return;
                }
                let [_, a, b, c] = self.header;
                self.missing = u32::from_be_bytes([0, a, b, c]) as usize;
                self.len = 0;
            }
            let taken = bytes.len().min(self.missing);
            self.missing -= taken;
            bytes = &bytes[taken..];
        }
    }

    fn is_whole(&self) -> bool {
        self.len == 0 && self.missing == 0
    }
}

const HEADER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::ProtocolVersion;

    /// Takes the first byte for the content type and the rest for the content.
    struct NoCipher;

    impl MessageDecrypter for NoCipher {
        fn decrypt<'a>(
            &mut self,
            msg: InboundOpaqueMessage<'a>,
            _seq: u64,
        ) -> Result<InboundPlainMessage<'a>, Error> {
            if msg.payload.is_empty() {
                return Err(PeerMisbehaved::IllegalTlsInnerPlaintext.into());
            }
            let (typ, len) = (ContentType::from(msg.payload[0]), msg.payload.len());
            Ok(InboundPlainMessage { typ, ..msg.into_plain_message_range(1..len) })
        }
    }

    #[test]
    fn what_is_not_right_is_refused() {
        let refused = PeerMisbehaved::IllegalMiddleboxChangeCipherSpec;
        let run = |records: &[&[u8]]| {
            let mut strict = StrictDecrypter { inner: Box::new(NoCipher), messages: Messages::default() };
            for (at, record) in records.iter().enumerate() {
                let mut payload = record.to_vec();
                let (typ, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_2);
                match strict.decrypt(InboundOpaqueMessage::new(typ, version, &mut payload), at as u64) {
                    Ok(plain) => assert_eq!(plain.payload, &record[1..]),
                    Err(error) => {
                        assert_eq!(error, refused.clone().into());
                        return Some(at);
                    }
                }
            }
            None
        };
        // A Finished, whole and in pieces; an alert; data.
        assert_eq!(run(&[&[22, 20, 0, 0, 1, 9], &[21, 2, 40], &[23, 7], &[23]]), None);
        assert_eq!(run(&[&[22, 20, 0], &[22, 0, 1], &[22, 9], &[21, 1, 0]]), None);
        // RFC 8446 §5.4: neither an alert nor a handshake message is empty.
        assert_eq!(run(&[&[21]]), Some(0));
        assert_eq!(run(&[&[22]]), Some(0));
        assert_eq!(run(&[&[22, 20, 0], &[22]]), Some(1));
        // RFC 8446 §5.4: all padding.
        assert_eq!(run(&[&[23, 7], &[]]), Some(1));
        // RFC 8446 §5.1: nothing comes between the pieces of a message.
        assert_eq!(run(&[&[22, 20, 0], &[21, 2, 40]]), Some(1));
        assert_eq!(run(&[&[22, 20, 0, 0, 1], &[23]]), Some(1));
        assert_eq!(run(&[&[22, 20, 0, 0, 1, 9, 20], &[23, 7]]), Some(1));
    }

    #[test]
    fn the_suites_of_tls_1_3_are_wrapped_once() {
        let suites = || strict(rustls::crypto::aws_lc_rs::default_provider().cipher_suites);
        let (one, other) = (suites(), suites());
        assert_eq!(one.len(), 9);
        let mut wrapped = 0;
        for (one, other) in one.iter().zip(&other) {
            if let (SupportedCipherSuite::Tls13(one), SupportedCipherSuite::Tls13(other)) = (one, other) {
                assert!(std::ptr::eq(*one, *other) && one.quic.is_none(), "{:?}", one.common.suite);
                wrapped += 1;
            }
        }
        assert_eq!(wrapped, 3);
    }

    #[test]
    fn messages_are_told_apart() {
        let mut messages = Messages::default();
        assert!(messages.is_whole());
        for (bytes, whole) in [
            (&[20_u8, 0][..], false),
            (&[0, 2, 7], false),
            (&[7], true),
            (&[20, 0, 0, 0], true),
            (&[20, 0, 0, 1, 9, 20, 0, 0, 1], false),
            (&[9, 1], false),
            (&[0, 0, 0], true),
        ] {
            messages.pass(bytes);
            assert_eq!(messages.is_whole(), whole, "{bytes:?}");
        }
    }
}
