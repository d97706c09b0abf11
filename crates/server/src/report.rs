//! Incidents: faults of this program or of its files that the operator must hear of.

use std::fmt;
use std::sync::Arc;

/// Callback for incidents.
pub type Report = Arc<dyn Fn(Incident) + Send + Sync>;

/// Something that must not happen, and what was done about it.
#[derive(Debug)]
pub enum Incident {
    /// A shard panicked or its ring failed. Its connections are lost, and it is started again.
    Restarted {
        /// The number of the shard.
        shard: usize,
        /// The panic or the error, as text.
        why: String,
    },
    /// A file of the site cannot be read, and requests for it are answered with 500. Reported once
    /// for each file of a site, up to a limit.
    Unreadable {
        /// Its name in the site, printable.
        name: String,
        /// The error, as text.
        why: String,
        /// Further unreadable files of this site are not reported.
        is_last: bool,
    },
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Incident::Restarted { shard, why } => {
                write!(f, "shard {shard} failed and is started again; its connections are lost: {why}")
            }
            Incident::Unreadable { name, why, is_last } => {
                write!(f, "'{name}' cannot be read and is answered with 500: {why}")?;
                if *is_last { f.write_str("; further ones are not reported") } else { Ok(()) }
            }
        }
    }
}
