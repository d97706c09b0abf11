//! What a running server says of itself.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::bound::{self, Bound};
use super::certificates::Certificate;
use super::certificates::ClientCaFile;
use super::{Live, Supervisor, acme, fixed};
use crate::admin::{self, SiteState, Status};
use crate::certificate::{expiry, warnings};
use crate::config::{SiteConfig, SiteContent};
use crate::error::printable;
use crate::handover::{self, SiteFacts, texts};

const DAY: i64 = 24 * 60 * 60;

/// Returns a time in seconds since the epoch.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the name of a site in messages: its first host, else its root.
pub(crate) fn site_name(site: &SiteConfig) -> String {
    match (site.hosts.first(), &site.content) {
        (Some(host), _) => host.clone(),
        (None, SiteContent::Root { path, .. }) => printable(path),
        (None, SiteContent::Redirect { to, .. }) => to.clone(),
    }
}

/// Access logs that a worker tells, at most.
const LOGS_MAX: usize = 256;

/// What a worker says of itself, apart from its sites.
#[derive(Default)]
pub(super) struct Told {
    warnings: Vec<String>,
    /// What its sandbox has refused.
    refused: Option<String>,
    logs: Vec<admin::Log>,
    logs_dropped: u64,
}

impl Told {
    fn warning(text: &str) -> Told {
        Told { warnings: vec![text.to_owned()], ..Told::default() }
    }
}

impl Supervisor {
    /// Asks the worker how its sites are, and notes it. Returns what it says besides; nothing waits
    /// for one that does not answer.
    pub(super) fn ask_worker(&self) -> Told {
        let worker = self.live().worker.clone();
        let Some(worker) = worker else {
            return Told::warning("no worker serves: one is being started");
        };
        let said = worker.status();
        let mut live = self.live();
        let facts = said.as_ref().and_then(|said| {
            let is_current = said.get("generation").and_then(Value::as_u64) == Some(live.generation);
            let sites = said.get("sites").and_then(Value::as_array).filter(|_| is_current)?;
            let sites = sites.iter().map(SiteFacts::from_json).collect::<Option<Vec<_>>>()?;
            Some((sites, texts(said, "warnings")?))
        });
        let mut told = match facts {
            Some((sites, warnings)) => {
                live.sites = sites;
                Told { warnings, ..Told::default() }
            }
            None => Told::warning("the worker does not answer: what is known of its sites is old"),
        };
        if let Some(said) = &said {
            told.refused = said.get("refused").and_then(Value::as_str).map(handover::said);
            told.logs_dropped = said.get("logs_dropped").and_then(Value::as_u64).unwrap_or_default();
            let logs = said.get("logs").and_then(Value::as_array);
            let logs = logs.into_iter().flatten().filter_map(admin::Log::from_json);
            let said = logs.map(|log| admin::Log { name: handover::said(&log.name), ..log });
            told.logs = said.take(LOGS_MAX).collect();
        }
        told
    }

    /// Returns what is served, and how it is.
    pub(super) fn status(&self) -> Status {
        let told = self.ask_worker();
        let ordered = acme::warnings(&self.ordered());
        let live = self.live();
        let now = SystemTime::now();
        let packing: Vec<bool> = (0..live.sites.len()).map(|place| self.packing.is_running(place)).collect();
        let complaints = self.packing.complaints();
        let own = live.warnings.iter().map(|warning| warning.text.clone());
        let warnings =
            own.chain(told.warnings).chain(failures(&live)).chain(ordered).chain(complaints).collect();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.at.elapsed().as_secs(),
            config: Some(printable(&live.config.file)),
            worker: live.worker.as_ref().map(|worker| admin::Worker {
                pid: worker.pid,
                engine: live.running.engine.clone(),
                sandbox: live.running.sandbox.clone(),
                refused: told.refused,
            }),
            worker_restarts: live.restarts,
            last_reload: live.last_reload.clone(),
            listeners: live.bound.iter().map(listener).collect(),
            sites: live
                .config
                .sites
                .iter()
                .zip(&live.sites)
                .zip(packing)
                .map(|((site, facts), is_packing)| status(site, facts, is_packing))
                .collect(),
            certificates: live.certificates.list.iter().map(|one| certificate(one, now)).collect(),
            logs: told.logs,
            logs_dropped: told.logs_dropped,
            warnings,
        }
    }
}

/// Returns why certificates that are served cannot be used as they are now.
fn failures(live: &Live) -> impl Iterator<Item = String> {
    live.failing.iter().filter_map(|(source, why)| {
        let one = live.certificates.list.get(live.certificates.place(*source)?)?;
        let what = format!("the certificate {}", printable(&one.report.path));
        Some(format!("{what} as it is now cannot be served, the one before still is: {why}"))
    })
}

fn listener(bound: &Bound) -> admin::Listener {
    let role = bound::word(bound.name.role).to_owned();
    admin::Listener { address: bound.address.to_string(), role }
}

fn status(site: &SiteConfig, open: &SiteFacts, is_packing: bool) -> admin::Site {
    let content = match &site.content {
        SiteContent::Redirect { to, .. } => admin::SiteContent::Redirect { to: to.clone() },
        SiteContent::Root { path, .. } => admin::SiteContent::Files {
            root: printable(path),
            files: open.files,
            version: open.version.clone(),
        },
    };
    admin::Site {
        name: site_name(site),
        hosts: site.hosts.clone(),
        is_default: site.is_default,
        content,
        state: open.unavailable.clone().map_or(SiteState::Serving, SiteState::Unavailable),
        since: Some(open.since).filter(|since| *since > 0),
        encodings: (open.encoded.is_some() || is_packing).then(|| {
            let (files, saved) = open.encoded.unwrap_or_default();
            admin::SiteEncodings { files, saved, is_packing }
        }),
    }
}

fn certificate(one: &Certificate, now: SystemTime) -> admin::Certificate {
    let validity = one.identity.validity();
    let days = |until: u64| (until.cast_signed() - seconds(now).cast_signed()).div_euclid(DAY);
    let files = one.files.as_ref();
    admin::Certificate {
        names: one.report.names.clone(),
        chain: files.map(|files| printable(&files.chain)),
        not_before: validity.map(|(from, _)| from),
        not_after: validity.map(|(_, until)| until),
        days_left: validity.map(|(_, until)| days(until)),
        sha256: one.report.fingerprint.clone(),
        // As of now: what was so when it was read may have changed since.
        warnings: files.map(|files| warnings(&one.identity, files, now)).unwrap_or_default(),
    }
}

/// Returns what a reload changes, in sentences.
pub(super) fn changes(last: &Live, next: &Live) -> Vec<String> {
    let mut changes = Vec::new();
    let told = |live: &Live| -> Vec<(String, SiteConfig, Option<String>)> {
        let both = live.config.sites.iter().zip(&live.sites);
        let told = both.map(|(site, facts)| (site_name(site), without_place(site), facts.version.clone()));
        told.collect()
    };
    let (before, now) = (told(last), told(next));
    for (name, site, version) in &now {
        match before.iter().find(|(other, ..)| other == name) {
            None => changes.push(format!("{name} is new")),
            Some((_, other, _)) if other != site => changes.push(format!("{name} has other settings")),
            Some((.., other)) if other != version => {
                let version = version.as_deref().unwrap_or("nothing");
                changes.push(format!("{name} has other content ({version})"));
            }
            Some(_) => {}
        }
    }
    for (name, ..) in before.iter().filter(|(name, ..)| !now.iter().any(|(other, ..)| other == name)) {
        changes.push(format!("{name} is gone"));
    }
    let has = |list: &[Bound], one: &Bound| {
        list.iter().any(|other| other.address == one.address && other.name.role == one.name.role)
    };
    for one in next.bound.iter().filter(|one| !has(&last.bound, one)) {
        changes.push(format!("listening on {} ({})", one.address, bound::word(one.name.role)));
    }
    let has_other = |one: &&Bound| {
        let mut old = last.bound.iter().filter(|old| old.address == one.address);
        old.any(|old| old.name.role == one.name.role && old.name.proxies != one.name.proxies)
    };
    for one in next.bound.iter().filter(has_other) {
        changes.push(format!("{} has other proxies", one.address));
    }
    let has_other_mode =
        |one: &&Bound| last.bound.iter().any(|old| old.address == one.address && one.has_other_mode(old));
    for one in next.bound.iter().filter(has_other_mode) {
        changes.push(format!("{} has other permissions", one.address));
    }
    for one in last.bound.iter().filter(|one| !next.bound.iter().any(|other| other.address == one.address)) {
        changes.push(format!("no longer listening on {}", one.address));
    }
    if next.config.log.events != last.config.log.events {
        changes.push("the event log has another form".to_owned());
    }
    if next.config.trusted_proxies != last.config.trusted_proxies {
        changes.push("the trusted proxies are others".to_owned());
    }
    let log = |live: &Live| (live.config.log.target.target.clone(), live.config.log.style.clone());
    if log(next) != log(last) {
        changes.push("the access log is another".to_owned());
    }
    let now = SystemTime::now();
    for one in &next.certificates.list {
        if !last.certificates.list.iter().any(|other| other.report.fingerprint == one.report.fingerprint) {
            let (path, end) = (printable(&one.report.path), expiry(&one.identity, now));
            changes.push(format!("the certificate {path} {end}, SHA-256 {}", one.report.fingerprint));
        }
    }
    for one in &next.certificates.client_cas {
        let is_other = |other: &ClientCaFile| other.path == one.path && other.pem != one.pem;
        if last.certificates.client_cas.iter().any(is_other) {
            changes.push(format!("the certificates for clients in {} are others", printable(&one.path)));
        }
    }
    for ((key, before), (_, now)) in fixed(&last.config.settings).iter().zip(fixed(&next.config.settings)) {
        if *before != now {
            changes.push(format!("the new value of '{key}' counts from the next start on"));
        }
    }
    changes
}

/// A site that has moved in its file is the same.
fn without_place(site: &SiteConfig) -> SiteConfig {
    let mut site = site.clone();
    (site.place.line, site.place.column) = (0, 0);
    if let Some(log) = &mut site.log {
        log.place = site.place.clone();
    }
    site
}
