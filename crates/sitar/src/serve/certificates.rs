//! Reads certificates and keys, or makes the local ones.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sitar_server::{Pem, Snapshot, TlsSpec, Worker};
use sitar_tls::{Identity, Version};

use crate::error::Error;
use crate::identity;
use crate::settings::{MinTls, Security, Settings};
use crate::start::Encryption;
use crate::watch::{SourceId, Sources};

/// Application protocols in order of preference; without HTTP/2 all but the first. The IANA
/// registry (RFC 7301 §6) also has `http/0.9`, which this server does not speak, and `h2c`, which
/// is not for TLS (RFC 9113 §3.1).
const ALPN: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// Certificates and keys, read and tried.
pub(super) struct Certificates {
    /// `None`: plain HTTP.
    pub(super) tls: Option<TlsSpec>,
    /// The encryption that clients see, for the report.
    pub(super) encryption: Encryption,
    /// Notes for the operator.
    pub(super) notes: Vec<String>,
    /// Renews the operator's certificates.
    pub(super) renewal: Renewal,
}

/// The operator's certificates as they are served, for changing one of them.
#[derive(Default)]
pub(super) struct Renewal {
    served: Mutex<Vec<(SourceId, Identity)>>,
    protocols: Vec<Vec<u8>>,
}

impl Renewal {
    /// Puts a certificate into service in place of the one before of that source. Clients that have
    /// tickets from before still resume.
    ///
    /// # Errors
    /// The reason that it cannot, and the one before stays.
    pub(super) fn renew(&self, id: SourceId, identity: &Identity, worker: &Worker) -> Result<(), String> {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = served.clone();
        for (_, served) in next.iter_mut().filter(|(source, _)| *source == id) {
            *served = identity.clone();
        }
        let identities: Vec<Identity> = next.iter().map(|(_, identity)| identity.clone()).collect();
        let protocols: Vec<&[u8]> = self.protocols.iter().map(Vec::as_slice).collect();
        let mut refused = None;
        let renew = |snapshot: &mut Snapshot| match snapshot
            .tls
            .as_ref()
            .map(|last| last.renewed(identities, &protocols))
            .transpose()
        {
            Ok(renewed) => snapshot.tls = renewed,
            Err(error) => refused = Some(error.to_string()),
        };
        worker.change(renew).map_err(|error| error.to_string())?;
        if let Some(why) = refused {
            return Err(why);
        }
        *served = next;
        Ok(())
    }
}

/// Reads what the settings name, and tries whether it can be used.
///
/// # Errors
/// A file cannot be read or used, or the local certificate cannot be made.
pub(super) fn load(
    security: &Security,
    settings: &Settings,
    sources: &mut Sources,
) -> Result<Certificates, Error> {
    let (mut notes, mut served) = (Vec::new(), Vec::new());
    let (identities, encryption) = match security {
        Security::Plain => {
            let renewal = Renewal::default();
            return Ok(Certificates { tls: None, encryption: Encryption::Plain, notes, renewal });
        }
        Security::Local => {
            let place = identity::Place::of_environment()?;
            let local = identity::open(&place, SystemTime::now())?;
            notes = place.notes();
            Identity::from_pem(&local.chain_pem, &local.key_pem).map_err(|error| {
                Error::new("the local certificate cannot be used").cause(error.to_string())
            })?;
            let encryption =
                Encryption::Local { fingerprint: local.fingerprint, ca: local.ca_path, origin: local.origin };
            (vec![Pem { chain: local.chain_pem, key: local.key_pem }], encryption)
        }
        Security::Certificates(files) => {
            let (mut identities, mut reports) = (Vec::new(), Vec::new());
            for files in files {
                let (source, loaded) = sources.add_certificate(files, settings.watch());
                let loaded = loaded?;
                served.push((source, loaded.identity));
                identities.push(loaded.pem);
                reports.push(loaded.report);
                notes.extend(loaded.warnings);
            }
            (identities, Encryption::Certificates(reports))
        }
    };
    let (protocols, min_version) = (protocols(settings), min_version(settings));
    let renewal = Renewal { served: Mutex::new(served), protocols: protocols.clone() };
    let tls = TlsSpec { identities, by_host: Vec::new(), protocols, min_version, seals_max: None };
    Ok(Certificates { tls: Some(tls), encryption, notes, renewal })
}

/// Returns the application protocols that are spoken.
pub(crate) fn protocols(settings: &Settings) -> Vec<Vec<u8>> {
    ALPN.iter().skip(usize::from(settings.no_http2)).map(|name| name.to_vec()).collect()
}

/// Returns the oldest version of TLS that is spoken.
pub(crate) fn min_version(settings: &Settings) -> Version {
    match settings.min_tls.unwrap_or_default() {
        MinTls::Tls12 => Version::Tls12,
        MinTls::Tls13 => Version::Tls13,
    }
}
