//! What a supervisor hands over to a worker, and what the worker says of it: plain values, and
//! their forms on the line between them.

mod challenges;
mod site_files;

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use serde_json::{Value, json};
use sitar_server::{Network, Pem, Role};
use sitar_site::Printable;

pub(crate) use self::challenges::Challenges;
pub(crate) use self::site_files::{Files, SiteFiles, is_directory};
use crate::config::{Place, Problem, Target, Texts};
use crate::error::Error;

/// The user that a worker becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A configuration to be opened, with everything that it names.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Counts configurations: what is read again is named by it.
    pub(crate) generation: u64,
    /// `None`: the worker stays who it is.
    pub(crate) user: Option<User>,
    pub(crate) shards: u16,
    pub(crate) texts: Texts,
    /// Certificates and keys; a client that names no host gets the first.
    pub(crate) identities: Vec<Pem>,
    /// Host names with the places of their certificates.
    pub(crate) by_host: Vec<(String, Vec<usize>)>,
    /// The numbers of sites whose clients need a certificate, and what certifies them, in PEM.
    pub(crate) client_cas: Vec<(usize, Vec<u8>)>,
    /// The challenges that a worker answers from its start. One that serves already goes on with
    /// those that it has.
    pub(crate) challenges: Challenges,
    /// What each site names, in the order of the configuration.
    pub(crate) files: Vec<SiteFiles>,
    /// What the access logs are written to, in the order of their targets.
    pub(crate) logs: Vec<io::Result<OwnedFd>>,
}

/// A message's parts: its value, its blobs, its descriptors.
pub(crate) type Parts<'p> = (Value, Vec<&'p [u8]>, Vec<BorrowedFd<'p>>);

impl Opening {
    /// Returns the parts of a message.
    pub(crate) fn parts(&self) -> Parts<'_> {
        use std::os::unix::ffi::OsStrExt as _;
        let mut descriptors = Vec::new();
        let mut one =
            |opened: &'_ Option<io::Result<OwnedFd>>| opened.as_ref().map_or(Value::Null, opened_value);
        let files: Vec<Value> =
            self.files.iter().map(|files| files.all().into_iter().map(&mut one).collect()).collect();
        for opened in self.files.iter().flat_map(SiteFiles::all) {
            if let Some(Ok(fd)) = opened {
                descriptors.push(fd.as_fd());
            }
        }
        let logs: Vec<Value> = self.logs.iter().map(opened_value).collect();
        descriptors.extend(self.logs.iter().flatten().map(AsFd::as_fd));
        let texts =
            self.texts.0.iter().flat_map(|(path, text)| [path.as_os_str().as_bytes(), text.as_bytes()]);
        let pems = self.identities.iter().flat_map(|pem| [&pem.chain[..], &pem.key[..]]);
        let value = json!({
            "do": "open",
            "generation": self.generation,
            "user": self.user.map(|user| [user.uid, user.gid]),
            "shards": self.shards,
            "texts": self.texts.0.len(),
            "identities": self.identities.len(),
            "by_host": self.by_host,
            "client_cas": self.client_cas.iter().map(|(site, _)| *site).collect::<Vec<_>>(),
            "challenges": self.challenges.value(),
            "files": files,
            "logs": logs,
        });
        let client_cas = self.client_cas.iter().map(|(_, pem)| &pem[..]);
        let blobs = texts.chain(pems).chain(client_cas).chain(self.challenges.blobs());
        (value, blobs.collect(), descriptors)
    }

    /// Reads the parts of a message. `None`: it has another shape.
    pub(crate) fn read(message: crate::channel::Message) -> Option<Opening> {
        use std::os::unix::ffi::OsStringExt as _;
        let value = message.value;
        let count = |name: &str| value.get(name)?.as_u64().and_then(|count| usize::try_from(count).ok());
        let mut blobs = message.blobs.into_iter();
        let mut descriptors = message.descriptors.into_iter();
        let mut texts = Vec::new();
        for _ in 0..count("texts")? {
            let (path, mut text) = (blobs.next()?, blobs.next()?);
            let path = std::ffi::OsString::from_vec(path.to_vec()).into();
            texts.push((path, String::from_utf8(std::mem::take(&mut *text)).ok()?));
        }
        let mut identities = Vec::new();
        for _ in 0..count("identities")? {
            let (mut chain, key) = (blobs.next()?, blobs.next()?);
            identities.push(Pem { chain: std::mem::take(&mut *chain), key });
        }
        let client_cas =
            value.get("client_cas")?.as_array()?.iter().map(|site| {
                Some((usize::try_from(site.as_u64()?).ok()?, std::mem::take(&mut *blobs.next()?)))
            });
        let client_cas = client_cas.collect::<Option<_>>()?;
        let challenges = Challenges::read(value.get("challenges"), &mut blobs)?;
        let by_host = value.get("by_host")?.as_array()?.iter().map(|pair| {
            let places = pair.get(1)?.as_array()?.iter();
            let places = places.map(|place| usize::try_from(place.as_u64()?).ok()).collect::<Option<_>>()?;
            Some((pair.get(0)?.as_str()?.to_owned(), places))
        });
        let by_host = by_host.collect::<Option<_>>()?;
        let mut one = |value: Option<&Value>| match value? {
            Value::Null => Some(None),
            Value::Bool(true) => Some(Some(Ok(descriptors.next()?))),
            Value::Number(errno) => {
                Some(Some(Err(io::Error::from_raw_os_error(i32::try_from(errno.as_i64()?).ok()?))))
            }
            Value::String(why) => Some(Some(Err(io::Error::other(why.clone())))),
            _ => None,
        };
        let files = value.get("files")?.as_array()?.iter().map(|all| {
            Some(SiteFiles {
                root: one(all.get(0))?,
                error: one(all.get(1))?,
                unavailable: one(all.get(2))?,
                users: one(all.get(3))?,
                encodings: one(all.get(4))?,
            })
        });
        let files = files.collect::<Option<_>>()?;
        let logs = value.get("logs")?.as_array()?.iter().map(|log| one(Some(log))?);
        let logs = logs.collect::<Option<_>>()?;
        let user = match value.get("user")? {
            Value::Null => None,
            pair => {
                let number = |at: usize| u32::try_from(pair.get(at)?.as_u64()?).ok();
                Some(User { uid: number(0)?, gid: number(1)? })
            }
        };
        Some(Opening {
            generation: value.get("generation")?.as_u64()?,
            user,
            shards: u16::try_from(count("shards")?).ok()?,
            texts: Texts(texts),
            identities,
            by_host,
            client_cas,
            challenges,
            files,
            logs,
        })
    }
}

/// Returns how something was opened, without its descriptor.
fn opened_value(opened: &io::Result<OwnedFd>) -> Value {
    match opened {
        Ok(_) => true.into(),
        Err(error) => match error.raw_os_error() {
            Some(errno) => errno.into(),
            None => error.to_string().into(),
        },
    }
}

/// Returns the value of the message with which access logs are opened again. Its blobs are their
/// names, and its descriptors what they are written to.
pub(crate) fn reopen_logs() -> Value {
    json!({ "do": "logs" })
}

/// Reads that message.
pub(crate) fn read_reopen_logs(message: crate::channel::Message) -> Vec<(Target, OwnedFd)> {
    use std::os::unix::ffi::OsStrExt as _;
    let target = |name: &[u8]| match name {
        b"off" => Target::Off,
        b"stdout" => Target::Stdout,
        b"journal" => Target::Journal,
        path => Target::File(Path::new(OsStr::from_bytes(path)).to_owned()),
    };
    message.blobs.iter().map(|name| target(name)).zip(message.descriptors).collect()
}

/// An address to serve on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerName {
    /// Its number, which no other listener of this supervisor has.
    pub(crate) number: u64,
    /// The listener with the same sockets that it takes the place of.
    pub(crate) of: Option<u64>,
    pub(crate) role: Role,
    /// Its connections are passed by another process.
    pub(crate) is_passed: bool,
    /// The proxies that send a header of the PROXY protocol.
    pub(crate) proxies: Vec<Network>,
}

/// An address to serve on, with a socket for each shard where they are new.
pub(crate) type Served = (ListenerName, Vec<OwnedFd>);

/// Returns the message that puts into service what was opened. `listeners` have their sockets where
/// the worker does not have them yet.
pub(crate) fn serve<'l>(
    generation: u64,
    listeners: impl Iterator<Item = (ListenerName, Option<&'l [OwnedFd]>)>,
) -> Parts<'l> {
    let mut descriptors = Vec::new();
    let all = listeners.map(|(name, sockets)| {
        let sockets = sockets.unwrap_or_default();
        descriptors.extend(sockets.iter().map(AsFd::as_fd));
        let (role, port) = match name.role {
            Role::Https => ("https", None),
            Role::Http => ("http", None),
            Role::RedirectToHttps { port } => ("redirect", Some(port)),
        };
        let proxies: Vec<String> = name.proxies.iter().map(Network::to_string).collect();
        json!({
            "number": name.number,
            "of": name.of,
            "role": role,
            "passed": name.is_passed,
            "port": port,
            "proxies": proxies,
            "sockets": sockets.len(),
        })
    });
    let value = json!({ "do": "serve", "generation": generation, "listeners": all.collect::<Vec<_>>() });
    (value, Vec::new(), descriptors)
}

/// Reads the message that [`serve`] makes. `None`: it has another shape.
pub(crate) fn read_serve(message: crate::channel::Message) -> Option<(u64, Vec<Served>)> {
    let mut descriptors = message.descriptors.into_iter();
    let listeners = message.value.get("listeners")?.as_array()?.iter().map(|listener| {
        let number = |name: &str| listener.get(name).and_then(Value::as_u64);
        let role = match listener.get("role")?.as_str()? {
            "https" => Role::Https,
            "http" => Role::Http,
            "redirect" => Role::RedirectToHttps { port: u16::try_from(number("port")?).ok()? },
            _ => return None,
        };
        let count = usize::try_from(number("sockets")?).ok()?;
        let proxies = listener.get("proxies")?.as_array()?.iter();
        let proxies = proxies.map(|text| Network::parse(text.as_str()?).ok()).collect::<Option<_>>()?;
        let is_passed = listener.get("passed")?.as_bool()?;
        let (number, of) = (number("number")?, number("of"));
        let name = ListenerName { number, of, role, is_passed, proxies };
        Some((name, descriptors.by_ref().take(count).collect()))
    });
    let listeners = listeners.collect::<Option<_>>()?;
    Some((message.value.get("generation")?.as_u64()?, listeners))
}

/// What is known of a site's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SiteFacts {
    /// Why it cannot be served.
    pub(crate) unavailable: Option<String>,
    pub(crate) kind: SiteKind,
    pub(crate) files: Option<u64>,
    pub(crate) version: Option<String>,
    /// Since when this content has been served, in seconds since the epoch.
    pub(crate) since: u64,
    /// Files that have encodings in the cache, and the bytes that these save.
    pub(crate) encoded: Option<(u64, u64)>,
}

/// The kind of a site's root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SiteKind {
    #[default]
    Tar,
    Pack,
    Directory,
}

impl SiteKind {
    const ALL: [SiteKind; 3] = [SiteKind::Tar, SiteKind::Pack, SiteKind::Directory];

    /// Returns the name under which it is known.
    pub(crate) fn word(self) -> &'static str {
        match self {
            SiteKind::Tar => "tar",
            SiteKind::Pack => "pack",
            SiteKind::Directory => "directory",
        }
    }
}

impl SiteFacts {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "unavailable": self.unavailable,
            "kind": self.kind.word(),
            "files": self.files,
            "version": self.version,
            "since": self.since,
            "encoded": self.encoded.map(|(files, saved)| [files, saved]),
        })
    }

    pub(crate) fn from_json(value: &Value) -> Option<SiteFacts> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(said);
        let number = |name: &str| value.get(name).and_then(Value::as_u64);
        let kind = text("kind")?;
        Some(SiteFacts {
            unavailable: text("unavailable"),
            kind: SiteKind::ALL.into_iter().find(|one| one.word() == kind)?,
            files: number("files"),
            version: text("version"),
            since: number("since")?,
            encoded: value
                .get("encoded")
                .and_then(|pair| Some((pair.get(0)?.as_u64()?, pair.get(1)?.as_u64()?))),
        })
    }
}

/// A mistake, and where it stands among those of a run: its site, and the part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) at: (usize, Part),
    pub(crate) problem: Problem,
}

/// The part of a site that a mistake concerns, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Root,
    Certificate,
    Rest,
}

impl Found {
    /// A mistake that concerns no site.
    pub(crate) fn of_all(problem: Problem) -> Found {
        Found { at: (usize::MAX, Part::Rest), problem }
    }

    fn to_json(&self) -> Value {
        let Problem { place, what, hint } = &self.problem;
        json!([
            self.at.0 as u64,
            self.at.1 as u8,
            place.line,
            place.column,
            what,
            hint,
            &place.file.to_string_lossy()
        ])
    }

    /// `files` are those of the configuration.
    fn from_json(value: &Value, files: &Texts) -> Option<Found> {
        let number = |at: usize| usize::try_from(value.get(at)?.as_u64()?).ok();
        let part = [Part::Root, Part::Certificate, Part::Rest].into_iter().nth(number(1)?)?;
        let text = |at: usize| value.get(at).and_then(Value::as_str);
        let name = text(6)?;
        let named = files.0.iter().find(|(path, _)| path.to_string_lossy() == name);
        let file = named.map_or_else(|| Path::new(name).into(), |(path, _)| path.as_path().into());
        let place = Place { file, line: number(2)?, column: number(3)? };
        let problem = Problem { place, what: said(text(4)?), hint: text(5).map(said) };
        Some(Found { at: (number(0)?, part), problem })
    }
}

/// Returns mistakes in the order in which they are told.
pub(crate) fn in_order(mut found: Vec<Found>) -> Vec<Problem> {
    found.sort_by_key(|one| one.at);
    found.into_iter().map(|one| one.problem).collect()
}

/// What a worker says of what it was to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It can be served.
    Fine { sites: Vec<SiteFacts>, warnings: Vec<String> },
    /// It has mistakes.
    Refused(Vec<Found>),
    /// This process cannot serve at all.
    Failed(Error),
    /// The sandbox or the engine keeps the worker from it; another worker may be able to.
    OutOfReach,
}

impl Opened {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Opened::Fine { sites, warnings } => {
                json!({ "sites": sites.iter().map(SiteFacts::to_json).collect::<Vec<_>>(), "warnings": warnings })
            }
            Opened::Refused(found) => {
                json!({ "refused": found.iter().map(Found::to_json).collect::<Vec<_>>() })
            }
            Opened::Failed(error) => json!({ "failed": error.to_json() }),
            Opened::OutOfReach => json!({ "out_of_reach": true }),
        }
    }

    pub(crate) fn from_json(value: &Value, files: &Texts) -> Option<Opened> {
        let list = |name: &str| value.get(name).and_then(Value::as_array);
        if value.get("out_of_reach").is_some() {
            return Some(Opened::OutOfReach);
        }
        if let Some(error) = value.get("failed") {
            return Error::from_json(error).map(Opened::Failed);
        }
        if let Some(found) = list("refused") {
            return found
                .iter()
                .map(|one| Found::from_json(one, files))
                .collect::<Option<_>>()
                .map(Opened::Refused);
        }
        let sites = list("sites")?.iter().map(SiteFacts::from_json).collect::<Option<_>>()?;
        Some(Opened::Fine { sites, warnings: texts(value, "warnings")? })
    }
}

/// Returns a list of texts.
pub(crate) fn texts(value: &Value, name: &str) -> Option<Vec<String>> {
    value.get(name)?.as_array()?.iter().map(|text| Some(said(text.as_str()?))).collect()
}

/// Characters of a text of a worker that are kept.
const SAID_MAX: usize = 4096;

/// Returns what a worker says in a form that reaches terminals and logs: bounded, and without
/// control characters.
pub(crate) fn said(text: &str) -> String {
    let end = text.char_indices().nth(SAID_MAX).map_or(text.len(), |(at, _)| at);
    Printable(&text[..end]).to_string()
}

/// How the shards of a worker run, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) engine: String,
    pub(crate) sealer: String,
    /// What the sandbox is made of.
    pub(crate) sandbox: String,
    /// There are polling threads.
    pub(crate) is_polled: bool,
    /// Notes for the operator.
    pub(crate) notes: Vec<String>,
}

/// Returns what a worker says when it was to serve.
pub(crate) fn served(done: &Result<Option<Running>, Error>) -> Value {
    match done {
        Ok(None) => json!({ "ok": true }),
        Ok(Some(running)) => json!({
            "ok": true,
            "engine": running.engine,
            "sealer": running.sealer,
            "sandbox": running.sandbox,
            "is_polled": running.is_polled,
            "notes": running.notes,
        }),
        Err(error) => json!({ "error": error.to_json() }),
    }
}

/// Reads what [`served`] returns. `None`: it has another shape.
pub(crate) fn read_served(value: &Value) -> Option<Result<Running, Error>> {
    if let Some(error) = value.get("error") {
        return Error::from_json(error).map(Err);
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(said).unwrap_or_default();
    Some(Ok(Running {
        engine: text("engine"),
        sealer: text("sealer"),
        sandbox: text("sandbox"),
        is_polled: value.get("is_polled").and_then(Value::as_bool).unwrap_or_default(),
        notes: texts(value, "notes").unwrap_or_default(),
    }))
}

/// Returns the error of a message that is not understood.
pub(crate) fn not_understood() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what came is not understood")
}

/// Returns a system error as a number, for the line; 5 (EIO) where it has none.
pub(crate) fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_starts_from_arrives() {
        let key = |text: &str| text.as_bytes().to_vec().into();
        let opening = Opening {
            generation: 7,
            user: Some(User { uid: 1, gid: 2 }),
            shards: 3,
            texts: Texts(vec![("/a.toml".into(), "text".to_owned())]),
            identities: vec![Pem { chain: b"chain".to_vec(), key: key("key") }],
            by_host: vec![("a.example".to_owned(), vec![0])],
            client_cas: vec![(1, b"authorities".to_vec())],
            challenges: Challenges(vec![sitar_acme::Pending::TlsAlpn01 {
                server_name: "a.example".to_owned(),
                chain: b"of the challenge".to_vec(),
                key: key("its key"),
            }]),
            files: vec![SiteFiles::default()],
            logs: vec![Err(io::Error::from_raw_os_error(13))],
        };
        let (value, blobs, _) = opening.parts();
        let blobs = blobs.into_iter().map(|blob| blob.to_vec().into()).collect();
        let message = crate::channel::Message { value, blobs, descriptors: Vec::new() };
        let read = Opening::read(message).unwrap();
        assert_eq!((read.generation, read.user, read.shards), (7, opening.user, 3));
        assert_eq!((&read.texts.0, &read.by_host), (&opening.texts.0, &opening.by_host));
        assert_eq!((&*read.identities[0].chain, &**read.identities[0].key), (&b"chain"[..], &b"key"[..]));
        assert_eq!((&read.client_cas, &read.challenges), (&opening.client_cas, &opening.challenges));
        assert_eq!(read.logs[0].as_ref().unwrap_err().raw_os_error(), Some(13));
    }

    #[test]
    fn what_a_worker_says_drives_no_terminal() {
        let facts = json!({ "unavailable": "a\u{1b}[2J\nb", "kind": "tar", "since": 1 });
        let facts = SiteFacts::from_json(&facts).unwrap();
        assert_eq!(facts.unavailable.as_deref(), Some("a\\u{1b}[2J\\nb"));
        let warnings = texts(&json!({ "warnings": ["é".repeat(SAID_MAX + 1), "\r"] }), "warnings").unwrap();
        assert_eq!(warnings, ["é".repeat(SAID_MAX), "\\r".to_owned()]);
        let running = read_served(&json!({ "engine": "\u{7}" })).unwrap().unwrap();
        assert_eq!(running.engine, "\\u{7}");
    }
}
