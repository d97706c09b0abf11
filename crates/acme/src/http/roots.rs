//! The certificates that an authority's own server is verified with.

use std::fs::File;
use std::io::Read;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::anchors::ANCHORS;
use crate::problem::{Failure, Kind};

/// The most bytes of a file of roots; those of distributions have some 220 kB.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// The most certificates of a file that are taken.
const CERTIFICATES_MAX: usize = 1024;

/// Where distributions keep their roots in one file: Debian, Fedora, Alpine and BSD, openSUSE.
pub(crate) const FILES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Returns the roots: the operator's, else the system's, else those that are compiled in.
pub(super) fn load(given: Option<&[u8]>) -> Result<RootCertStore, Failure> {
    if let Some(pem) = given {
        let store = read(pem);
        return if store.is_empty() {
            let what = "the file with the authority's root has no certificate that can be read";
            Err(Failure::new(Kind::Unreachable, what).with_hint("give a file in PEM"))
        } else {
            Ok(store)
        };
    }
    let named = std::env::var_os("SSL_CERT_FILE");
    let files = named.iter().map(AsRef::as_ref).chain(FILES.iter().map(std::path::Path::new));
    for file in files {
        let mut pem = Vec::new();
        let read_all = File::open(file).and_then(|file| file.take(FILE_MAX).read_to_end(&mut pem));
        let store = if read_all.is_ok() { read(&pem) } else { RootCertStore::empty() };
        if !store.is_empty() {
            return Ok(store);
        }
    }
    Ok(RootCertStore { roots: ANCHORS.to_vec() })
}

/// Takes the certificates of a file. One that cannot be read is skipped: it certifies nothing.
fn read(pem: &[u8]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem).take(CERTIFICATES_MAX).flatten() {
        let _ = store.add(certificate);
    }
    store
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_an_error() {
        let failure = load(Some(b"nothing")).unwrap_err();
        let what = "the file with the authority's root has no certificate that can be read";
        assert_eq!(failure.what, what);
        let broken = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert!(load(Some(broken)).is_err());
    }

    #[test]
    fn what_is_compiled_in_can_be_read() {
        use sitar_tls::der::{BIT_STRING, Der, SEQUENCE, SET};
        assert_eq!(ANCHORS.len(), 21);
        for anchor in ANCHORS {
            let mut names = Der::new(&anchor.subject);
            while !names.is_empty() {
                assert!(names.enter(SET).is_some());
            }
            let mut key = Der::new(&anchor.subject_public_key_info);
            assert!(key.enter(SEQUENCE).is_some() && key.expect(BIT_STRING).is_some() && key.is_empty());
            assert!(anchor.name_constraints.is_none());
        }
    }
}
