//! Where the next bytes of a body are.

/// Where the next bytes of a body are.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file: this many, from this offset on.
    File {
        /// Bytes from the start of the file.
        offset: u64,
        /// How many follow each other there.
        len: u64,
    },
    /// Nowhere: this many of them are zero.
    Hole {
        /// How many.
        len: u64,
    },
}
