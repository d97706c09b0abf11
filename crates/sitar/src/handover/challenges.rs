//! Pending challenges on the line to a worker.

use std::fmt::Display;

use serde_json::{Value, json};
use sitar_acme::{Identifier, Pending};
use zeroize::Zeroizing;

use super::Parts;

/// Challenges that are pending at a time.
const PENDING_MAX: usize = 1000;
/// Bytes of a name in a ClientHello: the reverse name of an address has 72.
const SERVER_NAME_MAX: usize = 253;
/// Bytes of a token: 22 or more of base64url (RFC 8555 §8.3).
const TOKEN_MAX: usize = 256;
/// Bytes of a key authorization: a token, and the thumbprint of a key.
const AUTHORIZATION_MAX: usize = 1024;
/// Bytes of a certificate in PEM, and of its key.
const CHAIN_MAX: usize = 64 << 10;
const KEY_MAX: usize = 16 << 10;

/// The challenges of ACME authorities that a worker answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Challenges(pub(crate) Vec<Pending>);

impl Challenges {
    /// Returns the message that has a worker answer these, and none of those before.
    pub(crate) fn parts(&self) -> Parts<'_> {
        let value = json!({ "do": "challenges", "challenges": self.value() });
        (value, self.blobs().collect(), Vec::new())
    }

    /// Returns their values, which the [blobs](Challenges::blobs) belong to.
    pub(super) fn value(&self) -> Value {
        let one = |pending: &Pending| match pending {
            Pending::Http01 { identifier, token, authorization } => json!({
                "identifier": identifier.to_string(),
                "token": token,
                "authorization": authorization,
            }),
            Pending::TlsAlpn01 { server_name, .. } => json!({ "server_name": server_name }),
        };
        self.0.iter().map(one).collect()
    }

    /// Returns their certificates and keys.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &[u8]> {
        let both = self.0.iter().filter_map(|pending| match pending {
            Pending::TlsAlpn01 { chain, key, .. } => Some([&chain[..], &key[..]]),
            Pending::Http01 { .. } => None,
        });
        both.flatten()
    }

    /// Reads them. `None`: they have another shape, or are too many or too large.
    pub(crate) fn read(
        value: Option<&Value>,
        blobs: &mut impl Iterator<Item = Zeroizing<Vec<u8>>>,
    ) -> Option<Challenges> {
        let all = value?.as_array()?.iter().map(|one| {
            let text = |name: &str| one.get(name)?.as_str().map(str::to_owned);
            Some(match text("server_name") {
                Some(server_name) => {
                    let chain = std::mem::take(&mut *blobs.next()?);
                    Pending::TlsAlpn01 { server_name, chain, key: blobs.next()? }
                }
                None => Pending::Http01 {
                    identifier: Identifier::parse(&text("identifier")?).ok()?,
                    token: text("token")?,
                    authorization: text("authorization")?,
                },
            })
        });
        let all = Challenges(all.collect::<Option<_>>()?);
        Challenges::check(&all.0).ok().map(|()| all)
    }

    /// Checks their number and their sizes.
    ///
    /// # Errors
    /// They are too many, or one is too large: a sentence.
    pub(crate) fn check(all: &[Pending]) -> Result<(), String> {
        if all.len() > PENDING_MAX {
            return Err(format!("at most {PENDING_MAX} challenges can be pending at a time"));
        }
        let too_large =
            |what: &dyn Display, max| Err(format!("{what} of a challenge is larger than {max} bytes"));
        for pending in all {
            let sizes: &[(&str, usize, usize)] = match pending {
                Pending::Http01 { token, authorization, .. } => &[
                    ("the token", token.len(), TOKEN_MAX),
                    ("the key authorization", authorization.len(), AUTHORIZATION_MAX),
                ],
                Pending::TlsAlpn01 { server_name, chain, key } => &[
                    ("the name", server_name.len(), SERVER_NAME_MAX),
                    ("the certificate", chain.len(), CHAIN_MAX),
                    ("the key", key.len(), KEY_MAX),
                ],
            };
            if let Some((what, _, max)) = sizes.iter().find(|(_, len, max)| len > max) {
                return too_large(what, *max);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, token: &str, authorization: &str) -> Pending {
        Pending::Http01 {
            identifier: Identifier::parse(name).unwrap(),
            token: token.to_owned(),
            authorization: authorization.to_owned(),
        }
    }

    fn certificate(name: &str, chain: &[u8], key: &[u8]) -> Pending {
        let (chain, key) = (chain.to_vec(), Zeroizing::new(key.to_vec()));
        Pending::TlsAlpn01 { server_name: name.to_owned(), chain, key }
    }

    /// Reads what a message has brought.
    fn read(value: &Value, blobs: &[&[u8]]) -> Option<Challenges> {
        let mut blobs = blobs.iter().map(|blob| Zeroizing::new(blob.to_vec()));
        Challenges::read(value.get("challenges"), &mut blobs)
    }

    #[test]
    fn what_is_handed_over_arrives() {
        let all = Challenges(vec![
            file("a.example", "token", "token.thumb"),
            certificate("b.example", b"chain", b"key"),
            file("2001:db8::1", "other", "other.thumb"),
            certificate("7.2.0.192.in-addr.arpa", b"second", b"its key"),
        ]);
        let (value, blobs, descriptors) = all.parts();
        assert_eq!(
            value,
            json!({ "do": "challenges", "challenges": [
                { "identifier": "a.example", "token": "token", "authorization": "token.thumb" },
                { "server_name": "b.example" },
                { "identifier": "2001:db8::1", "token": "other", "authorization": "other.thumb" },
                { "server_name": "7.2.0.192.in-addr.arpa" },
            ]})
        );
        assert_eq!((&blobs[..], descriptors.len()), (&[&b"chain"[..], b"key", b"second", b"its key"][..], 0));
        assert_eq!(read(&value, &blobs), Some(all.clone()));
        // A blob is missing, or something is no challenge.
        assert_eq!(read(&value, &blobs[..3]), None);
        for wrong in [
            json!({}),
            json!({ "challenges": {} }),
            json!({ "challenges": [7] }),
            json!({ "challenges": [{ "identifier": "a.example", "token": "token" }] }),
            json!({ "challenges": [{ "identifier": "a b", "token": "t", "authorization": "a" }] }),
        ] {
            assert_eq!(read(&wrong, &blobs), None, "{wrong}");
        }
        assert_eq!(read(&json!({ "challenges": [] }), &[]), Some(Challenges::default()));
    }

    #[test]
    fn numbers_and_sizes_have_bounds() {
        let many = |count| Challenges(vec![file("a.example", "token", "a"); count]);
        assert_eq!(Challenges::check(&many(1000).0), Ok(()));
        assert_eq!(
            Challenges::check(&many(1001).0),
            Err("at most 1000 challenges can be pending at a time".to_owned())
        );
        assert_eq!(read(&many(1001).parts().0, &[]), None);
        let big = vec![b'x'; 64 << 10];
        let text = "x".repeat(1025);
        for (pending, why) in [
            (certificate("a", &big, b""), None),
            (
                certificate("a", &[&big[..], b"x"].concat(), b""),
                Some("certificate of a challenge is larger than 65536"),
            ),
            (certificate("a", b"", &big), Some("key of a challenge is larger than 16384")),
            (certificate(&text[..254], b"", b""), Some("name of a challenge is larger than 253")),
            (file("a.example", &text[..257], ""), Some("token of a challenge is larger than 256")),
            (file("a.example", "", &text), Some("key authorization of a challenge is larger than 1024")),
        ] {
            let checked = Challenges::check(&[pending]);
            assert_eq!(checked, why.map_or(Ok(()), |why| Err(format!("the {why} bytes"))));
        }
    }
}
