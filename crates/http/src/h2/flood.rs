//! Useless work that a peer can cause, and how often it may.

use std::time::Instant;

/// A kind of useless work. Each has an allowance of its own, which grows back with time. A peer
/// that exceeds it is sent ENHANCE_YOUR_CALM (RFC 9113 §7, §10.5) and disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Requests that the peer resets (CVE-2023-44487).
    Resets,
    /// Streams that this server had to reset: malformed, or beyond the limit of streams
    /// (CVE-2025-8671).
    Errors,
    /// Field blocks in many fragments, or of excessive size (CVE-2024-27316).
    Headers,
    /// Frames without content (CVE-2019-9518).
    Empty,
    /// PING (CVE-2019-9512).
    Pings,
    /// SETTINGS, each of which has to be acknowledged (CVE-2019-9515).
    Settings,
    /// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513).
    Priorities,
    /// Windows opened by a few bytes at a time (CVE-2019-9511, CVE-2019-9517).
    Windows,
    /// Frames of unknown kinds, frames for streams that are over, and GOAWAY.
    Ignored,
    /// More acknowledgements and refusals than the peer reads.
    Unread,
}

impl Flood {
    /// The number of kinds.
    pub const COUNT: usize = 10;

    /// Returns a short name, for logs and counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Flood::Resets => "resets",
            Flood::Errors => "errors",
            Flood::Headers => "headers",
            Flood::Empty => "empty",
            Flood::Pings => "pings",
            Flood::Settings => "settings",
            Flood::Priorities => "priorities",
            Flood::Windows => "windows",
            Flood::Ignored => "ignored",
            Flood::Unread => "unread",
        }
    }

    /// Returns how many may come at once, and how many more in each second.
    const fn allowance(self) -> (u16, u16) {
        match self {
            // A browser that leaves a page resets all of its requests, at most every stream.
            Flood::Resets => (256, 32),
            Flood::Errors => (128, 16),
            Flood::Headers => (16, 1),
            Flood::Empty => (64, 8),
            // Some clients measure the round trip with each burst of data.
            Flood::Pings => (128, 16),
            Flood::Settings => (16, 1),
            // Images that come into view are moved forward one by one.
            Flood::Priorities => (1024, 128),
            // Grows by what is sent, too: `Floods::forgive`.
            Flood::Windows => (1024, 64),
            Flood::Ignored => (512, 64),
            Flood::Unread => (0, 0),
        }
    }
}

const ALL: [Flood; Flood::COUNT] = [
    Flood::Resets,
    Flood::Errors,
    Flood::Headers,
    Flood::Empty,
    Flood::Pings,
    Flood::Settings,
    Flood::Priorities,
    Flood::Windows,
    Flood::Ignored,
    Flood::Unread,
];

/// A connection's allowances.
#[derive(Debug)]
pub(super) struct Floods {
    used: [u16; Flood::COUNT],
    grown: Instant,
}

impl Floods {
    pub(super) fn new(now: Instant) -> Floods {
        Floods { used: [0; Flood::COUNT], grown: now }
    }

    /// Counts one event; an error when it is one too many.
    pub(super) fn count(&mut self, flood: Flood, now: Instant) -> Result<(), Flood> {
        self.grow(now);
        let used = &mut self.used[flood as usize];
        if *used >= flood.allowance().0 {
            return Err(flood);
        }
        *used += 1;
        Ok(())
    }

    /// Takes `count` events back.
    pub(super) fn forgive(&mut self, flood: Flood, count: u16) {
        let used = &mut self.used[flood as usize];
        *used = used.saturating_sub(count);
    }

    fn grow(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.grown).as_secs();
        if seconds == 0 {
            return;
        }
        self.grown = now;
        for flood in ALL {
            let used = &mut self.used[flood as usize];
            let grown = u64::from(flood.allowance().1).saturating_mul(seconds);
            *used = used.saturating_sub(u16::try_from(grown).unwrap_or(u16::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_allowance_is_used_up_and_grows_back() {
        let start = Instant::now();
        let mut floods = Floods::new(start);
        for _ in 0..16 {
            assert_eq!(floods.count(Flood::Settings, start), Ok(()));
        }
        assert_eq!(floods.count(Flood::Settings, start), Err(Flood::Settings));
        assert_eq!(floods.count(Flood::Pings, start), Ok(()), "each kind has its own");
        let later = start + Duration::from_millis(1999);
        assert_eq!(floods.count(Flood::Settings, later), Ok(()), "one second, one more");
        assert_eq!(floods.count(Flood::Settings, later), Err(Flood::Settings));
        floods.forgive(Flood::Settings, 2);
        assert_eq!(floods.count(Flood::Settings, later), Ok(()));
        let long_after = start + Duration::from_secs(1 << 40);
        for _ in 0..16 {
            assert_eq!(floods.count(Flood::Settings, long_after), Ok(()));
        }
        assert_eq!(floods.count(Flood::Settings, long_after), Err(Flood::Settings));
        for (at, flood) in ALL.into_iter().enumerate() {
            assert_eq!(flood as usize, at);
        }
    }
}
