//! Any bytes as `_headers`: no line ends early, nothing of the server's own is replaced.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sitar_site::properties::headers(data);
});
