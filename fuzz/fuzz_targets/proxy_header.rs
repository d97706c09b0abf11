#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sitar_server::properties::proxy_header(data));
