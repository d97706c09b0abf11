//! From sections to a [`Config`], with the rules between them.

use std::path::Path;
use std::sync::Arc;

use sitar_site::Printable;

use super::document::{self, Document};
use super::problems::Problems;
use super::section::{Section, Value};
use super::sites::Around;
use super::{
    Compression, Config, ListenerRole, Pages, Place, Problem, Texts, acme, listeners, log, networks, server,
    sites,
};
use crate::events;
use crate::listen::{Endpoint, UNIX};
use crate::settings::merge::{Given, Merged};
use crate::settings::{ConfigFile, Tls, values};

/// The most bytes of a socket's path (unix(7), without the NUL at its end).
const SOCKET_MAX: usize = 107;

/// A configuration, and where its values come from.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Config,
    pub(super) document: Document,
    pub(super) merged: Merged,
}

/// Reads a configuration; see [`read`](super::read).
pub(super) fn load(file: &Path, given: &[Given], port: Option<u16>) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Problems::default();
    let document = document::read(file, &mut problems);
    build(document, given, port, problems)
}

/// The same, with the form of the event log, which is known of many files with mistakes as well.
pub(super) fn load_first(file: &ConfigFile) -> (events::Form, Result<Loaded, Vec<Problem>>) {
    let mut problems = Problems::default();
    let document = match &file.text {
        Some(text) => {
            let name: Arc<Path> = file.path.as_path().into();
            let mut document = document::of_bytes(&name, text.clone().into_bytes(), &mut problems);
            document.texts.push((name, text.clone()));
            document
        }
        None => document::read(&file.path, &mut problems),
    };
    let form = log::events(&document.log);
    let loaded = build(document, &file.given, file.port, problems).map_err(|mut problems| {
        // Keys are of no help to who has written flags.
        if file.text.is_some() {
            problems.iter_mut().for_each(|problem| problem.hint = None);
        }
        problems
    });
    (form, loaded)
}

/// Reads a configuration whose texts were read before.
pub(super) fn load_texts(texts: &Texts, given: &[Given], port: Option<u16>) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Problems::default();
    let document = document::of_texts(&texts.0, &mut problems);
    build(document, given, port, problems)
}

/// Checks what the sections say together.
pub(super) fn build(
    document: Document,
    given: &[Given],
    port: Option<u16>,
    mut problems: Problems,
) -> Result<Loaded, Vec<Problem>> {
    if document.is_broken {
        return Err(problems.sorted(&document.files));
    }
    let server = &document.server;
    let merged = server::merged(server, given, &mut problems);
    let is_plain = merged.as_ref().is_some_and(|merged| merged.settings.tls == Tls::Off);
    let mut listeners = listeners::read(&document.listeners, is_plain, &mut problems);
    if listeners.is_empty() {
        let whole = document.files.first().map_or_else(|| server.place.clone(), Place::whole);
        listeners.push(listeners::default(&whole, is_plain, has_names(&document), port));
    }
    let has_https = listeners.iter().any(|listener| listener.role == ListenerRole::Https);
    if let (false, Some(entry)) = (has_https, server.entry("certificate")) {
        problems.add_with(
            &entry.place,
            "'certificate' is of no use: no listener speaks TLS",
            "take it out, or add a [[listen]] with an address alone",
        );
    }
    let pages = server::pages(server, &Pages::default());
    let around = Around { server, pages: &pages, listeners: &listeners, has_https };
    let sites = sites::read(&document.sites, &around, &mut problems);
    if sites.is_empty()
        && problems.is_empty()
        && let Some(file) = document.files.first()
    {
        let hint = "for example: [[site]] and below it root = \"/srv/www/example.tar\"";
        problems.add_with(&Place::whole(file), "there is no [[site]]", hint);
    }
    let mut acme = acme::read(&document, &sites, &listeners, &mut problems);
    if let (Some(acme), Some(merged)) = (&mut acme, &merged) {
        acme.state = merged.settings.state.clone().or(acme.state.take());
    }
    let admin_socket = document.admin.path("socket").map(|(path, place)| {
        if path.as_os_str().len() > SOCKET_MAX {
            let what = format!("the path of 'socket' is longer than {SOCKET_MAX} bytes: {}", path.display());
            problems.add(place, what);
        }
        path.to_owned()
    });
    let log = log::read(&document.log, &mut problems);
    log::check(&log, &sites, &mut problems);
    let admin_listen = admin_listen(&document.admin, &mut problems);
    let is_admins = |endpoint: &Endpoint| admin_socket.clone().map(Endpoint::Unix).as_ref() == Some(endpoint);
    if let (Some(endpoint), Some((text, place))) = (&admin_listen, document.admin.text("listen"))
        && (listeners::have(&listeners, endpoint) || is_admins(endpoint))
    {
        taken(endpoint, text, place, &mut problems);
    }
    let trusted_proxies = networks::read("trusted_proxies", server, &mut problems);
    let compression = compression(server, &mut problems);
    match (merged, document.files.first()) {
        (Some(merged), Some(file)) if problems.is_empty() => {
            let config = Config {
                file: file.to_path_buf(),
                settings: merged.settings.clone(),
                user: server.text("user").map(|(user, _)| user.to_owned()),
                strict: server.switch("strict", false),
                trusted_proxies,
                compression,
                pages,
                listeners,
                sites,
                acme,
                log,
                admin_socket,
                admin_listen,
            };
            Ok(Loaded { config, document, merged })
        }
        _ => Err(problems.sorted(&document.files)),
    }
}

/// Returns where the numbers are served.
fn admin_listen(admin: &Section, problems: &mut Problems) -> Option<Endpoint> {
    let (text, place) = admin.text("listen")?;
    if let Some(path) = text.strip_prefix(UNIX) {
        let hint = "for example: listen = \"unix:/run/sitar/metrics.sock\"";
        return listeners::socket_path(UNIX, path, hint, place, problems).map(Endpoint::Unix);
    }
    let address = text.parse().ok().map(Endpoint::Tcp);
    if address.is_none() {
        let what = format!("invalid value '{}' for 'listen': no address with a port", Printable(text));
        problems.add_with(place, what, "for example: listen = \"127.0.0.1:9464\"");
    }
    address
}

/// Says that the numbers cannot be served there.
fn taken(endpoint: &Endpoint, text: &str, place: &Place, problems: &mut Problems) {
    let text = Printable(text);
    let (what, hint) = match endpoint {
        Endpoint::Tcp(_) => (
            format!("a listener has '{text}' or an address that overlaps with it"),
            "take another port, for example: listen = \"127.0.0.1:9464\"",
        ),
        Endpoint::Unix(_) | Endpoint::Passed(_) => (
            format!("the path of '{text}' is that of another socket"),
            "for example: listen = \"unix:/run/sitar/metrics.sock\"",
        ),
    };
    problems.add_with(place, what, hint);
}

fn compression(server: &Section, problems: &mut Problems) -> Compression {
    let size = server.text("cache_size").map(|(text, place)| {
        values::mib(text).unwrap_or_else(|why| {
            problems.add(place, format!("invalid value '{}' for 'cache_size': {why}", Printable(text)));
            CACHE_SIZE
        })
    });
    Compression {
        is_on: server.switch("compress", true),
        cache: server.path("cache").map(|(path, _)| path.to_owned()),
        size: size.unwrap_or(CACHE_SIZE),
    }
}

/// MiB of the cache where the file says nothing.
const CACHE_SIZE: u32 = 1024;

/// Returns whether a site has another certificate than the local one.
fn has_names(document: &Document) -> bool {
    let sections = std::iter::once(&document.server).chain(&document.sites);
    let mut values = sections.filter_map(|section| section.entry("certificate")?.value.as_ref());
    values.any(|value| match value {
        Value::Tables(_) => true,
        Value::Text(text) => text == "acme",
        _ => false,
    })
}
