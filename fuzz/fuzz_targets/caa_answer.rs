//! Any bytes as an answer of a DNS server to `sitar cert check`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sitar::cert::properties::caa_answer(data);
});
