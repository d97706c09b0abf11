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
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use serde_json::json;
    use sitar_server::{BodyMemory, Hooks, ListenerSpec, Role, SiteSpec, Spec, TlsOffload};

    use super::*;
    use crate::channel::{Channel, Limits, Line};
    use crate::settings::ConfigFile;

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

    /// Starts a worker of one shard that serves an empty folder.
    fn serve(folder: &std::path::Path) -> (sitar_server::Worker, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let spec = Spec {
            listeners: vec![ListenerSpec {
                role: Role::Http,
                is_passed: false,
                proxies: Default::default(),
                sockets: vec![listener.into()],
            }],
            site: Some(SiteSpec { path: folder.to_owned(), ..SiteSpec::default() }),
            tls: None,
            limits: Default::default(),
            offload: TlsOffload::None,
            memory: BodyMemory::new(1 << 20, 1 << 20),
        };
        let hooks = Hooks {
            clock: Arc::new(std::time::SystemTime::now),
            report: Arc::new(|incident| panic!("{incident}")),
            hosts: None,
            may_have_users: false,
            tls: None,
            log: None,
            trusted_proxies: Arc::default(),
            challenges: Arc::default(),
            times: false,
        };
        let memory = sitar_engines::rings::Memory { limit: None, shards: 1 };
        let engine = sitar_engines::Engine::Epoll(None);
        let started = sitar_engines::start(&spec, &hooks, &engine, memory, false);
        (started.unwrap_or_else(|_| panic!("no worker")).0, address)
    }

    #[test]
    fn a_worker_answers_what_its_supervisor_hands_over() {
        let (own, other) = Channel::pair().unwrap();
        let (tell, _told) = std::sync::mpsc::sync_channel(1);
        let process = Arc::new(Process::new(own, &ConfigFile::default(), tell));
        let (obeying, supervisor) = (Arc::clone(&process), Arc::new(Line::new(other)));
        std::thread::spawn(move || obeying.obey());
        let listening = Arc::clone(&supervisor);
        std::thread::spawn(move || listening.run(Limits::OF_WORKER, |_| ()));
        let hand_over = |names: &[&str]| {
            let all = names.iter().map(|name| Pending::Http01 {
                identifier: Identifier::parse(name).unwrap(),
                token: "token".to_owned(),
                authorization: format!("of {name}"),
            });
            let all = Challenges(all.collect());
            let (value, blobs, _) = all.parts();
            supervisor.ask(&value, &blobs, &[], Duration::from_secs(30)).unwrap().value
        };
        assert_eq!(hand_over(&["a.example"]), json!({ "refused": "nothing is served yet" }));
        let folder = tempfile::tempdir().unwrap();
        let (worker, address) = serve(folder.path());
        process.worker.set(Arc::new(worker)).ok().unwrap();
        let ask = |host: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            let path = "/.well-known/acme-challenge/token";
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let body = answer.split("\r\n\r\n").nth(1).unwrap();
            format!("{} {body}", &answer["HTTP/1.1 ".len()..][..3])
        };
        assert_eq!(hand_over(&["a.example", "192.0.2.7"]), json!({ "ok": true }));
        assert_eq!(ask("a.example"), "200 of a.example");
        assert_eq!(ask("192.0.2.7:80"), "200 of 192.0.2.7");
        // All that is pending comes at a time.
        assert_eq!(hand_over(&["b.example"]), json!({ "ok": true }));
        assert!(ask("a.example").starts_with("404 "));
        assert_eq!(ask("b.example"), "200 of b.example");
        let question = json!({ "do": "challenges", "challenges": [7] });
        let refused = supervisor.ask(&question, &[], &[], Duration::from_secs(30)).unwrap().value;
        assert_eq!(refused, json!({ "refused": "what came is not understood" }));
        assert_eq!(ask("b.example"), "200 of b.example");
        let stop = json!({ "do": "stop" });
        supervisor.ask(&stop, &[], &[], Duration::from_secs(30)).unwrap();
        process.worker.get().unwrap().wait();
    }
}
