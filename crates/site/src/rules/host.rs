//! The host of a rule's source: `example.com`, `:project.pages.dev`.

use super::captures::{Captured, Captures, find_name};
use super::cost::looked_at;
use super::error::Fault;
use super::pieces::{Cuts, Pieces};

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

    /// Whether the client asked this host.
    pub(super) fn matches<'k>(&self, asked: &Pieces<'_, 'k>, captures: &mut Captures<'k>) -> bool {
        let mut parts = asked.all();
        for label in &self.labels {
            match (label, parts.next()) {
                (Label::Literal(literal), Some(part)) if is_same(literal, part) => {}
                (Label::Capture, Some(part)) if !part.is_empty() => captures.push(Captured::Plain(part)),
                _ => return false,
            }
        }
        parts.text().is_none()
    }

    /// The same in the plainest way, as an oracle for tests: what its placeholders stand for.
    #[cfg(test)]
    pub(super) fn captured_plainly(&self, authority: &[u8]) -> Option<Vec<Vec<u8>>> {
        let host = authority.split(|&byte| byte == b':').next()?;
        let host = host.strip_suffix(b".").unwrap_or(host).to_ascii_lowercase();
        let parts: Vec<&[u8]> = host.split(|&byte| byte == b'.').collect();
        let fits = self.labels.iter().zip(&parts).all(|(label, part)| match label {
            Label::Literal(literal) => **literal == **part,
            Label::Capture => !part.is_empty(),
        });
        let captures = self.labels.iter().zip(&parts).filter(|(label, _)| matches!(label, Label::Capture));
        (fits && parts.len() == self.labels.len()).then(|| captures.map(|(_, part)| part.to_vec()).collect())
    }
}

fn is_same(literal: &[u8], part: &[u8]) -> bool {
    looked_at(literal.len().min(part.len()));
    literal.eq_ignore_ascii_case(part)
}

/// The labels of the host that a client asked; the port makes no difference.
pub(super) fn labels<'c, 'k>(authority: &'k [u8], room: Option<&'c mut Option<Cuts>>) -> Pieces<'c, 'k> {
    // An IPv6 address has no labels to match.
    let host = authority.split(|&byte| byte == b':').next().unwrap_or_default();
    looked_at(host.len());
    Pieces::of(host.strip_suffix(b".").unwrap_or(host), b'.', room)
}
