//! A site, and its number among those that a worker has served.

use std::sync::{Arc, Mutex, PoisonError};

use sitar_site::Site;

/// A site, and which one it is of those that this worker has served.
#[derive(Clone)]
pub(crate) struct Generation {
    /// Later ones have higher numbers.
    pub(crate) number: u64,
    pub(crate) site: Arc<Site>,
}

/// The latest generation, for shards that are (re)started.
#[derive(Clone)]
pub(crate) struct LatestSite(Arc<Mutex<Generation>>);

impl LatestSite {
    pub(crate) fn new(site: Arc<Site>) -> LatestSite {
        LatestSite(Arc::new(Mutex::new(Generation { number: 0, site })))
    }

    pub(crate) fn get(&self) -> Generation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, generation: &Generation) {
        let old = std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            generation.clone(),
        );
        // After the lock: it may be the last handle of a large site.
        drop(old);
    }
}
