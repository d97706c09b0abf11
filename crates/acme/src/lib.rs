//! Certificates from an ACME authority (RFC 8555): accounts, orders, renewals, and what is known of
//! them on disk.
//!
//! Nothing here knows of servers. What is wanted comes as plain values ([`Plan`]); what has to
//! happen outside, an answer to a challenge or a wait, is asked of an [`Outside`]. So the same code
//! runs in a process of its own, and in tests whose years pass in seconds.

mod base64;
mod check;
mod client;
mod csr;
mod hash;
mod http;
mod identifier;
mod json;
mod jws;
mod manager;
mod order;
mod outside;
mod plan;
mod problem;
pub mod properties;
mod schedule;
mod store;
#[cfg(test)]
mod tests;
mod time;

pub use check::{certificate_id, serial};
pub use client::{Client, Directory, RenewalInfo};
pub use http::{Https, Method, Response, Transport};
pub use identifier::{Identifier, IdentifierError};
pub use jws::AccountKey;
pub use manager::{Connect, run};
pub use order::{Attempt, Issued, Notes, OrderNotes, obtain};
pub use outside::{Command, DnsChange, Level, Outside, Pending, Progress, Stage};
pub use plan::{Authority, ChallengeKind, Eab, KeyType, Plan, Wanted};
pub use problem::{Failure, Kind, Problem};
pub use store::{Gate, Store, StoreError};
