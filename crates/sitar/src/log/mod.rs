//! The access log: what is written for each answer, and where to.
//!
//! | module | what it does |
//! |---|---|
//! | [`format`] | makes the line of one record |

pub mod format;
