//! Any bytes as an archive: refused or indexed, every body inside of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = sitar_site::properties::archive(data);
});
