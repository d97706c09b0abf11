//! Packing and checking a site, which its author does before it is served.
//!
//! [`pack()`] makes one archive of a directory: a plain tar with encodings of its files and an
//! index, so that a server has nothing to compress and little to read. [`estimate()`] says what
//! that would save. [`encode_site()`] makes encodings of a site that is no pack, outside of it.
//! [`check::check`] looks for what is wrong with a site, by the answers that it
//! gives.
//!
//! Encoders and the HTML parser are linked here and nowhere below, so a server without this crate
//! holds none of them. What sitar-site has for it alone stands in [`sitar_site::raw`].

pub mod check;
mod encodings;
mod pack;
mod sidecar;

pub use encodings::{EncodeOptions, Encoded, encode_site};
pub use pack::{
    Encodings, Level, PackError, PackFault, PackOptions, Packed, Progress, Unencoded, estimate, pack,
};
