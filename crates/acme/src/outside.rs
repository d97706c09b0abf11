//! What happens outside: waits, answers to challenges, and who hears what has become of orders.

use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::identifier::Identifier;
use crate::plan::Plan;

/// The world around the manager. Its methods are called from one thread.
pub trait Outside {
    /// Returns the time.
    fn now(&self) -> SystemTime;

    /// Waits until that time (`None`: without an end), or for a command; returns that.
    fn wait(&mut self, until: Option<SystemTime>) -> Option<Command>;

    /// Answers these challenges, and none of those before. Returns when every listener does.
    ///
    /// # Errors
    /// They cannot be answered: a sentence.
    fn answer(&mut self, pending: &[Pending]) -> Result<(), String>;

    /// Changes a record in the DNS by the operator's command. Returns when that has ended.
    ///
    /// # Errors
    /// It has failed: a sentence with what it said.
    fn change_dns(&mut self, change: DnsChange, name: &str, value: &str) -> Result<(), String>;

    /// A certificate is on disk, whole, and may be served: called after each order, and for each
    /// one that is there at the start.
    ///
    /// # Errors
    /// It is not served: a sentence.
    fn issued(&mut self, name: &str) -> Result<(), String>;

    /// Something is to be known about a certificate.
    fn progress(&mut self, progress: &Progress);

    /// Something is to be known that concerns no certificate alone, such as a damaged file.
    fn say(&mut self, level: Level, text: &str);

    /// Returns whether the process is to end: asked between two requests.
    fn is_ending(&mut self) -> bool;
}

/// Who has to care about what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For those who look for it.
    Note,
    /// Something is not as it has to be.
    Warning,
}

/// A challenge that is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// By the file of that name in `/.well-known/acme-challenge/`.
    Http01 {
        /// The name and the address of requests for it: its authority without a port.
        identifier: Identifier,
        /// The name of the file.
        token: String,
        /// Its content.
        authorization: String,
    },
    /// By a certificate in a handshake.
    TlsAlpn01 {
        /// The name in the ClientHello.
        server_name: String,
        /// The certificate in PEM.
        chain: Vec<u8>,
        /// Its key in PEM.
        key: Zeroizing<Vec<u8>>,
    },
}

/// A change of a record in the DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsChange {
    /// Adds a TXT record.
    Add,
    /// Removes it.
    Remove,
}

/// What the manager is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Another plan takes the place of the one before.
    Plan(Plan),
    /// The certificate is ordered now, whatever its time is. Back-off is ended; what the authority
    /// has forbidden until a time stays forbidden.
    Renew(String),
    /// The certificate is revoked (RFC 8555 §7.6), and ordered again with another key.
    Revoke {
        /// Its name.
        name: String,
        /// The reason (RFC 5280 §5.3.1).
        reason: u8,
    },
    /// The keys of all accounts are replaced (RFC 8555 §7.3.5).
    RollOver,
    /// It ends.
    End,
}

/// What is known about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The name of the certificate.
    pub name: String,
    /// What it is doing.
    pub stage: Stage,
    /// The serial of the last one that was issued, in hexadecimal.
    pub serial: Option<String>,
    /// From when to when it is valid, in seconds since 1970.
    pub validity: Option<(u64, u64)>,
    /// The directory of the authority that has issued it.
    pub authority: Option<String>,
    /// When the next order, or the next attempt, is due.
    pub next: Option<SystemTime>,
    /// Why the last order, or a command, has failed; `None`: it has not. In words, with the likely
    /// cause.
    pub failed: Option<String>,
    /// The command or the step that helps.
    pub hint: Option<String>,
    /// Orders that have failed, one after the other.
    pub failures: u32,
}

/// What becomes of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is due.
    Resting,
    /// It is being ordered.
    Ordering,
    /// The last order has failed, and another follows.
    Failing,
}
