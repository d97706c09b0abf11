//! Opens everything that a configuration names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};
use sitar_http::Status;
use sitar_server::{Host, HostContent, HostRedirect, Hosts, Pages, Pem};
use sitar_site::{Hsts, Page, Site};

use super::Live;
use super::certificates::{Certificates, Reader};
use super::status::seconds;
use crate::config::{self, Config, Place, Problem, SiteConfig, SiteContent};
use crate::error::{Error, printable};
use crate::watch::{SourceId, Sources};

/// Everything that a configuration names, open.
pub(in crate::serve) struct Opened {
    pub(super) sources: Sources,
    /// In the order of the configuration.
    pub(super) sites: Vec<OpenSite>,
    pub(super) hosts: Hosts,
    pub(super) certificates: Option<Certificates>,
    /// Their PEM with their keys, for a first start. It is wiped when it is dropped.
    pub(super) pems: Vec<Pem>,
    /// What the operator should know, as long as it is so.
    pub(in crate::serve) warnings: Vec<Warning>,
    /// What clients may object to in certificates, at this time.
    pub(in crate::serve) notes: Vec<String>,
}

/// A sentence for the operator, which is true until its source is read again.
#[derive(Clone)]
pub(in crate::serve) struct Warning {
    pub(super) source: Option<SourceId>,
    pub(in crate::serve) text: String,
}

impl Warning {
    /// Returns the warnings of a site that is named at that place.
    pub(super) fn of_site(source: SourceId, place: &Place, site: &Site) -> Vec<Warning> {
        let all = site.warnings().iter();
        all.map(|warning| Warning { source: Some(source), text: format!("{place}: {warning}") }).collect()
    }
}

/// What is known of a site's content.
#[derive(Clone, Default)]
pub(super) struct OpenSite {
    pub(super) source: Option<SourceId>,
    /// Why it cannot be served.
    pub(super) unavailable: Option<String>,
    pub(super) is_pack: bool,
    pub(super) is_folder: bool,
    pub(super) files: Option<usize>,
    pub(super) version: Option<String>,
    /// Since when this content has been served, in seconds since the epoch.
    pub(super) since: u64,
    /// What is served.
    pub(super) site: Option<Arc<Site>>,
    /// How often it has been exchanged since it was opened.
    pub(super) serial: u64,
}

impl OpenSite {
    /// Notes what is served now.
    pub(super) fn serve(&mut self, site: &Arc<Site>) {
        self.site = Some(Arc::clone(site));
        self.serial += 1;
        self.unavailable = None;
        self.is_pack = site.is_pack();
        self.is_folder = !site.is_archive();
        self.files = Some(site.len());
        self.version = Some(site.version().to_string());
        self.since = seconds(SystemTime::now());
    }

    /// Returns the name under which it is known: its kind.
    pub(super) fn kind(&self) -> &'static str {
        match (self.is_pack, self.is_folder) {
            (true, _) => "pack",
            (_, true) => "directory",
            (false, false) => "tar",
        }
    }

    /// Keeps the time of what was served before from the same root, if that is the same content.
    pub(super) fn follow(&mut self, last: &OpenSite) {
        if self.version.is_some() && self.version == last.version {
            self.since = last.since;
        }
    }
}

/// What a configuration is opened for.
pub(in crate::serve) enum Purpose<'l> {
    /// To be served.
    Start,
    /// To tell whether it could be. Nothing is made.
    Check,
    /// To take the place of what is served.
    Reload(&'l Live),
}

/// Opens sites, certificates and pages. A site that cannot be opened is answered for with 503,
/// unless the configuration is strict. A reload refuses it, unless it could not be opened before.
///
/// # Errors
/// All that cannot be opened.
pub(in crate::serve) fn open(config: &Config, purpose: &Purpose<'_>) -> Result<Opened, Vec<Problem>> {
    let mut sources = Sources::new();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(purpose);
    let (mut sites, mut hosts) = (Vec::new(), Vec::new());
    for site in &config.sites {
        let mut known = OpenSite::default();
        let content = match &site.content {
            SiteContent::Redirect { to, status } => HostContent::Redirect(HostRedirect {
                status: Status::from_code(*status).unwrap_or(Status::PERMANENT_REDIRECT),
                to: to.clone(),
            }),
            SiteContent::Root { path, options, watch } => {
                let (source, opened) = sources.add_site(path, options, *watch);
                known.source = Some(source);
                match opened {
                    Ok(opened) => {
                        warnings.extend(Warning::of_site(source, &site.place, &opened));
                        known.serve(&opened);
                        HostContent::Site(opened)
                    }
                    Err(error) => {
                        let why = error.to_string();
                        if config.strict || !may_wait(purpose, site) {
                            problems.push(config::problem(&site.place, &Error::new(why.clone())));
                        } else {
                            let text = format!("{}: {why}; until then it answers with 503", site.place);
                            warnings.push(Warning { source: Some(source), text });
                        }
                        known.unavailable = Some(why);
                        HostContent::Unavailable
                    }
                }
            }
        };
        reader.read(site, &mut sources, &mut problems);
        if let Some(host) = host(site, content, config.sites.len(), &mut problems) {
            hosts.push(host);
        }
        sites.push(known);
    }
    let notes = std::mem::take(&mut reader.notes);
    warnings.splice(0..0, std::mem::take(&mut reader.warnings));
    if !problems.is_empty() {
        return Err(problems);
    }
    let whole = Place { file: config.file.as_path().into(), line: 0, column: 0 };
    let (certificates, pems) = reader.finish(config).unzip();
    let tls = certificates.as_ref().map(Certificates::config).transpose();
    let opened = tls.and_then(|_| Hosts::new(hosts).map_err(|error| Error::new(error.to_string())));
    match opened {
        Ok(hosts) => {
            let pems = pems.unwrap_or_default();
            Ok(Opened { sources, sites, hosts, certificates, pems, warnings, notes })
        }
        Err(error) => Err(vec![config::problem(&whole, &error)]),
    }
}

/// Whether a site that cannot be opened now is waited for: at a start, or where it is waited for
/// already.
fn may_wait(purpose: &Purpose<'_>, site: &SiteConfig) -> bool {
    let Purpose::Reload(live) = purpose else { return true };
    let mut both = live.config.sites.iter().zip(&live.sites);
    both.any(|(before, open)| before.content == site.content && open.unavailable.is_some())
}

fn host(site: &SiteConfig, content: HostContent, sites: usize, problems: &mut Vec<Problem>) -> Option<Host> {
    let hsts = match site.hsts.as_deref().map(Hsts::parse).transpose() {
        Ok(hsts) => hsts,
        Err(error) => {
            problems.push(config::problem(&site.place, &Error::new(format!("hsts: {error}"))));
            return None;
        }
    };
    let mut page = |path: &Option<std::path::PathBuf>, status, hsts: Option<&Hsts>| {
        let path = path.as_deref()?;
        match read_page(path).and_then(|content| Page::html(status, &content, hsts)) {
            Ok(page) => Some(Arc::new(page)),
            Err(error) => {
                let what = format!("cannot use the page {}", printable(path));
                problems.push(config::problem(&site.place, &Error::new(what).cause(error)));
                None
            }
        }
    };
    let pages = Pages {
        error: page(&site.pages.error, Status::INTERNAL_SERVER_ERROR, hsts.as_ref()),
        unavailable: page(&site.pages.unavailable, Status::SERVICE_UNAVAILABLE, hsts.as_ref()),
    };
    // As a client asks for an address of IPv6.
    let name = |host: &String| if host.contains(':') { format!("[{host}]") } else { host.clone() };
    Some(Host {
        // A site alone answers to every name.
        is_default: site.is_default || (sites == 1 && site.hosts.is_empty()),
        canonical: site.canonical.as_ref().map(name),
        hsts,
        pages,
        ..Host::new(site.hosts.iter().map(name).collect(), content)
    })
}

/// Reads one byte more than a page may have, so that one that is too large is refused.
fn read_page(path: &Path) -> io::Result<Vec<u8>> {
    // A FIFO would be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut content = Vec::new();
    file.take(Page::MAX as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}
