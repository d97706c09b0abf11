//! The certificates of a configuration: each once, and the hosts that they are for.

use std::collections::HashMap;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::SystemTime;

use sitar_server::{Pem, TlsSpec};
use sitar_tls::{Identities, Identity, Version};

use super::super::certificates::{min_version, protocols};
use super::opened::{Purpose, Warning};
use crate::certificate::Loaded;
use crate::config::{self, Config, Problem, SiteConfig};
use crate::error::Error;
use crate::settings::CertificateFiles;
use crate::start::Certificate as Report;
use crate::watch::{SourceId, Sources, Watch};
use crate::{identity, start};

/// A certificate that is served.
#[derive(Clone)]
pub(super) struct Certificate {
    /// `None`: nothing watches it.
    pub(super) source: Option<SourceId>,
    /// `None`: made on this machine.
    pub(super) files: Option<CertificateFiles>,
    pub(super) identity: Identity,
    pub(super) report: Report,
}

/// All certificates, and how TLS is spoken.
#[derive(Clone)]
pub(super) struct Certificates {
    pub(super) list: Vec<Certificate>,
    /// Host names with the places of their certificates.
    by_host: Vec<(String, Vec<usize>)>,
    protocols: Vec<Vec<u8>>,
    min: Version,
}

/// Reads certificates while sites are opened.
pub(super) struct Reader<'p> {
    purpose: &'p Purpose<'p>,
    list: Vec<Certificate>,
    /// The PEM of each, but for those that are kept from before.
    pems: Vec<Option<Pem>>,
    by_host: Vec<(String, Vec<usize>)>,
    /// The place of what has been read, or nothing where that failed, which has been said.
    known: HashMap<CertificateFiles, Option<usize>>,
    local: Option<Option<usize>>,
    /// The certificates of the default site come first: clients that name no host get them.
    first: Vec<usize>,
    /// What clients may object to.
    pub(super) notes: Vec<String>,
    pub(super) warnings: Vec<Warning>,
}

impl<'p> Reader<'p> {
    pub(super) fn new(purpose: &'p Purpose<'p>) -> Reader<'p> {
        Reader {
            purpose,
            list: Vec::new(),
            pems: Vec::new(),
            by_host: Vec::new(),
            known: HashMap::new(),
            local: None,
            first: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Reads the certificates of a site, as far as they are not known.
    pub(super) fn read(&mut self, site: &SiteConfig, sources: &mut Sources, problems: &mut Vec<Problem>) {
        let places: Vec<usize> = match &site.certificates {
            config::Certificates::None => return,
            config::Certificates::Local => self.local(site, problems).into_iter().collect(),
            config::Certificates::Files(all) => {
                let places = all.iter().map(|files| self.files(files, site, sources, problems));
                places.collect::<Vec<_>>().into_iter().flatten().collect()
            }
        };
        if (site.is_default || self.first.is_empty()) && !places.is_empty() {
            self.first.clone_from(&places);
        }
        self.note_uncovered(site, &places);
        let is_name = |host: &&String| host.parse::<std::net::IpAddr>().is_err();
        self.by_host.extend(site.hosts.iter().filter(is_name).map(|host| (host.clone(), places.clone())));
    }

    fn files(
        &mut self,
        files: &CertificateFiles,
        site: &SiteConfig,
        sources: &mut Sources,
        problems: &mut Vec<Problem>,
    ) -> Option<usize> {
        if let Some(known) = self.known.get(files) {
            return *known;
        }
        if let Some(kept) = self.kept(files) {
            self.list.push(kept);
            self.pems.push(None);
            let place = Some(self.list.len() - 1);
            self.known.insert(files.clone(), place);
            return place;
        }
        // Whatever is said about the site: a certificate ends.
        let (source, loaded) = sources.add_certificate(files, Watch::Auto);
        let place = match loaded {
            Ok(loaded) => {
                self.notes.extend(loaded.warnings.iter().cloned());
                Some(self.add(Some(source), Some(files), loaded))
            }
            Err(error) => {
                problems.push(config::problem(&site.place, &error));
                None
            }
        };
        self.known.insert(files.clone(), place);
        place
    }

    /// Returns a certificate that is served and cannot be read again, because it came through a
    /// FIFO.
    fn kept(&self, files: &CertificateFiles) -> Option<Certificate> {
        let Purpose::Reload(live) = self.purpose else { return None };
        let is_fifo = |path: &Path| path.metadata().is_ok_and(|found| found.file_type().is_fifo());
        if !is_fifo(&files.chain) && !is_fifo(&files.key) {
            return None;
        }
        let list = &live.certificates.as_ref()?.list;
        let kept = list.iter().find(|kept| kept.files.as_ref() == Some(files))?;
        Some(Certificate { source: None, ..kept.clone() })
    }

    fn add(&mut self, source: Option<SourceId>, files: Option<&CertificateFiles>, loaded: Loaded) -> usize {
        let Loaded { pem, identity, report, .. } = loaded;
        self.pems.push(Some(pem));
        self.list.push(Certificate { source, files: files.cloned(), identity, report });
        self.list.len() - 1
    }

    /// Makes or reads the certificate of this machine.
    fn local(&mut self, site: &SiteConfig, problems: &mut Vec<Problem>) -> Option<usize> {
        if let Some(known) = self.local {
            return known;
        }
        if let Purpose::Check = self.purpose {
            // It would be made.
            self.local = Some(None);
            problems.extend(
                identity::Place::of_environment().err().map(|error| config::problem(&site.place, &error)),
            );
            return None;
        }
        let opened = identity::Place::of_environment().and_then(|place| {
            let local = identity::open(&place, SystemTime::now())?;
            let identity = Identity::from_pem(&local.chain_pem, &local.key_pem).map_err(|error| {
                Error::new("the local certificate cannot be used").cause(error.to_string())
            })?;
            self.notes.extend(place.notes());
            let names = identity.names().iter().cloned();
            let names = names.chain(identity.addresses().iter().map(ToString::to_string)).collect();
            let report = Report { path: local.ca_path, names, fingerprint: local.fingerprint };
            let pem = Pem { chain: local.chain_pem, key: local.key_pem };
            Ok(Loaded { pem, identity, report, warnings: Vec::new() })
        });
        let place = match opened {
            Ok(loaded) => Some(self.add(None, None, loaded)),
            Err(error) => {
                problems.push(config::problem(&site.place, &error));
                None
            }
        };
        self.local = Some(place);
        place
    }

    /// Notes the hosts of a site that none of its certificates names.
    fn note_uncovered(&mut self, site: &SiteConfig, places: &[usize]) {
        let own: Vec<&Certificate> = places.iter().filter_map(|place| self.list.get(*place)).collect();
        let Some(first) = own.first() else { return };
        let is_covered = |host: &String| {
            let host = host.replacen('*', "x", 1);
            own.iter().any(|certificate| certificate.identity.certificate_names().cover(&host))
        };
        let uncovered: Vec<String> = site.hosts.iter().filter(|host| !is_covered(host)).cloned().collect();
        if !uncovered.is_empty() {
            let note = format!(
                "{}: no certificate of this site names {}, so clients refuse it there; {} is good for {}",
                site.place,
                start::names_text(&uncovered),
                crate::error::printable(&first.report.path),
                start::names_text(&first.report.names),
            );
            self.warnings.push(Warning { source: first.source, text: note });
        }
    }

    /// Returns all that was read, and the PEM of each; `None`: nothing speaks TLS.
    pub(super) fn finish(self, config: &Config) -> Option<(Certificates, Vec<Pem>)> {
        let Reader { list, pems, mut by_host, first, .. } = self;
        if list.is_empty() {
            return None;
        }
        // What comes first goes to clients that name no host.
        let rank = |place| first.iter().position(|one| *one == place).unwrap_or(first.len());
        let mut all: Vec<_> = list.into_iter().zip(pems).enumerate().collect();
        all.sort_by_key(|(place, _)| rank(*place));
        let mut moved = vec![0; all.len()];
        for (now, (before, _)) in all.iter().enumerate() {
            moved[*before] = now;
        }
        by_host.iter_mut().flat_map(|(_, places)| places).for_each(|place| *place = moved[*place]);
        let (list, pems): (_, Vec<Option<Pem>>) = all.into_iter().map(|(_, both)| both).unzip();
        let (protocols, min) = (protocols(&config.settings), min_version(&config.settings));
        Some((Certificates { list, by_host, protocols, min }, pems.into_iter().flatten().collect()))
    }
}

impl Certificates {
    /// Returns what a worker starts from, out of the PEM of each.
    pub(super) fn spec(&self, identities: Vec<Pem>) -> TlsSpec {
        TlsSpec {
            identities,
            by_host: self.by_host.clone(),
            protocols: self.protocols.clone(),
            min_version: self.min,
            seals_max: None,
        }
    }

    /// Returns the configuration of TLS.
    ///
    /// # Errors
    /// They cannot be served together.
    pub(super) fn config(&self) -> Result<sitar_tls::Config, Error> {
        let identity = |place: &usize| self.list.get(*place).map(|one| one.identity.clone());
        let by_host = self.by_host.iter();
        let identities = Identities {
            all: self.list.iter().map(|one| one.identity.clone()).collect(),
            by_host: by_host
                .map(|(host, places)| (host.clone(), places.iter().filter_map(identity).collect()))
                .collect(),
        };
        let protocols: Vec<&[u8]> = self.protocols.iter().map(Vec::as_slice).collect();
        sitar_tls::Config::with_min_version(identities, &protocols, self.min)
            .map_err(|error| Error::new("cannot set up TLS").cause(error.to_string()))
    }

    /// Returns the same with another certificate from that source.
    pub(super) fn with(&self, source: SourceId, loaded: Loaded) -> Certificates {
        let mut next = self.clone();
        let Loaded { identity, report, .. } = loaded;
        if let Some(one) = next.list.iter_mut().find(|one| one.source == Some(source)) {
            (one.identity, one.report) = (identity, report);
        }
        next
    }
}
