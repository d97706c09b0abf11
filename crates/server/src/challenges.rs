//! Answers to the challenges of ACME authorities: files that no site has, and certificates that no
//! site shows.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::str;
use std::sync::Arc;

use sitar_http::{Method, Request};
use sitar_site::Page;

use crate::snapshot::host_of;

/// Where the files of challenges are (RFC 8555 §8.3).
const FOLDER: &[u8] = b"/.well-known/acme-challenge/";

/// The pending challenges, of both kinds. Those of a worker are replaced as a whole.
#[derive(Debug, Default)]
pub struct Challenges {
    certificates: Arc<sitar_tls::Challenges>,
    /// By token. One token may be that of several hosts.
    files: HashMap<Box<[u8]>, Vec<File>>,
}

/// The file of a challenge by HTTP-01.
#[derive(Debug)]
struct File {
    host: Host,
    page: Page,
}

/// What an authority asks for.
#[derive(Debug, Eq, PartialEq)]
enum Host {
    /// A name in lower case, without the dot of the root.
    Name(Box<str>),
    Address(IpAddr),
}

impl Host {
    /// Reads a host without a port. An address of IPv6 may be in brackets. `None`: it is not text.
    fn read(host: &[u8]) -> Option<Host> {
        let host = str::from_utf8(host).ok()?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        Some(match bare.parse::<IpAddr>() {
            Ok(address) => Host::Address(address.to_canonical()),
            Err(_) => Host::Name(host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase().into()),
        })
    }
}

impl Challenges {
    /// Creates a set with these challenges by TLS-ALPN-01 (RFC 8737), and none by HTTP-01.
    #[must_use]
    pub fn new(certificates: sitar_tls::Challenges) -> Challenges {
        Challenges { certificates: Arc::new(certificates), files: HashMap::new() }
    }

    /// Adds a challenge by HTTP-01 (RFC 8555 §8.3): the content of the file `token` of a host,
    /// which is a name or an address, without a port.
    ///
    /// # Errors
    /// There is no memory for it, or it is larger than a page may be ([`Page::MAX`]).
    pub fn add_file(&mut self, host: &str, token: &str, content: &str) -> io::Result<()> {
        let host = Host::read(host.as_bytes()).ok_or(io::ErrorKind::InvalidInput)?;
        let page = Page::bytes(content.as_bytes())?;
        let files = self.files.entry(token.as_bytes().into()).or_default();
        files.retain(|other| other.host != host);
        files.push(File { host, page });
        Ok(())
    }

    /// Returns the number of challenges that are pending, of both kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.certificates.len() + self.files.values().map(Vec::len).sum::<usize>()
    }

    /// Returns whether none is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.files.is_empty()
    }

    /// Whether some are files.
    pub(crate) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    pub(crate) fn certificates(&self) -> &Arc<sitar_tls::Challenges> {
        &self.certificates
    }

    /// Returns the answer to a request for the file of a challenge; `None`: it is for something
    /// else. A request without a host, as HTTP/1.0 may have, is for the file of that name of any
    /// host: who knows the token (128 bits, RFC 8555 §8.3) may know the content.
    #[cold]
    pub(crate) fn find(&self, request: &Request<'_>) -> Option<&Page> {
        if !matches!(request.method, Method::Get | Method::Head) {
            return None;
        }
        let files = self.files.get(request.target.path.strip_prefix(FOLDER)?)?;
        let file = match request.authority {
            None => files.first(),
            Some(authority) => {
                let host = Host::read(host_of(authority))?;
                files.iter().find(|file| file.host == host)
            }
        };
        file.map(|file| &file.page)
    }
}

#[cfg(test)]
mod tests {
    use sitar_http::RequestTarget;

    use super::*;

    fn found(all: &Challenges, method: Method, authority: Option<&str>, path: &str) -> bool {
        let mut request = Request::new(method, RequestTarget { path: path.as_bytes(), query: None });
        request.authority = authority.map(str::as_bytes);
        all.find(&request).is_some()
    }

    #[test]
    fn a_file_is_for_its_host_and_its_token_only() {
        let mut all = Challenges::default();
        assert!(all.is_empty() && !all.has_files());
        for (host, token) in
            [("a.example", "one"), ("192.0.2.7", "two"), ("2001:db8::7", "three"), ("B.example", "one")]
        {
            all.add_file(host, token, "text").unwrap();
        }
        all.add_file("a.example", "one", "again").unwrap();
        assert_eq!((all.len(), all.has_files(), all.is_empty()), (4, true, false));
        for (authority, token, is_found) in [
            ("a.example", "one", true),
            ("A.Example", "one", true),
            ("a.example.", "one", true),
            ("a.example:5002", "one", true),
            ("b.example", "one", true),
            ("192.0.2.7", "two", true),
            ("192.0.2.7:80", "two", true),
            ("[2001:db8::7]", "three", true),
            ("[2001:DB8:0::7]:5002", "three", true),
            ("c.example", "one", false),
            ("x.a.example", "one", false),
            ("a.example", "two", false),
            ("a.example", "On", false),
            ("a.example", "ONE", false),
            ("a.example", "", false),
            ("192.0.2.8", "two", false),
            ("[2001:db8::8]", "three", false),
            ("", "one", false),
        ] {
            let path = format!("/.well-known/acme-challenge/{token}");
            for method in [Method::Get, Method::Head] {
                assert_eq!(found(&all, method, Some(authority), &path), is_found, "{authority} {token}");
            }
            assert!(!found(&all, Method::Post, Some(authority), &path));
        }
        for (path, is_found) in [
            ("/.well-known/acme-challenge/one", true),
            ("/.well-known/acme-challenge/four", false),
            ("/.well-known/acme-challenge/one/", false),
            ("/.well-known/acme-challenge/./one", false),
            ("/.well-known/acme-challenge//one", false),
            ("/.well-known/acme-challenge", false),
            ("/one", false),
            ("*", false),
        ] {
            assert_eq!(found(&all, Method::Get, None, path), is_found, "{path}");
            assert_eq!(found(&all, Method::Get, Some("a.example"), path), is_found, "{path}");
        }
    }
}
