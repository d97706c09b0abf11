//! The wall clock.

use std::sync::Arc;
use std::time::SystemTime;

/// The wall clock, for the Date field. A value and not a call to the system's, so that tests can
/// set it.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
