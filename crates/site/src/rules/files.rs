//! The two files, and their limits.

/// The file with the header rules.
pub(crate) const HEADERS: &str = "_headers";
/// The file with the redirects.
pub(crate) const REDIRECTS: &str = "_redirects";
/// Bytes of one file.
pub(crate) const FILE_MAX: usize = 1 << 20;
/// Bytes of one line. Cloudflare allows 2,000 characters, which are 8,000 bytes at most.
pub(super) const LINE_MAX: usize = 8192;
/// Rules in `_redirects`. Cloudflare allows 2,100.
pub(super) const REDIRECTS_MAX: usize = 10_000;
/// Redirects with wildcards, a host or parameters. Cloudflare allows 100.
pub(super) const REDIRECTS_DYNAMIC_MAX: usize = 500;
/// Rules in `_headers`. Cloudflare allows 100.
pub(super) const HEADER_RULES_MAX: usize = 500;
/// Lines that rules may add to one answer.
pub(crate) const HEADER_LINES_MAX: usize = 64;
/// Pieces of a header block: the lines of rules, and those of the server's own.
pub(crate) const PIECES_MAX: usize = HEADER_LINES_MAX + 17;

/// Lines with their numbers, whatever their ends.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    // FILE_MAX is far below 2^32.
    (1..).zip(text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)))
}

/// Returns how much of a file with rules is read: at most one byte more than is allowed, so that a
/// longer one is refused and not cut.
pub(crate) fn rule_bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX).min(FILE_MAX + 1)
}

/// Files that rule the site: they travel in the pack and are never served.
pub const RULE_FILES: [&[u8]; 2] = [HEADERS.as_bytes(), REDIRECTS.as_bytes()];
/// Words of a line that are looked at.
pub(super) const WORDS_MAX: usize = 32;

/// A rule that can never apply, because another one before it always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// The file's name.
    pub file: &'static str,
    /// The line of the rule that never applies.
    pub line: u32,
    /// The line of the one that does.
    pub by: u32,
}
