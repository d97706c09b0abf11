//! Modification times: what of them is sent, and what they prove.

use std::time::SystemTime;

/// RFC 9110 §8.8.2.1: a date in the future is replaced by that of the answer, and none is later
/// than that. Header lines are made once, so it is that of the first answer, which may be dated a
/// second earlier than `now`.
pub(crate) fn no_later(modified: Option<u64>, now: SystemTime) -> Option<u64> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    modified.map(|time| time.min(now.saturating_sub(1)))
}

/// The date of a representation, and what it proves.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dates {
    /// The modification time: seconds since the epoch.
    pub(super) modified: Option<u64>,
    /// No other content has been served under this name since then; 0 as far as this process knows
    /// of none.
    pub(super) since: u64,
}

impl Dates {
    /// A date that proves nothing.
    pub(crate) const NEVER: Dates = Dates { modified: None, since: u64::MAX };

    pub(crate) fn new(modified: Option<u64>, since: u64) -> Dates {
        Dates { modified, since }
    }

    /// The same with another modification time.
    pub(crate) fn with(self, modified: Option<u64>) -> Dates {
        Dates { modified, ..self }
    }
}

/// Returns whether a modification time says anything.
///
/// Archives made to be reproducible carry a date that does not. Docker writes the epoch, Nix a
/// second later, zip the first day of 1980 in any time zone as its zero, Gradle 1 February 1980.
/// Nothing before 2 January 1980 is a web page. A year of five digits has no HTTP date.
pub(crate) fn is_meaningful(time: u64) -> bool {
    const SECOND_OF_JANUARY_1980: u64 = 315_619_200;
    const GRADLE: u64 = 318_211_200;
    const YEAR_10000: u64 = 253_402_300_800;
    (SECOND_OF_JANUARY_1980..YEAR_10000).contains(&time) && time != GRADLE
}
