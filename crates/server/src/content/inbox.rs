//! Messages of the helper threads to a shard, and the inbox that they arrive in.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use sitar_io::Waker;
use sitar_site::Representation;

use super::table::Table;
use crate::access::Fingerprint;
use crate::passed::Handed;
use crate::snapshot::{FileKey, Snapshot};

/// A message of the helper threads to a shard.
pub(crate) enum Message {
    /// A file that was asked for, or why there is none.
    Loaded {
        /// The number of the snapshot that `file` belongs to.
        snapshot: u64,
        file: FileKey,
        result: Result<Arrival, io::ErrorKind>,
    },
    /// A password has been verified.
    Verified { fingerprint: Fingerprint, is_right: bool },
    /// Memory is short: let go of about this many bytes that are not in use.
    Evict(usize),
    /// A file that another shard asked for has no place among those that may be open: close some
    /// that are sent to peers which take nothing.
    FilesWanted,
    /// A connection that another process has accepted.
    Passed(Box<Handed>),
    /// Other traces run.
    Traces,
    /// Another snapshot, and a table of what is loaded of it already.
    Swap(Arc<Snapshot>, Table),
}

/// A file that has come.
pub(crate) struct Arrival {
    pub(crate) loaded: Arc<Representation>,
    pub(crate) extent: Extent,
}

/// How much of a file is here.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it that there will be: in memory, or sent from its file because it is too large.
    Whole,
    /// Everything but the body, which has not been asked for.
    Described,
    /// Its body is sent from the file for want of room, for now.
    Displaced,
}

/// The messages to a shard. The ring's waker says that there are some.
#[derive(Clone, Default)]
pub(crate) struct Inbox {
    inner: Arc<Mutex<Unread>>,
}

#[derive(Default)]
struct Unread {
    messages: Vec<Message>,
    waker: Option<Waker>,
    /// How often the shard has looked.
    looks: u64,
    /// See [`Inbox::settle`].
    settled: u64,
}

impl Inbox {
    /// In the place of the number of a snapshot: nothing is accepted any more.
    pub(crate) const NO_MORE: u64 = u64::MAX;

    /// From now on `waker` is used; what a former shard left unread is forgotten with it.
    pub(crate) fn open(&self, waker: Waker) {
        let mut unread = self.lock();
        unread.messages.clear();
        unread.waker = Some(waker);
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.lock().waker {
            waker.wake();
        }
    }

    pub(crate) fn post(&self, message: Message) {
        let mut unread = self.lock();
        if let Message::Swap(..) = message {
            // A shard that has not looked for a while gets the latest snapshot only.
            unread.messages.retain(|older| !matches!(older, Message::Swap(..)));
        }
        // What says no more than that there is something is said once.
        let is_call = |message: &Message| matches!(message, Message::FilesWanted | Message::Traces);
        let is_same = |older: &Message| std::mem::discriminant(older) == std::mem::discriminant(&message);
        if is_call(&message) && unread.messages.iter().any(is_same) {
            return;
        }
        unread.messages.push(message);
        if let Some(waker) = &unread.waker {
            waker.wake();
        }
    }

    pub(crate) fn take(&self) -> Vec<Message> {
        let mut unread = self.lock();
        unread.looks += 1;
        std::mem::take(&mut unread.messages)
    }

    /// Notes that the shard serves from this snapshot, and accepts from no listener of one before;
    /// [`Inbox::NO_MORE`]: it accepts from none at all.
    pub(crate) fn settle(&self, snapshot: u64) {
        self.lock().settled = snapshot;
    }

    /// Returns the snapshot that the shard serves from, whole.
    pub(crate) fn settled(&self) -> u64 {
        self.lock().settled
    }

    /// Returns how often the shard has looked.
    pub(crate) fn looks(&self) -> u64 {
        self.lock().looks
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Unread> {
        // A poisoned list of messages is still a list of messages.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
