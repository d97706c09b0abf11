//! The content of a file that does not hold what it should.

use crate::der::{BIT_STRING, Der, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, context};
use std::fmt;
use zeroize::Zeroizing;

/// Labels of PEM sections that hold a certificate (RFC 7468 §5).
pub(super) const CERTIFICATE: &[&str] = &["CERTIFICATE"];
/// Labels of PEM sections that hold a private key of a kind that is read here.
pub(super) const KEY: &[&str] = &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// Contents of a SEQUENCE that begins with the object identifier pkcs7-signedData,
/// 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// A SEQUENCE of BER without a length that begins with version 3: PKCS #12 of some programs.
const PKCS12_WITHOUT_LENGTH: &[u8] = &[0x30, 0x80, 2, 1, 3];
/// The first bytes of a Java KeyStore.
const JAVA_KEY_STORE: &[u8] = &[0xfe, 0xed, 0xfe, 0xed];
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The content of a file, and its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileContent {
    /// Its kind.
    pub kind: FileKind,
    /// It is DER, and not PEM.
    pub is_der: bool,
}

/// The kind of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// Nothing.
    Empty,
    /// Text of two bytes a character, as some editors and shells of Windows write it.
    Utf16 {
        /// The low byte comes first.
        is_little_endian: bool,
    },
    /// PEM in one line, with `\n` for the ends of lines.
    Escaped,
    /// PEM in one line, its line ends left out or made spaces.
    OneLine,
    /// A certificate.
    Certificate,
    /// A certificate with OpenSSL's notes on whether to trust it.
    TrustedCertificate,
    /// A certificate request.
    Request,
    /// A private key.
    Key,
    /// A private key under a passphrase.
    EncryptedKey,
    /// A private key in the form of OpenSSH.
    OpenSshKey,
    /// A private key of DSA.
    DsaKey,
    /// A public key.
    PublicKey,
    /// A PKCS #12 archive (`.p12`, `.pfx`) of certificates with their key.
    Pkcs12,
    /// A PKCS #7 message (`.p7b`) with certificates.
    Pkcs7,
    /// A Java KeyStore.
    JavaKeyStore,
    /// A list of revoked certificates.
    RevocationList,
    /// Something else.
    Unknown,
}

impl FileContent {
    /// Looks at a file.
    pub(super) fn of(file: &[u8]) -> Self {
        if let Some(kind) = binary(file) {
            return Self { kind, is_der: matches!(file.first(), Some(0x30)) };
        }
        let labels: Vec<&str> = Lines(file).filter_map(begin).collect();
        let has = |wanted: &[&str]| labels.iter().any(|label| wanted.contains(label));
        let kind = if Lines(file).next().is_none() {
            FileKind::Empty
        } else if has(&["ENCRYPTED PRIVATE KEY"]) || (has(KEY) && is_legacy_encrypted(file)) {
            FileKind::EncryptedKey
        } else if has(KEY) {
            FileKind::Key
        } else if has(&["TRUSTED CERTIFICATE", "X509 CERTIFICATE"]) {
            FileKind::TrustedCertificate
        } else if has(&["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"]) {
            FileKind::Request
        } else if has(&["OPENSSH PRIVATE KEY"]) {
            FileKind::OpenSshKey
        } else if has(&["DSA PRIVATE KEY"]) {
            FileKind::DsaKey
        } else if has(&["PUBLIC KEY", "RSA PUBLIC KEY"]) {
            FileKind::PublicKey
        } else if has(&["PKCS7", "PKCS #7 SIGNED DATA", "CMS"]) {
            FileKind::Pkcs7
        } else if has(&["X509 CRL"]) {
            FileKind::RevocationList
        } else if has(CERTIFICATE) {
            // Last: beside it stands what was looked for, in a form that is no use.
            FileKind::Certificate
        } else if contains(file, b"-----BEGIN ") {
            if contains(file, br"-----\n") { FileKind::Escaped } else { FileKind::OneLine }
        } else {
            FileKind::Unknown
        };
        Self { kind, is_der: false }
    }

    /// Returns whether it is a private key of whatever form.
    pub(super) fn is_key(self) -> bool {
        matches!(self.kind, FileKind::Key | FileKind::EncryptedKey | FileKind::OpenSshKey | FileKind::DsaKey)
    }
}

impl fmt::Display for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FileKind::Empty => "nothing",
            FileKind::Utf16 { .. } => "UTF-16 text, where PEM is ASCII",
            FileKind::Escaped => r"PEM in one line, with \n for the ends of lines",
            FileKind::OneLine => "PEM in one line, without its line ends",
            FileKind::Certificate => "a certificate",
            FileKind::TrustedCertificate => "a certificate in OpenSSL's own form",
            FileKind::Request => "a certificate request (CSR), which an authority makes a certificate of",
            FileKind::Key => "a private key",
            FileKind::EncryptedKey => "a private key under a passphrase",
            FileKind::OpenSshKey => "a private key in OpenSSH's own form",
            FileKind::DsaKey => "a private key of DSA, which TLS has no use for",
            FileKind::PublicKey => "a public key",
            FileKind::Pkcs12 => "a PKCS #12 archive (.p12, .pfx)",
            FileKind::Pkcs7 => "a PKCS #7 message (.p7b)",
            FileKind::JavaKeyStore => "a Java KeyStore",
            FileKind::RevocationList => "a list of revoked certificates (CRL)",
            FileKind::Unknown => "neither a certificate nor a key",
        })?;
        if self.is_der && !matches!(self.kind, FileKind::Pkcs12) {
            f.write_str(" in DER, not in PEM")
        } else {
            Ok(())
        }
    }
}

/// Returns what a file is that is no text.
fn binary(file: &[u8]) -> Option<FileKind> {
    if file.starts_with(JAVA_KEY_STORE) {
        return Some(FileKind::JavaKeyStore);
    }
    if file.starts_with(PKCS12_WITHOUT_LENGTH) {
        return Some(FileKind::Pkcs12);
    }
    match *file {
        [0xff, 0xfe, ..] | [b'-', 0, ..] => return Some(FileKind::Utf16 { is_little_endian: true }),
        [0xfe, 0xff, ..] | [0, b'-', ..] => return Some(FileKind::Utf16 { is_little_endian: false }),
        _ => {}
    }
    der(file)
}

/// Returns what a SEQUENCE of DER is, by its first elements.
fn der(file: &[u8]) -> Option<FileKind> {
    let mut elements = Der::new(file).enter(SEQUENCE)?;
    if let Some(version) = elements.expect(INTEGER) {
        return match (version, elements.next()?.0) {
            ([3], SEQUENCE) => Some(FileKind::Pkcs12),
            // PKCS #8, PKCS #1 (RSA), SEC 1.
            (_, SEQUENCE | INTEGER | OCTET_STRING) => Some(FileKind::Key),
            _ => None,
        };
    }
    if let Some(kind) = elements.expect(OBJECT_IDENTIFIER) {
        return (kind == SIGNED_DATA).then_some(FileKind::Pkcs7);
    }
    let mut inner = elements.enter(SEQUENCE)?;
    if inner.expect(OBJECT_IDENTIFIER).is_some() {
        return match elements.next()?.0 {
            OCTET_STRING => Some(FileKind::EncryptedKey),
            BIT_STRING => Some(FileKind::PublicKey),
            _ => None,
        };
    }
    if inner.expect(context(0)).is_some() {
        return Some(FileKind::Certificate);
    }
    // A request has version 0, a name and a key; a certificate of version 1 has a serial number, an
    // algorithm, two names and times between them.
    inner.expect(INTEGER)?;
    let (_, _) = (inner.expect(SEQUENCE)?, inner.expect(SEQUENCE)?);
    Some(if inner.expect(SEQUENCE).is_some() { FileKind::Certificate } else { FileKind::Request })
}

/// Returns whether it has the form of a certificate of any version.
pub(super) fn is_certificate(bytes: &[u8]) -> bool {
    der(bytes) == Some(FileKind::Certificate)
}

/// Returns the sections of a file that have one of these labels, as a strict reader wants them:
/// without a byte order mark, and without spaces around the lines. May be a key, so it is wiped.
pub(super) fn sections(file: &[u8], labels: &[&str]) -> Zeroizing<Vec<u8>> {
    // As large as it can get: a vector that grows leaves copies of a key behind.
    let mut kept = Zeroizing::new(Vec::with_capacity(file.len() + 1));
    let mut is_wanted = false;
    for line in Lines(file) {
        if line.starts_with(b"-----BEGIN ") {
            is_wanted = begin(line).is_some_and(|label| labels.contains(&label));
        }
        if is_wanted {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
        if line.starts_with(b"-----END ") {
            is_wanted = false;
        }
    }
    kept
}

/// Returns whether a key is encrypted in the way that RFC 1421 describes and OpenSSL had before
/// 1.0.
pub(super) fn is_legacy_encrypted(file: &[u8]) -> bool {
    Lines(file).any(|line| line.starts_with(b"Proc-Type:") && contains(line, b"ENCRYPTED"))
}

/// Returns the label of a line that begins a section.
fn begin(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"-----BEGIN ")?;
    std::str::from_utf8(rest).ok().map(|label| label.trim_end_matches('-').trim_end())
}

/// The lines of a file that are not empty, without what stands around them.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            let end = self.0.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(self.0.len());
            let (line, rest) = self.0.split_at(end);
            self.0 = rest.get(1..).unwrap_or_default();
            let line = line.trim_ascii();
            // Also in the middle: files are put together with `cat`.
            let line = line.strip_prefix(BOM).unwrap_or(line).trim_ascii();
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}
