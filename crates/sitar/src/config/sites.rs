//! `[[site]]`: hosts, content, certificates.

use std::collections::HashMap;
use std::path::PathBuf;

use sitar_site::{Hsts, Options};

use super::access;
use super::acme::{self, AcmeOptions};
use super::host::{self, BadHost};
use super::problems::{Problems, quoted};
use super::section::{Entry, Section, Value};
use super::server::pages;
use super::texts::{self, Bad};
use super::{Certificates, ListenerConfig, Pages, Place, SiteConfig, SiteContent};
use super::{log, loops};
use crate::settings::{CertificateFiles, duration};
use crate::watch::Watch;

/// Keys that only a site with a root has.
const OF_ROOT: [&str; 12] = [
    "prefix",
    "follow_links",
    "serve_config_files",
    "watch",
    "poll",
    "listing",
    "users",
    "realm",
    "allow",
    "deny",
    "rate",
    "burst",
];
/// The status of redirects without `redirect_status`.
const STATUS: u16 = 308;

/// What to write where a host needs a certificate.
const WITH_CERTIFICATE: &str = "write: certificate = \"acme\" for one of Let's Encrypt, or certificate = \
                                { chain = \"fullchain.pem\", key = \"privkey.pem\" }";

/// What sites are read with.
pub(super) struct Around<'a> {
    /// The server's certificate and pages.
    pub(super) server: &'a Section,
    pub(super) pages: &'a Pages,
    pub(super) listeners: &'a [ListenerConfig],
    pub(super) has_https: bool,
}

/// Reads the sites.
pub(super) fn read(sections: &[Section], around: &Around<'_>, problems: &mut Problems) -> Vec<SiteConfig> {
    let mut taken = HashMap::new();
    let mut default: Option<&Place> = None;
    let mut sites = Vec::with_capacity(sections.len());
    for section in sections {
        let hosts = hosts(section, &mut taken, problems);
        let is_default = section.switch("default", false);
        if let (true, Some(entry)) = (is_default, section.entry("default")) {
            match default {
                Some(other) => {
                    let hint = format!("the other one is at {other}");
                    problems.add_with(&entry.place, "a second site is the default one", hint);
                }
                None => default = Some(&entry.place),
            }
        }
        if sections.len() > 1 && !section.has("hosts") && !section.has("default") {
            problems.add_with(
                &section.place,
                "of several sites, each needs 'hosts' or default = true",
                "for example: hosts = [\"example.com\", \"www.example.com\"]",
            );
        } else if sections.len() > 1
            && !section.has("hosts")
            && let (false, Some(Entry { value: Some(_), place, .. })) = (is_default, section.entry("default"))
        {
            problems.add(place, "a site without 'hosts' beside others has to be the default one");
        }
        let hsts = hsts(section, problems);
        let content = content(section, hsts.as_ref(), problems);
        let canonical = canonical(section, &hosts, problems);
        let mut certificates = certificates(section, &hosts, around, problems);
        let options = acme::of_site(section, &certificates, problems);
        if let Certificates::Acme(own) = &mut certificates {
            *own = options;
        }
        sites.push(SiteConfig {
            place: section.place.clone(),
            hosts,
            is_default,
            content,
            canonical,
            certificates,
            hsts: hsts.map(|hsts| hsts.to_string()),
            pages: pages(section, around.pages),
            client_ca: client_ca(section, around, problems),
            access: access::read(section, problems),
            log: log::of_site(section, problems),
        });
    }
    loops::check(&sites, sections, around.listeners, problems);
    sites
}

fn hosts(section: &Section, taken: &mut HashMap<String, Place>, problems: &mut Problems) -> Vec<String> {
    let mut hosts = Vec::new();
    for text in section.texts("hosts") {
        if problems.is_full() {
            break;
        }
        match host::parse(&text.text) {
            Ok(host) => match taken.get(&host) {
                Some(other) => {
                    let what = format!("the host {} is there twice", quoted(&host));
                    problems.add_with(&text.place, what, format!("the other one is at {other}"));
                }
                None => {
                    taken.insert(host.clone(), text.place.clone());
                    hosts.push(host);
                }
            },
            Err(BadHost { why, instead }) => {
                let what = format!("invalid host {}: {why}", quoted(&text.text));
                let hint = instead.map(|instead| format!("did you mean \"{instead}\"?"));
                problems.push(&text.place, what, hint);
            }
        }
    }
    hosts
}

fn hsts(section: &Section, problems: &mut Problems) -> Option<Hsts> {
    let (text, place) = section.text("hsts")?;
    match texts::hsts(text) {
        Ok(hsts) => Some(hsts),
        Err(Bad { why, hint }) => {
            problems.push(place, format!("invalid value {} for 'hsts': {why}", quoted(text)), hint);
            None
        }
    }
}

fn content(section: &Section, hsts: Option<&Hsts>, problems: &mut Problems) -> SiteContent {
    match (section.entry("root"), section.entry("redirect_to")) {
        (None, None) => problems.add_with(
            &section.place,
            "the site has neither 'root' nor 'redirect_to'",
            "for example: root = \"/srv/www/example.tar\"",
        ),
        (Some(_), Some(entry)) => problems.add_with(
            &entry.place,
            "'redirect_to' cannot be used with 'root'",
            "a site either has content or redirects; parts of it redirect by lines in its file _redirects",
        ),
        _ => {}
    }
    if let (Some(_), None) = (section.entry("redirect_to"), section.entry("root")) {
        for entry in OF_ROOT.iter().filter_map(|name| section.entry(name)) {
            let what = format!("'{}' cannot be used with 'redirect_to'", entry.key.name);
            problems.add_with(&entry.place, what, "take it out; there is no content to which it could apply");
        }
        return redirect(section, problems);
    }
    if let Some(entry) = section.entry("redirect_status")
        && !section.has("redirect_to")
    {
        problems.add(&entry.place, "'redirect_status' needs 'redirect_to'");
    }
    let path = section.path("root").map_or_else(PathBuf::new, |(path, _)| path.to_owned());
    let options = Options {
        prefix: section.text("prefix").map(|(prefix, _)| prefix.to_owned()),
        follow_links: section.switch("follow_links", false),
        config_files: section.switch("serve_config_files", false),
        listing: section.switch("listing", false),
        hsts: hsts.cloned(),
        is_private: section.has("users"),
    };
    SiteContent::Root { path, options, watch: watch(section, problems) }
}

fn watch(section: &Section, problems: &mut Problems) -> Watch {
    let is_on = section.switch("watch", true);
    let poll = section.text("poll").and_then(|(text, place)| match duration::parse_pause(text) {
        Ok(every) => Some(every),
        Err(why) => {
            let what = format!("invalid value {} for 'poll': {why}", quoted(text));
            problems.add_with(place, what, "for example: poll = \"2s\"");
            None
        }
    });
    if let (false, Some(entry)) = (is_on, section.entry("poll")) {
        problems.add_with(
            &entry.place,
            "'poll' cannot be used with watch = false",
            "take out one of the two",
        );
    }
    match poll {
        _ if !is_on => Watch::Off,
        Some(every) => Watch::Poll(every),
        None => Watch::Auto,
    }
}

fn redirect(section: &Section, problems: &mut Problems) -> SiteContent {
    let status = section.text("redirect_status").and_then(|(text, _)| text.parse().ok()).unwrap_or(STATUS);
    let Some((text, place)) = section.text("redirect_to") else {
        return SiteContent::Redirect { to: String::new(), status };
    };
    let to = match texts::target(text) {
        Ok(target) => target.url,
        Err(Bad { why, hint }) => {
            problems.push(place, format!("invalid value {} for 'redirect_to': {why}", quoted(text)), hint);
            String::new()
        }
    };
    SiteContent::Redirect { to, status }
}

fn canonical(section: &Section, hosts: &[String], problems: &mut Problems) -> Option<String> {
    if problems.is_full() {
        return None;
    }
    let (text, place) = section.text("canonical")?;
    let exact = || hosts.iter().filter(|host| !host.starts_with('*')).map(String::as_str);
    let host = match host::parse(text) {
        Ok(host) => host,
        Err(BadHost { why, instead }) => {
            let hint = instead.map(|instead| format!("did you mean \"{instead}\"?"));
            problems.push(place, format!("invalid value {} for 'canonical': {why}", quoted(text)), hint);
            return None;
        }
    };
    if host.starts_with("*.") {
        let hint = exact().next().map(|host| format!("did you mean \"{host}\"?"));
        problems.push(place, format!("'canonical' is one name, and {} is a wildcard", quoted(&host)), hint);
        return None;
    }
    if exact().any(|own| own == host) {
        return Some(host);
    }
    // Without hosts that could be read, it is not known which are missing.
    if !section.has("hosts") || !hosts.is_empty() {
        let near = super::nearest::nearest(&host, exact());
        let hint = near.map_or_else(
            || format!("add it: hosts = [\"{host}\", …]"),
            |near| format!("did you mean \"{near}\"?"),
        );
        problems.add_with(
            place,
            format!("'canonical' is {}, which is not among 'hosts'", quoted(&host)),
            hint,
        );
    }
    None
}

fn client_ca(section: &Section, around: &Around<'_>, problems: &mut Problems) -> Option<PathBuf> {
    let (path, place) = section.path("client_ca")?;
    if !around.has_https {
        problems.add_with(
            place,
            "'client_ca' needs TLS, and no listener speaks it",
            "add a [[listen]] with an address alone, or have the proxy that terminates TLS ask for certificates",
        );
    }
    Some(path.to_owned())
}

fn certificates(
    section: &Section,
    hosts: &[String],
    around: &Around<'_>,
    problems: &mut Problems,
) -> Certificates {
    let own = section.entry("certificate");
    if let (Some(entry), false) = (own, around.has_https) {
        problems.add_with(
            &entry.place,
            "'certificate' is of no use: no listener speaks TLS",
            "take it out, or add a [[listen]] with an address alone",
        );
    }
    if !around.has_https {
        return Certificates::None;
    }
    let Some(entry) = own.or_else(|| around.server.entry("certificate")) else {
        return without_certificate(section, hosts, problems);
    };
    match &entry.value {
        Some(Value::Text(text)) if text == "acme" => Certificates::Acme(AcmeOptions::default()),
        Some(Value::Tables(pairs)) => Certificates::Files(pairs.iter().filter_map(files).collect()),
        Some(_) => {
            if let Some(other) = hosts.iter().find(|host| !host::is_local(host)) {
                let place = if own.is_some() { &entry.at } else { &section.place };
                let what = format!(
                    "the certificate \"local\" is good for localhost only, and the site has the host {}",
                    quoted(other)
                );
                problems.add_with(place, what, WITH_CERTIFICATE);
            }
            Certificates::Local
        }
        // It has been refused.
        None => Certificates::Local,
    }
}

fn without_certificate(section: &Section, hosts: &[String], problems: &mut Problems) -> Certificates {
    if let Some(other) = hosts.iter().find(|host| !host::is_local(host)) {
        let what = format!("the site has no certificate, which its host {} needs", quoted(other));
        problems.add_with(&section.place, what, format!("{WITH_CERTIFICATE}, here or in [server]"));
    }
    Certificates::Local
}

/// Returns the files of a pair; `None` where one has been refused.
pub(super) fn files(pair: &Section) -> Option<CertificateFiles> {
    let (chain, key) = (pair.path("chain")?.0, pair.path("key")?.0);
    Some(CertificateFiles { chain: chain.to_owned(), key: key.to_owned() })
}
