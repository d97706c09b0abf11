//! Replays the seed corpus of the fuzz targets on a stable compiler, and tries mutations of it for
//! a few seconds and some programs by chance. A crash found by fuzzing is kept by putting its input
//! there.

use proptest::prelude::*;
#[path = "properties/handshake.rs"]
mod handshake;
#[path = "../../../fuzz/mutation.rs"]
mod mutation;
#[path = "../../../fuzz/replay.rs"]
mod seeds;

use seeds::replay;

#[test]
fn tls_handshake() {
    replay("tls_handshake", 10, handshake::check);
}

#[test]
fn tls_records() {
    replay("tls_records", 10, sitar_tls::properties::records);
}

mutation::targets! {
    tls_handshake: handshake::check, HANDSHAKE;
    tls_records: sitar_tls::properties::records, &[];
}

/// Headers of records and of messages.
const HANDSHAKE: &[&[u8]] = &[
    b"\x16\x03\x01\0\x05",
    b"\x16\x03\x03\0\x05",
    b"\x14\x03\x03\0\x01\x01",
    b"\x15\x03\x03\0\x02\x02\x28",
    b"\x17\x03\x03\0\x01",
    b"\x01\0\0\x05\x03\x03",
    b"\x0b\0\0\0",
    b"\x14\0\0\0",
    b"\x18\0\0\x01\0",
    b"\0\x2b\0\x03\x02\x03\x04",
    b"\0\x33\0\x02\0\0",
    b"\0\x0a\0\x04\0\x02\0\x1d",
    b"\0\x10\0\x0d\0\x0b\x0aacme-tls/1",
    b"\x13\x01",
    b"\x03\x04",
];

proptest! {
    #[test]
    fn any_conversation_of_two_record_layers(program in prop::collection::vec(any::<u8>(), 0..400)) {
        sitar_tls::properties::records(&program);
    }
}

proptest! {
    // Each case needs a handshake.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_damage_to_a_handshake(program in prop::collection::vec(any::<u8>(), 0..20)) {
        handshake::check(&program);
    }
}
