//! Any bytes as `_redirects`: no target but the rule's own, no line that ends early.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sitar_site::properties::redirects(data);
});
