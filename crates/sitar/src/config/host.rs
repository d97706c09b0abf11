//! Names of hosts as the file writes them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most bytes of a name (RFC 1035 §3.1, without the root's label), and of a label.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// The reason that a host is refused: the end of a sentence, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadHost {
    pub(super) why: &'static str,
    pub(super) instead: Option<String>,
}

fn bad(why: &'static str) -> BadHost {
    BadHost { why, instead: None }
}

fn bad_with(why: &'static str, instead: impl Into<String>) -> BadHost {
    BadHost { why, instead: Some(instead.into()) }
}

/// Reads a host: a name, a name with `*` as its first label, or an IP address. Returns it in lower
/// case; an IPv6 address without brackets and in the form of RFC 5952.
pub(super) fn parse(text: &str) -> Result<String, BadHost> {
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        return Err(bad_with("a host has no scheme", host));
    }
    if let Some((host, _)) = text.split_once('/') {
        return Err(bad_with("a host has no path", host));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<Ipv6Addr>() {
        return Ok(IpAddr::from(ip).to_canonical().to_string());
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(bad_with("a host has no port; the port stands in [[listen]]", host));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(ip.to_string());
    }
    match text {
        "" => return Err(bad("a host is not empty")),
        "*" | "_" | "default" => {
            return Err(BadHost {
                why: "it is no name; a site for all other names has: default = true",
                instead: None,
            });
        }
        _ => {}
    }
    name(text)
}

fn name(text: &str) -> Result<String, BadHost> {
    if let Some(name) = text.strip_suffix('.') {
        return Err(bad_with("a host has no dot at its end", name));
    }
    if let Some(name) = text.strip_prefix('.') {
        return Err(bad_with("a host does not begin with a dot", format!("*.{name}")));
    }
    if !text.is_ascii() {
        let why = "other letters than those of ASCII are written as A-labels (xn--)";
        return Err(BadHost { why, instead: a_labels(text) });
    }
    let lower = text.to_ascii_lowercase();
    let rest = lower.strip_prefix("*.").unwrap_or(&lower);
    if rest.contains('*') {
        return Err(bad("a * stands alone as the first label, as in *.example.com"));
    }
    if lower.len() > NAME_MAX {
        return Err(bad("a host has at most 253 characters"));
    }
    for label in rest.split('.') {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let why = if label.is_empty() {
            "two dots have no label between them"
        } else if label.len() > LABEL_MAX {
            "a label has at most 63 characters"
        } else if !label.bytes().all(is_allowed) {
            "a host has letters, digits, dots and hyphens only"
        } else if label.starts_with('-') || label.ends_with('-') {
            "a label does not begin or end with a hyphen"
        } else {
            continue;
        };
        return Err(bad(why));
    }
    // The URL standard takes such a name for an IPv4 address, so no client asks for it.
    if rest.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(bad("it is neither an IPv4 address nor a name, whose last label is no number"));
    }
    Ok(lower)
}

/// Returns whether the certificate that sitar makes is good for a host.
pub(super) fn is_local(host: &str) -> bool {
    let label = host.strip_suffix(".localhost");
    matches!(host, "localhost" | "127.0.0.1" | "::1") || label.is_some_and(|label| !label.contains('.'))
}

/// Returns the host with a wildcard that covers an exact one.
pub(super) fn wildcard(host: &str) -> Option<String> {
    host.split_once('.').map(|(_, rest)| format!("*.{rest}"))
}

/// Returns a name with each label that is not ASCII as an A-label; `None` where one cannot be
/// written so. Letters are lowered, and not normalized further.
fn a_labels(name: &str) -> Option<String> {
    let mut all = String::new();
    if name.len() > NAME_MAX * 4 {
        return None;
    }
    for (place, label) in name.split('.').enumerate() {
        if place > 0 {
            all.push('.');
        }
        let label = label.to_lowercase();
        if label.is_ascii() { all.push_str(&label) } else { write!(all, "xn--{}", punycode(&label)?).ok()? }
    }
    name_is_ours(&all).then_some(all)
}

fn name_is_ours(name: &str) -> bool {
    name.is_ascii() && self::name(name).is_ok()
}

/// Encodes a label (RFC 3492 §6.3).
fn punycode(label: &str) -> Option<String> {
    const BASE: u32 = 36;
    const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let digit = |value: u32| DIGITS.get(usize::try_from(value).ok()?).copied();
    let mut output: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(output.len()).ok()?;
    let all = u32::try_from(label.chars().count()).ok()?;
    if basic > 0 {
        output.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (128_u32, 0_u32, 72_u32, basic);
    while handled < all {
        let next = label.chars().map(u32::from).filter(|code| *code >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled + 1)?)?;
        n = next;
        for code in label.chars().map(u32::from) {
            if code < n {
                delta = delta.checked_add(1)?;
            }
            if code != n {
                continue;
            }
            let mut q = delta;
            let mut k = BASE;
            loop {
                let t = k.saturating_sub(bias).clamp(1, 26);
                if q < t {
                    break;
                }
                output.push(char::from(digit(t + (q - t) % (BASE - t))?));
                q = (q - t) / (BASE - t);
                k += BASE;
            }
            output.push(char::from(digit(q)?));
            bias = adapt(delta, handled + 1, handled == basic);
            delta = 0;
            handled += 1;
        }
        delta = delta.checked_add(1)?;
        n += 1;
    }
    Some(output)
}

/// Adapts the bias (RFC 3492 §6.1).
fn adapt(delta: u32, points: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / 700 } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > 455 {
        delta /= 35;
        k += 36;
    }
    k + 36 * delta / (delta + 38)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_as_they_are_served() {
        for (text, expected) in [
            ("example.com", "example.com"),
            ("Example.COM", "example.com"),
            ("*.example.com", "*.example.com"),
            ("localhost", "localhost"),
            ("*.localhost", "*.localhost"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a_b.example", "a_b.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[2001:DB8:0::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(parse(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn hosts_that_are_refused_with_what_to_write() {
        for (text, expected) in [
            ("https://example.com/x", Some("example.com")),
            ("example.com/x", Some("example.com")),
            ("example.com:443", Some("example.com")),
            ("[::1]:443", Some("[::1]")),
            ("example.com.", Some("example.com")),
            (".example.com", Some("*.example.com")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("*.Bücher.example", Some("*.xn--bcher-kva.example")),
            ("他们为什么不说中文.example", Some("xn--ihqwcrb4cv8a8dqg056pqjye.example")),
            ("pročprostěnemluvíčesky", Some("xn--proprostnemluvesky-uyb24dma41a")),
            ("", None),
            ("*", None),
            ("a..b", None),
            ("a b", None),
            ("-a.example", None),
            ("a-.example", None),
            ("www.*.com", None),
            ("*a.example", None),
            ("*.", Some("*")),
            ("1.2.3", None),
            ("256.1.1.1", None),
            ("a:b", None),
        ] {
            assert_eq!(parse(text).unwrap_err().instead.as_deref(), expected, "{text}");
        }
        assert!(parse(&"a".repeat(64)).is_err());
        assert!(parse(&"ü".repeat(1 << 20)).is_err());
        assert!(parse(&vec!["a"; 127].join(".")).is_ok());
        assert!(parse(&vec!["a"; 128].join(".")).is_err());
    }

    #[test]
    fn what_a_wildcard_covers() {
        let covers = |pattern: &str, host: &str| wildcard(host).as_deref() == Some(pattern);
        assert!(covers("*.example.com", "a.example.com"));
        assert!(!covers("*.example.com", "a.b.example.com"));
        assert!(!covers("*.example.com", "example.com"));
        assert_eq!(wildcard("localhost"), None);
        assert!(is_local("app.localhost") && is_local("*.localhost") && !is_local("a.b.localhost"));
        assert!(!is_local("example.com") && !is_local("127.0.0.2"));
    }
}
