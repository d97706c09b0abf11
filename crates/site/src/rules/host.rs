//! The host of a rule's source: `example.com`, `:project.pages.dev`.

use super::error::Fault;
use super::pattern::{Captured, Captures, find_name};

/// A host, label by label from the left.
#[derive(Debug)]
pub(super) struct Host {
    labels: Vec<Label>,
}

#[derive(Debug)]
enum Label {
    /// In lower case.
    Literal(Box<[u8]>),
    Capture,
}

impl Host {
    /// Reads a host; its placeholders' names are added to `names`.
    pub(super) fn parse(text: &[u8], names: &mut Vec<Box<str>>) -> Result<Host, Fault> {
        let mut labels = Vec::new();
        for label in text.split(|&byte| byte == b'.') {
            match find_name(label) {
                Some((0, end)) if end == label.len() => {
                    names.push(String::from_utf8_lossy(&label[1..]).into());
                    labels.push(Label::Capture);
                }
                None if !label.is_empty()
                    && label
                        .iter()
                        .all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) =>
                {
                    labels.push(Label::Literal(label.to_ascii_lowercase().into()));
                }
                _ => {
                    return Err(Fault::new(
                        "the host is not valid",
                        "write it as in https://example.com/* or https://:name.example.com/*, without a port",
                    ));
                }
            }
        }
        Ok(Host { labels })
    }

    /// Whether the client asked this host; the port makes no difference.
    pub(super) fn matches<'k>(&self, authority: &'k [u8], captures: &mut Captures<'k>) -> bool {
        // An IPv6 address has no labels to match.
        let host = authority.split(|&byte| byte == b':').next().unwrap_or_default();
        let host = host.strip_suffix(b".").unwrap_or(host);
        let mut parts = host.split(|&byte| byte == b'.');
        for label in &self.labels {
            match (label, parts.next()) {
                (Label::Literal(literal), Some(part)) if literal.eq_ignore_ascii_case(part) => {}
                (Label::Capture, Some(part)) if !part.is_empty() => captures.push(Captured::Plain(part)),
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}
