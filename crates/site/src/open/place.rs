//! The place of the next bytes of a body.

/// The place of the next bytes of a body.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file: this many, from this offset on.
    File {
        /// Bytes from the start of the file.
        offset: u64,
        /// Bytes that follow each other there.
        len: u64,
    },
    /// Nowhere: this many of them are zero.
    Hole {
        /// Bytes of it.
        len: u64,
    },
}
