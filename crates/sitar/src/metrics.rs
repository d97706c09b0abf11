//! The numbers of a running server, for programs that watch it: `/metrics` for Prometheus,
//! `/healthz` and `/readyz` for whatever starts and stops servers.
//!
//! A worker counts, the supervisor asks it when it is asked itself, and nothing is done in between.
//! docs/metrics.md lists the metrics.

mod answer;
mod format;
mod numbers;
mod server;
mod text;
mod totals;

pub(crate) use self::answer::{Answer, Asked};
pub(crate) use self::format::Format;
pub(crate) use self::numbers::Numbers;
pub(crate) use self::server::{Leaver, Metrics, Serving, check, reach};
pub(crate) use self::text::{Facts, text};

#[cfg(test)]
mod tests;
