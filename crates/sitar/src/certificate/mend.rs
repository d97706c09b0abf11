//! Commands for a file that does not hold what it should, ready for a shell.

use std::path::{Path, PathBuf};

use sitar_tls::FileKind;

use super::{CertificateFiles, FileContent, shell_word};

/// Returns hints for a file that was to hold a chain.
pub(super) fn chain(content: FileContent, files: &CertificateFiles) -> Vec<String> {
    let path = &files.chain;
    let (from, to) = (shell_word(path), shell_word(&beside(path, "new.pem")));
    let der = if content.is_der { " -inform DER" } else { "" };
    let mut hints = match content.kind {
        FileKind::Certificate | FileKind::TrustedCertificate => {
            vec![format!("make it PEM: openssl x509{der} -in {from} -out {to}")]
        }
        FileKind::Pkcs12 => archive(path),
        FileKind::Pkcs7 => vec![format!("make it PEM: openssl pkcs7{der} -print_certs -in {from} -out {to}")],
        FileKind::JavaKeyStore => key_store(path),
        FileKind::Request => vec![
            "send it to your authority, and give what comes back".to_owned(),
            format!(
                "for a test: openssl req -x509{der} -in {from} -key {} -days 90 -addext subjectAltName=DNS:localhost \
                 -out {to}",
                shell_word(&files.key)
            ),
        ],
        _ => text(content.kind, path),
    };
    if hints.is_empty() {
        hints.push(
            "--tls-cert takes the server's own certificate and the ones that certify it (Let's Encrypt: fullchain.pem)"
                .to_owned(),
        );
    }
    hints
}

/// Returns hints for a file that was to hold a private key.
pub(super) fn key(content: FileContent, files: &CertificateFiles) -> Vec<String> {
    let path = &files.key;
    let (from, to) = (shell_word(path), shell_word(&beside(path, "new.pem")));
    let mut hints = match content.kind {
        FileKind::EncryptedKey => encrypted(content.is_der, path),
        FileKind::Key => vec![format!("make it PEM: openssl pkey -inform DER -in {from} -out {to}")],
        FileKind::Pkcs12 => archive(path),
        FileKind::JavaKeyStore => key_store(path),
        FileKind::OpenSshKey => {
            vec![format!("make it PEM: install -m 600 {from} {to} && ssh-keygen -p -m PKCS8 -N '' -f {to}")]
        }
        FileKind::DsaKey => vec![
            format!("make another: {}", new_key(path)),
            "and have the certificate issued again for it".to_owned(),
        ],
        _ => text(content.kind, path),
    };
    if hints.is_empty() {
        hints.push(
            "--tls-key takes the private key that the certificate was issued for (Let's Encrypt: privkey.pem)"
                .to_owned(),
        );
    }
    hints
}

/// Returns hints for a key under a passphrase.
pub(super) fn encrypted(is_der: bool, path: &Path) -> Vec<String> {
    let der = if is_der { " -inform DER" } else { "" };
    vec![format!(
        "take the passphrase off: openssl pkey{der} -in {} -out {}",
        shell_word(path),
        shell_word(&beside(path, "new.pem"))
    )]
}

/// A new key beside the old one.
pub(super) fn new_key(path: &Path) -> String {
    format!(
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {}",
        shell_word(&beside(path, "new.pem"))
    )
}

/// A certificate for tests, for the key that is there.
pub(super) fn self_signed(files: &CertificateFiles) -> String {
    format!(
        "openssl req -x509 -key {} -days 90 -subj /CN=localhost -addext subjectAltName=DNS:localhost -out {}",
        shell_word(&files.key),
        shell_word(&beside(&files.chain, "new.pem"))
    )
}

/// Puts the issuer's certificate behind the server's own.
pub(super) fn append(chain: &Path) -> String {
    format!("cat {} ISSUER.pem > {}", shell_word(chain), shell_word(&beside(chain, "new.pem")))
}

/// Returns hints for a PKCS #12 archive, which has both.
fn archive(path: &Path) -> Vec<String> {
    let from = shell_word(path);
    let [chain, key] = ["chain.pem", "key.pem"].map(|end| shell_word(&beside(path, end)));
    vec![
        format!("take the certificates out: openssl pkcs12 -in {from} -nokeys -out {chain}"),
        format!("and the key: openssl pkcs12 -in {from} -nocerts -nodes -out {key}"),
        "an old archive may need -legacy in both".to_owned(),
        format!("then give: --tls-cert {chain} --tls-key {key}"),
    ]
}

fn key_store(path: &Path) -> Vec<String> {
    let to = beside(path, "p12");
    let command = format!(
        "keytool -importkeystore -srckeystore {} -destkeystore {} -deststoretype PKCS12",
        shell_word(path),
        shell_word(&to)
    );
    let mut hints = vec![format!("make it PKCS #12 first: {command}")];
    hints.extend(archive(&to));
    hints
}

/// Returns hints for PEM in another form of text.
fn text(kind: FileKind, path: &Path) -> Vec<String> {
    let (from, to) = (shell_word(path), shell_word(&beside(path, "new.pem")));
    match kind {
        FileKind::Utf16 { is_little_endian } => {
            let order = if is_little_endian { "LE" } else { "BE" };
            vec![format!("make it ASCII: iconv -f UTF-16{order} -t UTF-8 < {from} > {to}")]
        }
        FileKind::Escaped => vec![format!("give it its lines back: printf '%b' \"$(cat < {from})\" > {to}")],
        FileKind::OneLine => {
            let ends = r"s/ *(-----[A-Z ]+-----) */\n\1\n/g";
            vec![format!("give it its lines back: sed -E '{ends}' < {from} > {to}")]
        }
        _ => Vec::new(),
    }
}

/// A name beside the file that is hardly taken: none of the common ones.
fn beside(path: &Path, end: &str) -> PathBuf {
    path.with_extension(end)
}
