//! Rules one by one, for `sitar check`, which says what is wrong with them.

use super::Rules;
use super::headers::{Override, StoredCoding, Unmatched};
use std::collections::BTreeSet;

impl Rules {
    /// The coding that `_headers` says a file is stored in.
    #[must_use]
    pub fn stored_coding(&self, key: &[u8]) -> Option<StoredCoding> {
        self.headers.stored(key)
    }

    /// Adds to `found` the lines of `_headers` that take the place of others in the answers for a
    /// key, whatever the host.
    pub fn overridden(&self, key: &[u8], found: &mut BTreeSet<Override>) {
        self.headers.overridden(key, found);
    }

    /// The rules of `_headers` that match no path until they have been shown one. Those with a host
    /// are not among them, nor are those for paths that a redirect may answer. `None`: rewrites
    /// give addresses to which no file's name leads, so nothing can be said.
    #[must_use]
    pub fn unmatched(&self) -> Option<Unmatched<'_>> {
        (!self.redirects.rewrite())
            .then(|| self.headers.unmatched(|source| self.redirects.may_answer(source)))
    }

    /// The fixed paths of redirects that give way to a file there, with the lines of the rules.
    pub fn yielding(&self) -> impl Iterator<Item = (u32, Vec<u8>)> {
        self.redirects.yielding()
    }

    /// The fixed keys whose pages rules show at other addresses, with the lines of the rules and
    /// whether the target ends in a slash.
    pub fn rewrites(&self) -> impl Iterator<Item = (u32, &[u8], bool)> {
        self.redirects.rewrites()
    }

    /// The targets of redirects inside the site, as far as they are fixed, with the lines of the
    /// rules.
    pub fn targets(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.redirects.targets()
    }
}
