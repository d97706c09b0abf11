//! Replays the seed corpus of the fuzz targets on a stable compiler, and tries mutations of it for
//! a few seconds. A crash found by fuzzing is kept by putting its input there.

#[path = "../../../fuzz/mutation.rs"]
mod mutation;
#[path = "../../../fuzz/replay.rs"]
mod seeds;

#[test]
fn proxy_header() {
    seeds::replay("proxy_header", 15, sitar_server::properties::proxy_header);
}

mutation::targets! {
    proxy_header: sitar_server::properties::proxy_header, PROXY;
}

/// Parts of headers of both versions.
const PROXY: &[&[u8]] = &[
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"192.0.2.7 ",
    b"2001:db8::7 ",
    b" 443",
    b"\r\n",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21\x11\0\x0c",
    b"\x21\x21\0\x24",
    b"\x21\x31\0\xd8",
    b"\x20\0\0\0",
    b"\x03\0\x04",
];
