#![no_main]

#[path = "../../crates/http/tests/properties/forwarded.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data));
