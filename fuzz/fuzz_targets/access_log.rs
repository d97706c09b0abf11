//! Any bytes as what a client sends: each line of the access log is one, and is read as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sitar::log::format::properties::access_log(data);
});
