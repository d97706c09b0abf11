//! The certificates of a configuration: each once, and the hosts that they are for.

use std::collections::HashMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sitar_server::Pem;
use sitar_tls::Identity;

use super::Live;
use super::acme::Wishes;
use crate::certificate::{self, Loaded};
use crate::config::{self, Config, SiteConfig};
use crate::error::Error;
use crate::handover::{Found, Part};
use crate::settings::CertificateFiles;
use crate::start::Certificate as Report;
use crate::watch::{SourceId, Sources, Warning, Watch};
use crate::worker::{Keys, read_client_cas};
use crate::{identity, start};

/// The reason for which certificates are read.
pub(super) enum Purpose<'l> {
    /// To be served.
    Start,
    /// To tell whether they could be. Nothing is made.
    Check,
    /// To take the place of what is served.
    Reload(&'l Live),
}

/// A certificate that is served.
#[derive(Clone)]
pub(super) struct Certificate {
    /// `None`: nothing watches it.
    pub(super) source: Option<SourceId>,
    /// `None`: made on this machine, or ordered from an authority.
    pub(super) files: Option<CertificateFiles>,
    /// The name of the one that is ordered from an authority.
    pub(super) ordered: Option<String>,
    /// It was made on this machine; for one that is ordered, until there is another.
    pub(super) is_local: bool,
    pub(super) identity: Identity,
    pub(super) report: Report,
    /// What every worker gets, also one that is started later.
    pub(super) pem: Pem,
}

/// All certificates, and the hosts that they are for.
#[derive(Clone, Default)]
pub(super) struct Certificates {
    pub(super) list: Vec<Certificate>,
    /// Host names with the places of their certificates.
    pub(super) by_host: Vec<(String, Vec<usize>)>,
    /// What certifies the clients of sites.
    pub(super) client_cas: Vec<ClientCaFile>,
}

/// A file with certificates that certify clients.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ClientCaFile {
    /// The number of the site.
    pub(super) site: usize,
    pub(super) path: PathBuf,
    pub(super) pem: Vec<u8>,
}

/// Certificates that were read for a configuration.
pub(super) struct Read {
    pub(super) certificates: Certificates,
    pub(super) sources: Sources,
    /// What clients may object to.
    pub(super) notes: Vec<String>,
    pub(super) warnings: Vec<Warning>,
    /// What is wanted of authorities.
    pub(super) wishes: Option<Arc<Wishes>>,
    /// What keeps them from being served.
    pub(super) found: Vec<Found>,
}

/// Reads the certificates of all sites.
pub(super) fn read(config: &Config, purpose: &Purpose<'_>) -> Read {
    let mut reader = Reader::new(purpose);
    reader.read_wishes(config);
    let mut sources = Sources::new();
    for (number, site) in config.sites.iter().enumerate() {
        reader.number = number;
        reader.read(site, &mut sources);
    }
    let (notes, warnings) = (std::mem::take(&mut reader.notes), std::mem::take(&mut reader.warnings));
    let (found, wishes) = (std::mem::take(&mut reader.found), reader.wishes.clone());
    Read { certificates: reader.finish(), sources, notes, warnings, wishes, found }
}

/// Reads certificates, site after site.
struct Reader<'p> {
    purpose: &'p Purpose<'p>,
    /// The number of the site.
    number: usize,
    list: Vec<Certificate>,
    by_host: Vec<(String, Vec<usize>)>,
    client_cas: Vec<ClientCaFile>,
    /// The place of what has been read, or nothing where that failed, which has been said.
    known: HashMap<CertificateFiles, Option<usize>>,
    local: Option<Option<usize>>,
    /// The one of this machine, or nothing where that failed, which has been said.
    made: Option<Option<Certificate>>,
    /// What is wanted of authorities, and the names of what each site wants.
    wishes: Option<Arc<Wishes>>,
    ordered: Vec<(usize, String)>,
    /// All certificates in the folder, where they were looked through.
    others: Option<Vec<Loaded>>,
    /// The certificates of the default site come first: clients that name no host get them.
    first: Vec<usize>,
    notes: Vec<String>,
    warnings: Vec<Warning>,
    found: Vec<Found>,
}

impl<'p> Reader<'p> {
    fn new(purpose: &'p Purpose<'p>) -> Reader<'p> {
        Reader {
            purpose,
            number: 0,
            list: Vec::new(),
            by_host: Vec::new(),
            client_cas: Vec::new(),
            known: HashMap::new(),
            local: None,
            made: None,
            wishes: None,
            ordered: Vec::new(),
            others: None,
            first: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            found: Vec::new(),
        }
    }

    fn refuse(&mut self, site: &SiteConfig, error: &Error) {
        let problem = config::problem(&site.place, error);
        self.found.push(Found { at: (self.number, Part::Certificate), problem });
    }

    /// Reads the certificates of a site, as far as they are not known.
    fn read(&mut self, site: &SiteConfig, sources: &mut Sources) {
        if let Some(path) = &site.client_ca {
            match certificate::read_client_ca(path) {
                Ok((pem, _)) => {
                    self.client_cas.push(ClientCaFile { site: self.number, path: path.clone(), pem });
                }
                Err(error) => self.refuse(site, &error),
            }
        }
        let places: Vec<usize> = match &site.certificates {
            config::Certificates::None => return,
            config::Certificates::Local => self.local(site).into_iter().collect(),
            config::Certificates::Acme(_) => self.ordered(site),
            config::Certificates::Files(all) => {
                let places = all.iter().map(|files| self.files(files, site, sources));
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

    fn files(&mut self, files: &CertificateFiles, site: &SiteConfig, sources: &mut Sources) -> Option<usize> {
        if let Some(known) = self.known.get(files) {
            return *known;
        }
        if let Some(kept) = self.kept(files) {
            self.list.push(kept);
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
                self.refuse(site, &error);
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
        let kept = live.certificates.list.iter().find(|kept| kept.files.as_ref() == Some(files))?;
        Some(Certificate { source: None, ..kept.clone() })
    }

    fn add(&mut self, source: Option<SourceId>, files: Option<&CertificateFiles>, loaded: Loaded) -> usize {
        let Loaded { pem, identity, report, .. } = loaded;
        let (files, ordered) = (files.cloned(), None);
        self.push(Certificate { source, files, ordered, is_local: false, identity, report, pem })
    }

    fn push(&mut self, certificate: Certificate) -> usize {
        self.list.push(certificate);
        self.list.len() - 1
    }

    /// Reads what the configuration wants of authorities.
    fn read_wishes(&mut self, config: &Config) {
        self.ordered = config.acme_plan().into_iter().map(|(site, wanted)| (site, wanted.name())).collect();
        let is_check = matches!(self.purpose, Purpose::Check);
        match Wishes::read(config, is_check) {
            Ok(wishes) => self.wishes = wishes.map(Arc::new),
            Err(errors) => {
                let whole = config::Place { file: config.file.as_path().into(), line: 0, column: 0 };
                let found = errors.iter().map(|error| Found::of_all(config::problem(&whole, error)));
                self.found.extend(found);
            }
        }
    }

    /// Returns the places of certificates that are ordered. Where there is none yet, it is another
    /// one that is good for the same names, or the one of this machine.
    fn ordered(&mut self, site: &SiteConfig) -> Vec<usize> {
        let Some(wishes) = self.wishes.clone() else { return Vec::new() };
        let own = self.ordered.iter().filter(|(number, _)| *number == self.number);
        let names: Vec<String> = own.map(|(_, name)| name.clone()).collect();
        let mut places = Vec::new();
        for name in names {
            let ordered = Some(name.clone());
            let certificate = match wishes.certificate(&name) {
                Some(Loaded { pem, identity, report, .. }) => {
                    let (source, files) = (None, None);
                    Some(Certificate { source, files, ordered, is_local: false, identity, report, pem })
                }
                None => {
                    let other = self.stand_in(&wishes, &name).or_else(|| self.made(site));
                    other.map(|other| Certificate { ordered, ..other })
                }
            };
            places.extend(certificate.map(|certificate| self.push(certificate)));
        }
        places
    }

    /// Returns a certificate in the folder that is good for all names of one that is not there yet:
    /// its name is new where its first host is, or the type of its key.
    fn stand_in(&mut self, wishes: &Wishes, name: &str) -> Option<Certificate> {
        let others = self.others.get_or_insert_with(|| wishes.certificates());
        let Loaded { pem, identity, report, .. } = wishes.stand_in(name, others, SystemTime::now())?;
        let (pem, identity, report) = (pem.clone(), identity.clone(), report.clone());
        let (source, files, ordered) = (None, None, None);
        Some(Certificate { source, files, ordered, is_local: false, identity, report, pem })
    }

    fn local(&mut self, site: &SiteConfig) -> Option<usize> {
        if let Some(known) = self.local {
            return known;
        }
        let place = self.made(site).map(|made| self.push(made));
        self.local = Some(place);
        place
    }

    /// Makes or reads the certificate of this machine.
    fn made(&mut self, site: &SiteConfig) -> Option<Certificate> {
        if let Some(known) = &self.made {
            return known.clone();
        }
        if let Purpose::Check = self.purpose {
            // It would be made.
            self.made = Some(None);
            if let Err(error) = identity::Place::of_environment() {
                self.refuse(site, &error);
            }
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
            let (source, files, ordered) = (None, None, None);
            Ok(Certificate { source, files, ordered, is_local: true, identity, report, pem })
        });
        let made = opened.map_err(|error| self.refuse(site, &error)).ok();
        self.made = Some(made.clone());
        made
    }

    /// Notes the hosts of a site that none of its certificates names.
    fn note_uncovered(&mut self, site: &SiteConfig, places: &[usize]) {
        let own: Vec<&Certificate> = places.iter().filter_map(|place| self.list.get(*place)).collect();
        let Some(first) = own.first() else { return };
        // An authority is asked for the names that are missing, and status says so.
        if first.ordered.is_some() {
            return;
        }
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

    /// Returns all that was read.
    fn finish(self) -> Certificates {
        let Reader { list, mut by_host, client_cas, first, wishes, .. } = self;
        // What comes first goes to clients that name no host: those that ask for an address do not.
        let is_for_address = |one: &Certificate| {
            let of_address = |name: &String| wishes.as_ref().is_some_and(|all| all.is_for_addresses(name));
            one.ordered.as_ref().is_some_and(of_address)
        };
        let place_in_first = |place| first.iter().position(|one| *one == place).unwrap_or(first.len());
        let mut all: Vec<_> = list.into_iter().enumerate().collect();
        all.sort_by_key(|(place, one)| (!is_for_address(one), place_in_first(*place)));
        let mut moved = vec![0; all.len()];
        for (now, (before, _)) in all.iter().enumerate() {
            moved[*before] = now;
        }
        by_host.iter_mut().flat_map(|(_, places)| places).for_each(|place| *place = moved[*place]);
        Certificates { list: all.into_iter().map(|(_, one)| one).collect(), by_host, client_cas }
    }
}

impl Certificates {
    /// Tries whether they can be served together.
    ///
    /// # Errors
    /// They cannot.
    pub(super) fn try_together(&self, config: &Config) -> Result<(), Error> {
        if self.list.is_empty() {
            return Ok(());
        }
        let keys = Keys {
            identities: self.list.iter().map(|one| one.identity.clone()).collect(),
            by_host: self.by_host.clone(),
            clients: read_client_cas(self.client_cas.iter().map(|one| (one.site, &one.pem[..])))?,
        };
        keys.config(config).map(drop)
    }

    /// Takes ordered ones that have come into service since these were read: those that are served
    /// `now` in the place of those `before`.
    pub(super) fn take_newer(&mut self, before: &Certificates, now: &Certificates) {
        let chain_of = |name: &str| {
            let mut before = before.list.iter().filter(|one| one.ordered.as_deref() == Some(name));
            before.next().map(|one| &one.pem.chain)
        };
        for one in &mut self.list {
            let Some(name) = one.ordered.as_deref() else { continue };
            let Some(served) = now.list.iter().find(|one| one.ordered.as_deref() == Some(name)) else {
                continue;
            };
            if !served.is_local && chain_of(name) != Some(&served.pem.chain) {
                *one = served.clone();
            }
        }
    }

    /// Returns the place of the certificate from that source.
    pub(super) fn place(&self, source: SourceId) -> Option<usize> {
        self.list.iter().position(|one| one.source == Some(source))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Returns a certificate for these names, as if it came from a folder.
    pub(in crate::supervisor) fn made(names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let (chain, key) = (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes());
        let identity = Identity::from_pem(&chain, &key).unwrap();
        let fingerprint = identity::fingerprint(identity.certificate());
        let path = format!("/certificates/{}.pem", names[0]).into();
        let report = Report { path, names, fingerprint };
        let pem = Pem { chain, key: key.into() };
        Certificate { source: None, files: None, ordered: None, is_local: false, identity, report, pem }
    }

    fn of(all: &[(&str, &Certificate)]) -> Certificates {
        let named = |(name, one): &(&str, &Certificate)| Certificate {
            ordered: Some((*name).to_owned()),
            ..(*one).clone()
        };
        Certificates { list: all.iter().map(named).collect(), ..Certificates::default() }
    }

    #[test]
    fn what_has_come_into_service_meanwhile_stays() {
        let local = Certificate { is_local: true, ..made(&["localhost"]) };
        let [old, new, other] = ["a.example", "a.example", "b.example"].map(|name| made(&[name]));
        let chain = |certificates: &Certificates, place: usize| certificates.list[place].pem.chain.clone();
        // The first certificate, and a renewed one.
        for before in [&local, &old] {
            let mut read = of(&[("b.example", &other), ("a.example", before)]);
            read.take_newer(&of(&[("a.example", before)]), &of(&[("a.example", &new)]));
            assert_eq!(chain(&read, 1), new.pem.chain);
            assert!(!read.list[1].is_local && read.list[1].ordered.as_deref() == Some("a.example"));
            assert_eq!(chain(&read, 0), other.pem.chain);
        }
        // What was read is newer than what is served.
        let mut read = of(&[("a.example", &new)]);
        read.take_newer(&of(&[("a.example", &old)]), &of(&[("a.example", &old)]));
        assert_eq!(chain(&read, 0), new.pem.chain);
        let mut read = of(&[("a.example", &new)]);
        read.take_newer(&of(&[("a.example", &local)]), &of(&[("a.example", &local)]));
        assert_eq!(chain(&read, 0), new.pem.chain);
    }

    #[test]
    fn another_first_host_leaves_a_certificate_in_service() {
        let place = tempfile::TempDir::new().unwrap();
        let folder = place.path().join("state/acme/certificates");
        fs::create_dir_all(&folder).unwrap();
        for folder in [&folder, folder.parent().unwrap(), &place.path().join("state")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let all = made(&["a.example.com", "b.example.com", "c.example.com"]);
        let mut pem = all.pem.key.to_vec();
        pem.extend(&all.pem.chain);
        fs::write(folder.join("a.example.com.pem"), pem).unwrap();
        fs::set_permissions(folder.join("a.example.com.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        for (hosts, keys, name) in [
            ("'a.example.com', 'b.example.com'", "p256", "a.example.com"),
            ("'b.example.com', 'a.example.com'", "p256", "b.example.com"),
            ("'c.example.com'", "p256", "c.example.com"),
            ("'a.example.com', 'b.example.com'", "rsa", "a.example.com_rsa"),
        ] {
            let text = format!(
                "[acme]\nagree_tos = true\nstate = 'state'\nkeys = ['{keys}']\n\
                 [[listen]]\naddress = '127.0.0.1:0'\n\
                 [[site]]\nroot = 'site'\nhosts = [{hosts}]\ncertificate = 'acme'\n"
            );
            let file = place.path().join("sitar.toml");
            fs::write(&file, text).unwrap();
            let config = config::read(&file, &[]).unwrap();
            let read = read(&config, &Purpose::Start);
            assert!(read.found.is_empty(), "{:?}", read.found);
            let served = &read.certificates.list[..];
            let [one] = served else { panic!("{} certificates", served.len()) };
            assert_eq!(one.ordered.as_deref(), Some(name));
            assert!(!one.is_local, "{hosts}: the local one");
            assert_eq!(one.report.fingerprint, all.report.fingerprint);
        }
    }
}
