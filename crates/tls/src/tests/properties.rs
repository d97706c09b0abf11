//! Properties: whatever a peer sends, nothing panics and nothing grows.

use super::client::{Offer, Pem, client, connect, negotiate, received, sent, server};
use crate::{Config, Established, Frame, Handshake, HandshakeStep, Opened, SEALED_MAX};
use proptest::prelude::*;
use rustls::ClientConnection;
use std::sync::{Arc, OnceLock};

fn pem() -> &'static Pem {
    static PEM: OnceLock<Pem> = OnceLock::new();
    PEM.get_or_init(|| Pem::ecdsa(&["site.test"]))
}

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| server(pem()))
}

fn offer(tls12: bool) -> Offer {
    if tls12 { Offer::tls12() } else { Offer::default() }
}

fn pair(tls12: bool) -> (ClientConnection, Box<Established>) {
    connect(config(), &offer(tls12).trusting(&[pem()]), "site.test")
}

/// Records with a plausible header and anything in them, or just anything.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let record = (
        20..=24_u8,
        prop_oneof![Just(1_u8), Just(3), any::<u8>()],
        prop::collection::vec(any::<u8>(), 0..80),
    )
        .prop_map(|(content_type, minor, body)| {
            let mut record = vec![content_type, 3, minor, 0, body.len() as u8];
            record.extend(body);
            record
        });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(record, 0..6).prop_map(|records| records.concat()),
    ]
}

/// Runs to the end of the bytes or of the handshake.
fn handshake_all(bytes: &[u8], piece: usize) {
    let mut handshake = Handshake::new(config()).unwrap();
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        match handshake.on_bytes(piece, &mut out) {
            HandshakeStep::More(more) => handshake = more,
            HandshakeStep::Done(_) => panic!("a handshake from nothing"),
            HandshakeStep::Failed(_) => break,
        }
    }
    assert!(out.len() < 8192, "{} bytes sent to {bytes:?}", out.len());
}

proptest! {
    #[test]
    fn anything_into_a_handshake(bytes in wire(), piece in 1..100_usize) {
        handshake_all(&bytes, piece);
    }

    #[test]
    fn a_damaged_client_hello(
        tls12: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        tail in wire(),
    ) {
        let mut hello = sent(&mut client(&offer(tls12).trusting(&[pem()]), "site.test"));
        for (at, byte) in damage {
            let at = at.index(hello.len());
            hello[at] = byte;
        }
        hello.truncate(cut.index(hello.len() + 1));
        hello.extend(tail);
        handshake_all(&hello, usize::MAX);
    }

    #[test]
    fn a_handshake_in_any_pieces(tls12: bool, piece in 1..3000_usize) {
        let mut client = client(&offer(tls12).trusting(&[pem()]), "site.test");
        prop_assert!(negotiate(config(), &mut client, piece).is_ok());
    }
}

proptest! {
    // Each case needs a handshake.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_handshake_in_records_of_any_size(tls12: bool, size in 32..600_usize, piece in 1..3000_usize) {
        // RFC 8446 §5.1: messages may be cut into records anywhere.
        let mut client_config = (*offer(tls12).trusting(&[pem()])).clone();
        client_config.max_fragment_size = Some(size);
        let mut client = client(&Arc::new(client_config), "site.test");
        std::io::Write::write_all(&mut client.writer(), &[7; 1000]).unwrap();
        prop_assert!(negotiate(config(), &mut client, piece).is_ok());
    }

    #[test]
    fn a_damaged_second_flight(
        tls12: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        tail in wire(),
        piece in 1..200_usize,
    ) {
        let mut client = client(&offer(tls12).trusting(&[pem()]), "site.test");
        let mut out = Vec::new();
        let step = Handshake::new(config()).unwrap().on_bytes(&sent(&mut client), &mut out);
        let HandshakeStep::More(mut handshake) = step else { panic!("{step:?}") };
        super::client::give(&mut client, &out).unwrap();
        let mut flight = sent(&mut client);
        for (at, byte) in damage {
            let at = at.index(flight.len());
            flight[at] = byte;
        }
        flight.extend(tail);
        let mut sent = 0;
        for piece in flight.chunks(piece) {
            let mut out = Vec::new();
            let step = handshake.on_bytes(piece, &mut out);
            sent += out.len();
            match step {
                HandshakeStep::More(more) => handshake = more,
                HandshakeStep::Done(_) | HandshakeStep::Failed(_) => break,
            }
        }
        prop_assert!(sent < 4096, "{sent} bytes sent");
    }
}

proptest! {
    // Each case needs a handshake.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_into_the_record_layer(tls12: bool, mut bytes in wire()) {
        let (_, mut established) = pair(tls12);
        let mut rest = bytes.as_mut_slice();
        while let Ok(Frame::Whole(len)) = established.records.frame(rest) {
            let (record, later) = rest.split_at_mut(len);
            prop_assert!(established.records.open(record).is_err());
            rest = later;
        }
        let _ = established.records.open(&mut bytes);
    }

    #[test]
    fn a_damaged_record(tls12: bool, at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let (mut client, mut established) = pair(tls12);
        std::io::Write::write_all(&mut client.writer(), b"the quick brown fox").unwrap();
        let mut record = sent(&mut client);
        let at = at.index(record.len());
        record[at] ^= flip;
        prop_assert!(established.records.open(&mut record).is_err());
    }

    #[test]
    fn any_sizes_in_any_order(tls12: bool, sizes in prop::collection::vec((0..=16_384_usize, any::<bool>()), 1..12)) {
        let (mut client, mut established) = pair(tls12);
        let mut record = vec![0; SEALED_MAX];
        for (len, in_place) in sizes {
            let data: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            let sealed = if in_place {
                let prefix = established.records.prefix();
                record[prefix..prefix + len].copy_from_slice(&data);
                established.records.seal_in_place(&mut record, len)
            } else {
                established.records.seal_from(&data, &mut record)
            };
            let sealed = sealed.unwrap();
            super::client::give(&mut client, &record[..sealed]).unwrap();
            prop_assert_eq!(&received(&mut client), &data);

            std::io::Write::write_all(&mut client.writer(), &data).unwrap();
            let mut wire = sent(&mut client);
            let mut opened = Vec::new();
            let mut rest = wire.as_mut_slice();
            while let Frame::Whole(len) = established.records.frame(rest).unwrap() {
                let (record, later) = rest.split_at_mut(len);
                if let Opened::Data(data) = established.records.open(record).unwrap() {
                    opened.extend_from_slice(data);
                }
                rest = later;
            }
            prop_assert_eq!(&opened, &data);
        }
    }
}
