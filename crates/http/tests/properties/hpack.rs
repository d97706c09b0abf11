//! Header blocks: whatever comes, the decoder stays within its bounds, and what the encoder writes
//! is read back.

use sitar_http::h2::field_block;
use sitar_http::h2::testing::{BLOCK_MAX, Hpack};

/// `data` is blocks one after the other, each behind its length in two bytes.
pub(crate) fn check(mut data: &[u8]) {
    let mut hpack = Hpack::default();
    while let [high, low, rest @ ..] = data {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()).min(BLOCK_MAX);
        let (wire, later) = rest.split_at(len);
        data = later;
        let Ok(list) = hpack.decode(wire) else { return };
        assert!(hpack.memory() <= 4096);
        again(&list);
    }
}

/// Fields that could be lines of HTTP/1 survive being written and read.
fn again(list: &[(Vec<u8>, Vec<u8>)]) {
    let mut lines = Vec::new();
    let mut expected = Vec::new();
    for (name, value) in list {
        let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b':';
        if name.is_empty() || !name.iter().all(plain) || !value.iter().all(plain) {
            continue;
        }
        lines.extend([name, &b": "[..], value, b"\r\n"].concat());
        expected.push((name.to_ascii_lowercase(), value.clone()));
    }
    let wire = field_block(&lines);
    if wire.len() <= BLOCK_MAX {
        assert_eq!(Hpack::default().decode(&wire), Ok(expected));
    }
}
