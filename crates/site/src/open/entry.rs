//! A representation before its bytes are read.

use crate::answer::lifetime::Lifetime;
use crate::answer::media::Media;
use sitar_http::semantics::Coding;

/// Everything about a representation but its bytes. Made when it is asked for, because most files
/// of a large site never are.
pub(crate) struct Entry {
    /// The number of the site's source that holds the bytes.
    pub(crate) source: usize,
    pub(crate) media: Media,
    /// The `Content-Encoding`.
    pub(crate) coding: Coding,
    /// The same URL has other encodings.
    pub(crate) vary: bool,
    /// Its type when decoded, where its name says that it is stored encoded (`x.wasm.gz`).
    pub(crate) decoded: Option<Media>,
    pub(crate) lifetime: Lifetime,
}
