//! What the helper thread tells a shard, and where it arrives.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use sitar_io::Waker;
use sitar_site::{FileId, Representation};

use super::generation::Generation;
use super::table::Table;

/// What the helper thread tells a shard.
pub(crate) enum News {
    /// A file that was asked for, or why there is none.
    Loaded {
        /// The number of the generation that `file` belongs to.
        generation: u64,
        file: FileId,
        result: Result<Arc<Representation>, io::ErrorKind>,
        /// Its body is sent from the file for want of room; the next request shall ask again.
        displaced: bool,
    },
    /// Memory is short: let go of about so many bytes that are not in use.
    Evict(usize),
    /// Another site, and a table of what is loaded of it already.
    Swap(Generation, Table),
}

/// Where a shard's news arrive. The ring's waker says that there are some.
#[derive(Clone, Default)]
pub(crate) struct Mailbox {
    inner: Arc<Mutex<Letters>>,
}

#[derive(Default)]
struct Letters {
    news: Vec<News>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// From now on `waker` is used; what a former shard left unread is forgotten with it.
    pub(crate) fn open(&self, waker: Waker) {
        let mut letters = self.lock();
        letters.news.clear();
        letters.waker = Some(waker);
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.lock().waker {
            waker.wake();
        }
    }

    pub(super) fn post(&self, news: News) {
        let mut letters = self.lock();
        if let News::Swap(..) = news {
            // A shard that has not looked for a while gets the newest site only.
            letters.news.retain(|older| !matches!(older, News::Swap(..)));
        }
        letters.news.push(news);
        if let Some(waker) = &letters.waker {
            waker.wake();
        }
    }

    pub(crate) fn take(&self) -> Vec<News> {
        std::mem::take(&mut self.lock().news)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Letters> {
        // A poisoned list of news is still a list of news.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
