//! What a configuration wants of authorities, with all that it names read.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use sitar_acme::{Authority, Eab, Identifier, Pending, Plan, Wanted};
use sitar_server::Pem;
use sitar_tls::Identity;
use zeroize::Zeroizing;

use super::dns;
use crate::acme::{Folder, Job};
use crate::cache::is_within;
use crate::certificate::{self, Loaded};
use crate::config::{AuthorityConfig, Config, EabConfig, SiteContent};
use crate::error::{Error, printable};
use crate::handover::{Challenges, said};
use crate::identity::fingerprint;
use crate::start::Certificate as Report;

/// The characters of a digest of SHA-256 in base64url (RFC 8555 §8.4).
const DIGEST_LEN: usize = 43;

/// Bytes of the file of such a key, at most.
const EAB_KEY_MAX: u64 = 4096;

/// What a configuration wants of authorities.
#[derive(Debug)]
pub(in crate::supervisor) struct Wishes {
    pub(in crate::supervisor) job: Job,
    pub(in crate::supervisor) folder: Folder,
    pub(in crate::supervisor) dns: Option<dns::Program>,
}

impl Wishes {
    /// Reads what a configuration names; `None`: it wants nothing. To check it, nothing is made.
    ///
    /// # Errors
    /// Something cannot be read, or the folder cannot be used.
    pub(in crate::supervisor) fn read(config: &Config, is_check: bool) -> Result<Option<Wishes>, Vec<Error>> {
        let certificates: Vec<Wanted> = config.acme_plan().into_iter().map(|(_, wanted)| wanted).collect();
        let Some(acme) = config.acme.as_ref().filter(|_| !certificates.is_empty()) else { return Ok(None) };
        let mut errors = Vec::new();
        let authorities =
            acme.authorities.iter().filter_map(|one| authority(one).map_err(|error| errors.push(error)).ok());
        let authorities = authorities.collect();
        let state = acme.state.as_deref();
        let path = Folder::path_of(state).map_err(|error| errors.push(error)).ok();
        if let Some((path, root)) = path.and_then(|path| Some((path.clone(), served(config, &path)?))) {
            let what = format!(
                "certificates and their keys would be kept in a folder that is served: {}",
                printable(&path)
            );
            errors.push(
                Error::new(what)
                    .cause(format!("it lies in {}", printable(root)))
                    .hint("use another directory: --state DIR, or state = \"DIR\" in [acme]"),
            );
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if is_check {
            return Ok(None);
        }
        let folder = Folder::make(state).map_err(|error| vec![error])?;
        let dns = (!acme.dns_command.is_empty())
            .then(|| dns::Program { command: acme.dns_command.clone(), wait: acme.dns_wait });
        let job = Job {
            plan: Plan { authorities, certificates },
            policy: config.settings.sandbox,
            events: config.log.events,
        };
        Ok(Some(Wishes { job, folder, dns }))
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.job.plan
    }

    pub(super) fn is_same(&self, other: &Wishes) -> bool {
        self.job == other.job && self.dns == other.dns && self.folder.is_same(&other.folder)
    }

    fn identifiers(&self) -> impl Iterator<Item = &Identifier> {
        self.plan().certificates.iter().flat_map(|one| &one.identifiers)
    }

    /// Checks challenges before they are kept: each worker that begins gets those that are kept,
    /// and takes no configuration together with challenges that it does not understand.
    ///
    /// # Errors
    /// One is for nothing that is wanted, or too large, or they are too many: a sentence.
    pub(super) fn check(&self, pending: &[Pending]) -> Result<(), String> {
        Challenges::check(pending)?;
        let Some(foreign) = pending.iter().find(|one| !self.wants(one)) else { return Ok(()) };
        let name = match foreign {
            Pending::Http01 { identifier, .. } => identifier.to_string(),
            Pending::TlsAlpn01 { server_name, .. } => said(server_name),
        };
        Err(format!("a challenge is for nothing that is wanted: {name}"))
    }

    /// Whether a challenge is for something that is wanted.
    fn wants(&self, pending: &Pending) -> bool {
        match pending {
            Pending::Http01 { identifier, .. } => self.identifiers().any(|one| one == identifier),
            Pending::TlsAlpn01 { server_name, .. } => {
                self.identifiers().any(|one| one.server_name().as_ref() == Some(server_name))
            }
        }
    }

    /// Whether a record is that of a challenge for something that is wanted.
    pub(super) fn wants_record(&self, name: &str, value: &str) -> bool {
        let domain = name.strip_prefix("_acme-challenge.");
        let is_text = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        value.len() == DIGEST_LEN
            && value.bytes().all(is_text)
            && domain.is_some_and(|domain| self.identifiers().any(|one| one.domain() == Some(domain)))
    }

    pub(super) fn identifiers_of(&self, name: &str) -> Option<&[Identifier]> {
        let found = self.plan().certificates.iter().find(|one| one.name() == name);
        found.map(|one| &one.identifiers[..])
    }

    /// Whether the certificate of that name is for addresses.
    pub(in crate::supervisor) fn is_for_addresses(&self, name: &str) -> bool {
        let is_address = |one: &Identifier| matches!(one, Identifier::Ip(_));
        self.identifiers_of(name).is_some_and(|all| all.iter().any(is_address))
    }

    /// Reads the certificate of that name from the folder, and checks that it is what was wanted,
    /// at least for one of the names. `None`: there is none that can be served.
    pub(in crate::supervisor) fn certificate(&self, name: &str) -> Option<Loaded> {
        let identifiers = self.identifiers_of(name)?;
        let loaded = self.load(name)?;
        identifiers.iter().any(|one| is_for(&loaded.identity, one)).then_some(loaded)
    }

    /// Reads all certificates of the folder, wanted or not.
    pub(in crate::supervisor) fn certificates(&self) -> Vec<Loaded> {
        self.folder.names().iter().filter_map(|name| self.load(name)).collect()
    }

    /// Returns the one of these that is valid now, is good for everything that is wanted by that
    /// name, and lasts longest.
    pub(in crate::supervisor) fn stand_in<'l>(
        &self,
        name: &str,
        all: &'l [Loaded],
        now: SystemTime,
    ) -> Option<&'l Loaded> {
        let identifiers = self.identifiers_of(name)?;
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let end = |one: &Loaded| {
            let (start, end) = one.identity.validity()?;
            let is_good = start <= now && now <= end;
            (is_good && identifiers.iter().all(|wanted| is_for(&one.identity, wanted))).then_some(end)
        };
        let good = all.iter().filter_map(|one| Some((end(one)?, one)));
        good.max_by_key(|(end, _)| *end).map(|(_, one)| one)
    }

    /// Reads a certificate from the folder.
    fn load(&self, name: &str) -> Option<Loaded> {
        let pem = self.folder.certificate(name)?;
        let identity = Identity::from_pem(&pem, &pem).ok()?;
        let mut names = identity.names().to_vec();
        names.extend(identity.addresses().iter().map(ToString::to_string));
        let path = self.folder.certificate_path(name);
        let report = Report { path, names, fingerprint: fingerprint(identity.certificate()) };
        let pem = Pem { chain: pem.to_vec(), key: Zeroizing::new(pem.to_vec()) };
        Some(Loaded { pem, identity, report, warnings: Vec::new() })
    }
}

/// Whether a certificate names it.
fn is_for(identity: &Identity, identifier: &Identifier) -> bool {
    match identifier {
        Identifier::Dns(dns) => identity.names().contains(dns),
        Identifier::Ip(address) => identity.addresses().contains(address),
    }
}

/// Reads what an authority's table names.
fn authority(one: &AuthorityConfig) -> Result<Authority, Error> {
    let roots = one.ca.as_deref().map(read_roots).transpose()?;
    let eab = one.eab.as_ref().map(read_eab).transpose()?;
    let (directory, contact) = (one.directory.clone(), one.contact.clone());
    Ok(Authority { directory, roots, agrees: one.agrees, contact, eab })
}

fn read_roots(path: &Path) -> Result<Vec<u8>, Error> {
    // What certifies clients has the same form, and is looked at in the same way.
    certificate::read_client_ca(path).map(|(pem, _)| pem).map_err(|error| {
        Error::new(format!("cannot use 'ca' of [acme]: {}", error.sentence()))
            .hint("it has to hold certificates in PEM that certify the authority's own server")
    })
}

/// Reads the key of an external account binding: base64url, as authorities give it out, with the
/// signs of plain base64 or of its end or without.
fn read_eab(eab: &EabConfig) -> Result<Eab, Error> {
    let shown = printable(&eab.key_file);
    let failed = |why: String| Error::new(format!("cannot use the key of 'eab', {shown}")).cause(why);
    let mut text = Zeroizing::new(String::new());
    let file = File::open(&eab.key_file).map_err(|error| failed(error.to_string()))?;
    let read = file.take(EAB_KEY_MAX).read_to_string(&mut text);
    read.map_err(|error| failed(error.to_string()))?;
    let key = Eab::read_key(&text).ok_or_else(|| {
        failed("it is no key in base64url".to_owned())
            .hint("the file has the key alone, as the authority shows it")
    })?;
    Ok(Eab { kid: eab.kid.clone(), key })
}

/// Returns the root of a site in which a path lies.
fn served<'c>(config: &'c Config, path: &Path) -> Option<&'c Path> {
    config.sites.iter().find_map(|site| match &site.content {
        SiteContent::Root { path: root, .. } if is_within(path, root) => Some(root.as_path()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use sitar_acme::{ChallengeKind, KeyType};
    use tempfile::TempDir;

    use super::*;
    use crate::events::Form;
    use crate::sandbox::Policy;

    fn wishes(names: &[&str]) -> (TempDir, Wishes) {
        let identifiers = names.iter().map(|name| Identifier::parse(name).unwrap()).collect();
        let wanted = Wanted {
            identifiers,
            key: KeyType::P256,
            profile: None,
            preferred_chain: None,
            challenges: vec![ChallengeKind::Http01],
        };
        let plan = Plan { authorities: Vec::new(), certificates: vec![wanted] };
        let place = TempDir::new().unwrap();
        let folder = Folder::make(Some(&place.path().join("sitar"))).unwrap();
        let job = Job { plan, policy: Policy::Off, events: Form::Text };
        (place, Wishes { job, folder, dns: None })
    }

    #[test]
    fn records_of_other_names_are_refused() {
        let (_place, wishes) = wishes(&["a.example", "*.b.example", "192.0.2.7"]);
        let digest = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";
        for (name, value, is_wanted) in [
            ("_acme-challenge.a.example", digest, true),
            ("_acme-challenge.b.example", digest, true),
            ("_acme-challenge.c.example", digest, false),
            ("_acme-challenge.*.b.example", digest, false),
            ("_acme-challenge.192.0.2.7", digest, false),
            ("a.example", digest, false),
            ("_acme-challenge.a.example", "", false),
            ("_acme-challenge.a.example", "$(reboot)LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfow", false),
            ("_acme-challenge.a.example", &digest[1..], false),
        ] {
            assert_eq!(wishes.wants_record(name, value), is_wanted, "{name} {value}");
        }
    }

    #[test]
    fn challenges_for_other_names_are_refused() {
        let (_place, wishes) = wishes(&["a.example", "192.0.2.7"]);
        let by_file = |name: &str| Pending::Http01 {
            identifier: Identifier::parse(name).unwrap(),
            token: "token".into(),
            authorization: "token.thumb".into(),
        };
        let by_handshake = |name: &str| Pending::TlsAlpn01 {
            server_name: name.into(),
            chain: Vec::new(),
            key: Zeroizing::default(),
        };
        for (pending, is_wanted) in [
            (by_file("a.example"), true),
            (by_file("192.0.2.7"), true),
            (by_file("b.example"), false),
            (by_handshake("a.example"), true),
            (by_handshake("7.2.0.192.in-addr.arpa"), true),
            (by_handshake("b.example"), false),
            (by_handshake("192.0.2.7"), false),
        ] {
            assert_eq!(wishes.wants(&pending), is_wanted, "{pending:?}");
        }
    }

    #[test]
    fn challenges_that_no_worker_takes_are_refused() {
        let (_place, wishes) = wishes(&["a.example"]);
        let file = |name: &str, token: usize| Pending::Http01 {
            identifier: Identifier::parse(name).unwrap(),
            token: "x".repeat(token),
            authorization: String::new(),
        };
        let certificate = |chain: usize, key: usize| Pending::TlsAlpn01 {
            server_name: "a.example".into(),
            chain: vec![b'x'; chain],
            key: vec![b'x'; key].into(),
        };
        let foreign = "a challenge is for nothing that is wanted: b.example";
        for (pending, refused) in [
            (file("a.example", 256), None),
            (certificate(64 << 10, 16 << 10), None),
            (file("b.example", 1), Some(foreign)),
            (file("a.example", 257), Some("the token of a challenge is larger than 256 bytes")),
            (certificate(65537, 1), Some("the certificate of a challenge is larger than 65536 bytes")),
            (certificate(1, 16385), Some("the key of a challenge is larger than 16384 bytes")),
        ] {
            assert_eq!(wishes.check(&[pending]).err().as_deref(), refused);
        }
        let many = vec![file("a.example", 1); 1001];
        assert_eq!(wishes.check(&many[1..]), Ok(()));
        let why = "at most 1000 challenges can be pending at a time";
        assert_eq!(wishes.check(&many), Err(why.to_owned()));
    }

    #[test]
    fn a_stand_in_is_valid_and_good_for_all_names() {
        let (_place, wishes) = wishes(&["b.example", "a.example"]);
        let place = wishes.folder.certificate_path("x");
        std::fs::create_dir(place.parent().unwrap()).unwrap();
        let write = |file: &str, names: &[&str], years: (i32, i32)| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = rcgen::CertificateParams::new(names).unwrap();
            params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
            params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            let pem = key.serialize_pem() + &params.self_signed(&key).unwrap().pem();
            std::fs::write(wishes.folder.certificate_path(file), pem).unwrap();
        };
        // 2030-01-01.
        let now = UNIX_EPOCH + std::time::Duration::from_secs(1_893_456_000);
        let found = |wishes: &Wishes| {
            let all = wishes.certificates();
            wishes.stand_in("b.example", &all, now).map(|one| one.report.path.clone())
        };
        write("a.example", &["a.example"], (2029, 2031));
        write("past", &["a.example", "b.example"], (2028, 2029));
        write("future", &["a.example", "b.example"], (2031, 2032));
        std::fs::write(wishes.folder.certificate_path("damaged"), "key").unwrap();
        assert_eq!(found(&wishes), None);
        write("short", &["a.example", "b.example"], (2029, 2031));
        write("long", &["c.example", "a.example", "b.example"], (2029, 2032));
        assert_eq!(found(&wishes), Some(wishes.folder.certificate_path("long")));
    }

    #[test]
    fn a_certificate_for_other_names_is_not_served() {
        let (_place, wishes) = wishes(&["a.example"]);
        let place = wishes.folder.certificate_path("a.example");
        std::fs::create_dir(place.parent().unwrap()).unwrap();
        for (names, is_served) in
            [(&["a.example"][..], true), (&["b.example", "a.example"], true), (&["b.example"], false)]
        {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let made = rcgen::generate_simple_self_signed(names).unwrap();
            std::fs::write(&place, made.signing_key.serialize_pem() + &made.cert.pem()).unwrap();
            assert_eq!(wishes.certificate("a.example").is_some(), is_served);
            assert!(wishes.certificate("b.example").is_none());
        }
        for damaged in ["", "-----BEGIN CERTIFICATE-----\n", "key"] {
            std::fs::write(&place, damaged).unwrap();
            assert!(wishes.certificate("a.example").is_none());
        }
        // Longer than any key and chain.
        let made = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap();
        let padding = "\n".repeat(300_000);
        std::fs::write(&place, made.signing_key.serialize_pem() + &made.cert.pem() + &padding).unwrap();
        assert!(wishes.certificate("a.example").is_none());
    }
}
