//! A digest over what peers receive that is the same in every run of a seed, on every machine.

use aws_lc_rs::digest;

/// Unread and digits of an entity tag.
const TAG_LEN: usize = 24;

/// Adds everything that one peer receives to a hash. The entity tag of a file that is too large for
/// memory depends on when this run wrote it, so all tags count as one.
#[derive(Default)]
pub(super) struct Received {
    /// Bytes that may be an entity tag, from its opening quotation mark on.
    tag: Vec<u8>,
    text: Vec<u8>,
}

impl Received {
    /// Adds to `hash` that the peer with this number received `text` in `wire` bytes.
    pub(super) fn add(&mut self, hash: &mut digest::Context, number: u64, wire: usize, text: &[u8]) {
        self.text.clear();
        for &byte in text {
            match (self.tag.len(), byte) {
                (0, b'"') => self.tag.push(byte),
                (0, _) => self.text.push(byte),
                (1..=TAG_LEN, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') => self.tag.push(byte),
                (len, _) => {
                    let is_tag = byte == b'"' && len == 1 + TAG_LEN;
                    self.text.extend(if is_tag { &b"a tag"[..] } else { &self.tag });
                    self.tag.clear();
                    self.text.push(byte);
                }
            }
        }
        for count in [number, wire as u64, text.len() as u64] {
            hash.update(&count.to_le_bytes());
        }
        hash.update(&self.text);
    }

    /// Adds how the peer with this number has ended. A tag that was cut off does not count.
    pub(super) fn end(&mut self, hash: &mut digest::Context, number: u64, missing: usize, how: [u8; 3]) {
        self.tag.clear();
        hash.update(&number.to_le_bytes());
        hash.update(&(missing as u64).to_le_bytes());
        hash.update(&how);
    }
}
