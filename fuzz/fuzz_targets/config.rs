//! Any bytes as sitar.toml: each problem is in the file, and what is shown of a configuration is
//! read as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sitar::config::properties::config(data);
});
