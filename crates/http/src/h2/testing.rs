//! Parts of HTTP/2 for tests of other crates; not part of the interface.

use super::hpack::{self, Decoder, Scratch, Sink};

/// Returns a frame as a client writes it (RFC 9113 §4.1).
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    // Tests send no more than 16 MiB in a frame.
    let mut wire = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    wire.extend([kind, flags]);
    wire.extend(stream.to_be_bytes());
    wire.extend(payload);
    wire
}

/// A decoder whose fields are owned.
pub struct Hpack {
    decoder: Decoder,
    scratch: Scratch,
}

/// A decoded list, name and value of each field.
pub type List = Vec<(Vec<u8>, Vec<u8>)>;

struct Collect(List);

impl Sink for Collect {
    fn field(&mut self, name: &[u8], value: &[u8]) -> bool {
        self.0.push((name.to_vec(), value.to_vec()));
        self.0.len() < FIELDS_MAX
    }
}

/// Bytes of the longest block that [`Hpack`] decodes.
pub const BLOCK_MAX: usize = 16 << 10;
const FIELDS_MAX: usize = 2048;

impl Default for Hpack {
    fn default() -> Hpack {
        Hpack { decoder: Decoder::new(), scratch: Scratch::new(BLOCK_MAX) }
    }
}

impl Hpack {
    /// # Errors
    /// The fault of a malformed block, in words.
    pub fn decode(&mut self, block: &[u8]) -> Result<List, &'static str> {
        let mut list = Collect(Vec::new());
        let result = self.decoder.decode(block, &mut self.scratch, &mut list);
        result.map_err(|hpack::Fault(reason)| reason)?;
        Ok(list.0)
    }

    /// Returns the bytes of memory that the dynamic table takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.decoder.memory()
    }
}
