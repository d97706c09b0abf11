//! Any bytes as a conversation between two record layers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sitar_tls::properties::records(data);
});
