//! The key schedule of TLS 1.3, without code of sitar's.

use aws_lc_rs::hkdf::{HKDF_SHA256, HKDF_SHA384, KeyType, Prk};

/// HKDF-Expand-Label with an empty context (RFC 8446 §7.1); of a secret of 48 bytes with SHA-384,
/// else with SHA-256.
pub(crate) fn expand_label(secret: &[u8], label: &str, len: usize) -> Vec<u8> {
    struct Len(usize);
    impl KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let algorithm = if secret.len() == 48 { HKDF_SHA384 } else { HKDF_SHA256 };
    let label = format!("tls13 {label}");
    let info = [&[0, len as u8, label.len() as u8][..], label.as_bytes(), &[0]];
    let mut out = vec![0; len];
    Prk::new_less_safe(algorithm, secret).expand(&info, Len(len)).unwrap().fill(&mut out).unwrap();
    out
}
