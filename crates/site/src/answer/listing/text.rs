//! Names as text that cannot be taken for anything else.

/// Appends bytes as the path of a relative URL: everything is escaped but what RFC 3986 §2.3 calls
/// unreserved, so that nothing of it is a scheme, a host, a query, or markup.
pub(super) fn push_url(name: &[u8], out: &mut Vec<u8>) {
    for &byte in name {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&crate::open::path::percent(byte));
        }
    }
}

/// Appends bytes as UTF-8 for readers, where what is none is U+FFFD. `escape` writes characters
/// that mean something to the format, and [deceptive](is_deceptive) ones.
pub(super) fn push_text(text: &[u8], out: &mut Vec<u8>, escape: impl Fn(char, &mut Vec<u8>) -> bool) {
    let mut room = [0; 4];
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            if !escape(char, out) {
                out.extend_from_slice(char.encode_utf8(&mut room).as_bytes());
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Returns whether a character shows nothing, or changes how those around it are shown: controls,
/// the marks, embeddings and isolates of the bidirectional algorithm (UAX #9), invisible spaces,
/// fillers and tags. Not the joiners and the selectors of variants, which some scripts and emoji
/// are not written right without.
pub(super) fn is_deceptive(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e00ff}'
            | '\u{e01f0}'..='\u{e0fff}')
}
