//! Replays the seed corpus of the fuzz target on a stable compiler, and tries mutations of it for a
//! few seconds. A crash found by fuzzing is kept by putting its input there.

#[path = "../../../fuzz/mutation.rs"]
mod mutation;
#[path = "../../../fuzz/replay.rs"]
mod seeds;

use sitar_acme::properties;

#[test]
fn acme_answer() {
    seeds::replay("acme_answer", 15, properties::acme_answer);
}

mutation::targets! {
    acme_answer: properties::acme_answer, ANSWER;
}

/// What heads, JSON and chains are made of.
const ANSWER: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\n",
    b"Content-Length: 7\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Link: <https://ca/1>;rel=\"alternate\"\r\n",
    b"Retry-After: 60\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"ffffffff\r\n",
    b"https://",
    b"urn:ietf:params:acme:error:",
    b"\"subproblems\":[",
    b"\"identifier\":{\"type\":\"dns\",\"value\":\"a.example\"}",
    b"\\u0000",
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----END CERTIFICATE-----\n",
    b"\x30\x82\x01\x00",
    b"\x06\x03\x55\x1d\x23",
    b"T00:00:00Z",
];
