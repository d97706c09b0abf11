#![no_main]

#[path = "../../crates/http/tests/properties/accept.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data));
