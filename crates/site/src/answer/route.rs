//! The meaning of a request: the site's files, its rules, and the answer where there is nothing.
//!
//! The first of these that applies, in this order:
//!
//! 1. a rule of `_redirects`; where there is a page at the path, only one with `!`;
//! 2. the file;
//! 3. the page of a clean address (`/x` for `x.html`);
//! 4. a redirect that adds the slash that a folder's address lacks, or takes away the one that a
//!    page's address has too many;
//! 5. the listing of a folder, in a site that has listings;
//! 6. the nearest `404.html`;
//! 7. a line of text.

use crate::answer::reply::{Reply, Scratch};
use crate::open::index::{Choice, Directory, FileId, Slot};
use crate::open::path::{NAME_MAX, PATH_MAX, PathFault, Resolved, plain, resolve};
use crate::open::site::Site;
use crate::rules::{HeaderSet, Outcome, Subject, subject};
use sitar_http::semantics::{AcceptEncoding, Coding};
use sitar_http::{Method, Request, Status};

/// The meaning of a request.
#[derive(Debug)]
pub enum Route<'s> {
    /// A file's content: `index.html` and the encoding are already chosen.
    File(Target<'s>),
    /// No file; this is the answer.
    Reply(Reply<'s>),
}

/// The file that answers a request, and how:
/// [`Representation::respond`](crate::Representation::respond) makes the answer.
#[derive(Debug)]
pub struct Target<'s> {
    pub(crate) file: FileId,
    /// 200; or an error, of which the file is the page.
    pub(crate) status: Status,
    /// A rule shows it at an address that is not its own.
    pub(crate) is_rewritten: bool,
    pub(crate) headers: Option<HeaderSet<'s>>,
    /// Memory for the answer, in which nothing is written.
    pub(crate) scratch: &'s mut Scratch,
}

impl<'s> Target<'s> {
    /// The number of the file.
    #[must_use]
    pub fn file(&self) -> FileId {
        self.file
    }

    /// The status of the answer: 200, or that of an error whose page the file is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Whether it is the file of the path that was asked for: neither one that a rule shows in its
    /// place, nor the page of an error.
    #[must_use]
    pub fn is_at_path(&self) -> bool {
        self.status == Status::OK && !self.is_rewritten
    }

    /// Returns the memory for the answer, for another one than the file's.
    #[must_use]
    pub fn into_scratch(self) -> &'s mut Scratch {
        self.scratch
    }

    /// A file as it is, without rules.
    #[cfg(test)]
    pub(crate) fn plain(file: FileId, scratch: &mut Scratch) -> Target<'_> {
        scratch.lines.clear();
        Target { file, status: Status::OK, is_rewritten: false, headers: None, scratch }
    }
}

/// The index's entry for a path.
enum Lookup<'s> {
    Page(&'s Choice),
    /// A folder, and no slash at the path's end.
    Slashless(&'s Directory),
    /// A page with a clean address (`x.html` for `/x`), and a slash at the path's end.
    Slashed(&'s Choice),
    Nothing,
}

impl Site {
    /// Decides what a request means. The answer is written into `scratch`, as far as it depends on
    /// the request. Allocates nothing and waits for nothing.
    #[must_use]
    pub fn route<'s>(&'s self, request: &Request<'_>, scratch: &'s mut Scratch) -> Route<'s> {
        scratch.lines.clear();
        let head = request.method == Method::Head;
        match request.method {
            Method::Get | Method::Head => {}
            // Before any redirect: a preflight must not be answered by one (Fetch, "CORS-preflight
            // fetch").
            Method::Options => return self.without_file(Reply::options(&mut scratch.lines), request),
            Method::Unknown => {
                return self.without_file(Reply::not_implemented(&mut scratch.lines, head), request);
            }
            Method::Post | Method::Put | Method::Delete | Method::Connect | Method::Trace | Method::Patch => {
                return self.without_file(Reply::method_not_allowed(&mut scratch.lines, head), request);
            }
        }
        match plain(request.target.path) {
            Some(resolved) => self.find(resolved, request, scratch),
            None if request.target.path.len() <= NAME_MAX => self.route_slowly::<NAME_MAX>(request, scratch),
            // No file's name is that long, but rules match it.
            None => self.route_slowly::<PATH_MAX>(request, scratch),
        }
    }

    /// An answer that no file gives, whatever is at this path.
    #[cold]
    #[inline(never)]
    fn without_file<'s>(&'s self, reply: Reply<'s>, request: &Request<'_>) -> Route<'s> {
        let headers = subject(request, |subject| self.rules.headers.find(subject)).flatten();
        self.reply(reply, headers, request)
    }

    /// An answer with what the site adds to it: HSTS and its rules.
    fn reply<'s>(
        &'s self,
        reply: Reply<'s>,
        headers: Option<HeaderSet<'s>>,
        request: &Request<'_>,
    ) -> Route<'s> {
        let is_replaced = headers.as_ref().is_some_and(HeaderSet::replaces_hsts);
        let hsts: &[u8] = if is_replaced { &[] } else { &self.hsts };
        Route::Reply(reply.with_hsts(hsts, request.method == Method::Head).ruled(headers, request))
    }

    /// Paths with escapes, dots or double slashes. Apart, so that ordinary requests do not clear
    /// its buffer.
    #[cold]
    #[inline(never)]
    fn route_slowly<'s, const ROOM: usize>(
        &'s self,
        request: &Request<'_>,
        scratch: &'s mut Scratch,
    ) -> Route<'s> {
        let head = request.method == Method::Head;
        match resolve(request.target.path, &mut [0; ROOM]) {
            Ok(resolved) => self.find(resolved, request, scratch),
            Err(PathFault::Malformed) => {
                self.reply(Reply::bad_request(&mut scratch.lines, head), None, request)
            }
            Err(PathFault::TooLong) => self.missing(b"", request, None, scratch),
        }
    }

    fn find<'s>(&'s self, path: Resolved<'_>, request: &Request<'_>, scratch: &'s mut Scratch) -> Route<'s> {
        let head = request.method == Method::Head;
        let subject = Subject { key: path.key, slash: path.slash, authority: request.authority };
        let headers = self.rules.headers.find(&subject);
        let mut found = self.lookup(path);
        if let Lookup::Slashed(_) = found
            && self.is_replaced(page_address(path.key), &subject, request.target.query)
        {
            found = Lookup::Nothing;
        }
        let exists = match &found {
            Lookup::Page(_) | Lookup::Slashed(_) => true,
            Lookup::Slashless(directory) => directory.index.is_some(),
            Lookup::Nothing => false,
        };
        if let Some(applied) = self.rules.redirects.find(&subject, request.target.query, exists) {
            return match applied.outcome(request.target.query, scratch, head) {
                Outcome::Reply(reply) => self.reply(reply, headers, request),
                Outcome::Rewrite(status, scratch) => {
                    match applied.with_target(|key, slash| self.content_of(key, slash)).flatten() {
                        Some(choice) if status == Status::OK => {
                            rewritten(self.file(choice, status, request, headers, scratch))
                        }
                        page => self.error(status, page, path.key, request, headers, scratch),
                    }
                }
            };
        }
        match found {
            Lookup::Page(choice) => self.file(choice, Status::OK, request, headers, scratch),
            Lookup::Slashless(directory) => {
                let reply =
                    Reply::redirect(&directory.redirect, request.target.query, &mut scratch.lines, head);
                self.reply(reply, headers, request)
            }
            Lookup::Slashed(_) => {
                let reply = Reply::redirect_to_page(
                    page_address(path.key),
                    request.target.query,
                    &mut scratch.lines,
                    head,
                );
                self.reply(reply, headers, request)
            }
            Lookup::Nothing => self.listing_or_missing(path, request, headers, scratch),
        }
    }

    /// Whether a rule replaces the page at its own address: leading there could lead back here, for
    /// ever.
    #[cold]
    fn is_replaced(&self, address: &[u8], asked: &Subject<'_>, query: Option<&[u8]>) -> bool {
        let (key, slash) = match address.strip_suffix(b"/") {
            Some(key) => (key, true),
            None => (address, address.is_empty()),
        };
        let subject = Subject { key, slash, authority: asked.authority };
        self.rules.redirects.find(&subject, query, true).is_some()
    }

    fn lookup(&self, path: Resolved<'_>) -> Lookup<'_> {
        match self.index.get(path.key) {
            Some(Slot::File(choice)) if !path.slash => Lookup::Page(choice),
            Some(Slot::Directory(id)) => {
                let directory = &self.index.directories[*id as usize];
                let page = if path.slash { directory.index.as_ref() } else { self.index.page(path.key) };
                match page {
                    Some(choice) => Lookup::Page(choice),
                    None if path.slash => self.slashed(path.key),
                    None => Lookup::Slashless(directory),
                }
            }
            None if !path.slash => self.index.page(path.key).map_or(Lookup::Nothing, Lookup::Page),
            None => self.slashed(path.key),
            // `/x` is this file, and not the page beside it.
            Some(Slot::File(_)) => Lookup::Nothing,
        }
    }

    fn slashed(&self, key: &[u8]) -> Lookup<'_> {
        self.index.page(key).map_or(Lookup::Nothing, Lookup::Slashed)
    }

    /// The page that a rewrite shows: its address is never asked for, so a slash too few or too
    /// many makes no difference.
    pub(crate) fn content_of(&self, key: &[u8], slash: bool) -> Option<&Choice> {
        match self.lookup(Resolved { key, slash }) {
            Lookup::Page(choice) | Lookup::Slashed(choice) => Some(choice),
            Lookup::Slashless(directory) => directory.index.as_ref(),
            Lookup::Nothing => None,
        }
    }

    /// The encoding to send, or the file as it is, if that is not to be used any more.
    fn pick(&self, choice: &Choice, request: &Request<'_>) -> Option<FileId> {
        let file = choice.pick(|| AcceptEncoding::of(request))?;
        if self.is_outdated(file) { choice.of(Coding::Identity) } else { Some(file) }
    }

    fn file<'s>(
        &'s self,
        choice: &Choice,
        status: Status,
        request: &Request<'_>,
        headers: Option<HeaderSet<'s>>,
        scratch: &'s mut Scratch,
    ) -> Route<'s> {
        // An error is no file at this path: rules about its coding are not about the page that it
        // shows.
        let stored = headers.and_then(|headers| headers.stored()).filter(|_| status == Status::OK);
        let file = match stored {
            Some(stored) => {
                choice.of(Coding::Identity).or_else(|| stored.coding().and_then(|coding| choice.of(coding)))
            }
            None => self.pick(choice, request),
        };
        match file {
            Some(file) => Route::File(Target { file, status, is_rewritten: false, headers, scratch }),
            None => {
                let head = request.method == Method::Head;
                self.reply(Reply::not_found_encoded(&mut scratch.lines, head), headers, request)
            }
        }
    }

    /// The answer of a rule with an error, or with a page that is not there.
    fn error<'s>(
        &'s self,
        status: Status,
        page: Option<&Choice>,
        key: &[u8],
        request: &Request<'_>,
        headers: Option<HeaderSet<'s>>,
        scratch: &'s mut Scratch,
    ) -> Route<'s> {
        match page.and_then(|choice| self.pick(choice, request)) {
            Some(file) => Route::File(Target { file, status, is_rewritten: false, headers, scratch }),
            None if matches!(status, Status::OK | Status::NOT_FOUND) => {
                self.missing(key, request, headers, scratch)
            }
            None => {
                let head = request.method == Method::Head;
                self.reply(Reply::error(status, &mut scratch.lines, head), headers, request)
            }
        }
    }

    /// There is no page at this path.
    fn listing_or_missing<'s>(
        &'s self,
        path: Resolved<'_>,
        request: &Request<'_>,
        headers: Option<HeaderSet<'s>>,
        scratch: &'s mut Scratch,
    ) -> Route<'s> {
        let listed = self.children.is_some() && path.slash;
        match listed.then(|| self.listing(path.key, request)).flatten() {
            Some(file) => {
                Route::File(Target { file, status: Status::OK, is_rewritten: false, headers, scratch })
            }
            None => self.missing(path.key, request, headers, scratch),
        }
    }

    /// There is nothing at this path.
    fn missing<'s>(
        &'s self,
        key: &[u8],
        request: &Request<'_>,
        headers: Option<HeaderSet<'s>>,
        scratch: &'s mut Scratch,
    ) -> Route<'s> {
        let page = self.index.missing(key).and_then(|choice| self.pick(choice, request));
        match page {
            Some(file) => {
                Route::File(Target { file, status: Status::NOT_FOUND, is_rewritten: false, headers, scratch })
            }
            None => {
                let head = request.method == Method::Head;
                self.reply(Reply::not_found(&mut scratch.lines, head), headers, request)
            }
        }
    }
}

/// Notes that a rule shows the file.
fn rewritten(route: Route<'_>) -> Route<'_> {
    match route {
        Route::File(target) => Route::File(Target { is_rewritten: true, ..target }),
        reply => reply,
    }
}

/// Returns the clean address of the page `KEY.html`, without the first slash. That of a folder's
/// page is the folder's.
fn page_address(key: &[u8]) -> &[u8] {
    match key.strip_suffix(b"index") {
        Some(folder) if folder.is_empty() || folder.ends_with(b"/") => folder,
        _ => key,
    }
}
