//! The admin socket: how `sitar status` and `sitar reload` speak with a server that runs.
//!
//! A Unix stream socket, 0600. A client sends one line, `status` or `reload`; the server sends one
//! JSON document and closes. Each document has a `schema` and the server's `version`: a member that
//! goes or changes its meaning raises the schema, one that comes does not. A document with `error`
//! has nothing else: the request was not understood, or its sender may not ask.
//!
//! One thread serves up to eight connections; others wait in the kernel's queue. Root and the user
//! that the server runs as may ask. Requests, answers and times are bounded, so a client that says
//! nothing costs a place for a few seconds.

mod client;
mod document;
mod paths;
mod place;
mod server;
mod text;
mod verbs;

pub use client::ask;
pub use document::{
    Certificate, Listener, Reload, Site, SiteContent, SiteState, Status, read_reload, read_status,
};
pub use paths::SOCKET;
pub use place::check;
pub use server::{Admin, Serving};
pub use verbs::{reload, status};

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// What is served, and how it is.
    Status,
    /// Read the configuration again, and everything that it names.
    Reload,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Reload`].
    Reload(Reload),
}

impl Request {
    const ALL: [Request; 2] = [Request::Status, Request::Reload];

    /// Returns the line that is sent for it, without its end.
    fn word(self) -> &'static str {
        match self {
            Request::Status => "status",
            Request::Reload => "reload",
        }
    }

    fn read(line: &[u8]) -> Option<Request> {
        Request::ALL.into_iter().find(|request| request.word().as_bytes() == line.trim_ascii())
    }
}

/// The version of the documents' shape.
const SCHEMA: u64 = 1;

#[cfg(test)]
mod tests;
