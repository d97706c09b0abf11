//! A site as a source: its path, which is opened again for each change, and what is known of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sitar_site::{Encodings, OpenError, Options, Seen, Site};

use super::debounce::Debounce;
use super::file_system::Events;
use super::notify::{News, Notify, Owner};
use super::reporter::Reporter;
use super::source::{Method, PollTimer, Source, Watching};
use super::{Attached, Opener, Serve, SourceId};
use crate::events::Level;

/// A look that has found a change is followed by another within this time.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Without events: the number of polls of a site that goes on changing, before it is served as it
/// is.
const LOOKS_MAX: u32 = 5;

/// A site's path, and how it is watched.
pub(super) struct SiteSource {
    owner: Owner,
    opener: Opener,
    path: PathBuf,
    options: Options,
    pub(super) method: Method,
    debounce: Debounce,
    /// The encodings that it is to have, and those that it was opened with last.
    pub(super) attached: Attached,
    opened_with: Option<Arc<Encodings>>,
    /// A writer is in the midst of a file.
    writing: bool,
    /// The site is an archive, a single file, of which a half is of no use.
    is_archive: bool,
    /// The site that is served from the start, until the watcher runs.
    first: Option<Arc<Site>>,
    /// The fingerprint of what was opened last, where the site is polled.
    opened: u64,
    /// The fingerprint of what is served; `None`: nothing is.
    served: Option<u64>,
    /// The fingerprint that was found last and is not served yet, and the number of others before
    /// it.
    candidate: Option<(u64, u32)>,
    /// What the last look has found, and when it began.
    found: Option<(Instant, Option<Result<Site, OpenError>>)>,
    timer: PollTimer,
    reporter: Reporter,
}

impl SiteSource {
    pub(super) fn new(
        id: SourceId,
        path: &Path,
        opener: &Opener,
        options: &Options,
        method: Method,
    ) -> SiteSource {
        SiteSource {
            owner: Owner { source: id, part: 0 },
            opener: Arc::clone(opener),
            path: path.to_owned(),
            options: options.clone(),
            method,
            debounce: Debounce::default(),
            attached: Attached::default(),
            opened_with: None,
            writing: false,
            is_archive: false,
            first: None,
            opened: 0,
            served: None,
            candidate: None,
            found: None,
            timer: PollTimer::default(),
            reporter: Reporter::new(path),
        }
    }

    /// Opens the site for the first time. A site that cannot be opened is waited for.
    ///
    /// # Errors
    /// The errors of [`Site::open`].
    pub(super) fn start(&mut self, notify: Option<&mut Notify>) -> Result<Arc<Site>, OpenError> {
        let from = Instant::now();
        let opened = self.open(notify);
        let now = Instant::now();
        let started = match opened {
            Ok(site) => {
                let site = Arc::new(site);
                self.is_archive = site.is_archive();
                self.served = Some(self.opened);
                self.first = Some(Arc::clone(&site));
                Ok(site)
            }
            Err(error) => {
                self.reporter.start_without(&error);
                self.debounce.reloaded(from, now, self.method.is_off());
                Err(error)
            }
        };
        self.timer.at = self.method.rhythm().map(|rhythm| now + rhythm.every);
        started
    }

    /// Opens what lies at the path now. From here on its changes are noticed.
    ///
    /// # Errors
    /// The errors of [`Site::open`].
    pub(super) fn open(&mut self, notify: Option<&mut Notify>) -> Result<Site, OpenError> {
        let mut opened = self.open_seen(notify);
        self.opened_with = self.wanted();
        if let (Ok(site), Some(encodings)) = (&mut opened, &self.opened_with) {
            site.attach(Arc::clone(encodings));
        }
        match &opened {
            // Before anything of it is loaded: what changes after this shows at the next look.
            Ok(site) if self.method.rhythm().is_some() => self.opened = site.fingerprint(),
            Ok(_) => {}
            // Where none is served, what lies there decides whether half of it is of use.
            Err(_) if self.served.is_none() => self.is_archive = self.path.is_file(),
            Err(_) => {}
        }
        opened
    }

    fn wanted(&self) -> Option<Arc<Encodings>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the site again if it is to have other encodings. Without watching it stays as it is.
    pub(super) fn attach(&mut self, notify: Option<&mut Notify>, serve: &dyn Serve) {
        let wanted = self.wanted();
        let is_same = match (&wanted, &self.opened_with) {
            (Some(wanted), Some(has)) => Arc::ptr_eq(wanted, has),
            (wanted, has) => wanted.is_none() && has.is_none(),
        };
        // What is about to be opened again gets them then.
        let is_changing = self.is_held() || self.change_due().is_some();
        if is_same || self.served.is_none() || self.method.is_off() || is_changing {
            return;
        }
        match self.open(notify) {
            // A change that was found by the way.
            Ok(site) if self.served != Some(self.opened) => self.take(site, false, serve),
            Ok(site) => serve.encoded(self.owner.source, site),
            Err(error) => self.complain(&error, false, serve),
        }
    }

    fn open_seen(&mut self, notify: Option<&mut Notify>) -> Result<Site, OpenError> {
        let Some(notify) = notify.filter(|_| self.method.has_events) else {
            return Site::open_with(&*self.opener, &self.path, &self.options, &mut |_| ());
        };
        let prefix = self.options.prefix.as_deref().unwrap_or_default().trim_start_matches('/');
        let mut events = None;
        let (site, outcome) = notify.follow(self.owner, &self.path.join(prefix), |show| {
            Site::open_with(&*self.opener, &self.path, &self.options, &mut |seen| {
                if let Seen::Content(fd) = &seen {
                    events = events.max(Some(Events::of(*fd)));
                }
                show(seen);
            })
        });
        match outcome {
            Err(refusal) => {
                self.method.refuse(refusal);
                notify.forget(self.owner);
            }
            Ok(()) => self.method.settle(events, site.is_ok()),
        }
        site
    }

    /// Whether a writer is in the midst of the archive, and only its end counts, which an event
    /// will report.
    pub(super) fn is_held(&self) -> bool {
        self.writing && self.is_archive && self.method.has_events
    }

    /// Takes up the result of a poll. Returns the longest wait until the next.
    fn compare(&mut self, site: Site, serve: &dyn Serve) -> Duration {
        let found = self.opened;
        let changes = self.candidate.map_or(0, |(_, changes)| changes);
        let is_calm = self.candidate.is_some_and(|(last, _)| last == found);
        if self.served == Some(found) {
            self.candidate = None;
        } else if is_calm || (changes >= LOOKS_MAX && !self.is_archive) {
            let was = self.method.watching();
            self.method.has_missed();
            self.say_watching(&was, serve);
            self.take(site, false, serve);
        } else {
            self.candidate = Some((found, changes + 1));
            return LOOK_AGAIN;
        }
        Duration::MAX
    }

    fn take(&mut self, site: Site, asked: bool, serve: &dyn Serve) {
        (self.served, self.candidate) = (Some(self.opened), None);
        self.is_archive = site.is_archive();
        let told = self.reporter.prepare(&site);
        if self.reporter.has_failed() {
            serve.failing(self.owner.source, None);
        }
        serve.site(self.owner.source, site);
        self.reporter.tell(told, asked, &|level, line| serve.say(level, line));
    }

    fn complain(&mut self, error: &OpenError, asked: bool, serve: &dyn Serve) {
        if error.is_out_of_reach() && serve.out_of_reach(self.owner.source) {
            return;
        }
        let why = error.to_string();
        serve.failing(self.owner.source, Some(&why));
        self.reporter.complain(why, asked, &|level, line| serve.say(level, line));
    }

    fn say_watching(&self, was: &Watching, serve: &dyn Serve) {
        let is = self.method.watching();
        if is != *was {
            serve.say(Level::Info, &format!("the watch is now {is}"));
        }
    }
}

impl Source for SiteSource {
    fn method(&self) -> &Method {
        &self.method
    }

    fn begin(&mut self) {
        let Some(site) = self.first.take() else { return };
        // With nothing to watch for, nothing is looked at unasked.
        let version = (!self.method.is_off()).then(|| site.version());
        self.reporter.start_with(&site, version);
    }

    fn note(&mut self, _: usize, news: News) {
        if news.changed {
            self.debounce.changed(Instant::now());
        }
        if news.replaced {
            self.writing = false;
        } else if let Some(writing) = news.writing {
            self.writing = writing;
        }
    }

    fn change_due(&self) -> Option<Instant> {
        if self.method.has_polls_only() { None } else { self.debounce.due(self.is_held()) }
    }

    fn poll_due(&self) -> Option<Instant> {
        self.timer.at
    }

    fn message_due(&self) -> Option<Instant> {
        self.reporter.due()
    }

    fn say_due(&mut self, serve: &dyn Serve) {
        self.reporter.catch_up(&|level, line| serve.say(level, line));
    }

    fn read_again(&mut self, notify: Option<&mut Notify>, serve: &dyn Serve) {
        if self.is_held() {
            let line = "the archive is being written; it is read when its writer has closed it";
            serve.say(Level::Info, line);
            self.debounce.changed(Instant::now());
        } else {
            self.reload(notify, true, serve);
        }
    }

    fn reload(&mut self, notify: Option<&mut Notify>, asked: bool, serve: &dyn Serve) {
        let from = Instant::now();
        let was = self.method.watching();
        let opened = self.open(notify);
        self.say_watching(&was, serve);
        let well = match opened {
            Ok(site) => {
                self.take(site, asked, serve);
                true
            }
            Err(error) => {
                self.complain(&error, asked, serve);
                false
            }
        };
        let until = Instant::now();
        // Without watching nothing is done unasked.
        self.debounce.reloaded(from, until, well || self.method.is_off());
        self.timer.rest(self.method.rhythm(), from, until, Duration::MAX);
    }

    fn look(&mut self, notify: Option<&mut Notify>, serve: &dyn Serve) {
        let from = Instant::now();
        // A change that an event has reported is waited for as always; so is the end of an
        // archive's writer.
        let opened = (self.change_due().is_none() && !self.is_held()).then(|| {
            let was = self.method.watching();
            let opened = self.open(notify);
            self.say_watching(&was, serve);
            opened
        });
        self.found = Some((from, opened));
    }

    fn judge(&mut self, serve: &dyn Serve) -> Option<Instant> {
        let (from, opened) = self.found.take()?;
        let mut pause = Duration::MAX;
        match opened {
            None => {}
            Some(Ok(_)) if self.method.has_events && self.debounce.due(false).is_some() => {}
            Some(Ok(site)) => pause = self.compare(site, serve),
            Some(Err(error)) => self.complain(&error, false, serve),
        }
        self.timer.rest(self.method.rhythm(), from, Instant::now(), pause)
    }
}
