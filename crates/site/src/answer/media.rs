//! Media types by file name.
//!
//! The table is made of mime-db and of `media/own.txt`; `media/README.md` says how. A name without
//! an extension, or with one that is not in the table, is `application/octet-stream`: with
//! `nosniff` a wrong guess would be worse than a download. The exceptions are names that standards
//! give to files without an extension.

/// Returns the type of a file of this name.
#[must_use]
pub fn media_type(name: &[u8]) -> Media {
    let essence = essence(name);
    Media { essence, utf8: is_text(essence) }
}

/// A media type (RFC 9110 §8.3.1) and whether `; charset=utf-8` belongs behind it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// The type alone.
    pub essence: &'static str,
    /// UTF-8 should be declared.
    pub utf8: bool,
}

fn essence(name: &[u8]) -> &'static str {
    let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
    let dot = file.iter().rposition(|&byte| byte == b'.');
    dot.and_then(|dot| by_extension(&file[dot + 1..])).or_else(|| by_name(name)).unwrap_or(UNKNOWN)
}

/// Searches the table by halves: a dozen lines at most.
fn by_extension(extension: &[u8]) -> Option<&'static str> {
    let mut room = [0; EXTENSION_MAX];
    let wanted = room.get_mut(..extension.len())?;
    wanted.copy_from_slice(extension);
    wanted.make_ascii_lowercase();
    let mut rest = TYPES;
    while !rest.is_empty() {
        // The line that the middle lies in.
        let middle = rest.len() / 2;
        let start =
            rest.as_bytes()[..middle].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let (before, at) = rest.split_at_checked(start)?;
        let (line, behind) = at.split_once('\n')?;
        let (known, essence) = line.split_once(' ')?;
        match known.as_bytes().cmp(wanted) {
            std::cmp::Ordering::Equal => return Some(essence),
            std::cmp::Ordering::Less => rest = behind,
            std::cmp::Ordering::Greater => rest = before,
        }
    }
    None
}

/// Names of files that have no extension by their standards.
fn by_name(name: &[u8]) -> Option<&'static str> {
    let below = match name.strip_prefix(b".well-known/") {
        Some(below) => below,
        // Where Apple's devices looked first.
        None if name == b"apple-app-site-association" => name,
        None => return None,
    };
    // Some have a tenant's path behind them (RFC 8414 §3.1), or several files (matrix/client).
    let first = below.split(|&byte| byte == b'/').next().unwrap_or(below);
    WELL_KNOWN.iter().find(|(known, _)| known.as_bytes() == first).map(|(_, essence)| *essence)
}

fn is_text(essence: &str) -> bool {
    essence.starts_with("text/")
        || matches!(
            essence,
            "application/json"
                | "application/xml"
                | "application/javascript"
                | "application/manifest+json"
                | "application/toml"
                | "application/yaml"
                | "application/x-ndjson"
        )
        || essence.ends_with("+xml")
        || essence.ends_with("+json")
}

const UNKNOWN: &str = "application/octet-stream";
const JSON: &str = "application/json";
/// `EXTENSION TYPE`, sorted.
const TYPES: &str = include_str!("media/types.txt");
/// Bytes of the longest extension in it.
const EXTENSION_MAX: usize = 24;

/// Files below `.well-known/` (RFC 8615 §5.1, and those in use beside the registry) without
/// an extension, and is neither a redirect nor a folder of other files. What has one, such as
/// `assetlinks.json`, is in the table. `acme-challenge` is `application/octet-stream`, as RFC 8555
/// §8.3 recommends.
const WELL_KNOWN: &[(&str, &str)] = &[
    ("apple-app-site-association", JSON),
    ("apple-developer-merchantid-domain-association", "text/plain"),
    ("atproto-did", "text/plain"),
    ("core", "application/link-format"),
    ("discord", "text/plain"),
    ("dnt", "application/tracking-status+json"),
    ("gnap-as-rs", JSON),
    ("host-meta", "application/xrd+xml"),
    ("http-opportunistic", JSON),
    ("jmap", JSON),
    ("jwt-vc-issuer", JSON),
    ("lnurlp", JSON),
    ("matrix", JSON),
    ("nodeinfo", JSON),
    ("oauth-authorization-server", JSON),
    ("oauth-protected-resource", JSON),
    ("open-resource-discovery", JSON),
    ("openid-configuration", JSON),
    ("openid-credential-issuer", JSON),
    ("openid-federation", "application/entity-statement+jwt"),
    ("passkey-endpoints", JSON),
    ("private-token-issuer-directory", "application/private-token-issuer-directory"),
    ("pvd", "application/pvd+json"),
    ("resourcesync", "application/xml"),
    ("smart-configuration", JSON),
    ("ssf-configuration", JSON),
    ("traffic-advice", "application/trafficadvice+json"),
    ("uma2-configuration", JSON),
    ("web-identity", JSON),
    ("webauthn", JSON),
    ("webfinger", "application/jrd+json"),
    ("wot", "application/td+json"),
];

#[cfg(test)]
mod tests;
