//! A representation before its bytes are read.

use crate::answer::lifetime::Lifetime;
use crate::answer::media::Media;
use sitar_http::semantics::Coding;

/// What a representation is made of, before its bytes are read. Made when it is asked for: most files of a large site never are.
pub(crate) struct Entry {
    /// Which of the site's sources holds the bytes.
    pub(crate) source: usize,
    pub(crate) media: Media,
    /// The `Content-Encoding`.
    pub(crate) coding: Coding,
    /// The same URL has other encodings.
    pub(crate) vary: bool,
    /// What it is once it is decoded, where its name says that it is stored encoded (`x.wasm.gz`).
    pub(crate) decoded: Option<Media>,
    pub(crate) lifetime: Lifetime,
}
