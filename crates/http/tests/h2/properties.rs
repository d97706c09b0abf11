//! Random frames, mostly of the right form: the property of the fuzz target, on inputs that get
//! past the first frame.

use crate::lab::*;
use proptest::prelude::*;

#[path = "../properties/h2.rs"]
mod property;

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let stream = prop_oneof![Just(0_u32), 1..12_u32, Just(1 << 20)];
    let request = (0..24_u32, any::<bool>(), prop_oneof![Just(GET), Just(POST), Just(&b"\x82"[..])])
        .prop_map(|(nth, end, block)| frame(HEADERS, END_HEADERS | u8::from(end), 2 * nth + 1, block));
    let update = (stream.clone(), prop_oneof![0..10_u32, 1000..100_000_u32, Just(0x7fff_ffff)])
        .prop_map(|(stream, increment)| window_update(stream, increment));
    let setting = prop_oneof![
        (0..0x3_0000_u32).prop_map(|value| settings(&[(4, value)])),
        (0..12_u16, any::<u32>()).prop_map(|(name, value)| settings(&[(name, value)])),
        Just(frame(SETTINGS, ACK, 0, &[])),
    ];
    let data = (stream.clone(), any::<bool>(), 0..3000_usize)
        .prop_map(|(stream, end, len)| frame(DATA, u8::from(end), stream, &vec![0; len]));
    let any = (0..18_u8, any::<u8>(), stream, proptest::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    let pieces = (0..24_u32, 1..6_usize).prop_map(|(nth, at)| {
        let stream = 2 * nth + 1;
        [frame(HEADERS, END_STREAM, stream, &GET[..at]), frame(CONTINUATION, END_HEADERS, stream, &GET[at..])]
            .concat()
    });
    prop_oneof![6 => request, 3 => update, 1 => setting, 2 => data, 1 => any, 1 => pieces]
}

proptest! {
    #[test]
    fn the_same_however_the_bytes_come(step: u8, frames in proptest::collection::vec(any_frame(), 0..60)) {
        let wire = [&[step][..], &settings(&[]), &frames.concat()].concat();
        property::check(&wire);
    }
}
