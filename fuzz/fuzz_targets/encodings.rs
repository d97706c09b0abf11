//! Any bytes as an encodings file: refused, or one that could have been written.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = sitar_site::properties::encodings(data);
});
