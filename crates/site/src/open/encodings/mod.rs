//! Encodings of a site's files that lie in a file of their own, outside of the site.
//!
//! An encodings file is made by another process, of a site as it was then. So nothing in it counts
//! before it has been compared: the manifest with its hash, an original with the version that it
//! has now, an encoded body with its hash. A version is what tells one state of a file from any
//! other without reading it ([`Origin`](super::origin::Origin)), and is recorded only once a later
//! change of the file is sure to alter it.
//!
//! | module | contents |
//! |---|---|
//! | [`mod@format`] | the bytes |
//! | [`read`] | the manifest, checked |
//! | [`attach`] | a site that has such encodings |
//! | [`original`] | what is encoded, for the one who encodes |

pub(crate) mod attach;
pub mod format;
pub(crate) mod original;
pub(crate) mod read;
