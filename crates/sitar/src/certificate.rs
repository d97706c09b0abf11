//! The operator's own certificates: read, explained where they cannot be used, and looked at as a
//! client would where they can.

mod mend;
mod read;

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::UnixTime;
use sitar_server::Pem;
use sitar_tls::{ClientCa, FileContent, Flaw, Identity, IdentityError};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::identity;
use crate::settings::CertificateFiles;
use crate::start::Certificate;
use crate::trust::shell_word;

pub(crate) use self::read::PATIENCE;

const DAY: u64 = 24 * 60 * 60;

/// A certificate that can be served, and what the operator should know about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) pem: Pem,
    /// The same, read.
    pub(crate) identity: Identity,
    pub(crate) report: Certificate,
    /// One sentence for each objection that clients may have, with the remedy.
    pub(crate) warnings: Vec<String>,
}

/// The bytes of a chain and its key, or the reason that one of them cannot be read.
pub(crate) struct Bytes {
    pub(crate) chain: Result<Zeroizing<Vec<u8>>, Error>,
    pub(crate) key: Result<Zeroizing<Vec<u8>>, Error>,
}

/// Reads the file of a chain, waiting for the program at the other end of a FIFO for that long.
/// `show` is given the file before it is read, if it is a file, which can be read twice.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read_chain(
    files: &CertificateFiles,
    patience: Duration,
    show: &mut dyn FnMut(BorrowedFd<'_>),
) -> Result<Zeroizing<Vec<u8>>, Error> {
    read::read(&files.chain, "certificate", patience, show)
}

/// Reads the file of a key as [`read_chain`] does.
///
/// # Errors
/// It cannot be read.
pub(crate) fn read_key(
    files: &CertificateFiles,
    patience: Duration,
    show: &mut dyn FnMut(BorrowedFd<'_>),
) -> Result<Zeroizing<Vec<u8>>, Error> {
    read::read(&files.key, "key", patience, show)
}

/// Reads a file with the certificates that certify clients. Returns its content, too.
///
/// # Errors
/// It cannot be read, or it holds something else.
pub(crate) fn read_client_ca(path: &Path) -> Result<(Vec<u8>, ClientCa), Error> {
    let mut pem = read::read(path, "certificates of clients", PATIENCE, &mut |_| ())?;
    let ca = ClientCa::from_pem(&pem).map_err(|error| {
        let what = format!("{} cannot certify clients", path.display());
        Error::new(what).cause(error.to_string()).hint("it has to hold certificates in PEM")
    })?;
    Ok((std::mem::take(&mut *pem), ca))
}

/// Makes a certificate of the bytes of a chain and its key.
///
/// # Errors
/// A file could not be read, or does not hold what it should: with the command that mends it.
pub(crate) fn load(bytes: Bytes, files: &CertificateFiles, now: SystemTime) -> Result<Loaded, Error> {
    let (mut chain, key) = (bytes.chain?, bytes.key?);
    let identity = Identity::from_pem(&chain, &key).map_err(|error| explain(&error, files))?;
    let mut names = identity.names().to_vec();
    names.extend(identity.addresses().iter().map(ToString::to_string));
    let report = Certificate {
        path: files.chain.clone(),
        names,
        fingerprint: identity::fingerprint(identity.certificate()),
    };
    let warnings = warnings(&identity, files, now);
    let pem = Pem { chain: std::mem::take(&mut *chain), key };
    Ok(Loaded { pem, identity, report, warnings })
}

/// Returns the sentence about a certificate that has expired or soon will.
pub(crate) fn expiry_warning(
    identity: &Identity,
    files: &CertificateFiles,
    now: SystemTime,
) -> Option<String> {
    let since_epoch = since_epoch(now);
    let flaws = identity.flaws(UnixTime::since_unix_epoch(since_epoch));
    let is_about_its_end =
        |flaw: &&Flaw| matches!(flaw, Flaw::Expired { place: 0, .. } | Flaw::Expiring { .. });
    flaws.iter().find(is_about_its_end).map(|flaw| describe(flaw, files, since_epoch.as_secs()))
}

/// Returns the end of a certificate in words: `expires on 2030-01-31, in 90 days`.
pub(crate) fn expiry(identity: &Identity, now: SystemTime) -> String {
    let now = since_epoch(now).as_secs();
    match identity.validity() {
        Some((_, until)) if until < now => format!("expired on {}", date(until)),
        Some((_, until)) => format!("expires on {}, {}", date(until), in_days(until, now)),
        None => "valid at no time".to_owned(),
    }
}

fn since_epoch(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns how long it is until `at`.
fn in_days(at: u64, now: u64) -> String {
    match at.saturating_sub(now) / DAY {
        0 => "in less than a day".to_owned(),
        1 => "in 1 day".to_owned(),
        days => format!("in {days} days"),
    }
}

fn explain(error: &IdentityError, files: &CertificateFiles) -> Error {
    let (chain, key) = (files.chain.display(), files.key.display());
    let about_chain = || Error::new(format!("cannot use the certificate {chain}")).cause(error);
    let about_key = || Error::new(format!("cannot use the key {key}")).cause(error);
    let hinted = |error: Error, hints: Vec<String>| hints.into_iter().fold(error, Error::hint);
    match error {
        IdentityError::NoCertificate(content) => hinted(about_chain(), mend::chain(*content, files)),
        IdentityError::NoKey(content) => hinted(about_key(), mend::key(*content, files)),
        IdentityError::Swapped => Error::new("--tls-cert and --tls-key are swapped")
            .cause(format!("{chain} holds a private key, and {key} a certificate"))
            .hint(format!(
                "type: --tls-cert {} --tls-key {}",
                shell_word(&files.key),
                shell_word(&files.chain)
            )),
        IdentityError::EncryptedKey => hinted(about_key(), mend::encrypted(false, &files.key)),
        IdentityError::UnsuitableKey(_) => about_key()
            .hint(format!("make another: {}", mend::new_key(&files.key)))
            .hint("and have the certificate issued again for it"),
        IdentityError::UnsupportedKey => {
            about_key().hint(format!("see what openssl makes of it: openssl pkey -noout -text -in {}", shell_word(&files.key)))
        }
        IdentityError::KeyMismatch => Error::new(format!("cannot use certificate {chain} with key {key}"))
            .cause(error)
            .hint(format!(
                "these print the same where they belong together: openssl x509 -noout -pubkey -in {}",
                shell_word(&files.chain)
            ))
            .hint(format!("and: openssl pkey -pubout -in {}", shell_word(&files.key))),
        IdentityError::OldVersion => about_chain()
            .hint("have it issued again with names: as openssl x509 -req makes it only with -extfile")
            .hint(format!("for a test: {}", mend::self_signed(files))),
        IdentityError::CriticalExtension => about_chain().hint("have it issued again without that extension"),
        IdentityError::BadKeyPem(_) => {
            about_key().hint("copy it again, whole, from its BEGIN line to its END line")
        }
        IdentityError::BadChainPem(_) | IdentityError::BadCertificate(_) => {
            about_chain().hint("copy it again, whole, from each BEGIN line to its END line")
        }
        IdentityError::ChainTooLong => about_chain().hint(
            "give the file that was issued for this server (Let's Encrypt: fullchain.pem), and no bundle of authorities",
        ),
        other => Error::new(format!("cannot use certificate {chain} with key {key}")).cause(other),
    }
}

/// Returns one sentence for each thing that clients may object to at that time.
pub(crate) fn warnings(identity: &Identity, files: &CertificateFiles, now: SystemTime) -> Vec<String> {
    let since_epoch = since_epoch(now);
    let path = files.chain.display();
    let flaws = identity.flaws(UnixTime::since_unix_epoch(since_epoch));
    let mut warnings: Vec<String> =
        flaws.iter().map(|flaw| describe(flaw, files, since_epoch.as_secs())).collect();
    if identity.is_reordered() {
        warnings.push(format!(
            "the certificates in {path} are not in order; they are sent in order all the same: the server's own, and \
             behind each the one that certifies it"
        ));
    }
    if identity.repeated() > 0 {
        warnings.push(format!("{path} holds a certificate more than once; each is sent once"));
    }
    warnings
}

fn describe(flaw: &Flaw, files: &CertificateFiles, now: u64) -> String {
    let path = files.chain.display();
    match flaw {
        Flaw::Expired { place: 0, since } => {
            format!("the certificate {path} expired on {}, and clients refuse it; renew it", date(*since))
        }
        Flaw::Expired { place, since } => format!(
            "certificate {} of {path} expired on {}, and clients may refuse the chain; take the one that the authority \
             gives out now",
            place + 1,
            date(*since)
        ),
        Flaw::Expiring { at } => {
            format!("the certificate {path} expires on {}, {}; renew it", date(*at), in_days(*at, now))
        }
        Flaw::NotYetValid { place, from } => format!(
            "certificate {} of {path} is not valid before {}, and clients refuse it until then; is the clock right? \
             See: timedatectl",
            place + 1,
            date(*from)
        ),
        Flaw::NeverValid { place } => format!(
            "certificate {} of {path} is valid at no time: its dates cannot be read, or its end is before its beginning; \
             clients refuse it, have it issued again",
            place + 1
        ),
        Flaw::UnusableName { name } => format!(
            "the certificate {path} names no host that clients accept: \"{name}\" is no DNS name in ASCII (others are \
             written with xn--), or has a * that is not the whole of the first label before two others; have it issued \
             again with its names, for a test: {}",
            mend::self_signed(files)
        ),
        Flaw::NoName { common_name } => {
            let common_name = common_name
                .as_ref()
                .map_or_else(String::new, |name| format!(", and its common name \"{name}\" does not count"));
            format!(
                "the certificate {path} names no host (no DNS name or IP address in subjectAltName){common_name}: clients refuse it; have it \
                 issued again with its names, for a test: {}",
                mend::self_signed(files)
            )
        }
        Flaw::NoIssuer { issuer } => format!(
            "{path} lacks the certificate that signed the server's own{}: clients that do not know it refuse to \
             connect; put it behind: {}",
            issuer.as_ref().map_or_else(String::new, |issuer| format!(" (\"{issuer}\")")),
            mend::append(&files.chain)
        ),
        Flaw::WrongIssuer => format!(
            "certificate 2 of {path} bears the name of the one that signed the server's own, but did not sign it: clients \
             refuse the chain; take the one that came with the certificate"
        ),
        Flaw::WeakSignature => format!(
            "the certificate {path} is signed in a way that clients do not accept any more; have it issued again"
        ),
        Flaw::NotForServers => format!(
            "the certificate {path} is not for servers (extendedKeyUsage lacks serverAuth): clients refuse it; have it \
             issued again for a server"
        ),
        Flaw::Unreadable { place } => {
            format!("certificate {} of {path} cannot be read, by clients neither; take it out", place + 1)
        }
        other => format!("the certificate {path}: {other:?}"),
    }
}

/// A day as `2030-01-31`, in UTC.
fn date(seconds: u64) -> String {
    let time =
        i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    match time {
        Some(time) => time.date().to_string(),
        None => "a day that no calendar has".to_owned(),
    }
}

#[cfg(test)]
mod tests;
