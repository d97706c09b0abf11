//! The server: connections, shards, timers and limits.
//!
//! A [`Worker`] runs shards. A shard is a thread with a ring, listening sockets of its own, a slab
//! of connections, a timer wheel and a table of loaded files. Shards share the [`Snapshot`] that
//! they serve from, and nothing else. It can be replaced as a whole ([`Worker::change`]). A
//! connection is a state machine without I/O of its own: events go in, at most one send comes out.
//!
//! No peer can make anything grow: connections, buffers and what is kept of unfinished input have
//! limits ([`Limits`]), each wait has a deadline that the peer cannot move, and while an answer is
//! on its way what the peer sends is received only up to a bound.

mod access;
mod challenges;
mod clock;
mod close;
mod content;
mod counts;
mod limits;
mod log;
mod numbers;
mod passed;
mod peer;
mod refusals;
mod report;
mod shard;
#[cfg(test)]
mod simulation;
mod snapshot;
mod spec;
mod stop;
mod tcp;
mod wake;
mod worker;

pub use access::{
    Access, Limit, Network, NetworkError, Networks, Rate, Realm, RealmError, Users, UsersError,
};
pub use challenges::Challenges;
pub use clock::Clock;
pub use counts::{Counts, Ends};
pub use limits::{Limits, TlsOffload};
pub use log::format;
pub use log::{FIELD_MAX, HOST_MAX, LogId, LogTls, Record, Records, RecordsWaker, TARGET_MAX};
pub use log::{TRACE_GRANT, TRACES_MAX, Trace, TraceCounts, TraceFilter, TracePath, Traces};
pub use numbers::{Answers, CountedMethod, Durations, Handshakes, HttpVersion, SiteNumbers, WorkerNumbers};
pub use passed::{Passed, Passing};
pub use peer::Peer;
pub use refusals::{Refusal, Refusals};
pub use report::{Incident, Report};
pub use snapshot::{
    ChangeError, Host, HostContent, HostId, HostRedirect, Hosts, HostsError, Listener, Pages, Role, Snapshot,
};
pub use spec::{BodyMemory, Hooks, ListenerSpec, Pem, SiteSpec, Spec, StartError, TlsSpec};
pub use worker::Worker;

/// The part of a log in the path of a request, for counting its instructions; not part of the
/// interface.
#[doc(hidden)]
pub use log::cost;

/// Properties that hold for any input, for fuzzing and the replay of its corpus; not part of the
/// interface.
#[doc(hidden)]
pub mod properties {
    pub use crate::tcp::proxy::properties::proxy_header;
}
