//! From a request to an answer: which file it means, what that file is, and what is sent of it.
//!
//! | module | contents |
//! |---|---|
//! | [`route`] | from a request to a file, or to an answer without one |
//! | [`representation`] | a loaded file, and its answers |
//! | [`reply`] | status, header lines, body |
//! | [`fields`], [`fixed_lines`] | header lines that are built once |
//! | [`field_buf`] | header lines that depend on the request |
//! | [`page`] | answers that no site gives: pages of the operator's, redirects to other hosts |
//! | [`hsts`] | the header line that a site may carry on every answer |
//! | [`listing`] | the page that a folder without one gets |
//! | [`multipart`] | several ranges in one answer |
//! | [`media`], [`lifetime`] | what a name says about its file |

pub(crate) mod field_buf;
pub(crate) mod fields;
pub(crate) mod fixed_lines;
pub(crate) mod hsts;
pub(crate) mod lifetime;
pub(crate) mod listing;
pub(crate) mod media;
pub(crate) mod multipart;
pub(crate) mod page;
pub(crate) mod reply;
pub(crate) mod representation;
pub(crate) mod route;
