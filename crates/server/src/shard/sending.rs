//! Open files that are sent: which connections go on when one is closed, and which are closed when
//! others wait in vain.

use std::cmp::Reverse;
use std::time::Duration;

use sitar_io::{Engine, Key};

use super::Shard;
use super::files::PAUSE;
use crate::tcp::Connection;

/// A peer that has taken nothing for this long may be closed to free its places for others.
const SHED_AFTER: Duration = Duration::from_secs(1);

impl<E: Engine> Shard<E> {
    /// Closes connections that hold files to no avail, and lets those go on that wait for one.
    #[inline]
    pub(super) fn give_out_files(&mut self) {
        if !self.cx.files.is_quiet() {
            self.shed_files();
            self.resume_files();
        }
    }

    /// Lets connections go on that wait for the place of a file, in the order in which they came.
    fn resume_files(&mut self) {
        let files = &self.cx.files;
        // Each once: one that could use more goes to the end of its queue.
        for _ in 0..files.first.len() + files.more.len() {
            let Some(key) = self.cx.files.next() else { break };
            self.with(key, Connection::on_file_place);
        }
        if self.cx.files.unopened.is_empty() {
            return;
        }
        for _ in 0..self.cx.files.retries(self.cx.shared.now) {
            let Some(key) = self.cx.files.unopened.pop_front() else { break };
            self.with(key, Connection::on_reopen);
        }
    }

    /// Closes, when connections wait in vain for the place of a file, those that hold most of them
    /// and whose peers take nothing. With one file each they are closed only if the process can
    /// open no other.
    fn shed_files(&mut self) {
        let (now, files) = (self.cx.shared.now, &mut self.cx.files);
        let places = if files.free == 0 { files.first.len() } else { 0 };
        let opened = files.unopenable();
        if places + opened == 0 {
            (files.shed_at, files.is_wanted) = (None, false);
            return;
        }
        if files.shed_at.is_some_and(|at| now < at) {
            return;
        }
        // Told again, if it still waits.
        (files.shed_at, files.is_wanted) = (Some(now + PAUSE), false);
        let kept = usize::from(opened == 0);
        let mut holders = Vec::new();
        for key in self.connections.keys() {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let (held, since) = connection.watch_files(now);
            if held > kept && now.saturating_duration_since(since) >= SHED_AFTER {
                holders.push((Reverse(held), since, key.0));
            }
        }
        holders.sort_unstable();
        let mut wanted = places.max(opened);
        for (Reverse(held), _, key) in holders {
            if wanted == 0 {
                break;
            }
            wanted = wanted.saturating_sub(held - kept);
            self.shed(Key(key));
        }
    }
}
