//! The admin socket: how `sitar status`, `reload`, `drain` and `upgrade` speak with a server that
//! runs.
//!
//! A Unix stream socket, 0600. A client sends one line, such as `status`; the server sends one
//! JSON document and closes. Each document has a `schema` and the server's `version`: a member that
//! goes or changes its meaning raises the schema, one that comes does not. A document with `error`
//! has nothing else: the request was not understood, or its sender may not ask.
//!
//! One thread serves up to eight connections; others wait in the kernel's queue. Root and the user
//! that the server runs as may ask. Requests, answers and times are bounded, so a client that says
//! nothing costs a place for a few seconds.

mod client;
mod document;
mod ordered;
mod paths;
mod server;
mod text;
mod totals;
mod verbs;

pub use client::ask;
pub(crate) use client::{open, read};
pub use document::{
    Certificate, Listener, Log, Reload, Site, SiteContent, SiteEncodings, SiteState, Status, Upgraded,
    Worker, read_reload, read_status, read_upgrade,
};
pub use ordered::{Ordered, read_done, read_ordered};
pub use paths::SOCKET;
pub(crate) use paths::{socket, socket_of_domain};
pub(crate) use server::Leaver;
pub use server::{Admin, Serving};
pub(crate) use text::{grouped, size, span, time};
pub use totals::{CountsByName, CountsByStatus, Histogram, SiteTotals, Totals, read_totals};
pub(crate) use totals::{SITES_MAX, by_class};
pub(crate) use verbs::other_version;
pub use verbs::{drain, reload, status, upgrade};

use std::path::Path;

use crate::error::Error;
use crate::trace::Spec;
use crate::unix_socket::{self, Purpose};

/// Checks that the socket could be made at a path, without making or removing anything. One on
/// which a sitar listens is in order: the configuration may be that of the one that runs.
///
/// # Errors
/// As for [`Admin::bind`], but for a sitar that listens there.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    unix_socket::check(Purpose::Admin, path)
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What is served, and how it is.
    Status,
    /// What has been counted since the start, and what is held now.
    Numbers,
    /// Read the configuration again, and everything that it names.
    Reload,
    /// Accept no more, and end when the connections have ended.
    Drain,
    /// Let the program that is installed now take over.
    Upgrade {
        /// Seconds that it may take to serve.
        wait: u32,
    },
    /// What is known of certificates that are ordered from authorities.
    Certificates,
    /// Order a certificate now.
    Renew {
        /// Its name.
        name: String,
    },
    /// Revoke a certificate, and order another in its place.
    Revoke {
        /// Its name.
        name: String,
        /// The reason (RFC 5280 §5.3.1).
        reason: u8,
    },
    /// Replace the keys of all accounts with authorities.
    RollOver,
    /// Write samples of answers, for a time.
    Trace(Box<Spec>),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Numbers`].
    Numbers(Box<Totals>),
    /// To [`Request::Reload`].
    Reload(Reload),
    /// To [`Request::Drain`].
    Drain,
    /// To [`Request::Upgrade`]: what serves now, or why it is still this one.
    Upgrade(Result<Upgraded, Error>),
    /// To [`Request::Certificates`].
    Certificates(Vec<Ordered>),
    /// To [`Request::Renew`], [`Request::Revoke`] and [`Request::RollOver`]: it has begun, or why
    /// not.
    Begun(Result<(), Error>),
    /// To [`Request::Trace`]: another process answers.
    HandedOver,
    /// The request is understood, and nothing is done: why not.
    Refused(Error),
}

impl Request {
    /// Returns the word with which its line begins.
    fn word(&self) -> &'static str {
        match self {
            Request::Status => "status",
            Request::Numbers => "numbers",
            Request::Reload => "reload",
            Request::Drain => "drain",
            Request::Upgrade { .. } => "upgrade",
            Request::Certificates => "certificates",
            Request::Renew { .. } => "renew",
            Request::Revoke { .. } => "revoke",
            Request::RollOver => "roll-over",
            Request::Trace(_) => "trace",
        }
    }

    /// Returns the line that is sent for it, without its end.
    fn line(&self) -> String {
        let word = self.word();
        match self {
            Request::Upgrade { wait } => format!("{word} {wait}"),
            Request::Renew { name } => format!("{word} {name}"),
            Request::Revoke { name, reason } => format!("{word} {reason} {name}"),
            Request::Trace(spec) => format!("{word} {}", spec.to_json()),
            _ => word.to_owned(),
        }
    }

    /// Reads a line.
    ///
    /// # Errors
    /// It is none of a request: a sentence.
    fn read(line: &[u8]) -> Result<Request, String> {
        if let Some(spec) = line.strip_prefix(b"trace ") {
            return Spec::read(spec).map(|spec| Request::Trace(Box::new(spec)));
        }
        Request::read_known(line).ok_or_else(|| {
            // Enough to see what it was.
            let line = line.get(..SHOWN_MAX).unwrap_or(line);
            let line = String::from_utf8_lossy(line.trim_ascii());
            format!("unknown request '{line}'")
        })
    }

    fn read_known(line: &[u8]) -> Option<Request> {
        let line = std::str::from_utf8(line).ok()?.trim_ascii();
        match line.split_once(' ') {
            None if line == "upgrade" => Some(Request::Upgrade { wait: UPGRADE_WAIT }),
            None => {
                let plain = [
                    Request::Status,
                    Request::Numbers,
                    Request::Reload,
                    Request::Drain,
                    Request::Certificates,
                    Request::RollOver,
                ];
                plain.into_iter().find(|one| one.word() == line)
            }
            Some(("upgrade", wait)) => Some(Request::Upgrade { wait: wait.parse().ok()? }),
            Some(("renew", name)) => Some(Request::Renew { name: name.to_owned() }),
            Some(("revoke", rest)) => {
                let (reason, name) = rest.split_once(' ')?;
                Some(Request::Revoke { name: name.to_owned(), reason: reason.parse().ok()? })
            }
            Some(_) => None,
        }
    }
}

/// Seconds that a new program may take to serve, where nothing else is said.
pub const UPGRADE_WAIT: u32 = 60;

/// Bytes of a request that is not known which are in the answer.
const SHOWN_MAX: usize = 320;

/// The version of the documents' shape.
const SCHEMA: u64 = 1;

#[cfg(test)]
mod tests;
