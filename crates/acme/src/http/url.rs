//! URLs of authorities.

use crate::problem::{Failure, printable};

/// The most bytes of a URL.
const URL_MAX: usize = 2048;

/// A URL of the scheme `https`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Url<'a> {
    /// Host and port as they are written.
    pub(crate) authority: &'a str,
    /// The host, an IPv6 address without brackets.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Path and query; may be empty or begin with `?`.
    pub(crate) path: &'a str,
}

impl<'a> Url<'a> {
    /// Takes a URL apart. Whatever a reader could understand in two ways is refused: user names,
    /// fragments, spaces, backslashes, other characters than ASCII.
    pub(crate) fn parse(url: &'a str) -> Result<Url<'a>, Failure> {
        let refuse = |why: &str| Err(Failure::garbage(format!("the URL \"{}\" {why}", printable(url))));
        if url.len() > URL_MAX {
            return refuse("is too long");
        }
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains(['#', '\\', '"', '<', '>']) {
            return refuse("has a character that does not belong there");
        }
        let Some(rest) = url.strip_prefix("https://") else {
            return refuse("does not begin with https://");
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            match rest.split_once(']') {
                Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (host, port),
                _ => return refuse("has no address in its brackets"),
            }
        } else {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            if host.is_empty() || !is_name {
                return refuse("has no name of a host");
            }
            (host, port)
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => Some(443),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            _ => None,
        };
        match port {
            Some(port @ 1..) => Ok(Url { authority, host, port, path }),
            _ => refuse("has no port behind its host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, parts) in [
            ("https://a.example/dir?x=1", ("a.example", "a.example", 443, "/dir?x=1")),
            ("https://a.example:14000", ("a.example:14000", "a.example", 14000, "")),
            ("https://127.0.0.1:1/", ("127.0.0.1:1", "127.0.0.1", 1, "/")),
            ("https://[::1]:8443/a@b", ("[::1]:8443", "::1", 8443, "/a@b")),
            ("https://[::1]?q", ("[::1]", "::1", 443, "?q")),
        ] {
            let (authority, host, port, path) = parts;
            assert_eq!(Url::parse(url).unwrap(), Url { authority, host, port, path }, "{url}");
        }
        let long = format!("https://a/{}", "a".repeat(2048));
        for url in [
            "http://a.example/",
            "ftp://a.example/",
            "file:///etc/passwd",
            "//a.example/",
            "a.example",
            "",
            "https://",
            "https:///dir",
            "https://user@a.example/",
            "https://user:word@a.example/",
            "https://a.example/#part",
            "https://a.example:0/",
            "https://a.example:65536/",
            "https://a.example:+80/",
            "https://a.example:/",
            "https://a.example:1:2/",
            "https://[::1/",
            "https://[a.example]/",
            "https://[::1]8443/",
            "https://a.example\\@b/",
            "https://a.example/\r\nX: y",
            "https://a.example/a b",
            "https://a.ex\u{e4}mple/",
            &long,
        ] {
            assert!(Url::parse(url).is_err(), "{url}");
        }
        let failure = Url::parse("http://a.example/\u{1b}[2J").unwrap_err();
        assert_eq!(
            failure.what,
            "the URL \"http://a.example/?[2J\" has a character that does not belong there"
        );
    }
}
