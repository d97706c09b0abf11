//! Handshakes wait for their turn, so that they do not starve connections that are open.

use sitar_io::Engine;

use crate::shard::context::{Context, Gone};
use crate::tcp::connection::{Activity, Connection};

/// Whose turn it is. Handshakes are worked on when everybody else has been served, and only so many in one wake-up: a
/// signature takes as long as dozens of answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    Handshakes,
    Others,
}

impl Connection {
    /// Waits for its turn to negotiate.
    pub(super) fn queue<E: Engine>(&mut self, cx: &mut Context<'_, E>) {
        self.activity = Activity::Queued;
        cx.queue.push_back(cx.key);
    }

    /// It is its turn to negotiate.
    pub(crate) fn on_turn<E: Engine>(&mut self, cx: &mut Context<'_, E>) -> Result<(), Gone> {
        if self.activity != Activity::Queued {
            return Ok(());
        }
        self.activity = Activity::Receiving;
        self.go_on(cx)
    }
}
