//! Texts with a form of their own: targets of redirects, and Strict-Transport-Security.

use sitar_site::{Hsts, HstsError};

use super::host;
use super::nearest::nearest;

/// The most bytes of a target.
const TARGET_MAX: usize = 2048;
/// The directives of Strict-Transport-Security (RFC 6797 §6.1), with `_` for `-`.
const DIRECTIVES: [&str; 3] = ["max_age", "includeSubDomains", "preload"];

/// The reason that a text is refused: the end of a sentence, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) why: String,
    pub(super) hint: Option<String>,
}

fn bad(why: &str, hint: &str) -> Bad {
    Bad { why: why.to_owned(), hint: Some(hint.to_owned()) }
}

/// The target of a redirect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The URL with its scheme and host in lower case.
    pub(super) url: String,
    /// As in `hosts`.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_https: bool,
}

/// Reads the target of a redirect: an origin, or a URL with a path.
pub(super) fn target(text: &str) -> Result<Target, Bad> {
    const EXAMPLE: &str = "for example: redirect_to = \"https://example.com\"";
    if text.len() > TARGET_MAX {
        return Err(bad("a target has at most 2048 characters", EXAMPLE));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let host = text.split('/').next().unwrap_or_default();
        let hint = match host::parse(host) {
            Ok(host) if host.contains('.') && !host.starts_with('*') => {
                format!("did you mean \"https://{text}\"?")
            }
            _ => EXAMPLE.to_owned(),
        };
        return Err(Bad { why: "a target begins with https:// or http://".to_owned(), hint: Some(hint) });
    };
    let is_https = scheme.eq_ignore_ascii_case("https");
    if !is_https && !scheme.eq_ignore_ascii_case("http") {
        return Err(bad("a target begins with https:// or http://", EXAMPLE));
    }
    if let Some(character) = rest.chars().find(|character| !character.is_ascii_graphic()) {
        let why = if character.is_ascii() {
            "a target has no spaces and no control characters; a space is written %20"
        } else {
            "a target has ASCII characters only; others are written as A-labels, and in a path as %XX"
        };
        return Err(bad(why, EXAMPLE));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !path.is_empty() && !path.starts_with('/') {
        return Err(bad("a query stands behind a path", EXAMPLE));
    }
    if authority.contains('@') {
        return Err(bad("a target has no user", EXAMPLE));
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (authority, None),
    };
    let default = if is_https { 443 } else { 80 };
    let port = match port.map(crate::settings::values::port) {
        None => default,
        Some(Some(port)) if port > 0 => port,
        Some(_) => return Err(bad("a port is a number from 1 to 65535", EXAMPLE)),
    };
    let is_bare_v6 = name.contains(':') && !name.starts_with('[');
    let host = host::parse(name).ok().filter(|host| !host.starts_with('*') && !is_bare_v6);
    let Some(host) = host else { return Err(bad("it has no host that a client could ask for", EXAMPLE)) };
    let scheme = if is_https { "https" } else { "http" };
    let url = format!("{scheme}://{}{path}", authority.to_ascii_lowercase());
    Ok(Target { url, host, port, is_https })
}

/// Reads a value of Strict-Transport-Security.
pub(super) fn hsts(text: &str) -> Result<Hsts, Bad> {
    const EXAMPLE: &str = "for example: hsts = \"max-age=31536000; includeSubDomains\"";
    Hsts::parse(text).map_err(|error| {
        let near = match &error {
            HstsError::Unknown(name) => nearest(&name.replace('-', "_"), DIRECTIVES),
            _ => None,
        };
        let near = near.map(|near| format!("did you mean {}?", near.replace('_', "-")));
        Bad { why: error.to_string(), hint: near.or_else(|| Some(EXAMPLE.to_owned())) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        for (text, url, host, port) in [
            ("https://example.com", "https://example.com", "example.com", 443),
            ("HTTPS://Example.com/A?b#c", "https://example.com/A?b#c", "example.com", 443),
            ("http://example.com:8080/", "http://example.com:8080/", "example.com", 8080),
            ("https://[::1]:8443", "https://[::1]:8443", "::1", 8443),
        ] {
            let found = target(text).unwrap();
            assert_eq!((&*found.url, &*found.host, found.port), (url, host, port), "{text}");
        }
        for wrong in [
            "",
            "example.com",
            "/path",
            "//example.com",
            "ftp://example.com",
            "https://",
            "https:///x",
            "https://a b.example",
            "https://bücher.example",
            "https://u@example.com",
            "https://example.com:0",
            "https://example.com:99999",
            "https://*.example.com",
            "https://::1/",
            "https://example.com?x",
            "https://example.com/\r\nX: y",
        ] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
        assert!(target(&format!("https://example.com/{}", "a".repeat(2048))).is_err());
    }

    #[test]
    fn directives_that_were_meant() {
        assert_eq!(hsts("max-age=1").unwrap().as_str(), "max-age=1");
        let hint = |text: &str| hsts(text).unwrap_err().hint.unwrap();
        assert_eq!(hint("maxage=1"), "did you mean max-age?");
        assert_eq!(hint("max_age=1"), "did you mean max-age?");
        assert_eq!(hint("max-age=1; includeSubdomain"), "did you mean includeSubDomains?");
        assert!(hint("31536000").starts_with("for example: "));
    }
}
