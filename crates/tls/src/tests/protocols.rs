//! Application protocols (RFC 7301): the server's order, and lists that are not right.

use super::client::{Offer, Pem, client, connect, sent};
use crate::{Config, Handshake, HandshakeError, HandshakeStep};

fn server(pem: &Pem) -> Config {
    Config::new(vec![pem.identity()], &[b"h2", b"http/1.1", b"http/1.0"]).unwrap()
}

fn offer(versions: &[&'static rustls::SupportedProtocolVersion], alpn: &[&[u8]]) -> Offer {
    let alpn = alpn.iter().map(|name| name.to_vec()).collect();
    Offer { alpn, versions: versions.to_vec(), ..Offer::default() }
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[test]
fn the_servers_order_counts() {
    let pem = Pem::ecdsa(&["site.test"]);
    for version in VERSIONS {
        for (offered, agreed) in [
            (&[&b"http/1.0"[..], b"http/1.1", b"h2"][..], &b"h2"[..]),
            (&[b"http/1.0", b"http/1.1"], b"http/1.1"),
            (&[b"http/0.9", b"http/1.0", b"h2c"], b"http/1.0"),
        ] {
            let config = offer(&[version], offered).trusting(&[&pem]);
            let (client, established) = connect(&server(&pem), &config, "site.test");
            assert_eq!(established.alpn.as_deref(), Some(agreed), "{version:?}");
            assert_eq!(client.alpn_protocol(), Some(agreed), "{version:?}");
        }
    }
}

/// RFC 7301 §3.1: a list has one name at least, and a name one byte. What is sent is a fatal
/// decode_error (RFC 8446 §6.2).
#[test]
fn lists_that_are_not_right_are_refused() {
    let pem = Pem::ecdsa(&["site.test"]);
    for version in VERSIONS {
        for list in [&b"\0\0"[..], b"\0\x01\0", b"\0\x03\0\x01x", b"\0\x01x", b"\0\x03\x05ab", b""] {
            let mut client = client(&offer(&[version], &[b"protocol"]).trusting(&[&pem]), "site.test");
            let hello = with_list(&sent(&mut client), b"\0\x09\x08protocol", list);
            let mut out = Vec::new();
            let step = Handshake::new(&server(&pem)).unwrap().on_bytes(&hello, &mut out);
            assert!(
                matches!(step, HandshakeStep::Failed(HandshakeError::Peer(_))),
                "{list:?}, {version:?}: {step:?}"
            );
            // An alert of two bytes in the clear, whose level is fatal (2) and description
            // decode_error (50).
            assert_eq!(out, [21, 3, 3, 0, 2, 2, 50], "{list:?}, {version:?}");
        }
    }
}

/// The ClientHello with other content of its ALPN extension (type 16).
fn with_list(hello: &[u8], list: &[u8], other: &[u8]) -> Vec<u8> {
    let extension = |list: &[u8]| [&[0, 16, 0, list.len() as u8][..], list].concat();
    let (old, new) = (extension(list), extension(other));
    let at = hello.windows(old.len()).position(|window| window == old).unwrap();
    let mut hello = [&hello[..at], &new, &hello[at + old.len()..]].concat();
    // Behind its header a record holds a message (type, three bytes of length); version, random,
    // session id, suites and compression methods come before the extensions.
    let session_id = 5 + 4 + 2 + 32;
    let suites = session_id + 1 + usize::from(hello[session_id]);
    let compression = suites + 2 + usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    let extensions = compression + 1 + usize::from(hello[compression]);
    for length in [3, 5 + 2, extensions] {
        let len = (hello.len() - length - 2) as u16;
        hello[length..length + 2].copy_from_slice(&len.to_be_bytes());
    }
    hello
}
