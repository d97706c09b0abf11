//! A failure that is said once, and only when it has stood for a while: half of a renewal is none.

use std::time::{Duration, Instant};

/// The time that a failure stands before it is said. ACME clients write both files within it.
pub(super) const STANDS: Duration = Duration::from_secs(5);

/// The failures of a source. Time comes in as a value.
#[derive(Debug, Default)]
pub(super) struct Complaint {
    /// The reason that has not been said, and the time since when there has been one.
    standing: Option<(String, Instant)>,
    said: Option<String>,
}

impl Complaint {
    /// It has failed, for this reason.
    pub(super) fn failed(&mut self, why: String, now: Instant) {
        self.standing = if self.said.as_ref() == Some(&why) {
            None
        } else {
            let since = self.standing.as_ref().map_or(now, |(_, since)| *since);
            Some((why, since))
        };
    }

    /// It has failed, which has been said elsewhere.
    pub(super) fn was_said(&mut self, why: String) {
        (self.standing, self.said) = (None, Some(why));
    }

    /// It is well again. Returns whether a failure had been said.
    pub(super) fn ended(&mut self) -> bool {
        self.standing = None;
        self.said.take().is_some()
    }

    /// Returns when there is something to [say](Complaint::say).
    pub(super) fn due(&self) -> Option<Instant> {
        self.standing.as_ref().map(|(_, since)| *since + STANDS)
    }

    /// Returns the reason to say now.
    pub(super) fn say(&mut self, now: Instant) -> Option<String> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        let (why, _) = self.standing.take()?;
        self.said = Some(why.clone());
        Some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_not_before_it_has_stood() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut complaint = Complaint::default();
        assert_eq!(complaint.due(), None);
        complaint.failed("mismatch".into(), at(0));
        assert_eq!((complaint.due(), complaint.say(at(4))), (Some(at(5)), None));
        // The renewal was complete in time.
        assert!(!complaint.ended());
        assert_eq!((complaint.due(), complaint.say(at(9))), (None, None));

        complaint.failed("mismatch".into(), at(10));
        complaint.failed("no certificate".into(), at(13));
        assert_eq!(complaint.say(at(15)).as_deref(), Some("no certificate"));
        complaint.failed("no certificate".into(), at(16));
        assert_eq!((complaint.due(), complaint.say(at(30))), (None, None));
        complaint.failed("mismatch".into(), at(31));
        assert_eq!(complaint.say(at(35)), None);
        assert_eq!(complaint.say(at(36)).as_deref(), Some("mismatch"));
        assert!(complaint.ended());
        assert!(!complaint.ended());
        complaint.failed("mismatch".into(), at(40));
        assert_eq!(complaint.say(at(45)).as_deref(), Some("mismatch"));
    }
}
