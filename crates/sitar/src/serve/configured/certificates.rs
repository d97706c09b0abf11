//! The certificates of a configuration: each once, and the hosts that they are for.

use std::collections::HashMap;
use std::time::SystemTime;

use sitar_server::{Pem, TlsSpec};
use sitar_tls::{Identities, Identity, Version};

use super::super::certificates::{min_version, protocols};
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
    /// `None`: made on this machine.
    pub(super) source: Option<SourceId>,
    pub(super) identity: Identity,
    pub(super) report: Report,
    /// What clients may object to.
    pub(super) warnings: Vec<String>,
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
pub(super) struct Reader {
    list: Vec<Certificate>,
    pems: Vec<Pem>,
    by_host: Vec<(String, Vec<usize>)>,
    /// The place of what has been read, or nothing where that failed, which has been said.
    known: HashMap<CertificateFiles, Option<usize>>,
    local: Option<Option<usize>>,
    /// The certificates of the default site come first: clients that name no host get them.
    first: Vec<usize>,
    pub(super) notes: Vec<String>,
}

impl Reader {
    pub(super) fn new() -> Reader {
        Reader {
            list: Vec::new(),
            pems: Vec::new(),
            by_host: Vec::new(),
            known: HashMap::new(),
            local: None,
            first: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Reads the certificates of a site, as far as they are not known.
    pub(super) fn read(
        &mut self,
        site: &SiteConfig,
        watch: Watch,
        sources: &mut Sources,
        problems: &mut Vec<Problem>,
    ) {
        let places: Vec<usize> = match &site.certificates {
            config::Certificates::None => return,
            config::Certificates::Local => self.local(site, problems).into_iter().collect(),
            config::Certificates::Files(all) => {
                let places = all.iter().map(|files| self.files(files, site, watch, sources, problems));
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
        watch: Watch,
        sources: &mut Sources,
        problems: &mut Vec<Problem>,
    ) -> Option<usize> {
        if let Some(known) = self.known.get(files) {
            return *known;
        }
        let (source, loaded) = sources.add_certificate(files, watch);
        let place = match loaded {
            Ok(loaded) => {
                self.notes.extend(loaded.warnings.iter().cloned());
                Some(self.add(Some(source), loaded))
            }
            Err(error) => {
                problems.push(config::problem(&site.place, &error));
                None
            }
        };
        self.known.insert(files.clone(), place);
        place
    }

    fn add(&mut self, source: Option<SourceId>, loaded: Loaded) -> usize {
        let Loaded { pem, identity, report, warnings } = loaded;
        self.pems.push(pem);
        self.list.push(Certificate { source, identity, report, warnings });
        self.list.len() - 1
    }

    /// Makes or reads the certificate of this machine.
    fn local(&mut self, site: &SiteConfig, problems: &mut Vec<Problem>) -> Option<usize> {
        if let Some(known) = self.local {
            return known;
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
            Ok(loaded) => Some(self.add(None, loaded)),
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
            self.notes.push(note);
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
        let (list, pems) = all.into_iter().map(|(_, both)| both).unzip();
        let (protocols, min) = (protocols(&config.settings), min_version(&config.settings));
        Some((Certificates { list, by_host, protocols, min }, pems))
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
        let Loaded { identity, report, warnings, .. } = loaded;
        if let Some(place) = next.list.iter().position(|one| one.source == Some(source)) {
            next.list[place] = Certificate { source: Some(source), identity, report, warnings };
        }
        next
    }
}
