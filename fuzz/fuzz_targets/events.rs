//! Any bytes as what an event says: its line is one in each form, and JSON is read as the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    sitar::events::properties::event_lines(data);
});
