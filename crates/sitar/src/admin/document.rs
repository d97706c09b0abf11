//! The documents: what a server says of itself, as plain values and as JSON.
//!
//! Times are seconds since the epoch. What is not known is `null`.

use serde_json::{Value, json};

use super::{Reply, SCHEMA, ordered};
use crate::error::Error;

/// What a server serves, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The server's version, which may be another than that of the program that asks.
    pub version: String,
    /// The number of its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// The file of its configuration.
    pub config: Option<String>,
    /// The process that serves; `None`: none does at the moment.
    pub worker: Option<Worker>,
    /// How often such a process has ended without being told to.
    pub worker_restarts: u64,
    /// The last time that it was told to read the configuration again.
    pub last_reload: Option<Reload>,
    /// The addresses on which it listens.
    pub listeners: Vec<Listener>,
    /// Its sites, in the order of the configuration.
    pub sites: Vec<Site>,
    /// Its certificates.
    pub certificates: Vec<Certificate>,
    /// Its access logs, as far as the worker has told them.
    pub logs: Vec<Log>,
    /// Records that this worker had no room for, in all logs.
    pub logs_dropped: u64,
    /// What the operator should know besides, one sentence each.
    pub warnings: Vec<String>,
}

/// The process that serves for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The number of the process.
    pub pid: u32,
    /// How bytes are moved.
    pub engine: String,
    /// What keeps it from doing anything but serving.
    pub sandbox: String,
    /// What that has kept it from, if anything.
    pub refused: Option<String>,
}

/// An access log, and what the process that serves now has done for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Where it goes: a path, `stdout` or `journal`.
    pub name: String,
    /// Records written.
    pub written: u64,
    /// Records that could not be written.
    pub failed: u64,
    /// Records left out by sampling.
    pub sampled: u64,
}

/// The outcome of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The version that serves now.
    pub version: String,
    /// The number of its process.
    pub pid: u32,
}

/// An address on which a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port.
    pub address: String,
    /// What is done there: `https`, `http` or `redirect`.
    pub role: String,
}

/// One site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The name by which it is called in messages.
    pub name: String,
    /// The hosts that it answers for; none: every host.
    pub hosts: Vec<String>,
    /// Whether it answers for hosts that no other site has.
    pub is_default: bool,
    /// What it serves.
    pub content: SiteContent,
    /// Whether it is served.
    pub state: SiteState,
    /// The time since which this content is served.
    pub since: Option<u64>,
    /// What is known of its encodings in the cache; `None`: it has none.
    pub encodings: Option<SiteEncodings>,
}

/// The encodings of a site in the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteEncodings {
    /// Files that have some.
    pub files: u64,
    /// Bytes that they save, if each of these files is sent once.
    pub saved: u64,
    /// Whether more are being made.
    pub is_packing: bool,
}

/// What a site serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteContent {
    /// Files.
    Files {
        /// The directory or archive.
        root: String,
        /// Their number; not known where the site cannot be opened.
        files: Option<u64>,
        /// Identifies the content: the kind of hash, and its beginning.
        version: Option<String>,
    },
    /// A redirect.
    Redirect {
        /// The target.
        to: String,
    },
}

/// Whether a site is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteState {
    /// It is.
    Serving,
    /// It is answered for with 503, for this reason.
    Unavailable(String),
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The DNS names and addresses in it.
    pub names: Vec<String>,
    /// The file of its chain; `None`: the server has made it.
    pub chain: Option<String>,
    /// The time from which it is valid.
    pub not_before: Option<u64>,
    /// The time of its end.
    pub not_after: Option<u64>,
    /// Whole days until then, negative when it has expired.
    pub days_left: Option<i64>,
    /// SHA-256 of the certificate, as openssl prints it.
    pub sha256: String,
    /// What clients may object to, one sentence each.
    pub warnings: Vec<String>,
}

/// The outcome of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// The time when it ended.
    pub at: u64,
    /// Whether the new configuration is in force. If not, nothing has changed.
    pub ok: bool,
    /// What is different now, one sentence each.
    pub changes: Vec<String>,
    /// Why it was refused.
    pub problems: Vec<Error>,
}

/// Returns the document of a reply.
pub(super) fn answer(reply: &Reply) -> Value {
    match reply {
        Reply::Status(status) => status.to_json(),
        Reply::Numbers(totals) => totals.to_json(),
        Reply::Reload(reload) => {
            json!({ "schema": SCHEMA, "version": env!("CARGO_PKG_VERSION"), "reload": reload.to_json() })
        }
        Reply::HandedOver | Reply::Refused(_) => Value::Null,
        Reply::Drain => json!({ "schema": SCHEMA, "version": env!("CARGO_PKG_VERSION"), "draining": true }),
        Reply::Upgrade(Ok(Upgraded { version, pid })) => {
            json!({ "schema": SCHEMA, "version": version, "upgrade": { "ok": true, "pid": pid } })
        }
        Reply::Certificates(all) => ordered::list(all),
        Reply::Begun(begun) => ordered::begun(begun),
        Reply::Upgrade(Err(error)) => json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "upgrade": { "ok": false, "problem": error.to_json() },
        }),
    }
}

/// Returns the document of a request that is not answered.
pub(super) fn error(why: &str) -> Value {
    json!({ "schema": SCHEMA, "version": env!("CARGO_PKG_VERSION"), "error": why })
}

/// Returns why a request was not answered, if it was not.
pub(super) fn read_error(document: &Value) -> Option<&str> {
    document.get("error").and_then(Value::as_str)
}

/// Reads the document of [`Request::Status`](super::Request::Status). `None`: it has another shape.
#[must_use]
pub fn read_status(document: &Value) -> Option<Status> {
    let object = Object::of_schema(document)?;
    Some(Status {
        version: object.text("version")?,
        pid: object.number("pid").and_then(|pid| u32::try_from(pid).ok())?,
        uptime_seconds: object.number("uptime_seconds")?,
        config: object.text("config"),
        worker: object.0.get("worker").and_then(Worker::from_json),
        worker_restarts: object.number("worker_restarts").unwrap_or_default(),
        last_reload: object.optional("last_reload", Reload::from_json)?,
        listeners: object.list("listeners", Listener::from_json)?,
        sites: object.list("sites", Site::from_json)?,
        certificates: object.list("certificates", Certificate::from_json)?,
        // Older servers have none.
        logs: object.list("logs", Log::from_json).unwrap_or_default(),
        logs_dropped: object.number("logs_dropped").unwrap_or_default(),
        warnings: object.texts("warnings")?,
    })
}

/// Reads the document of [`Request::Reload`](super::Request::Reload). `None`: it has another shape.
#[must_use]
pub fn read_reload(document: &Value) -> Option<Reload> {
    Reload::from_json(Object::of_schema(document)?.0.get("reload")?)
}

/// Reads the document of [`Request::Upgrade`](super::Request::Upgrade). `None`: it has another
/// shape.
#[must_use]
pub fn read_upgrade(document: &Value) -> Option<Result<Upgraded, Error>> {
    let object = Object::of_schema(document)?;
    let upgrade = Object(object.0.get("upgrade")?);
    if !upgrade.truth("ok")? {
        return Error::from_json(upgrade.0.get("problem")?).map(Err);
    }
    let pid = upgrade.number("pid").and_then(|pid| u32::try_from(pid).ok())?;
    Some(Ok(Upgraded { version: object.text("version")?, pid }))
}

impl Worker {
    fn to_json(&self) -> Value {
        json!({ "pid": self.pid, "engine": self.engine, "sandbox": self.sandbox, "refused": self.refused })
    }

    fn from_json(value: &Value) -> Option<Worker> {
        let object = Object(value);
        Some(Worker {
            pid: object.number("pid").and_then(|pid| u32::try_from(pid).ok())?,
            engine: object.text("engine")?,
            sandbox: object.text("sandbox")?,
            refused: object.text("refused"),
        })
    }
}

impl Status {
    /// Returns the document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "version": self.version,
            "pid": self.pid,
            "uptime_seconds": self.uptime_seconds,
            "config": self.config,
            "worker": self.worker.as_ref().map(Worker::to_json),
            "worker_restarts": self.worker_restarts,
            "last_reload": self.last_reload.as_ref().map(Reload::to_json),
            "listeners": self.listeners.iter().map(Listener::to_json).collect::<Vec<_>>(),
            "sites": self.sites.iter().map(Site::to_json).collect::<Vec<_>>(),
            "certificates": self.certificates.iter().map(Certificate::to_json).collect::<Vec<_>>(),
            "logs": self.logs.iter().map(Log::to_json).collect::<Vec<_>>(),
            "logs_dropped": self.logs_dropped,
            "warnings": self.warnings,
        })
    }
}

impl Log {
    fn to_json(&self) -> Value {
        let Log { name, written, failed, sampled } = self;
        json!({ "name": name, "written": written, "failed": failed, "sampled": sampled })
    }

    /// Reads what a worker tells, or a server.
    pub(crate) fn from_json(value: &Value) -> Option<Log> {
        let object = Object(value);
        Some(Log {
            name: object.text("name")?,
            written: object.number("written")?,
            failed: object.number("failed")?,
            sampled: object.number("sampled")?,
        })
    }
}

impl Listener {
    fn to_json(&self) -> Value {
        json!({ "address": self.address, "role": self.role })
    }

    fn from_json(value: &Value) -> Option<Listener> {
        let object = Object(value);
        Some(Listener { address: object.text("address")?, role: object.text("role")? })
    }
}

impl Site {
    fn to_json(&self) -> Value {
        let mut value = json!({
            "name": self.name,
            "hosts": self.hosts,
            "default": self.is_default,
            "since": self.since,
        });
        if let Some(SiteEncodings { files, saved, is_packing }) = &self.encodings {
            value["encodings"] = json!({ "files": files, "saved_bytes": saved, "packing": is_packing });
        }
        match &self.content {
            SiteContent::Files { root, files, version } => {
                value["kind"] = "site".into();
                value["root"] = root.as_str().into();
                value["files"] = (*files).into();
                value["content"] = version.as_deref().into();
            }
            SiteContent::Redirect { to } => {
                value["kind"] = "redirect".into();
                value["redirect_to"] = to.as_str().into();
            }
        }
        let (state, reason) = match &self.state {
            SiteState::Serving => ("serving", None),
            SiteState::Unavailable(reason) => ("unavailable", Some(reason.as_str())),
        };
        value["state"] = state.into();
        value["reason"] = reason.into();
        value
    }

    fn from_json(value: &Value) -> Option<Site> {
        let object = Object(value);
        let content = match &*object.text("kind")? {
            "site" => SiteContent::Files {
                root: object.text("root")?,
                files: object.number("files"),
                version: object.text("content"),
            },
            "redirect" => SiteContent::Redirect { to: object.text("redirect_to")? },
            _ => return None,
        };
        let state = match &*object.text("state")? {
            "serving" => SiteState::Serving,
            "unavailable" => SiteState::Unavailable(object.text("reason")?),
            _ => return None,
        };
        Some(Site {
            name: object.text("name")?,
            hosts: object.texts("hosts")?,
            is_default: object.truth("default")?,
            content,
            state,
            since: object.number("since"),
            encodings: value.get("encodings").and_then(SiteEncodings::from_json),
        })
    }
}

impl SiteEncodings {
    fn from_json(value: &Value) -> Option<SiteEncodings> {
        let object = Object(value);
        Some(SiteEncodings {
            files: object.number("files")?,
            saved: object.number("saved_bytes")?,
            is_packing: object.truth("packing")?,
        })
    }
}

impl Certificate {
    fn to_json(&self) -> Value {
        json!({
            "names": self.names,
            "chain": self.chain,
            "not_before": self.not_before,
            "not_after": self.not_after,
            "days_left": self.days_left,
            "sha256": self.sha256,
            "warnings": self.warnings,
        })
    }

    fn from_json(value: &Value) -> Option<Certificate> {
        let object = Object(value);
        Some(Certificate {
            names: object.texts("names")?,
            chain: object.text("chain"),
            not_before: object.number("not_before"),
            not_after: object.number("not_after"),
            days_left: value.get("days_left").and_then(Value::as_i64),
            sha256: object.text("sha256")?,
            warnings: object.texts("warnings")?,
        })
    }
}

impl Reload {
    /// A reload that put a new configuration in force.
    #[must_use]
    pub fn done(at: u64, changes: Vec<String>) -> Reload {
        Reload { at, ok: true, changes, problems: Vec::new() }
    }

    /// A reload that changed nothing.
    #[must_use]
    pub fn refused(at: u64, problems: Vec<Error>) -> Reload {
        Reload { at, ok: false, changes: Vec::new(), problems }
    }

    fn to_json(&self) -> Value {
        let problems = self.problems.iter().map(Error::to_json);
        json!({
            "at": self.at,
            "ok": self.ok,
            "changes": self.changes,
            "problems": problems.collect::<Vec<_>>(),
        })
    }

    fn from_json(value: &Value) -> Option<Reload> {
        let object = Object(value);
        Some(Reload {
            at: object.number("at")?,
            ok: object.truth("ok")?,
            changes: object.texts("changes")?,
            problems: object.list("problems", Error::from_json)?,
        })
    }
}

impl Error {
    /// Returns the error without further failures of its run.
    pub(crate) fn to_json(&self) -> Value {
        let (what, causes, hints) = self.parts();
        json!({ "what": what, "causes": causes, "hints": hints })
    }

    pub(crate) fn from_json(value: &Value) -> Option<Error> {
        let object = Object(value);
        let error = Error::new(object.text("what")?);
        let error = object.texts("causes")?.into_iter().fold(error, Error::cause);
        Some(object.texts("hints")?.into_iter().fold(error, Error::hint))
    }
}

/// A JSON object that is read.
pub(super) struct Object<'v>(pub(super) &'v Value);

impl<'v> Object<'v> {
    /// `None`: its shape is another version's.
    pub(super) fn of_schema(document: &'v Value) -> Option<Object<'v>> {
        (document.get("schema")?.as_u64()? == SCHEMA).then_some(Object(document))
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().map(str::to_owned)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    pub(super) fn list<T>(&self, name: &str, item: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
        self.0.get(name)?.as_array()?.iter().map(item).collect()
    }

    pub(super) fn texts(&self, name: &str) -> Option<Vec<String>> {
        self.list(name, |text| text.as_str().map(str::to_owned))
    }

    /// `Some(None)`: it is null.
    pub(super) fn optional<T>(&self, name: &str, item: impl Fn(&Value) -> Option<T>) -> Option<Option<T>> {
        match self.0.get(name)? {
            Value::Null => Some(None),
            value => item(value).map(Some),
        }
    }
}
