//! The links of a web app's manifest: images that browsers load, and pages that it starts with (Web
//! Application Manifest, W3C).

use super::link::{Link, Use};
use serde_json::Value;

/// Whether a file is a manifest, by its type or by its most usual name.
pub(super) fn is_manifest(name: &[u8], essence: &str) -> bool {
    essence == "application/manifest+json"
        || name.rsplit(|&byte| byte == b'/').next() == Some(b"manifest.json")
}

/// Collects the links of a manifest; one that is no JSON has none.
pub(super) fn links(bytes: &[u8], out: &mut Vec<Link>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let Ok(manifest) = serde_json::from_slice::<Value>(bytes) else { return };
    push(&manifest["start_url"], Use::Visit, out);
    images(&manifest, out);
    for shortcut in manifest["shortcuts"].as_array().into_iter().flatten() {
        push(&shortcut["url"], Use::Visit, out);
        images(shortcut, out);
    }
}

fn images(of: &Value, out: &mut Vec<Link>) {
    for list in ["icons", "screenshots"] {
        for image in of[list].as_array().into_iter().flatten() {
            push(&image["src"], Use::Load, out);
        }
    }
}

fn push(address: &Value, using: Use, out: &mut Vec<Link>) {
    if let Some(address) = address.as_str() {
        out.push(Link { target: address.as_bytes().to_vec(), using, line: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_pages() {
        let manifest = "\u{feff}{\"start_url\":\"/?pwa\",\"icons\":[{\"src\":\"a.png\"},{\"sizes\":\"any\"}],\
            \"screenshots\":[{\"src\":\"s.png\"}],\"shortcuts\":[{\"url\":\"/new\",\"icons\":[{\"src\":\"n.png\"}]}]}";
        let mut out = Vec::new();
        links(manifest.as_bytes(), &mut out);
        let found: Vec<_> = out.iter().map(|link| (&*link.target, link.using)).collect();
        let expected: [(&[u8], Use); 5] = [
            (b"/?pwa", Use::Visit),
            (b"a.png", Use::Load),
            (b"s.png", Use::Load),
            (b"/new", Use::Visit),
            (b"n.png", Use::Load),
        ];
        assert_eq!(found, expected);
        for other in ["", "[1]", "{\"icons\":{\"16\":\"a.png\"},\"start_url\":7}", "{", "null"] {
            links(other.as_bytes(), &mut out);
        }
        assert_eq!(out.len(), 5);
        assert!(
            is_manifest(b"d/manifest.json", "application/json")
                && !is_manifest(b"amanifest.json", "application/json")
        );
    }
}
