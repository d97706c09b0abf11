//! Character classes of RFC 9110 and RFC 3986, as one table: a class test is a load and a mask.

/// `tchar` (RFC 9110 §5.6.2), the characters of methods and field names.
pub(crate) const TOKEN: u8 = 1;
/// Characters that are accepted in the path of a request target; see [`crate::RequestTarget`].
pub(crate) const PATH: u8 = 2;
/// Characters that are accepted in the query of a request target; see [`crate::RequestTarget`].
pub(crate) const QUERY: u8 = 4;
/// `reg-name` (RFC 3986 §3.2.2) without the percent-encoded bytes.
pub(crate) const REG_NAME: u8 = 8;
/// Hexadecimal digits.
pub(crate) const HEX: u8 = 16;
/// Characters of a field value: visible ASCII, space, tab and obs-text (RFC 9110 §5.5).
pub(crate) const VALUE: u8 = 32;

/// Returns whether `byte` is in `class`.
pub(crate) const fn is(byte: u8, class: u8) -> bool {
    TABLE[byte as usize] & class != 0
}

/// Returns whether all of `bytes` are in `class`.
pub(crate) fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| is(byte, class))
}

/// Returns whether `bytes` are a token (RFC 9110 §5.6.2), as methods and field names are.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// Returns whether `bytes` can be a field value: no control character except tab (RFC 9110 §5.5).
/// Whitespace at its ends, which RFC 9110 excludes, is not looked at.
///
/// It has no early exit, so that the compiler turns it into vector instructions: values are the
/// bulk of a head.
#[must_use]
pub fn is_field_value(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |bad, &byte| bad | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f))
}

/// Removes optional whitespace (RFC 9110 §5.6.3) at both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

const TABLE: [u8; 256] = table();

const fn table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = classes(byte as u8);
        byte += 1;
    }
    table
}

const fn classes(byte: u8) -> u8 {
    let alnum = byte.is_ascii_alphanumeric();
    let unreserved = alnum || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let sub_delims =
        matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
    let pchar = unreserved || sub_delims || matches!(byte, b'%' | b':' | b'@');

    let mut classes = 0;
    if alnum
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+')
        || matches!(byte, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
    {
        classes |= TOKEN;
    }
    // The URL standard that browsers follow leaves `[ ] ^ |` as they are in a path.
    if pchar || matches!(byte, b'/' | b'[' | b']' | b'^' | b'|') {
        classes |= PATH;
    }
    // In a query it escapes only `" # < >` (and `'`), so everything else that is visible arrives
    // raw.
    if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>') {
        classes |= QUERY;
    }
    if unreserved || sub_delims {
        classes |= REG_NAME;
    }
    if byte.is_ascii_hexdigit() {
        classes |= HEX;
    }
    if byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | 0x80..) {
        classes |= VALUE;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_standards() {
        let members = |class| (0..=255).filter(|&byte| is(byte, class)).map(char::from).collect::<String>();
        assert_eq!(
            members(TOKEN),
            "!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~"
        );
        assert_eq!(
            members(PATH),
            "!$%&'()*+,-./0123456789:;=@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_abcdefghijklmnopqrstuvwxyz|~"
        );
        assert_eq!(
            members(QUERY),
            "!$%&'()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
        );
        assert_eq!(
            members(REG_NAME),
            "!$&'()*+,-.0123456789;=ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
        );
        assert_eq!(members(HEX), "0123456789ABCDEFabcdef");
        assert_eq!(members(VALUE).chars().count(), 95 + 1 + 128);
    }

    #[test]
    fn values_have_no_control_characters() {
        for byte in 0..=255_u8 {
            let bad = matches!(byte, 0..=8 | 10..=31 | 127);
            assert_eq!(is_field_value(&[b'a', byte, b'b']), !bad, "{byte}");
            assert_eq!(is(byte, VALUE), !bad, "{byte}");
        }
        assert!(is_field_value(b""));
    }

    #[test]
    fn trim_takes_spaces_and_tabs_only() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\x0ba"), b"\x0ba");
    }
}
