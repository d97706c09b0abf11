//! Tells plain HTTP from TLS by the first bytes of a connection.

pub(super) enum FirstBytes {
    /// A method of HTTP and the space behind it.
    PlainHttp,
    /// The beginning of a method.
    Unclear,
    NotHttp,
}

/// Tells HTTP from TLS. A ClientHello starts with byte 22, so letters are something else; HTTP
/// methods are all capitals (RFC 9110 §9.1 and its registry).
pub(super) fn first_bytes(input: &[u8]) -> FirstBytes {
    let method = input.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
    match input.get(method) {
        _ if method > METHOD_MAX => FirstBytes::NotHttp,
        None => FirstBytes::Unclear,
        Some(b' ') if method > 0 => FirstBytes::PlainHttp,
        Some(_) => FirstBytes::NotHttp,
    }
}

/// Bytes of the longest registered method name, UPDATEREDIRECTREF, and some more.
const METHOD_MAX: usize = 24;
