//! The credentials of a request (RFC 7617), and what stands for them in a table.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::base64::{self, STANDARD};
use super::htpasswd::{NAME_MAX, PASSWORD_MAX};

/// Bytes of a name, a colon and a password, at most, and as base 64.
const PAIR_MAX: usize = NAME_MAX + 1 + PASSWORD_MAX;
const TOKEN_MAX: usize = PAIR_MAX.div_ceil(3) * 4;

/// A keyed hash of credentials and of the file that they are looked up in. Without the key of
/// this process nothing can be guessed or learned from it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Returns the fingerprint of credentials for a file of users.
    pub(super) fn of(key: &[u8; 32], users: &[u8; 32], token: &[u8]) -> Fingerprint {
        let hash = Sha256::new().chain_update(key).chain_update(users).chain_update(token).finalize();
        let mut short = [0; 16];
        short.iter_mut().zip(hash).for_each(|(byte, other)| *byte = other);
        Fingerprint(short)
    }

    /// Returns a number that is spread evenly.
    pub(super) fn number(self) -> usize {
        usize::from(self.0[0]) << 8 | usize::from(self.0[1])
    }
}

/// A name and a password. Wiped when it is dropped.
pub(super) struct Credentials {
    pair: Zeroizing<[u8; PAIR_MAX]>,
    len: usize,
    colon: usize,
}

impl Credentials {
    /// Returns the token of the scheme Basic (RFC 7617 §2), which is not decoded yet. `None`: it
    /// is another scheme, or longer than any that is right.
    pub(super) fn token(value: &[u8]) -> Option<&[u8]> {
        let (scheme, rest) = value.split_at_checked("Basic ".len())?;
        if !scheme.eq_ignore_ascii_case(b"Basic ") {
            return None;
        }
        let token = rest.trim_ascii_start();
        (token.len() <= TOKEN_MAX && !token.is_empty()).then_some(token)
    }

    /// Decodes a token. `None`: it is no base 64, it has no colon, a control character, or more
    /// bytes than any name or password.
    pub(super) fn decode(token: &[u8]) -> Option<Credentials> {
        let padding = token.iter().rev().take_while(|&&byte| byte == b'=').count();
        // Padding is there in full, or not at all.
        if padding > 2 || (padding > 0 && !token.len().is_multiple_of(4)) {
            return None;
        }
        let mut pair = Zeroizing::new([0; PAIR_MAX]);
        let len = base64::decode(STANDARD, token.get(..token.len() - padding)?, &mut *pair)?;
        let text = pair.get(..len)?;
        let colon = text.iter().position(|&byte| byte == b':')?;
        let is_good = !text.iter().any(u8::is_ascii_control)
            && (1..=NAME_MAX).contains(&colon)
            && len - colon - 1 <= PASSWORD_MAX;
        is_good.then_some(Credentials { pair, len, colon })
    }

    pub(super) fn name(&self) -> &[u8] {
        self.pair.get(..self.colon).unwrap_or_default()
    }

    pub(super) fn password(&self) -> &[u8] {
        self.pair.get(self.colon + 1..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> Option<(Vec<u8>, Vec<u8>)> {
        let credentials = Credentials::decode(Credentials::token(value.as_bytes())?)?;
        Some((credentials.name().to_vec(), credentials.password().to_vec()))
    }

    /// The first two are the examples of RFC 7617 §2 and §2.1.
    #[test]
    fn credentials_as_clients_send_them() {
        for (value, name, password) in [
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", &b"Aladdin"[..], &b"open sesame"[..]),
            ("Basic dGVzdDoxMjPCow==", b"test", "123\u{a3}".as_bytes()),
            ("basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ", b"Aladdin", b"open sesame"),
            ("BASIC YTo6", b"a", b":"),
            ("Basic YTo=", b"a", b""),
            ("Basic YTrkCg==", b"", b""),
            ("Basic YTrk", b"a", b"\xe4"),
        ] {
            let expected = (!name.is_empty()).then(|| (name.to_vec(), password.to_vec()));
            assert_eq!(read(value), expected, "{value}");
        }
    }

    #[test]
    fn what_cannot_be_right_is_not_verified() {
        let huge = format!("Basic {}", "YWFh".repeat(300));
        let long = format!("Basic {}OmE=", "YWFh".repeat(86));
        for value in [
            "",
            "Basic",
            "Basic ",
            "Basic  ",
            "Bearer YTph",
            "BasicYTph",
            "Basic YWE=",
            "Basic OmE=",
            "Basic !!!!",
            "Basic YTph YTph",
            "Basic YTph=",
            "Basic YTo===",
            &huge,
            &long,
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn a_fingerprint_depends_on_the_key_the_file_and_the_credentials() {
        let of = |key, users, token: &str| Fingerprint::of(&[key; 32], &[users; 32], token.as_bytes());
        assert_eq!(of(1, 2, "YTph"), of(1, 2, "YTph"));
        for other in [of(3, 2, "YTph"), of(1, 3, "YTph"), of(1, 2, "YTpi"), of(1, 2, "YTph=")] {
            assert_ne!(of(1, 2, "YTph"), other);
        }
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused(value in proptest::collection::vec(any::<u8>(), 0..900)) {
            let _ = Credentials::token(&value).and_then(Credentials::decode);
        }

        #[test]
        fn any_token_is_read_or_refused(token in "[A-Za-z0-9+/]{0,700}={0,3}") {
            let value = format!("Basic {token}");
            let _ = Credentials::token(value.as_bytes()).and_then(Credentials::decode);
        }
    }
}
