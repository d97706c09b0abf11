//! What holds for any bytes, for tests and for the fuzz target.

pub use super::check::caa_answer;
