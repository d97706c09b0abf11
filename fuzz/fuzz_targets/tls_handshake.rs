#![no_main]

#[path = "../../crates/tls/tests/properties/handshake.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data));
