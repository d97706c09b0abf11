//! The result of a handshake.

use super::clients::ClientCa;
use super::identity::CertificateNames;
use crate::record::{Records, Version};
use std::sync::Arc;

/// A connection that has been negotiated.
#[derive(Debug)]
#[non_exhaustive]
pub struct Established {
    /// The record layer.
    pub records: Records,
    /// The protocol agreed on by ALPN, if the client offered any.
    pub alpn: Option<Vec<u8>>,
    /// The host name that the client asked for (RFC 6066 §3), if any: a DNS name in lower case of
    /// at most 253 bytes. Of two ClientHello messages the first counts.
    pub server_name: Option<Box<str>>,
    /// The names in the certificate that this server presents for that host. Where the connection
    /// was resumed, the client has seen it on an earlier one.
    pub names: Option<Arc<CertificateNames>>,
    /// What has certified the client, now or on the connection whose ticket was used; `None`: it
    /// was not asked for a certificate.
    pub client_ca: Option<ClientCa>,
    /// Whether the client is an authority that has seen the certificate of a
    /// [challenge](crate::Challenges). It is to be closed: nothing else is for it (RFC 8737 §3).
    pub is_challenge: bool,
    /// Whether a ticket of an earlier connection was used.
    pub resumed: bool,
    /// The version agreed on.
    pub version: Version,
    /// The cipher suite by its IANA number (RFC 8446 §B.4).
    pub suite: u16,
    /// The key exchange by its IANA name; `None` when resumed in TLS 1.2, which has none.
    pub key_exchange: Option<&'static str>,
    /// Bytes behind the peer's handshake, still encrypted: the record layer must be given them
    /// first.
    pub rest: Vec<u8>,
}
