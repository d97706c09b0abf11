//! When the operator hears that records are dropped: once, and once more when that is over.

use std::time::{Duration, Instant};

/// The time without a drop after which the first trouble is over. It doubles with each trouble, so
/// that one that comes and goes is not spoken of all the time.
const QUIET: Duration = Duration::from_secs(1);
const QUIET_MAX: Duration = Duration::from_secs(64);

/// A trouble that is there, or not.
#[derive(Debug)]
pub(crate) struct Complaint {
    trouble: Option<Trouble>,
    quiet: Duration,
}

#[derive(Debug)]
struct Trouble {
    dropped: u64,
    last: Instant,
    /// Something has worked since the last drop.
    works: bool,
}

impl Default for Complaint {
    fn default() -> Complaint {
        Complaint { trouble: None, quiet: QUIET }
    }
}

impl Complaint {
    /// Records were dropped. Returns whether it is to be said.
    pub(crate) fn add(&mut self, dropped: u64) -> bool {
        let last = Instant::now();
        match &mut self.trouble {
            Some(trouble) => {
                (trouble.last, trouble.works) = (last, false);
                trouble.dropped += dropped;
                false
            }
            None => {
                self.trouble = Some(Trouble { dropped, last, works: false });
                true
            }
        }
    }

    /// Something was not dropped.
    pub(crate) fn works(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.works = true;
        }
    }

    /// Returns the number of records that were dropped, if a trouble ends now.
    pub(crate) fn is_over(&mut self) -> Option<u64> {
        let over = |trouble: &mut Trouble| trouble.works && trouble.last.elapsed() >= self.quiet;
        let trouble = self.trouble.take_if(over)?;
        self.quiet = (self.quiet * 2).min(QUIET_MAX);
        Some(trouble.dropped)
    }

    /// Returns the number of records that were dropped, if there is a trouble, which ends with its
    /// log.
    pub(crate) fn end(&mut self) -> Option<u64> {
        self.trouble.take().map(|trouble| trouble.dropped)
    }

    /// Returns the time until a trouble may be over.
    pub(crate) fn ends_in(&self) -> Option<Duration> {
        let trouble = self.trouble.as_ref().filter(|trouble| trouble.works)?;
        Some(self.quiet.saturating_sub(trouble.last.elapsed()))
    }
}
