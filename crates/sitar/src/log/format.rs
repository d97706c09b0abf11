//! The formats of a line, by their words. sitar-server makes the lines: it is compiled for speed.

#[doc(hidden)]
pub mod properties;
#[cfg(test)]
mod tests;

pub use sitar_server::format::{Addresses, Format, write};

use crate::settings::values::Word;

impl Word for Format {
    const WORDS: &'static [(&'static str, Format, &'static str)] = &[
        ("json", Format::Json, "One JSON object a line, with the names of Caddy's access log"),
        ("combined", Format::Combined, "The combined format of Apache and nginx"),
        ("common", Format::Common, "The common format: combined without Referer and User-Agent"),
    ];
}

impl Word for Addresses {
    const WORDS: &'static [(&'static str, Addresses, &'static str)] = &[
        ("full", Addresses::Full, "Whole addresses"),
        ("truncated", Addresses::Truncated, "The first 24 bits of IPv4, the first 48 of IPv6"),
        ("none", Addresses::None, "No address"),
    ];
}
