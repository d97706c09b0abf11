//! The line of HSTS among those of a representation.

use super::Representation;
use crate::answer::fields::Lines;
use crate::answer::reply::Reply;
use crate::rules::HeaderSet;

impl Representation {
    /// Adds the line of HSTS to the header lines of every answer; nothing if it is empty. Done
    /// once, when the file is loaded.
    pub(crate) fn with_hsts(self, line: &[u8]) -> Representation {
        if line.is_empty() {
            return self;
        }
        let with = |lines: &Lines, at: usize| {
            let (before, behind) = lines.text.split_at(at.min(lines.text.len()));
            Lines::new([before, line, behind].concat())
        };
        Representation {
            content_fields: with(&self.content_fields, self.described),
            not_modified_fields: with(&self.not_modified_fields, 0),
            // An error carries it too.
            described: self.described + line.len(),
            hsts: line.len(),
            ..self
        }
    }

    /// A refusal with the line of HSTS, which is not among its own.
    pub(super) fn refusal<'r>(&self, reply: Reply<'r>, headers: Option<&HeaderSet<'_>>) -> Reply<'r> {
        if !headers.is_some_and(HeaderSet::replaces_hsts) {
            let start = self.described.saturating_sub(self.hsts);
            // It fits: nothing but a Content-Range has been written.
            reply.more.push(self.content_fields.text.get(start..self.described).unwrap_or_default());
        }
        reply
    }
}
