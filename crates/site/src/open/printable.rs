//! Names in messages.

/// Returns a name for a human: control characters escaped, because a terminal is an interpreter,
/// and the length bounded.
#[must_use]
pub fn printable(name: &[u8]) -> String {
    let mut shown = String::new();
    for character in String::from_utf8_lossy(&name[..name.len().min(PRINTABLE_MAX)]).chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if name.len() > PRINTABLE_MAX {
        shown.push('…');
    }
    shown
}

/// Bytes of a name that are shown.
const PRINTABLE_MAX: usize = 200;
