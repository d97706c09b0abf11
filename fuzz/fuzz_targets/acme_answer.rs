//! Any bytes as what an authority for certificates sends: refused, or taken for what it is.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sitar_acme::properties::acme_answer(data);
});
