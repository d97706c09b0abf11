//! Reads certificates and keys, or makes the local ones.

use std::time::SystemTime;

use sitar_server::{Pem, TlsSpec};
use sitar_tls::{Identity, Version};

use crate::error::Error;
use crate::settings::{MinTls, Security, Settings};
use crate::start::Encryption;
use crate::{certificate, identity};

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
}

/// Reads what the settings name, and tries whether it can be used.
///
/// # Errors
/// A file cannot be read or used, or the local certificate cannot be made.
pub(super) fn load(security: &Security, settings: &Settings) -> Result<Certificates, Error> {
    let mut notes = Vec::new();
    let (identities, encryption) = match security {
        Security::Plain => return Ok(Certificates { tls: None, encryption: Encryption::Plain, notes }),
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
            let now = SystemTime::now();
            let (mut identities, mut reports) = (Vec::new(), Vec::new());
            for files in files {
                let loaded = certificate::load(files, now)?;
                identities.push(loaded.pem);
                reports.push(loaded.report);
                notes.extend(loaded.warnings);
            }
            (identities, Encryption::Certificates(reports))
        }
    };
    let min_version = match settings.min_tls.unwrap_or_default() {
        MinTls::Tls12 => Version::Tls12,
        MinTls::Tls13 => Version::Tls13,
    };
    let protocols = ALPN.iter().skip(usize::from(settings.no_http2)).map(|name| name.to_vec()).collect();
    let tls = TlsSpec { identities, by_host: Vec::new(), protocols, min_version, seals_max: None };
    Ok(Certificates { tls: Some(tls), encryption, notes })
}
