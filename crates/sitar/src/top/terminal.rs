//! The terminal while `sitar top` has it: the alternate screen, without a cursor, and keys as they
//! are pressed.
//!
//! It is given back when the value is dropped, and before a panic is printed.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use super::frame::{Line, Size, Style};

/// The size of a terminal that tells none.
const STANDARD: Size = Size { width: 80, height: 24 };
/// Columns and lines that are drawn, at most.
const SIZE_MAX: usize = 1000;

/// A terminal that this program draws on.
pub(super) struct Terminal {
    state: Arc<State>,
    has_colors: bool,
}

/// How the terminal was.
struct State {
    /// `None`: standard input is no terminal, so there are no keys.
    input: Option<Termios>,
    is_left: AtomicBool,
}

impl Terminal {
    /// Takes the terminal on standard output.
    ///
    /// # Errors
    /// It cannot be written to.
    pub(super) fn enter(has_colors: bool) -> io::Result<Terminal> {
        let stdin = io::stdin();
        let state = Arc::new(State { input: tcgetattr(&stdin).ok(), is_left: AtomicBool::new(false) });
        let (panicking, previous) = (Arc::clone(&state), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            panicking.leave();
            previous(info);
        }));
        // From here on it is given back whatever fails.
        let terminal = Terminal { state, has_colors };
        if let Some(mut modes) = terminal.state.input.clone() {
            modes.local_modes -=
                LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
            // Or a key could stop the output, and this program with it.
            modes.input_modes -= InputModes::IXON;
            // A read returns what is there, and does not wait.
            modes.special_codes[SpecialCodeIndex::VMIN] = 0;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(&stdin, OptionalActions::Now, &modes)?;
        }
        write("\x1b[?1049h\x1b[?25l")?;
        Ok(terminal)
    }

    /// Whether keys can be read.
    pub(super) fn has_keys(&self) -> bool {
        self.state.input.is_some()
    }

    /// Returns its size as it is now.
    pub(super) fn size() -> Size {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
                width: usize::from(size.ws_col).min(SIZE_MAX),
                height: usize::from(size.ws_row).min(SIZE_MAX),
            },
            _ => STANDARD,
        }
    }

    /// Draws a screen.
    ///
    /// # Errors
    /// It cannot be written to.
    pub(super) fn draw(&self, lines: &[Line], size: Size) -> io::Result<()> {
        write(&painted(lines, size.height, self.has_colors))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.state.leave();
    }
}

impl State {
    fn leave(&self) {
        if self.is_left.swap(true, Ordering::SeqCst) {
            return;
        }
        // It may be gone.
        let _ = write("\x1b[0m\x1b[?25h\x1b[?1049l");
        if let Some(modes) = &self.input {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Returns what draws a screen. Each line is cleared before it is written: after a text that ends
/// in the last column, clearing would take the last character.
pub(super) fn painted(lines: &[Line], height: usize, has_colors: bool) -> String {
    let mut out = String::new();
    for (place, line) in lines.iter().enumerate() {
        let (begin, end) = match line.style {
            _ if !has_colors => ("", ""),
            Style::Plain => ("", ""),
            Style::Heading => ("\x1b[1m", "\x1b[0m"),
            Style::Alert => ("\x1b[1;31m", "\x1b[0m"),
        };
        let row = place + 1;
        // Writing to a String cannot fail.
        let _ = write!(out, "\x1b[{row};1H\x1b[2K{begin}{}{end}", line.text);
    }
    for row in lines.len() + 1..=height {
        let _ = write!(out, "\x1b[{row};1H\x1b[2K");
    }
    out
}
