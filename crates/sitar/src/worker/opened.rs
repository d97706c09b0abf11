//! Opens the sites of a configuration, out of descriptors that were opened for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use sitar_http::Status;
use sitar_server::{Access, Host, HostContent, HostRedirect, Hosts, Limit, Networks, Pages, Realm, Users};
use sitar_site::{Encodings, Gain, Hsts, Page, Site};
use sitar_tls::ClientCa;
use zeroize::Zeroizing;

use super::Live;
use super::keys::client_ca;
use crate::config::{self, AccessConfig, Config, Place, SiteConfig, SiteContent};
use crate::error::{Error, printable};
use crate::handover::{Found, Part, SiteFacts, SiteFiles, SiteKind};
use crate::log::Plan;
use crate::supervisor::site_name;
use crate::watch::{Attached, Opener, SourceId, Sources, Warning};

/// The sites of a configuration, open.
pub(super) struct OpenSites {
    pub(super) sources: Sources,
    /// In the order of the configuration.
    pub(super) sites: Vec<OpenSite>,
    pub(super) hosts: Hosts,
    /// What the operator should know, as long as it is so.
    pub(super) warnings: Vec<Warning>,
}

impl Warning {
    /// Returns the warnings of a site that is named at that place.
    pub(super) fn of_site(source: SourceId, place: &Place, site: &Site) -> Vec<Warning> {
        let all = site.warnings().iter();
        all.map(|warning| Warning { source: Some(source), text: format!("{place}: {warning}") }).collect()
    }
}

/// A site, and what is known of it.
#[derive(Clone, Default)]
pub(super) struct OpenSite {
    pub(super) source: Option<SourceId>,
    pub(super) facts: SiteFacts,
    /// What is served.
    pub(super) site: Option<Arc<Site>>,
    /// How often it has been exchanged since it was opened.
    pub(super) serial: u64,
    /// Its encodings file.
    pub(super) attached: Attached,
}

impl OpenSite {
    /// Notes what is served now.
    pub(super) fn serve(&mut self, site: &Arc<Site>) {
        self.site = Some(Arc::clone(site));
        self.serial += 1;
        let kind = match (site.is_pack(), site.is_archive()) {
            (true, _) => SiteKind::Pack,
            (false, true) => SiteKind::Tar,
            (false, false) => SiteKind::Directory,
        };
        self.facts = SiteFacts {
            unavailable: None,
            kind,
            files: Some(site.len() as u64),
            version: Some(site.version().to_string()),
            since: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            encoded: None,
        };
        self.note_gain(site);
    }

    /// Notes the same site with other encodings.
    pub(super) fn encode(&mut self, site: &Arc<Site>) {
        self.site = Some(Arc::clone(site));
        self.serial += 1;
        self.note_gain(site);
    }

    fn note_gain(&mut self, site: &Site) {
        let Gain { files, bytes, encoded } = site.gain();
        self.facts.encoded = (files > 0).then(|| (files as u64, bytes.saturating_sub(encoded)));
    }

    /// Keeps the time of what was served before from the same root, if that is the same content.
    pub(super) fn follow(&mut self, last: &OpenSite) {
        if self.facts.version.is_some() && self.facts.version == last.facts.version {
            self.facts.since = last.facts.since;
        }
    }
}

/// The reason that sites are not opened.
pub(super) enum Refused {
    /// Mistakes.
    Mistakes(Vec<Found>),
    /// The sandbox keeps this process from one of them.
    OutOfReach,
}

/// Opens sites and pages. `opener` opens roots; pages come with `files`. A site that cannot be
/// opened is answered for with 503, unless the configuration is strict. With `live`, which is what
/// is served, it is refused, unless it could not be opened before.
///
/// # Errors
/// All that cannot be opened.
pub(super) fn open(
    config: &Config,
    files: Vec<SiteFiles>,
    client_cas: &[(usize, ClientCa)],
    logs: &Plan,
    opener: Opener,
    live: Option<&Live>,
) -> Result<OpenSites, Refused> {
    let mut sources = Sources::with_opener(opener);
    let trusted_proxies = Arc::new(config.trusted_proxies.iter().copied().collect());
    let (mut found, mut warnings) = (Vec::new(), Vec::new());
    let (mut sites, mut hosts) = (Vec::new(), Vec::new());
    let mut files = files.into_iter();
    for (number, site) in config.sites.iter().enumerate() {
        let mut known = OpenSite::default();
        let mut files = files.next().unwrap_or_default();
        // What is damaged is made again, and counts for nothing until then.
        let encodings = files.encodings.take().and_then(|file| Encodings::open(file.ok()?).ok());
        known.attached = Arc::new(Mutex::new(encodings.map(Arc::new)));
        let content = match &site.content {
            SiteContent::Redirect { to, status } => HostContent::Redirect(HostRedirect {
                status: Status::from_code(*status).unwrap_or(Status::PERMANENT_REDIRECT),
                to: to.clone(),
            }),
            SiteContent::Root { path, options, watch } => {
                let (source, opened) =
                    sources.add_encoded_site(path, options, *watch, Arc::clone(&known.attached));
                known.source = Some(source);
                match opened {
                    Ok(opened) => {
                        warnings.extend(Warning::of_site(source, &site.place, &opened));
                        known.serve(&opened);
                        HostContent::Site(opened)
                    }
                    Err(error) if error.is_out_of_reach() && live.is_some() => {
                        return Err(Refused::OutOfReach);
                    }
                    Err(error) => {
                        let why = error.to_string();
                        if config.strict || !may_wait(live, site) {
                            let problem = config::problem(&site.place, &Error::new(why.clone()));
                            found.push(Found { at: (number, Part::Root), problem });
                        } else {
                            let text = format!("{}: {why}; until then it answers with 503", site.place);
                            warnings.push(Warning { source: Some(source), text });
                        }
                        known.facts.unavailable = Some(why);
                        HostContent::Unavailable
                    }
                }
            }
        };
        let is_alone = config.sites.len() == 1;
        match host(site, content, files, is_alone, &trusted_proxies) {
            Ok(host) => {
                hosts.push(Host { client_ca: client_ca(client_cas, number), log: logs.of(site), ..host });
            }
            Err(errors) => found.extend(errors.iter().map(|error| {
                let problem = config::problem(&site.place, error);
                Found { at: (number, Part::Rest), problem }
            })),
        }
        sites.push(known);
    }
    if !found.is_empty() {
        return Err(Refused::Mistakes(found));
    }
    match Hosts::new(hosts) {
        Ok(hosts) => Ok(OpenSites { sources, sites, hosts, warnings }),
        Err(error) => {
            let whole = Place { file: config.file.as_path().into(), line: 0, column: 0 };
            let problem = config::problem(&whole, &Error::new(error.to_string()));
            Err(Refused::Mistakes(vec![Found::of_all(problem)]))
        }
    }
}

/// Whether a site that cannot be opened now is waited for: at a start, or where it is waited for
/// already.
fn may_wait(live: Option<&Live>, site: &SiteConfig) -> bool {
    let Some(live) = live else { return true };
    let mut both = live.config.sites.iter().zip(&live.sites);
    both.any(|(before, open)| before.content == site.content && open.facts.unavailable.is_some())
}

fn host(
    site: &SiteConfig,
    content: HostContent,
    files: SiteFiles,
    is_alone: bool,
    trusted_proxies: &Arc<Networks>,
) -> Result<Host, Vec<Error>> {
    let hsts = site.hsts.as_deref().map(Hsts::parse).transpose();
    let hsts = hsts.map_err(|error| vec![Error::new(format!("hsts: {error}"))])?;
    let mut errors = Vec::new();
    let mut page = |path: Option<&Path>, file: Option<io::Result<OwnedFd>>, status| {
        let content = file?.and_then(read_page);
        match content.and_then(|content| Page::html(status, &content, hsts.as_ref())) {
            Ok(page) => Some(Arc::new(page)),
            Err(error) => {
                let what = format!("cannot use the page {}", printable(path.unwrap_or(Path::new(""))));
                errors.push(Error::new(what).cause(error));
                None
            }
        }
    };
    let users = files.users;
    let pages = Pages {
        error: page(site.pages.error.as_deref(), files.error, Status::INTERNAL_SERVER_ERROR),
        unavailable: page(site.pages.unavailable.as_deref(), files.unavailable, Status::SERVICE_UNAVAILABLE),
    };
    let access = access(&site.access, users, hsts.as_ref()).map_err(|error| errors.push(error)).ok();
    if !errors.is_empty() {
        return Err(errors);
    }
    // As a client asks for an address of IPv6.
    let name = |host: &String| if host.contains(':') { format!("[{host}]") } else { host.clone() };
    Ok(Host {
        label: site_name(site).into(),
        // A site alone answers to every name.
        is_default: site.is_default || (is_alone && site.hosts.is_empty()),
        canonical: site.canonical.as_ref().map(name),
        hsts,
        pages,
        access: access.flatten().map(|access| {
            let trusted_proxies = Arc::clone(trusted_proxies);
            Arc::new(Access { trusted_proxies, ..access })
        }),
        ..Host::new(site.hosts.iter().map(name).collect(), content)
    })
}

/// Returns who may ask for a site; `None`: everyone.
fn access(
    config: &AccessConfig,
    users: Option<io::Result<OwnedFd>>,
    hsts: Option<&Hsts>,
) -> Result<Option<Access>, Error> {
    let refuse = |path: &Path, why: String| {
        Error::new(format!("cannot use the file of users {}", printable(path))).cause(why)
    };
    let realm = match (&config.users, users) {
        (Some(path), Some(file)) => {
            let file = file.and_then(read_users).map_err(|error| refuse(path, error.to_string()))?;
            let realm = Realm::new(&config.realm, &file, hsts);
            Some(realm.map_err(|error| refuse(path, error.to_string()))?)
        }
        // Without it everyone could ask.
        (Some(path), None) => return Err(refuse(path, "it was not handed over".to_owned())),
        (None, _) => None,
    };
    let limit = config.rate.as_ref().map(|rate| Limit::new(rate.rate, hsts)).transpose();
    let limit = limit.map_err(|error| Error::new("no memory is left for a page").cause(error))?;
    let access = Access {
        deny: config.deny.iter().copied().collect(),
        allow: config.allow.as_ref().map(|allow| allow.iter().copied().collect()),
        realm,
        limit,
        ..Access::default()
    };
    let is_open = access.deny.is_empty() && access.allow.is_none() && access.realm.is_none();
    Ok(Some(access).filter(|access| !is_open || access.limit.is_some()))
}

/// Reads one byte more than a file of users may have. It is wiped when it is dropped.
fn read_users(file: OwnedFd) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::new());
    FromStart::new(file).take(Users::FILE_MAX as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// Reads one byte more than a page may have, so that one that is too large is refused.
fn read_page(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    FromStart::new(file).take(Page::MAX as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// Reads a file that was passed, from its beginning. Another worker that was passed the same one
/// may have read it to its end, and the place in it is common to both.
struct FromStart {
    file: File,
    at: u64,
}

impl FromStart {
    fn new(file: OwnedFd) -> FromStart {
        FromStart { file: file.into(), at: 0 }
    }
}

impl Read for FromStart {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Opens the sites of a configuration by their paths, and closes them again. Returns what the
/// operator should know.
///
/// # Errors
/// All that cannot be opened, where that keeps a start from starting.
pub(crate) fn try_sites(config: &Config) -> Result<Vec<String>, Vec<Found>> {
    let logs = Plan::default();
    match open(config, SiteFiles::open_all(config), &[], &logs, Arc::new(sitar_site::open_root), None) {
        Ok(opened) => Ok(opened.warnings.into_iter().map(|warning| warning.text).collect()),
        Err(Refused::Mistakes(found)) => Err(found),
        // Only what is served already can be out of reach.
        Err(Refused::OutOfReach) => Err(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_another_worker_has_read_is_read_from_its_beginning() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"some text").unwrap();
        for _ in 0..2 {
            // As descriptors that are passed, they have one place in the file.
            let pass = || file.try_clone().unwrap().into();
            assert_eq!(read_page(pass()).unwrap(), b"some text");
            assert_eq!(**read_users(pass()).unwrap(), *b"some text");
        }
    }
}
