//! What is watched, and the way in which its changes are noticed: what the operator wants, what the
//! kernel offers, and what that makes of it.

use std::fmt;
use std::time::{Duration, Instant};

use super::Serve;
use super::file_system::{Events, FileSystem};
use super::notify::{News, Notify, WatchRefusal};

/// The shortest time between two polls where changes come without events.
const LOOK: Duration = Duration::from_secs(2);
/// The same where changes may come without events.
const LOOK_IN_DOUBT: Duration = Duration::from_secs(10);
/// Polls take at most one part of the time in this number.
const LOOK_SHARE: u32 = 20;
const LOOK_SHARE_IN_DOUBT: u32 = 200;

/// Something that is read again when it has changed. `notify` is the instance that all sources
/// share, if there is one.
pub(super) trait Source {
    /// Returns the way in which its changes are noticed.
    fn method(&self) -> &Method;

    /// Finishes the start: what may take a while, and need not be known before serving begins.
    fn begin(&mut self) {}

    /// Notes what the kernel has reported about a part of it.
    fn note(&mut self, part: usize, news: News);

    /// Returns when to read it because an event said that it has changed, or because it could not
    /// be read.
    fn change_due(&self) -> Option<Instant>;

    /// Returns when to read it without an event.
    fn poll_due(&self) -> Option<Instant>;

    /// Returns when it has something to [say](Source::say_due).
    fn message_due(&self) -> Option<Instant>;

    /// Says what has waited for its time, if that has come.
    fn say_due(&mut self, serve: &dyn Serve);

    /// Reads it because the operator asks for it.
    fn read_again(&mut self, notify: Option<&mut Notify>, serve: &dyn Serve);

    /// Reads it and puts it into service, if that is possible.
    fn reload(&mut self, notify: Option<&mut Notify>, asked: bool, serve: &dyn Serve);

    /// Reads it without an event, if there is no reason to wait. The events until then have to be
    /// [noted](Source::note) before [`judge`](Source::judge).
    fn look(&mut self, notify: Option<&mut Notify>, serve: &dyn Serve);

    /// Puts what a look has found into service when it is another one, and the same as at the last
    /// look. Returns the time until which no other source should be polled either.
    fn judge(&mut self, serve: &dyn Serve) -> Option<Instant>;
}

/// The operator's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watch {
    /// Events of the kernel, and looks where those cannot be relied on.
    #[default]
    Auto,
    /// Looks only, this far apart: `--poll`.
    Poll(Duration),
    /// Nothing: `--no-watch`.
    Off,
}

/// The way in which changes are noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watching {
    /// By the kernel's events.
    Events,
    /// By events, and by looking as well.
    Both {
        /// Time between two looks, or more.
        every: Duration,
        /// The reason that events are not enough.
        why: String,
    },
    /// By looking.
    Polls {
        /// Time between two looks, or more.
        every: Duration,
        /// The reason that it is not by events.
        why: String,
    },
    /// Not at all: `--no-watch`.
    Off,
}

/// The reason for polling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Asked(Duration),
    Refused(WatchRefusal),
    Events(Events),
    /// A change had no event.
    Missed(FileSystem),
}

/// The frequency of polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rhythm {
    pub(super) every: Duration,
    /// Polls take at most one part of the time in this number.
    pub(super) share: u32,
}

/// The way in which the changes of one source are noticed, as far as it is known.
#[derive(Debug)]
pub(super) struct Method {
    /// The kernel reports its changes.
    pub(super) has_events: bool,
    why: Option<Why>,
    /// Taken in place of the file system's reliability in a test, where that is better.
    #[cfg(test)]
    pub(super) doubt: Option<Events>,
}

impl Method {
    /// Returns the method that the operator has chosen. `refusal` is the reason that there are no
    /// events at all.
    pub(super) fn new(watch: Watch, refusal: Option<WatchRefusal>) -> Method {
        let (has_events, why) = match (watch, refusal) {
            (Watch::Off, _) => (false, None),
            (Watch::Poll(every), _) => (false, Some(Why::Asked(every))),
            (Watch::Auto, None) => (true, None),
            (Watch::Auto, Some(refusal)) => (false, Some(Why::Refused(refusal))),
        };
        Method {
            has_events,
            why,
            #[cfg(test)]
            doubt: None,
        }
    }

    /// Returns the way in which changes are noticed; known after the source was first opened.
    pub(super) fn watching(&self) -> Watching {
        match (self.has_events, self.why, self.rhythm()) {
            (true, Some(why), Some(Rhythm { every, .. })) => Watching::Both { every, why: why.to_string() },
            (false, Some(why), Some(Rhythm { every, .. })) => Watching::Polls { every, why: why.to_string() },
            (true, ..) => Watching::Events,
            (false, ..) => Watching::Off,
        }
    }

    /// Whether changes are noticed by polls and by nothing else.
    pub(super) fn has_polls_only(&self) -> bool {
        !self.has_events && self.why.is_some()
    }

    /// Whether nothing is done unasked: `--no-watch`.
    pub(super) fn is_off(&self) -> bool {
        !self.has_events && self.why.is_none()
    }

    /// Returns the frequency of polls; `None` where there are none.
    pub(super) fn rhythm(&self) -> Option<Rhythm> {
        let often = |every| Some(Rhythm { every, share: LOOK_SHARE });
        match self.why? {
            Why::Asked(every) => often(every),
            Why::Refused(_) | Why::Missed(_) | Why::Events(Events::Own(_)) => often(LOOK),
            Why::Events(Events::Perhaps(_)) => {
                Some(Rhythm { every: LOOK_IN_DOUBT, share: LOOK_SHARE_IN_DOUBT })
            }
            Why::Events(Events::All) => None,
        }
    }

    /// Notes that a look has found a change that no event reported.
    pub(super) fn has_missed(&mut self) {
        if let Some(Why::Events(Events::Perhaps(kind))) = self.why {
            self.why = Some(Why::Missed(kind));
        }
    }

    /// Changes over to polls, because the kernel refuses to report changes.
    pub(super) fn refuse(&mut self, refusal: WatchRefusal) {
        (self.has_events, self.why) = (false, Some(Why::Refused(refusal)));
    }

    /// Decides after a walk how changes are noticed. `events` is the worst of the file systems that
    /// were seen; with `is_whole` all of them were.
    pub(super) fn settle(&mut self, events: Option<Events>, is_whole: bool) {
        #[cfg(test)]
        let events = events.max(self.doubt);
        let before = match self.why {
            Some(Why::Events(before)) if !is_whole => Some(before),
            _ => None,
        };
        let Some(events) = events.max(before) else { return };
        match (self.why, events) {
            // A change was missed once: what is seen of the file system does not show why.
            (Some(Why::Missed(_)), Events::All | Events::Perhaps(_)) => {}
            _ => self.why = Some(Why::Events(events)),
        }
    }
}

/// The time of the next poll of a source.
#[derive(Debug, Default)]
pub(super) struct PollTimer {
    /// `None`: it is not polled.
    pub(super) at: Option<Instant>,
}

impl PollTimer {
    /// Sets the time after a look: what the rhythm says or `pause`, if that is less, and never too
    /// soon. Returns the time until which no other source should be polled either.
    pub(super) fn rest(
        &mut self,
        rhythm: Option<Rhythm>,
        from: Instant,
        until: Instant,
        pause: Duration,
    ) -> Option<Instant> {
        let rest = rhythm.map(|rhythm| (until - from).saturating_mul(rhythm.share));
        self.at = rhythm.zip(rest).map(|(rhythm, rest)| until + rhythm.every.min(pause).max(rest));
        rest.map(|rest| until + rest)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Asked(_) => f.write_str("--poll says so"),
            Why::Refused(refusal) => refusal.fmt(f),
            Why::Events(Events::All) => f.write_str("nothing speaks against it"),
            Why::Events(Events::Perhaps(kind)) => write!(f, "{kind} may not tell all of it"),
            Why::Events(Events::Own(kind)) => {
                write!(f, "{kind} does not tell what is changed from elsewhere")
            }
            Why::Missed(kind) => write!(f, "{kind} did not report a change"),
        }
    }
}
