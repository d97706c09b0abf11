//! Data, closing and KeyUpdates after the handshake, in both directions.

use super::client::{Event, Offer, Pem, connect, give, open_all, received, sent, server};
use crate::{Alert, Established, Frame, RecordError, SEALED_MAX, Version};
use rustls::{AlertDescription, ClientConnection, Error};
use std::io::Write;

fn pairs() -> Vec<(ClientConnection, Box<Established>)> {
    let pem = Pem::ecdsa(&["site.test"]);
    let mut pairs = Vec::new();
    for offer in [Offer::default(), Offer::tls12()] {
        pairs.push(connect(&server(&pem), &offer.trusting(&[&pem]), "site.test"));
    }
    pairs
}

fn tls13() -> (ClientConnection, Box<Established>) {
    pairs().remove(0)
}

/// Seals `data` as one record, out of place or in place.
fn seal(established: &mut Established, data: &[u8], in_place: bool) -> Vec<u8> {
    let records = &mut established.records;
    let mut record = vec![0xee; SEALED_MAX + 7];
    let len = if in_place {
        let prefix = records.prefix();
        record[prefix..prefix + data.len()].copy_from_slice(data);
        records.seal_in_place(&mut record, data.len()).unwrap()
    } else {
        records.seal_from(data, &mut record).unwrap()
    };
    assert_eq!(len, records.prefix() + data.len() + records.suffix());
    assert!(record[len..].iter().all(|byte| *byte == 0xee), "written past the record");
    record.truncate(len);
    record
}

#[test]
fn data_of_every_size_both_ways() {
    for suite in [
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ] {
        let pem = Pem::ecdsa(&["site.test"]);
        let (mut client, mut established) =
            connect(&server(&pem), &Offer::suite(suite).trusting(&[&pem]), "site.test");
        for len in [1, 2, 15, 16, 17, 1400, 16_383, 16_384] {
            let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
            for in_place in [false, true] {
                let record = seal(&mut established, &data, in_place);
                give(&mut client, &record).unwrap();
                assert_eq!(received(&mut client), data, "{suite:?}, {len} bytes, in place: {in_place}");
            }
            client.writer().write_all(&data).unwrap();
            assert_eq!(open_all(&mut established, sent(&mut client)), [Event::Data(data)], "{suite:?}");
        }
        // An empty record is allowed (RFC 8446 §5.1), and carries nothing.
        let record = seal(&mut established, b"", false);
        give(&mut client, &record).unwrap();
        assert_eq!(received(&mut client), b"");
    }
}

#[test]
fn layout_of_records() {
    let [(_, mut tls13), (_, mut tls12)] = <[_; 2]>::try_from(pairs()).ok().unwrap();
    assert_eq!((tls13.version, tls13.records.prefix(), tls13.records.suffix()), (Version::Tls13, 5, 17));
    assert_eq!((tls12.version, tls12.records.prefix(), tls12.records.suffix()), (Version::Tls12, 13, 16));
    // application_data, 3.3, and the length of what follows.
    assert_eq!(seal(&mut tls13, &[7; 100], false)[..5], [23, 3, 3, 0, 117]);
    assert_eq!(seal(&mut tls12, &[7; 100], false)[..5], [23, 3, 3, 0, 124]);
    assert_eq!(seal(&mut tls13, &[7; 16_384], true)[..5], [23, 3, 3, 0x40, 0x11]);
    assert_eq!(seal(&mut tls12, &[7; 16_384], true)[..5], [23, 3, 3, 0x40, 0x18]);
    assert_eq!(SEALED_MAX, 16_413);
    assert_eq!(crate::RECORD_MAX, 16_645);

    let pem = Pem::ecdsa(&["site.test"]);
    let suite = rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    let (_, chacha) = connect(&server(&pem), &Offer::suite(suite).trusting(&[&pem]), "site.test");
    assert_eq!((chacha.records.prefix(), chacha.records.suffix()), (5, 16));
}

#[test]
fn close_notify_from_the_client() {
    for (mut client, mut established) in pairs() {
        client.writer().write_all(b"last").unwrap();
        client.send_close_notify();
        let events = open_all(&mut established, sent(&mut client));
        assert_eq!(events, [Event::Data(b"last".to_vec()), Event::CloseNotify]);
        // RFC 8446 §6.1: whatever follows is ignored; here, it is not even opened. We may still
        // answer.
        assert_eq!(established.records.open(&mut [23, 3, 3, 0, 0]), Err(RecordError::Closed));
        let record = seal(&mut established, b"answer", false);
        give(&mut client, &record).unwrap();
        assert_eq!(received(&mut client), b"answer");
    }
}

#[test]
fn close_notify_from_the_server() {
    for (mut client, mut established) in pairs() {
        let mut record = [0; 64];
        let len = established.records.seal_alert(Alert::CloseNotify, &mut record).unwrap();
        // TLS 1.3 hides that it is an alert.
        assert_eq!(record[0], if established.version == Version::Tls13 { 23 } else { 21 });
        give(&mut client, &record[..len]).unwrap();
        assert!(client.process_new_packets().unwrap().peer_has_closed());
        // Nothing follows a close.
        assert_eq!(established.records.seal_from(b"x", &mut record), Err(RecordError::Closed));
        assert_eq!(
            established.records.seal_alert(Alert::InternalError, &mut record),
            Err(RecordError::Closed)
        );
        assert_eq!(established.records.seals_left(), 0);
        // The client may go on sending.
        client.writer().write_all(b"more").unwrap();
        assert_eq!(open_all(&mut established, sent(&mut client)), [Event::Data(b"more".to_vec())]);
    }
}

#[test]
fn fatal_alerts_both_ways() {
    for (mut client, mut established) in pairs() {
        let mut record = [0; 64];
        let len = established.records.seal_alert(Alert::BadRecordMac, &mut record).unwrap();
        assert_eq!(
            give(&mut client, &record[..len]).unwrap_err(),
            Error::AlertReceived(AlertDescription::BadRecordMac)
        );
    }
    for (mut client, mut established) in pairs() {
        // A record of ours, damaged on the way: the client answers bad_record_mac.
        let mut record = seal(&mut established, b"data", false);
        record[20] ^= 1;
        assert_eq!(give(&mut client, &record).unwrap_err(), Error::DecryptError);
        assert_eq!(open_all(&mut established, sent(&mut client)), [Event::Alert(20)]);
        assert_eq!(established.records.open(&mut [23, 3, 3, 0, 0]), Err(RecordError::Closed));
    }
}

#[test]
fn key_updates_from_the_client() {
    let pem = Pem::ecdsa(&["site.test"]);
    for suite in [
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384,
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        let (client, established) =
            connect(&server(&pem), &Offer::suite(suite).trusting(&[&pem]), "site.test");
        update_keys(client, established);
    }
}

fn update_keys(mut client: ClientConnection, mut established: Box<Established>) {
    for round in 0..40_u8 {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(&[round]).unwrap();
        let events = open_all(&mut established, sent(&mut client));
        // rustls wants ours in turn.
        assert_eq!(events, [Event::KeyUpdateRequested, Event::Data(vec![round])]);
        let mut record = [0; 64];
        let len = established.records.seal_key_update(&mut record).unwrap();
        give(&mut client, &record[..len]).unwrap();
        let answer = seal(&mut established, &[round; 3], false);
        give(&mut client, &answer).unwrap();
        assert_eq!(received(&mut client), [round; 3]);
    }
}

#[test]
fn too_many_key_updates_in_a_row() {
    let (mut client, mut established) = tls13();
    for _ in 0..32 {
        client.refresh_traffic_keys().unwrap();
        assert_eq!(open_all(&mut established, sent(&mut client)), [Event::KeyUpdateRequested]);
    }
    client.refresh_traffic_keys().unwrap();
    let error = established.records.open(&mut sent(&mut client)).unwrap_err();
    assert_eq!(error, RecordError::TooManyKeyUpdates);
    assert_eq!(error.alert(), Some(Alert::UnexpectedMessage));
}

#[test]
fn key_updates_from_the_server() {
    let (mut client, mut established) = tls13();
    let mut record = [0; 64];
    for round in 0..3_u8 {
        let before = established.records.seals_left();
        // A buffer that is too small changes nothing.
        let small = established.records.seal_key_update(&mut record[..26]);
        assert_eq!(small, Err(RecordError::BufferTooSmall { need: 27 }));
        assert_eq!(established.records.seals_left(), before);

        let len = established.records.seal_key_update(&mut record).unwrap();
        assert_eq!(record[..5], [23, 3, 3, 0, 22]);
        give(&mut client, &record[..len]).unwrap();
        let data = seal(&mut established, &[round; 10], false);
        give(&mut client, &data).unwrap();
        assert_eq!(received(&mut client), [round; 10]);
        // A new key starts a new count: 2^23, less the two that are kept back and the one just
        // used.
        assert_eq!(established.records.seals_left(), 8_388_605);
    }
    let (_, mut tls12) = pairs().remove(1);
    assert_eq!(tls12.records.seal_key_update(&mut record), Err(RecordError::NotInThisVersion));
    seal(&mut tls12, b"goes on", true);
}

#[test]
fn damaged_records_are_refused() {
    for index in 0..2 {
        for at in [5, 12, 13, 14, 20, usize::MAX] {
            let (mut client, mut established) = pairs().remove(index);
            client.writer().write_all(b"0123456789").unwrap();
            let mut record = sent(&mut client);
            let at = at.min(record.len() - 1);
            record[at] ^= 0x80;
            let error = established.records.open(&mut record).unwrap_err();
            assert_eq!(error, RecordError::BadMac, "byte {at}");
            assert_eq!(error.alert(), Some(Alert::BadRecordMac));
            // No second try, and the peer can be told.
            assert_eq!(established.records.open(&mut record), Err(RecordError::Closed));
            let mut out = [0; 64];
            let len = established.records.seal_alert(Alert::BadRecordMac, &mut out).unwrap();
            let told = give(&mut client, &out[..len]).unwrap_err();
            assert_eq!(told, Error::AlertReceived(AlertDescription::BadRecordMac));
        }
    }
}

#[test]
fn truncated_records_are_waited_for() {
    for (mut client, mut established) in pairs() {
        client.writer().write_all(b"0123456789").unwrap();
        let mut record = sent(&mut client);
        for len in 0..record.len() {
            let need = if len < 5 { 5 } else { record.len() };
            assert_eq!(established.records.frame(&record[..len]), Ok(Frame::Incomplete { need }));
        }
        assert_eq!(established.records.frame(&record), Ok(Frame::Whole(record.len())));
        // Given to open all the same, it is the caller's mistake and not a panic.
        let cut = record.len() - 1;
        assert_eq!(established.records.open(&mut record[..cut]), Err(RecordError::Misframed));
    }
}

#[test]
fn replayed_and_reordered_records_are_refused() {
    for index in 0..2 {
        let (mut client, mut established) = pairs().remove(index);
        client.writer().write_all(b"once").unwrap();
        let record = sent(&mut client);
        assert_eq!(open_all(&mut established, record.clone()), [Event::Data(b"once".to_vec())]);
        assert_eq!(established.records.open(&mut record.clone()), Err(RecordError::BadMac));
    }
}
