//! The challenges of ACME authorities that a worker answers.

use std::sync::Arc;

use sitar_acme::{Identifier, Pending};

use super::process::Process;
use crate::channel::Message;
use crate::error::Error;
use crate::events;
use crate::handover::Challenges;

/// Reads the certificates and keys of challenges, and makes their files.
///
/// # Errors
/// One of them cannot be used.
pub(super) fn open(all: &Challenges) -> Result<Arc<sitar_server::Challenges>, Error> {
    let mut certificates = sitar_tls::Challenges::new();
    for pending in &all.0 {
        if let Pending::TlsAlpn01 { server_name, chain, key } = pending {
            certificates.add(server_name, chain, key).map_err(|error| {
                let what = format!("cannot use the certificate of the challenge for {server_name}");
                Error::new(what).cause(error.to_string())
            })?;
        }
    }
    let mut challenges = sitar_server::Challenges::new(certificates);
    for pending in &all.0 {
        if let Pending::Http01 { identifier, token, authorization } = pending {
            let host = match identifier {
                Identifier::Dns(_) => identifier.domain().unwrap_or_default().to_owned(),
                Identifier::Ip(address) => address.to_string(),
            };
            challenges
                .add_file(&host, token, authorization)
                .map_err(|error| Error::new("no memory is left for a challenge").cause(error))?;
        }
    }
    Ok(Arc::new(challenges))
}

/// Returns the challenges that a worker answers from its start. They keep no site from being
/// served. One that serves already has those that it has.
pub(super) fn open_first(all: &Challenges, serves: bool) -> Arc<sitar_server::Challenges> {
    if serves || all.0.is_empty() {
        return Arc::default();
    }
    open(all).unwrap_or_else(|error| {
        events::error(format_args!("challenges are not answered: {}", error.sentence()));
        Arc::default()
    })
}

impl Process {
    /// Answers other challenges from now on.
    ///
    /// # Errors
    /// They cannot be answered, and those before still are; or a shard does not answer them yet.
    pub(super) fn challenge(&self, message: Message) -> Result<(), String> {
        let Message { value, blobs, .. } = message;
        let all = Challenges::read(value.get("challenges"), &mut blobs.into_iter());
        let all = open(&all.ok_or("what came is not understood")?).map_err(|error| error.sentence())?;
        let worker = self.worker.get().ok_or("nothing is served yet")?;
        match worker.answer(all) {
            Ok(true) => Ok(()),
            Ok(false) => Err("a shard hangs, and does not answer them".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_opened_and_a_wrong_key_is_refused() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(&[7; 32])];
        let chain = params.self_signed(&key).unwrap().pem().into_bytes();
        let with = |key: String| Pending::TlsAlpn01 {
            server_name: "a.example".to_owned(),
            chain: chain.clone(),
            key: key.into_bytes().into(),
        };
        let file = |name: &str| Pending::Http01 {
            identifier: Identifier::parse(name).unwrap(),
            token: "token".to_owned(),
            authorization: "token.thumb".to_owned(),
        };
        let all = vec![with(key.serialize_pem()), file("a.example"), file("192.0.2.7"), file("*.b.example")];
        assert_eq!(open(&Challenges(all)).unwrap().len(), 4);
        let other = rcgen::KeyPair::generate().unwrap();
        let error = open(&Challenges(vec![with(other.serialize_pem())])).unwrap_err();
        let why =
            "cannot use the certificate of the challenge for a.example: the private key does not belong";
        assert!(error.sentence().starts_with(why), "{}", error.sentence());
    }
}
