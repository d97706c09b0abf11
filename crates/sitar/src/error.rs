//! The error that the operator reads: what failed, its cause, and hints.
//!
//! One type for the whole command: what failed, why, and what to type next. It is always the
//! operator's view; what a peer did wrong is answered on the connection and never ends up here.

use sitar_site::Printable;
use std::fmt::{self, Display, Write as _};
use std::io::{IsTerminal, Write as _};
use std::path::Path;

/// A failure that ends the command with exit code 1.
///
/// ```text
/// error: cannot listen on 127.0.0.1:8443
///   cause: another program has this port
///   hint: see which one: ss -ltnp 'sport = :8443'
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    what: String,
    causes: Vec<String>,
    hints: Vec<String>,
    /// Further failures of the same run.
    others: Vec<Error>,
}

/// The exit code of a command that could not start or that failed.
pub const EXIT_FAILED: u8 = 1;
/// The exit code of a check that found problems.
pub const EXIT_PROBLEMS: u8 = 3;

impl Error {
    /// An error that says *what* could not be done, in the operator's words and without a final
    /// full stop.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Error {
        Error { what: what.into(), causes: Vec::new(), hints: Vec::new(), others: Vec::new() }
    }

    /// Adds why it failed. Several causes go from the near one to the far one.
    #[must_use]
    pub fn cause(mut self, cause: impl Display) -> Error {
        self.causes.push(cause.to_string());
        self
    }

    /// Adds what the operator can do about it, preferably something to type; to the last of several
    /// failures.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        let hints = self.others.last_mut().map_or(&mut self.hints, |other| &mut other.hints);
        hints.push(hint.into());
        self
    }

    /// Adds a further failure of the same run, which is printed behind this one.
    #[must_use]
    pub fn and(mut self, mut other: Error) -> Error {
        let others = std::mem::take(&mut other.others);
        self.others.push(other);
        self.others.extend(others);
        self
    }

    /// Returns what could not be done, why, and what to do about it.
    pub(crate) fn parts(&self) -> (&str, &[String], &[String]) {
        (&self.what, &self.causes, &self.hints)
    }

    /// Returns further failures of the same run.
    pub(crate) fn others(&self) -> &[Error] {
        &self.others
    }

    /// The text for standard error, newline at the end; `color` adds terminal escapes.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let (red, cyan, reset) = if color { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{red}error:{reset} {}", Printable(&self.what));
        for cause in &self.causes {
            let _ = writeln!(text, "  cause: {}", Printable(cause));
        }
        for hint in &self.hints {
            let _ = writeln!(text, "  {cyan}hint:{reset} {}", Printable(hint));
        }
        self.others.iter().for_each(|other| text += &other.render(color));
        text
    }

    /// Returns the error in one line, for messages of a running server.
    #[must_use]
    pub fn sentence(&self) -> String {
        let causes = self.causes.iter().map(|cause| format!(": {cause}"));
        let hints = self.hints.iter().map(|hint| format!("; {hint}"));
        let others = self.others.iter().map(|other| format!("; {}", other.sentence()));
        causes.chain(hints).chain(others).fold(self.what.clone(), |text, part| text + &part)
    }

    /// Prints the error on standard error, in color only on a terminal and only when `NO_COLOR` is
    /// unset or empty.
    pub fn print(&self) {
        let stderr = std::io::stderr();
        let color = stderr.is_terminal() && wants_color();
        // With standard error closed, there is no reader left.
        let _ = stderr.lock().write_all(self.render(color).as_bytes());
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Error {}

/// Whether a terminal gets colors: `NO_COLOR` is unset or empty (no-color.org).
pub(crate) fn wants_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints a sentence on standard error that is no reason to end.
pub fn warn(sentence: &str) {
    // In one piece: others may write to the same terminal.
    let line = format!("sitar: {}\n", Printable(sentence));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Returns a path for a message, with its control characters escaped.
pub(crate) fn printable(path: &Path) -> String {
    Printable(&path.to_string_lossy()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken() -> Error {
        Error::new("cannot listen on 127.0.0.1:8443")
            .cause("another program has this port")
            .hint("see which one: ss -ltnp 'sport = :8443'")
            .hint("or take another: --listen 9443")
    }

    #[test]
    fn plain_text() {
        assert_eq!(
            taken().render(false),
            "error: cannot listen on 127.0.0.1:8443\n\
             \x20 cause: another program has this port\n\
             \x20 hint: see which one: ss -ltnp 'sport = :8443'\n\
             \x20 hint: or take another: --listen 9443\n"
        );
    }

    #[test]
    fn colored_text() {
        assert_eq!(
            Error::new("no").hint("yes").render(true),
            "\x1b[1;31merror:\x1b[0m no\n  \x1b[36mhint:\x1b[0m yes\n"
        );
    }

    #[test]
    fn several_failures_of_one_run() {
        let error = Error::new("a").cause("b").and(Error::new("c").and(Error::new("d"))).hint("e");
        assert_eq!(error.render(false), "error: a\n  cause: b\nerror: c\nerror: d\n  hint: e\n");
        assert_eq!(error.sentence(), "a: b; c; d; e");
    }

    #[test]
    fn a_file_name_cannot_forge_a_line_or_an_escape() {
        let error = Error::new("no file a\n  hint: rm -rf /\x1b[2J");
        assert_eq!(error.render(false), "error: no file a\\n  hint: rm -rf /\\u{1b}[2J\n");
    }
}
