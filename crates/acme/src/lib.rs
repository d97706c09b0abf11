//! Certificates from an ACME authority (RFC 8555): accounts, orders, renewals, and what is known of
//! them on disk.
//!
//! Nothing here knows of servers. What is wanted comes as plain values ([`Plan`]); what has to
//! happen outside, an answer to a challenge or a wait, is asked of an [`Outside`]. So the same code
//! runs in a process of its own, and in tests whose years pass in seconds.

mod identifier;
mod outside;
mod plan;

pub use identifier::{Identifier, IdentifierError};
pub use outside::{Command, DnsChange, Outside, Pending, Progress, Stage};
pub use plan::{Authority, ChallengeKind, Eab, KeyType, Plan, Wanted};
