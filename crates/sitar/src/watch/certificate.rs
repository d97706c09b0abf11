//! A certificate and its key as a source. They are read again after a change of either, and served
//! when they belong together.
//!
//! Clients of ACME and of Kubernetes leave them in many ways: two links that are pointed elsewhere
//! one after the other, two files that are written in place, one link to a folder of both. What
//! counts is what can be read in the end. Until both files belong together, the pair before is
//! served, and nothing is said unless that stands.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use sitar_site::{Printable, Seen};
use sitar_tls::Identity;

use super::complaint::Complaint;
use super::debounce::Debounce;
use super::file_system::Events;
use super::notify::{News, Notify, Owner};
use super::reporter::rfc_3339;
use super::site::LOOK_AGAIN;
use super::source::{Method, PollTimer, Source, Watch, Watching};
use super::{Serve, SourceId};
use crate::certificate::{self, Bytes, Loaded, PATIENCE};
use crate::error::{Error, printable};
use crate::events::Level;
use crate::settings::CertificateFiles;
use crate::start::names_text;

/// A file that a writer has open is read all the same when nothing has happened for this time.
const WRITING_MAX: Duration = Duration::from_secs(10);
/// The end of the certificate is looked at this often.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The parts with watches of their own.
const CHAIN: usize = 0;
const KEY: usize = 1;

/// A certificate and its key, and how they are watched.
pub(super) struct CertificateSource {
    id: SourceId,
    files: CertificateFiles,
    pub(super) method: Method,
    /// What was opened could be read twice.
    is_repeatable: bool,
    debounce: Debounce,
    /// Whether a writer is in the midst of each part.
    writing: [bool; 2],
    last_news: Option<Instant>,
    /// `None`: none could be used yet.
    served: Option<Served>,
    /// The pair that the last look has found, if it is another one.
    candidate: Option<ChainHash>,
    /// What the last look has found, and when it began.
    found: Option<(Instant, Option<Result<Loaded, Error>>)>,
    timer: PollTimer,
    complaint: Complaint,
    /// When to look at the end of what is served.
    expiry_due: Option<Instant>,
}

/// A pair that is served.
struct Served {
    identity: Identity,
    names: String,
    fingerprint: String,
    hash: ChainHash,
    warnings: Vec<String>,
}

/// SHA-256 of a chain as it is sent. Only one key belongs to a certificate, so this tells pairs
/// apart too.
type ChainHash = [u8; 32];

impl Served {
    fn new(loaded: &Loaded) -> Served {
        Served {
            identity: loaded.identity.clone(),
            names: names_text(&loaded.report.names),
            fingerprint: loaded.report.fingerprint.clone(),
            hash: chain_hash(&loaded.identity),
            warnings: loaded.warnings.clone(),
        }
    }
}

impl CertificateSource {
    pub(super) fn new(id: SourceId, files: &CertificateFiles, method: Method) -> CertificateSource {
        CertificateSource {
            id,
            files: files.clone(),
            method,
            is_repeatable: true,
            debounce: Debounce::default(),
            writing: [false; 2],
            last_news: None,
            served: None,
            candidate: None,
            found: None,
            timer: PollTimer::default(),
            complaint: Complaint::default(),
            expiry_due: None,
        }
    }

    /// Loads the pair for the first time. A pair that cannot be used is waited for.
    ///
    /// # Errors
    /// As for [`certificate::load`].
    pub(super) fn start(&mut self, mut notify: Option<&mut Notify>) -> Result<Loaded, Error> {
        let from = Instant::now();
        let (loaded, files) = self.load(notify.as_deref_mut(), PATIENCE);
        let now = Instant::now();
        // What came through a FIFO is gone.
        self.is_repeatable = loaded.is_err() || files == 2;
        if !self.is_repeatable {
            self.method = Method::new(Watch::Off, None);
            self.forget(notify);
        }
        match &loaded {
            Ok(loaded) => self.note_served(Served::new(loaded)),
            Err(error) => {
                self.complaint.was_said(sentence(error));
                self.debounce.reloaded(from, now, self.method.is_off());
            }
        }
        self.timer.at = self.method.rhythm().map(|rhythm| now + rhythm.every);
        loaded
    }

    /// Reads both files as they are now; from here on their changes are noticed. Returns how many
    /// of them are files that can be read twice.
    fn load(
        &mut self,
        mut notify: Option<&mut Notify>,
        patience: Duration,
    ) -> (Result<Loaded, Error>, usize) {
        let (mut seen, mut events) = (0, None);
        let mut show = |fd: BorrowedFd<'_>| {
            seen += 1;
            events = events.max(Some(Events::of(fd)));
        };
        let files = self.files.clone();
        let chain = self.follow(notify.as_deref_mut(), CHAIN, |watch| {
            certificate::read_chain(&files, patience, &mut |fd| {
                show(fd);
                watch(fd);
            })
        });
        let key = self.follow(notify, KEY, |watch| {
            certificate::read_key(&files, patience, &mut |fd| {
                show(fd);
                watch(fd);
            })
        });
        if self.method.has_events {
            self.method.settle(events, seen == 2);
        }
        let loaded = certificate::load(Bytes { chain, key }, &self.files, SystemTime::now());
        (loaded, seen)
    }

    /// Watches one of the files, if there are events, while it is read.
    fn follow<T>(
        &mut self,
        notify: Option<&mut Notify>,
        part: usize,
        read: impl FnOnce(&mut dyn FnMut(BorrowedFd<'_>)) -> T,
    ) -> T {
        let Some(notify) = notify.filter(|_| self.method.has_events) else { return read(&mut |_| ()) };
        let path = if part == CHAIN { &self.files.chain } else { &self.files.key };
        let owner = Owner { source: self.id, part };
        let (result, outcome) = notify.follow(owner, path, |show| read(&mut |fd| show(Seen::Content(fd))));
        if let Err(refusal) = outcome {
            self.method.refuse(refusal);
            self.forget(Some(notify));
        }
        result
    }

    /// Ends the watches.
    fn forget(&self, notify: Option<&mut Notify>) {
        let Some(notify) = notify else { return };
        for part in [CHAIN, KEY] {
            notify.forget(Owner { source: self.id, part });
        }
    }

    /// Whether a writer is in the midst of a file.
    fn is_held(&self) -> bool {
        self.writing.contains(&true) && self.method.has_events
    }

    /// Puts the pair into service if it is another one than before.
    fn take(&mut self, loaded: Loaded, asked: bool, serve: &dyn Serve) {
        self.candidate = None;
        let (next, now) = (Served::new(&loaded), SystemTime::now());
        let before = self.served.as_ref();
        let what = match before {
            None => "can be served now",
            Some(before) if before.hash == next.hash => {
                let had_failed = self.end_complaint(serve);
                if asked {
                    serve
                        .say(Level::Info, &self.line(&next, "was read again and is the same as before", now));
                } else if had_failed {
                    serve.say(
                        Level::Info,
                        &self.line(&next, "can be read again and is the same as before", now),
                    );
                }
                return;
            }
            Some(before) if before.fingerprint == next.fingerprint => "has another chain now",
            Some(_) => "renewed",
        };
        let known = before.map(|before| before.warnings.clone()).unwrap_or_default();
        if let Err(why) = serve.certificate(self.id, loaded) {
            self.complaint.failed(format!("it cannot be put into service: {why}"), Instant::now());
            return;
        }
        self.end_complaint(serve);
        serve.say(Level::Info, &self.line(&next, what, now));
        for warning in next.warnings.iter().filter(|warning| !known.contains(warning)) {
            serve.say(Level::Warning, &Printable(warning).to_string());
        }
        self.note_served(next);
    }

    /// Returns whether a failure had been said.
    fn end_complaint(&mut self, serve: &dyn Serve) -> bool {
        let had_failed = self.complaint.ended();
        if had_failed {
            serve.failing(self.id, None);
        }
        had_failed
    }

    /// One line about what is served from now on.
    fn line(&self, served: &Served, what: &str, now: SystemTime) -> String {
        let Served { names, identity, fingerprint, .. } = served;
        let (expiry, time) = (certificate::expiry(identity, now), rfc_3339(now));
        format!(
            "certificate of {names} {what}: {expiry}, SHA-256 {fingerprint} ({time}, {})",
            printable(&self.files.chain)
        )
    }

    fn note_served(&mut self, served: Served) {
        self.served = Some(served);
        // Its warnings have been said just now.
        self.expiry_due = Some(Instant::now() + DAY);
    }

    /// Says what has waited until `now`: a failure that has stood, and once a day that what is
    /// served has expired or soon will. `clock` is the time of day.
    pub(super) fn say_at(&mut self, now: Instant, clock: SystemTime, serve: &dyn Serve) {
        if let Some(why) = self.complaint.say(now) {
            self.complain(&why, serve);
        }
        if self.expiry_due.is_none_or(|due| now < due) {
            return;
        }
        self.expiry_due = Some(now + DAY);
        let Some(served) = &self.served else { return };
        if let Some(warning) = certificate::expiry_warning(&served.identity, &self.files, clock) {
            serve.say(Level::Warning, &Printable(&warning).to_string());
        }
    }

    fn failed(&mut self, error: &Error, asked: bool, serve: &dyn Serve) {
        let why = sentence(error);
        if asked {
            self.complain(&why, serve);
            self.complaint.was_said(why);
        } else {
            self.complaint.failed(why, Instant::now());
        }
    }

    fn complain(&self, why: &str, serve: &dyn Serve) {
        serve.failing(self.id, Some(why));
        let time = rfc_3339(SystemTime::now());
        let line = match &self.served {
            Some(Served { names, fingerprint, .. }) => format!(
                "the certificate of {names} as it is now cannot be served, the one before still is: {why} \
                 ({time}, still SHA-256 {fingerprint})"
            ),
            None => format!("the certificate still cannot be served: {why} ({time})"),
        };
        serve.say(Level::Error, &line);
    }

    fn say_watching(&self, was: &Watching, serve: &dyn Serve) {
        let is = self.method.watching();
        if is != *was {
            serve.say(Level::Info, &format!("the watch of {} is now {is}", printable(&self.files.chain)));
        }
    }
}

impl Source for CertificateSource {
    fn method(&self) -> &Method {
        &self.method
    }

    fn note(&mut self, part: usize, news: News) {
        let now = Instant::now();
        if news.changed {
            self.debounce.changed(now);
            self.last_news = Some(now);
        }
        if let Some(writing) = self.writing.get_mut(part) {
            if news.replaced {
                *writing = false;
            } else if let Some(is_written) = news.writing {
                *writing = is_written;
            }
        }
    }

    fn change_due(&self) -> Option<Instant> {
        if self.method.has_polls_only() {
            None
        } else if self.is_held() {
            self.last_news.map(|last| last + WRITING_MAX)
        } else {
            self.debounce.due(false)
        }
    }

    fn poll_due(&self) -> Option<Instant> {
        self.timer.at
    }

    fn message_due(&self) -> Option<Instant> {
        [self.complaint.due(), self.expiry_due].into_iter().flatten().min()
    }

    fn say_due(&mut self, serve: &dyn Serve) {
        self.say_at(Instant::now(), SystemTime::now(), serve);
    }

    fn read_again(&mut self, notify: Option<&mut Notify>, serve: &dyn Serve) {
        if self.is_repeatable {
            self.reload(notify, true, serve);
        } else {
            let chain = printable(&self.files.chain);
            let what = "and its key are no files that can be read twice: to serve others, start sitar again";
            serve.say(Level::Warning, &format!("{chain} {what}"));
        }
    }

    fn reload(&mut self, notify: Option<&mut Notify>, asked: bool, serve: &dyn Serve) {
        let from = Instant::now();
        let was = self.method.watching();
        self.writing = [false; 2];
        let (loaded, _) = self.load(notify, Duration::ZERO);
        self.say_watching(&was, serve);
        let well = loaded.is_ok();
        match loaded {
            Ok(loaded) => self.take(loaded, asked, serve),
            Err(error) => self.failed(&error, asked, serve),
        }
        let until = Instant::now();
        // Without watching nothing is done unasked.
        self.debounce.reloaded(from, until, well || self.method.is_off());
        self.timer.rest(self.method.rhythm(), from, until, Duration::MAX);
    }

    fn look(&mut self, notify: Option<&mut Notify>, serve: &dyn Serve) {
        let from = Instant::now();
        // A change that an event has reported is waited for as always.
        let loaded = self.change_due().is_none().then(|| {
            let was = self.method.watching();
            let (loaded, _) = self.load(notify, Duration::ZERO);
            self.say_watching(&was, serve);
            loaded
        });
        self.found = Some((from, loaded));
    }

    fn judge(&mut self, serve: &dyn Serve) -> Option<Instant> {
        let (from, loaded) = self.found.take()?;
        let mut pause = Duration::MAX;
        match loaded {
            None => {}
            Some(_) if self.change_due().is_some() => {}
            Some(Err(error)) => self.failed(&error, false, serve),
            Some(Ok(loaded)) => {
                let hash = chain_hash(&loaded.identity);
                let is_served = self.served.as_ref().is_some_and(|served| served.hash == hash);
                if is_served || self.candidate == Some(hash) {
                    if !is_served {
                        let was = self.method.watching();
                        self.method.has_missed();
                        self.say_watching(&was, serve);
                    }
                    self.take(loaded, false, serve);
                } else {
                    self.candidate = Some(hash);
                    pause = LOOK_AGAIN;
                }
            }
        }
        self.timer.rest(self.method.rhythm(), from, Instant::now(), pause)
    }
}

fn chain_hash(identity: &Identity) -> ChainHash {
    let mut context = Context::new(&SHA256);
    // Each certificate tells its own length.
    identity.chain().for_each(|certificate| context.update(certificate));
    let mut hash = ChainHash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Returns an error in one line.
fn sentence(error: &Error) -> String {
    Printable(&error.sentence()).to_string()
}
