//! All sources of a watcher, and the one inotify instance that they share.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use sitar_site::{OpenError, Options, Site};

use super::certificate::CertificateSource;
use super::notify::{Notify, WatchRefusal};
use super::site::SiteSource;
use super::source::{Method, Source, Watch, Watching};
use super::{Attached, Opener, Serve, SourceId};
use crate::certificate::Loaded;
use crate::error::Error;
use crate::settings::CertificateFiles;

/// Sites and certificates to watch, each of which was read once when it was added.
///
/// They share one inotify instance: a user has 128 of them by default. It is made for the first
/// source that is to be watched by events.
pub(crate) struct Sources {
    opener: Opener,
    pub(super) notify: Option<Notify>,
    refusal: Option<WatchRefusal>,
    pub(super) list: Vec<AnySource>,
    /// When each of them has something to do: a walk over thousands is one over these.
    dues: Vec<Due>,
    /// No source is polled before this, because another one was.
    rest_until: Option<Instant>,
}

/// When a source has something to do.
#[derive(Debug, Default, Clone, Copy)]
struct Due {
    /// To read it because it has changed, or to say something.
    act: Option<Instant>,
    poll: Option<Instant>,
}

pub(super) enum AnySource {
    Site(Box<SiteSource>),
    Certificate(Box<CertificateSource>),
}

impl AnySource {
    fn get(&self) -> &dyn Source {
        match self {
            AnySource::Site(site) => &**site,
            AnySource::Certificate(certificate) => &**certificate,
        }
    }

    fn get_mut(&mut self) -> &mut dyn Source {
        match self {
            AnySource::Site(site) => &mut **site,
            AnySource::Certificate(certificate) => &mut **certificate,
        }
    }

    fn due(&self) -> Due {
        let source = self.get();
        let act = [source.change_due(), source.message_due()].into_iter().flatten().min();
        Due { act, poll: source.poll_due() }
    }
}

impl Sources {
    /// Returns no sources. Sites are opened by their paths.
    pub(crate) fn new() -> Sources {
        Sources::with_opener(Arc::new(sitar_site::open_root))
    }

    /// Returns no sources. What lies at the paths of sites is opened by `opener`, which may have
    /// another process do it.
    pub(crate) fn with_opener(opener: Opener) -> Sources {
        Sources { opener, notify: None, refusal: None, list: Vec::new(), dues: Vec::new(), rest_until: None }
    }

    /// Adds a site and opens it. From then on its changes are noticed, also where it cannot be
    /// opened: it is served as soon as it can.
    pub(crate) fn add_site(
        &mut self,
        path: &Path,
        options: &Options,
        watch: Watch,
    ) -> (SourceId, Result<Arc<Site>, OpenError>) {
        self.add_encoded_site(path, options, watch, Attached::default())
    }

    /// Does the same for a site that has encodings of its own beside it.
    pub(crate) fn add_encoded_site(
        &mut self,
        path: &Path,
        options: &Options,
        watch: Watch,
        attached: Attached,
    ) -> (SourceId, Result<Arc<Site>, OpenError>) {
        let mut source = self.site(path, options, watch);
        source.attached = attached;
        let opened = source.start(self.notify.as_mut());
        (self.push(AnySource::Site(Box::new(source))), opened)
    }

    /// Adds a certificate and loads it. From then on its changes are noticed, also where it cannot
    /// be used: it is served as soon as it can. Files that cannot be read twice (FIFO) are not
    /// watched.
    pub(crate) fn add_certificate(
        &mut self,
        files: &CertificateFiles,
        watch: Watch,
    ) -> (SourceId, Result<Loaded, Error>) {
        let mut source = self.certificate(files, watch);
        let loaded = source.start(self.notify.as_mut());
        (self.push(AnySource::Certificate(Box::new(source))), loaded)
    }

    /// Returns the source that is to be [added](Sources::push) next.
    pub(super) fn site(&mut self, path: &Path, options: &Options, watch: Watch) -> SiteSource {
        let (id, method) = (SourceId(self.list.len()), self.method(watch));
        SiteSource::new(id, path, &self.opener, options, method)
    }

    /// Returns the source that is to be [added](Sources::push) next.
    pub(super) fn certificate(&mut self, files: &CertificateFiles, watch: Watch) -> CertificateSource {
        let (id, method) = (SourceId(self.list.len()), self.method(watch));
        CertificateSource::new(id, files, method)
    }

    pub(super) fn push(&mut self, source: AnySource) -> SourceId {
        self.dues.push(source.due());
        self.list.push(source);
        SourceId(self.list.len() - 1)
    }

    /// Whether there is nothing to watch.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the way in which the changes of a source are noticed.
    pub(crate) fn watching(&self, id: SourceId) -> Watching {
        self.list.get(id.0).map_or(Watching::Off, |source| source.get().method().watching())
    }

    fn method(&mut self, watch: Watch) -> Method {
        if watch == Watch::Auto && self.notify.is_none() && self.refusal.is_none() {
            match Notify::new() {
                Ok(notify) => self.notify = Some(notify),
                Err(refusal) => self.refusal = Some(refusal),
            }
        }
        Method::new(watch, self.refusal)
    }

    /// Finishes the start of all sources.
    pub(super) fn begin(&mut self) {
        for source in &mut self.list {
            source.get_mut().begin();
        }
        (0..self.list.len()).for_each(|place| self.note_due(SourceId(place)));
    }

    /// Reads what the kernel has reported, and gives each source its part.
    pub(super) fn note_news(&mut self) {
        let Some(notify) = &mut self.notify else { return };
        for (owner, news) in notify.read() {
            if let Some(source) = self.list.get_mut(owner.source.0) {
                source.get_mut().note(owner.part, news);
            }
            self.note_due(owner.source);
        }
    }

    /// Returns the source with something to do that has waited longest, or that will be the first
    /// one, and the time for it.
    pub(super) fn next(&self) -> Option<(SourceId, Instant)> {
        let first = |(place, due): (usize, &Due)| {
            let poll = due.poll.map(|at| at.max(self.rest_until.unwrap_or(at)));
            let due = [due.act, poll].into_iter().flatten().min()?;
            Some((SourceId(place), due))
        };
        self.dues.iter().enumerate().filter_map(first).min_by_key(|(_, due)| *due)
    }

    /// Notes when a source has something to do, after something has been done with it.
    fn note_due(&mut self, id: SourceId) {
        if let Some((due, source)) = self.dues.get_mut(id.0).zip(self.list.get(id.0)) {
            *due = source.due();
        }
    }

    /// Does what a source has to do now.
    pub(super) fn attend(&mut self, id: SourceId, serve: &dyn Serve) {
        let now = Instant::now();
        let may_poll = self.rest_until.is_none_or(|rest| now >= rest);
        let Some(source) = self.list.get_mut(id.0).map(AnySource::get_mut) else { return };
        source.say_due(serve);
        if source.change_due().is_some_and(|due| now >= due) {
            source.reload(self.notify.as_mut(), false, serve);
        } else if may_poll && source.poll_due().is_some_and(|due| now >= due) {
            self.poll(id, serve);
        }
        self.note_due(id);
    }

    /// Opens each site again that has other encodings by now.
    pub(super) fn attach(&mut self, serve: &dyn Serve) {
        for source in &mut self.list {
            if let AnySource::Site(site) = source {
                site.attach(self.notify.as_mut(), serve);
            }
        }
        (0..self.list.len()).for_each(|place| self.note_due(SourceId(place)));
    }

    /// Reads a source again, because the operator asks for it.
    pub(super) fn read_again(&mut self, id: SourceId, serve: &dyn Serve) {
        if let Some(source) = self.list.get_mut(id.0) {
            source.get_mut().read_again(self.notify.as_mut(), serve);
        }
        self.note_due(id);
    }

    pub(super) fn poll(&mut self, id: SourceId, serve: &dyn Serve) {
        if let Some(source) = self.list.get_mut(id.0) {
            source.get_mut().look(self.notify.as_mut(), serve);
        }
        self.note_news();
        if let Some(source) = self.list.get_mut(id.0) {
            self.rest_until = source.get_mut().judge(serve).max(self.rest_until);
        }
        self.note_due(id);
    }
}
