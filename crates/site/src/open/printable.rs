//! Names in messages.

use std::fmt::{self, Display, Write as _};

/// Shows foreign text with its control characters escaped: a file name must not be able to forge a
/// line or drive the terminal.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// Returns the name of a file for a message: [`Printable`], and its length bounded.
#[must_use]
pub fn printable(name: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&name[..name.len().min(PRINTABLE_MAX)]);
    let rest = if name.len() > PRINTABLE_MAX { "…" } else { "" };
    format!("{}{rest}", Printable(&shown))
}

/// Bytes of a name that are shown.
const PRINTABLE_MAX: usize = 200;
