//! Any bytes as a pack: refused, or an index that could have been packed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = sitar_site::properties::index(data);
});
