//! The report of a start with a configuration.

use std::fmt::Write as _;

use super::bound::{self, Bound};
use super::certificates::{Certificate, Certificates};
use super::status::site_name;
use crate::config::{Config, SiteContent};
use crate::error::printable;
use crate::handover::{Running, SiteFacts};
use crate::serve::serving::{Serving, serving};
use crate::start::{self, WARNINGS_MAX, names_text};
use sitar_site::Printable;

/// Sites and certificates that are printed each; more are counted.
const SHOWN: usize = 20;

/// Everything that is known at start.
pub(super) struct Facts<'f> {
    pub(super) config: &'f Config,
    pub(super) sites: &'f [SiteFacts],
    pub(super) bound: &'f [Bound],
    pub(super) certificates: &'f Certificates,
    pub(super) running: &'f Running,
    pub(super) shards: u16,
    pub(super) warnings: Vec<String>,
}

/// Returns the same as events.
pub(super) fn event(facts: &Facts<'_>) -> Serving {
    let Facts { config, bound, running, .. } = facts;
    let listeners = bound.iter().map(|bound| format!("{} ({})", bound.address, bound::word(bound.name.role)));
    let listeners: Vec<String> = listeners.collect();
    let mut event = serving(listeners, config.sites.len())
        .with("config", config.file.to_string_lossy())
        .with("engine", running.engine.as_str())
        .with("sealer", running.sealer.as_str())
        .with("shards", facts.shards)
        .with("sandbox", running.sandbox.as_str());
    if let Some(socket) = &config.admin_socket {
        event = event.with("admin", socket.to_string_lossy());
    }
    if let Some(listen) = &config.admin_listen {
        event = event.with("metrics", listen.to_string());
    }
    Serving { event, warnings: facts.warnings.clone() }
}

/// Returns the text.
pub(super) fn text(facts: &Facts<'_>) -> String {
    let mut text = format!("sitar {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |label: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {label:<8} {value}");
    };
    line("config", &printable(&facts.config.file));
    for (at, bound) in facts.bound.iter().enumerate() {
        let role = bound::word(bound.name.role);
        line(if at == 0 { "listens" } else { "" }, &format!("{} ({role})", bound.address));
    }
    line("engine", &facts.running.engine);
    line("sealer", &facts.running.sealer);
    line("shards", &facts.shards.to_string());
    line("sandbox", &facts.running.sandbox);
    let both = facts.config.sites.iter().zip(facts.sites);
    for (at, (site, open)) in both.enumerate().take(SHOWN) {
        let content = match (&site.content, &open.unavailable) {
            (SiteContent::Redirect { to, .. }, _) => format!("redirects to {to}"),
            (SiteContent::Root { path, .. }, Some(_)) => {
                format!("{}: cannot be opened (503)", printable(path))
            }
            (SiteContent::Root { path, .. }, None) => {
                let files = open.files.and_then(|files| usize::try_from(files).ok()).unwrap_or_default();
                format!("{} ({}), {}", printable(path), open.kind.word(), start::count(files, "file"))
            }
        };
        let value = if site.hosts.is_empty() { content } else { format!("{}: {content}", site_name(site)) };
        line(if at == 0 { "sites" } else { "" }, &value);
    }
    if let Some(more @ 1..) = facts.config.sites.len().checked_sub(SHOWN) {
        line("", &format!("and {more} more"));
    }
    let list = &facts.certificates.list;
    for (at, one) in list.iter().enumerate().take(SHOWN) {
        let value = certificate(one);
        line(if at == 0 { "certs" } else { "" }, &value);
        line("", &format!("SHA-256 {}", one.report.fingerprint));
    }
    if let Some(more @ 1..) = list.len().checked_sub(SHOWN) {
        line("", &format!("and {more} more"));
    }
    if let Some(socket) = &facts.config.admin_socket {
        line("admin", &printable(socket));
    }
    if let Some(listen) = &facts.config.admin_listen {
        line("metrics", &listen.to_string());
    }
    for warning in facts.warnings.iter().take(WARNINGS_MAX) {
        line("warning", &Printable(warning).to_string());
    }
    if let Some(more @ 1..) = facts.warnings.len().checked_sub(WARNINGS_MAX) {
        line("warning", &format!("and {more} more"));
    }
    text
}

/// Returns where a certificate comes from, and its names.
fn certificate(one: &Certificate) -> String {
    match &one.ordered {
        _ if !one.is_local => format!("{} ({})", printable(&one.report.path), names_text(&one.report.names)),
        Some(name) => {
            let name = Printable(name);
            format!("made on this machine, until an authority has given the one of {name}")
        }
        None => "made on this machine, for localhost only".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificates::tests::made;
    use super::*;

    #[test]
    fn certificates_and_where_they_come_from() {
        let ordered = Some("a.example".to_owned());
        let text = certificate(&Certificate { ordered: ordered.clone(), ..made(&["a.example"]) });
        assert_eq!(text, "/certificates/a.example.pem (a.example)");
        let local = Certificate { is_local: true, ..made(&["localhost"]) };
        let text = certificate(&Certificate { ordered, ..local.clone() });
        assert_eq!(text, "made on this machine, until an authority has given the one of a.example");
        assert_eq!(certificate(&local), "made on this machine, for localhost only");
    }
}
