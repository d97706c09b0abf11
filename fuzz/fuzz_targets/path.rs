//! Any bytes as a request's path: no key leaves the root.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sitar_site::properties::path(data);
});
