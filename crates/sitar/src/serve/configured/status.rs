//! What a running server says of itself.

use std::num::NonZeroU16;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::bound::{self, Bound};
use super::certificates::{Certificate, Certificates};
use super::opened::OpenSite;
use super::{Live, Server, fixed};
use crate::admin::{self, SiteState, Status};
use crate::certificate::{expiry, warnings};
use crate::config::{Config, SiteConfig, SiteContent};
use crate::error::printable;

const DAY: i64 = 24 * 60 * 60;

/// What stays as it was at the start.
pub(super) struct Started {
    at: Instant,
    pub(super) shards: NonZeroU16,
}

impl Started {
    pub(super) fn now(shards: NonZeroU16) -> Started {
        Started { at: Instant::now(), shards }
    }
}

/// Returns a time in seconds since the epoch.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the name of a site in messages: its first host, else its root.
pub(super) fn name(site: &SiteConfig) -> String {
    match (site.hosts.first(), &site.content) {
        (Some(host), _) => host.clone(),
        (None, SiteContent::Root { path, .. }) => printable(path),
        (None, SiteContent::Redirect { to, .. }) => to.clone(),
    }
}

impl Server {
    /// Returns what is served, and how it is.
    pub(super) fn status(&self) -> Status {
        let live = self.live();
        let now = SystemTime::now();
        let certificates = live.certificates.iter().flat_map(|certificates| &certificates.list);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.at.elapsed().as_secs(),
            config: Some(printable(&live.config.file)),
            last_reload: live.last_reload.clone(),
            listeners: live.bound.iter().map(listener).collect(),
            sites: live.config.sites.iter().zip(&live.sites).map(|(site, open)| status(site, open)).collect(),
            certificates: certificates.map(|one| certificate(one, now)).collect(),
            warnings: live
                .warnings
                .iter()
                .map(|warning| warning.text.clone())
                .chain(failures(&live))
                .collect(),
        }
    }
}

/// Returns why sites and certificates that are served cannot be used as they are now.
fn failures(live: &Live) -> impl Iterator<Item = String> {
    let of_site = |source| {
        let place = live.sites.iter().position(|open| open.source == Some(source))?;
        let is_served = live.sites.get(place)?.unavailable.is_none();
        is_served.then(|| live.config.sites.get(place).map(name)).flatten()
    };
    let of_certificate = |source| {
        let list = &live.certificates.as_ref()?.list;
        let one = list.iter().find(|one| one.source == Some(source))?;
        Some(format!("the certificate {}", printable(&one.report.path)))
    };
    live.failing.iter().filter_map(move |(source, why)| {
        let what = of_site(*source).or_else(|| of_certificate(*source))?;
        Some(format!("{what} as it is now cannot be served, the one before still is: {why}"))
    })
}

fn listener(bound: &Bound) -> admin::Listener {
    let role = bound::word(bound.listener.role()).to_owned();
    admin::Listener { address: bound.address.to_string(), role }
}

fn status(site: &SiteConfig, open: &OpenSite) -> admin::Site {
    let content = match &site.content {
        SiteContent::Redirect { to, .. } => admin::SiteContent::Redirect { to: to.clone() },
        SiteContent::Root { path, .. } => admin::SiteContent::Files {
            root: printable(path),
            files: open.files.map(|files| files as u64),
            version: open.version.clone(),
        },
    };
    admin::Site {
        name: name(site),
        hosts: site.hosts.clone(),
        is_default: site.is_default,
        content,
        state: open.unavailable.clone().map_or(SiteState::Serving, SiteState::Unavailable),
        since: Some(open.since).filter(|since| *since > 0),
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
pub(super) fn changes(
    last: &Live,
    config: &Config,
    sites: &[OpenSite],
    bound: &[Bound],
    certificates: Option<&Certificates>,
) -> Vec<String> {
    let mut changes = Vec::new();
    let told = |config: &Config, sites: &[OpenSite]| -> Vec<(String, SiteConfig, Option<String>)> {
        let both = config.sites.iter().zip(sites);
        let told = both.map(|(site, open)| (name(site), without_place(site), open.version.clone()));
        told.collect()
    };
    let (before, now) = (told(&last.config, &last.sites), told(config, sites));
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
        list.iter().any(|other| other.address == one.address && other.listener.role() == one.listener.role())
    };
    for one in bound.iter().filter(|one| !has(&last.bound, one)) {
        changes.push(format!("listening on {} ({})", one.address, bound::word(one.listener.role())));
    }
    for one in last.bound.iter().filter(|one| !bound.iter().any(|other| other.address == one.address)) {
        changes.push(format!("no longer listening on {}", one.address));
    }
    let now = SystemTime::now();
    let list =
        |certificates: Option<&Certificates>| certificates.map(|all| all.list.clone()).unwrap_or_default();
    let before = list(last.certificates.as_ref());
    for one in list(certificates) {
        if !before.iter().any(|other| other.report.fingerprint == one.report.fingerprint) {
            let (path, end) = (printable(&one.report.path), expiry(&one.identity, now));
            changes.push(format!("the certificate {path} {end}, SHA-256 {}", one.report.fingerprint));
        }
    }
    for ((key, before), (_, now)) in fixed(&last.config.settings).iter().zip(fixed(&config.settings)) {
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
    site
}
