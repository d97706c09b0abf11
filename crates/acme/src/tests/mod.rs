//! The client against an authority that says what a test has written down.

mod account;
mod answers;
mod certificates;
mod failures;
mod hostile;
mod jws;
mod manager;
mod orders;
mod sockets;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use ::base64::Engine as _;
use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::*;

/// 2026-12-01 00:00 (UTC).
const NOW: u64 = 1_796_083_200;

/// The key of RFC 7515, appendix A.3.
const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff
H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp
7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt
-----END PRIVATE KEY-----
";
/// Its thumbprint, computed by hashlib of Python.
const THUMBPRINT: &str = "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// What the authority answers next.
enum Reply {
    Says(Response),
    /// A chain for the key that has been written down.
    Chain(fn(&KeyPair) -> Vec<u8>),
    /// The same, with a field Link.
    ChainWithLink(fn(&KeyPair) -> Vec<u8>, &'static str),
    Fails(Failure),
}

/// Everything that a test shares with what it drives.
#[derive(Default)]
struct Shared {
    replies: VecDeque<(&'static str, Reply)>,
    /// URL, protected header, payload.
    seen: Vec<(String, Value, String)>,
    notes: Vec<OrderNotes>,
    /// What has happened outside, in order.
    events: Vec<String>,
    waited: Duration,
    /// The process is to end when this number of requests has been made.
    ends_after: Option<usize>,
    full: bool,
}

impl Shared {
    fn chain(&self, make: fn(&KeyPair) -> Vec<u8>, link: &str) -> Response {
        let key = &self.notes.last().unwrap().key_pem;
        let key = KeyPair::from_pem(std::str::from_utf8(key).unwrap()).unwrap();
        let fields = vec![("link".to_owned(), link.to_owned())];
        Response { status: 200, fields, body: make(&key) }
    }
}

#[derive(Clone, Default)]
struct World(Rc<RefCell<Shared>>);

impl World {
    fn add(&self, replies: Vec<(&'static str, Reply)>) {
        self.0.borrow_mut().replies.extend(replies);
    }

    /// A client whose account is `https://ca/acct`, with `replies` to come.
    fn client(&self, replies: Vec<(&'static str, Reply)>) -> Client {
        self.client_of(directory(), replies)
    }

    fn client_of(&self, directory: Value, replies: Vec<(&'static str, Reply)>) -> Client {
        self.add(vec![("GET https://ca/dir", says(200, directory))]);
        let account = Some("https://ca/acct".to_owned());
        let client = Client::connect(
            Box::new(self.clone()),
            "https://ca/dir",
            AccountKey::from_pem(KEY).unwrap(),
            account,
            &mut self.clone(),
        );
        self.add(vec![("HEAD https://ca/nonce", says(200, Value::Null))]);
        self.add(replies);
        client.unwrap()
    }

    fn events(&self) -> Vec<String> {
        self.0.borrow().events.clone()
    }

    /// Payloads as they were sent to a URL.
    fn sent(&self, url: &str) -> Vec<Value> {
        let shared = self.0.borrow();
        let to = shared.seen.iter().filter(|(seen, ..)| seen == url);
        to.map(|(_, _, payload)| serde_json::from_str(payload).unwrap_or_default()).collect()
    }

    fn is_used_up(&self) -> bool {
        self.0.borrow().replies.is_empty()
    }
}

impl Transport for World {
    fn request(
        &mut self,
        method: Method,
        url: &str,
        body: Option<(&str, &[u8])>,
    ) -> Result<Response, Failure> {
        let mut shared = self.0.borrow_mut();
        let verb = ["GET", "HEAD", "POST"][method as usize];
        if let Some((media_type, body)) = body {
            assert_eq!(media_type, "application/jose+json");
            let body: Value = serde_json::from_slice(body).unwrap();
            let part = |name: &str| URL_SAFE_NO_PAD.decode(body[name].as_str().unwrap()).unwrap();
            let header: Value = serde_json::from_slice(&part("protected")).unwrap();
            assert_eq!(header["url"], url);
            shared.seen.push((url.to_owned(), header, String::from_utf8(part("payload")).unwrap()));
        }
        let Some((wanted, reply)) = shared.replies.pop_front() else {
            panic!("{verb} {url} is not expected");
        };
        assert_eq!(format!("{verb} {url}"), wanted);
        let mut response = match reply {
            Reply::Says(response) => response,
            Reply::Chain(make) => shared.chain(make, ""),
            Reply::ChainWithLink(make, link) => shared.chain(make, link),
            Reply::Fails(failure) => return Err(failure),
        };
        if response.field("replay-nonce").is_none() {
            response.fields.push(("replay-nonce".to_owned(), "bm9uY2U".to_owned()));
        }
        Ok(response)
    }
}

impl Outside for World {
    fn now(&self) -> SystemTime {
        at(NOW) + self.0.borrow().waited
    }

    fn wait(&mut self, until: Option<SystemTime>) -> Option<Command> {
        let wait = until.unwrap().duration_since(self.now()).unwrap();
        self.0.borrow_mut().waited += wait;
        None
    }

    fn answer(&mut self, pending: &[Pending]) -> Result<(), String> {
        let said = pending.iter().map(|pending| match pending {
            Pending::Http01 { identifier, token, authorization } => {
                format!("http-01 {identifier} {token} {authorization}")
            }
            Pending::TlsAlpn01 { server_name, .. } => format!("tls-alpn-01 {server_name}"),
        });
        self.0.borrow_mut().events.push(format!("answer {}", said.collect::<Vec<_>>().join(", ")));
        if self.0.borrow().full && !pending.is_empty() {
            Err("no listener is there".to_owned())
        } else {
            Ok(())
        }
    }

    fn change_dns(&mut self, change: DnsChange, name: &str, value: &str) -> Result<(), String> {
        self.0.borrow_mut().events.push(format!("{change:?} {name} {value}"));
        if self.0.borrow().full { Err("REFUSED\u{1b}".to_owned()) } else { Ok(()) }
    }

    fn issued(&mut self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn progress(&mut self, _: &Progress) {}

    fn say(&mut self, _: Level, _: &str) {}

    fn is_ending(&mut self) -> bool {
        let shared = self.0.borrow();
        shared.ends_after.is_some_and(|after| shared.seen.len() >= after)
    }
}

impl Notes for World {
    fn save(&mut self, notes: &OrderNotes) -> io::Result<()> {
        let mut shared = self.0.borrow_mut();
        if shared.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        shared.notes.push(notes.clone());
        Ok(())
    }
}

fn response(status: u16, body: impl Into<Value>, fields: &[(&str, &str)]) -> Response {
    let fields = fields.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let body = body.into();
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    Response { status, fields, body }
}

fn says(status: u16, body: impl Into<Value>) -> Reply {
    Reply::Says(response(status, body, &[]))
}

fn says_with(status: u16, body: impl Into<Value>, fields: &[(&str, &str)]) -> Reply {
    Reply::Says(response(status, body, fields))
}

fn problem(status: u16, kind: &str, detail: &str) -> Reply {
    says(status, json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail }))
}

fn directory() -> Value {
    json!({
        "newNonce": "https://ca/nonce", "newAccount": "https://ca/account", "newOrder": "https://ca/order",
        "revokeCert": "https://ca/revoke", "keyChange": "https://ca/change", "renewalInfo": "https://ca/ari",
        "unknown": 7,
        "meta": {
            "termsOfService": "https://ca/terms", "website": "https://ca/",
            "profiles": { "classic": "as ever", "shortlived": "six days" },
        },
    })
}

fn order(status: &str) -> Value {
    json!({
        "status": status, "expires": "2026-12-08T00:00:00Z", "authorizations": ["https://ca/authz/1"],
        "finalize": "https://ca/finalize", "certificate": "https://ca/cert", "unknown": [{}],
    })
}

fn placed(status: &str) -> Reply {
    says_with(201, order(status), &[("location", "https://ca/order/1")])
}

fn authorization(name: &str, status: &str) -> Value {
    json!({
        "identifier": { "type": "dns", "value": name }, "status": status,
        "challenges": [
            { "type": "dns-persist-01", "url": "https://ca/chall/p", "status": "pending" },
            { "type": "dns-01", "url": "https://ca/chall/d", "status": "pending", "token": "dG9rZW4tZA" },
            { "type": "http-01", "url": "https://ca/chall/h", "status": "pending", "token": "dG9rZW4taA" },
            { "type": "tls-alpn-01", "url": "https://ca/chall/t", "status": "pending", "token": "dG9rZW4tdA" },
        ],
    })
}

fn wanted(identifiers: &[&str], challenges: &[ChallengeKind]) -> Wanted {
    Wanted {
        identifiers: identifiers.iter().map(|text| Identifier::parse(text).unwrap()).collect(),
        key: KeyType::P256,
        profile: None,
        preferred_chain: None,
        challenges: challenges.to_vec(),
    }
}

fn attempt(wanted: &Wanted) -> Attempt<'_> {
    Attempt { wanted, avoid: &[], replaces: None, begun: None, not_before: None }
}

/// Orders with that world in every role.
fn run(world: &World, client: &mut Client, attempt: Attempt<'_>) -> Result<Issued, Failure> {
    obtain(client, attempt, &mut world.clone(), &mut world.clone())
}

/// A chain of two, and its root at the end if `with_root`.
fn chain(key: &KeyPair, names: &[&str], root: &str, days: (i32, i32), with_root: bool) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, root);
    let root = CertifiedIssuer::self_signed(params.clone(), KeyPair::generate().unwrap()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "intermediate");
    let middle = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root).unwrap();
    let mut params =
        CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    params.use_authority_key_identifier_extension = true;
    let day =
        |day: i32| ::time::OffsetDateTime::from_unix_timestamp(NOW as i64 + i64::from(day) * 86_400).unwrap();
    (params.not_before, params.not_after) = (day(days.0), day(days.1));
    let own = params.signed_by(key, &middle).unwrap();
    let root = if with_root { root.pem() } else { String::new() };
    [own.pem(), middle.pem(), root].concat().into_bytes()
}
