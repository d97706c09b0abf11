//! `sitar config show`: a configuration as a file that says the same, with the origin of each
//! value.

use std::fmt::{Display, Write as _};
use std::path::Path;
use std::time::Duration;

use sitar_server::Network;
use sitar_site::Options;

use super::load::Loaded;
use super::section::Section;
use super::{
    AccessConfig, Certificates, ListenerConfig, ListenerRole, LogConfig, LogTarget, Pages, RateConfig,
    SiteConfig, SiteContent, Target, keys,
};
use crate::listen::{Endpoint, PASSED, UNIX};
use crate::log::Style;
use crate::settings::merge::ValueOrigin;
use crate::settings::values::Word;
use crate::settings::{CertificateFiles, Listen, Settings, SocketName, definitions};
use crate::watch::Watch;

mod acme;

/// The column of comments, where a value leaves room for them.
const COLUMN: usize = 40;
const DEFAULT: &str = "default";

/// Returns the text of a file, which is read as the same configuration. A path that is not UTF-8
/// is only a comment, since TOML cannot express it.
pub(super) fn show(loaded: &Loaded) -> String {
    let Loaded { config, document, merged } = loaded;
    let mut lines = Lines { text: String::new() };
    let _ = writeln!(lines.text, "# What is in force, and behind each value where it comes from.");
    lines.header("[server]", "");
    for key in keys::SERVER.keys {
        let Some(setting) = key.setting.and_then(definitions::find) else { continue };
        let origin = match merged.origin(setting.name) {
            ValueOrigin::Default => DEFAULT.to_owned(),
            ValueOrigin::File => origin(&document.server, key.name),
            ValueOrigin::Variable => setting.variable.to_owned(),
            ValueOrigin::Flag => format!("--{}", setting.name),
        };
        match (value(key.name, &config.settings), key.default) {
            (Some(value), _) => lines.value(key.name, &value, &origin),
            (None, Some(default)) => lines.value(&format!("# {}", key.name), &default, &origin),
            (None, None) => lines.unset(key.name),
        }
    }
    match &config.user {
        Some(user) => lines.value("user", &quoted(user), &origin(&document.server, "user")),
        None => lines.unset("user"),
    }
    lines.value("strict", &config.strict, &origin(&document.server, "strict"));
    match &config.trusted_proxies[..] {
        [] => lines.unset("trusted_proxies"),
        all => lines.value("trusted_proxies", &networks(all), &origin(&document.server, "trusted_proxies")),
    }
    lines.value("compress", &config.compression.is_on, &origin(&document.server, "compress"));
    match &config.compression.cache {
        Some(cache) => lines.path("cache", &path(cache), &origin(&document.server, "cache")),
        None => lines.unset("cache"),
    }
    let size = quoted(&size(config.compression.size));
    lines.value("cache_size", &size, &origin(&document.server, "cache_size"));
    if let Some(pairs) = files(&document.server) {
        lines.path("certificate", &certificate(&pairs), &origin(&document.server, "certificate"));
    } else if let Some((word, _)) = document.server.text("certificate") {
        lines.value("certificate", &quoted(word), &origin(&document.server, "certificate"));
    }
    lines.pages(&config.pages, &[&document.server]);

    for (number, listener) in config.listeners.iter().enumerate() {
        lines.listener(listener, document.listeners.get(number), &document.server);
    }
    for (site, section) in config.sites.iter().zip(&document.sites) {
        lines.site(site, section, &document.server);
    }
    if let Some(acme) = &config.acme {
        lines.acme(acme, &document.acme, merged);
    }
    lines.log(&config.log, &document.log);
    if config.admin_socket.is_some() || config.admin_listen.is_some() {
        lines.header("[admin]", &document.admin.place.to_string());
    }
    if let Some(socket) = &config.admin_socket {
        lines.path("socket", &path(socket), &origin(&document.admin, "socket"));
    }
    if let Some(listen) = &config.admin_listen {
        lines.path("listen", &endpoint(listen), &origin(&document.admin, "listen"));
    }
    lines.text
}

/// The lines of the file.
struct Lines {
    text: String,
}

impl Lines {
    fn header(&mut self, name: &str, origin: &str) {
        self.text.push('\n');
        self.line(name, origin);
    }

    fn value(&mut self, name: &str, value: &dyn Display, origin: &str) {
        self.line(&format!("{name} = {value}"), origin);
    }

    /// Adds a value that has paths.
    fn path(&mut self, name: &str, value: &PathValue, origin: &str) {
        let PathValue { text, is_exact } = value;
        match is_exact {
            true => self.value(name, text, origin),
            false => self.line(&format!("# {name} cannot be written in TOML: {text} is not UTF-8"), origin),
        }
    }

    fn unset(&mut self, name: &str) {
        self.line(&format!("# {name}: not set"), DEFAULT);
    }

    fn line(&mut self, text: &str, origin: &str) {
        // Writing to a String cannot fail.
        let _ = match origin {
            "" => writeln!(self.text, "{text}"),
            _ => writeln!(self.text, "{text:<COLUMN$} # {origin}"),
        };
    }

    /// Adds pages, each with the first of the tables that has it.
    fn pages(&mut self, pages: &Pages, tables: &[&Section]) {
        for (name, page) in [("500", &pages.error), ("503", &pages.unavailable)] {
            let Some(page) = page else { continue };
            let entry = tables.iter().find_map(|table| table.table("pages")?.entry(name));
            let origin = entry.map_or_else(String::new, |entry| entry.place.to_string());
            self.path(&format!("pages.{name}"), &path(page), &origin);
        }
    }

    /// Adds a listener; without a table of its own it is the default one.
    fn listener(&mut self, listener: &ListenerConfig, section: Option<&Section>, server: &Section) {
        let place = section.map_or_else(|| DEFAULT.to_owned(), |section| section.place.to_string());
        self.header("[[listen]]", &place);
        let addresses = listener.addresses.iter().map(|listen| address(*listen));
        let paths = listener.paths.iter().map(|path| format!("{UNIX}{}", path.display()));
        let passed = listener.passed.iter().map(|path| format!("{PASSED}{}", path.display()));
        let all = addresses.chain(listener.sockets.iter().map(SocketName::address)).chain(paths);
        let all = all.chain(passed);
        let texts: Vec<String> = all.map(|text| quoted(&text)).collect();
        let of = |name: &str| section.map_or_else(|| DEFAULT.to_owned(), |section| origin(section, name));
        self.value("address", &list(&texts), &of("address"));
        match listener.role {
            ListenerRole::Https => {}
            ListenerRole::RedirectToHttps => self.value("redirect", &"\"https\"", &of("redirect")),
            ListenerRole::Plain if section.is_some_and(|section| section.has("tls")) => {
                self.value("tls", &"\"off\"", &of("tls"));
            }
            ListenerRole::Plain => {
                let place = server.entry("tls").map(|entry| entry.place.to_string());
                self.value("tls", &"\"off\"", &place.unwrap_or_else(|| "'tls' of [server]".to_owned()));
            }
        }
        if let Some(mode) = listener.mode {
            self.value("mode", &format!("\"{mode:04o}\""), &of("mode"));
        }
        if !listener.proxies.is_empty() {
            self.value("proxy_protocol", &networks(&listener.proxies), &of("proxy_protocol"));
        }
    }

    fn site(&mut self, site: &SiteConfig, section: &Section, server: &Section) {
        let of = |name: &str| origin(section, name);
        self.header("[[site]]", &section.place.to_string());
        if !site.hosts.is_empty() {
            let hosts: Vec<String> = site.hosts.iter().map(|host| quoted(host)).collect();
            self.value("hosts", &list(&hosts), &of("hosts"));
        }
        self.value("default", &site.is_default, &of("default"));
        match &site.content {
            SiteContent::Root { path: root, options, watch } => {
                self.path("root", &path(root), &of("root"));
                self.root(options, *watch, section);
            }
            SiteContent::Redirect { to, status } => {
                self.value("redirect_to", &quoted(to), &of("redirect_to"));
                self.value("redirect_status", status, &of("redirect_status"));
            }
        }
        if let Some(canonical) = &site.canonical {
            self.value("canonical", &quoted(canonical), &of("canonical"));
        }
        let of_certificate = match server.entry("certificate") {
            Some(entry) if !section.has("certificate") => entry.place.to_string(),
            _ => of("certificate"),
        };
        match &site.certificates {
            Certificates::Local => self.value("certificate", &"\"local\"", &of_certificate),
            Certificates::Acme(options) => {
                self.value("certificate", &"\"acme\"", &of_certificate);
                self.options_of_site(options, section);
            }
            Certificates::Files(files) => self.path("certificate", &certificate(files), &of_certificate),
            Certificates::None => {}
        }
        if let Some(hsts) = &site.hsts {
            self.value("hsts", &quoted(hsts), &of("hsts"));
        }
        self.pages(&site.pages, &[section, server]);
        if let Some(file) = &site.client_ca {
            self.path("client_ca", &path(file), &of("client_ca"));
        }
        self.access(&site.access, section);
        if let Some(log) = &site.log {
            self.path("access_log", &target(log), &of("access_log"));
        }
    }

    /// Adds the access log, if there is one for all sites, and the form of the event log.
    fn log(&mut self, log: &LogConfig, section: &Section) {
        let place = section.entries.first().map_or_else(|| DEFAULT.to_owned(), |_| section.place.to_string());
        self.header("[log]", &place);
        let of = |name: &str| origin(section, name);
        self.path("access", &target(&log.target), &of("access"));
        let Style { format, addresses, sample } = &log.style;
        self.value("format", &word(*format).unwrap_or_default(), &of("format"));
        self.value("addresses", &word(*addresses).unwrap_or_default(), &of("addresses"));
        let classes = sample.0.iter().enumerate().filter(|(_, every)| **every > 0);
        let classes: Vec<String> = classes.map(|(at, every)| format!("{}xx = {every}", at + 1)).collect();
        if classes.is_empty() {
            self.unset("sample");
        } else {
            self.value("sample", &format!("{{ {} }}", classes.join(", ")), &of("sample"));
        }
        self.value("events", &word(log.events).unwrap_or_default(), &of("events"));
    }

    /// Adds who may ask for a site.
    fn access(&mut self, access: &AccessConfig, section: &Section) {
        let of = |name: &str| origin(section, name);
        if let Some(users) = &access.users {
            self.path("users", &path(users), &of("users"));
            self.value("realm", &quoted(&access.realm), &of("realm"));
        }
        if let Some(allow) = &access.allow {
            self.value("allow", &networks(allow), &of("allow"));
        }
        if !access.deny.is_empty() {
            self.value("deny", &networks(&access.deny), &of("deny"));
        }
        if let Some(RateConfig { text, burst, .. }) = &access.rate {
            self.value("rate", &quoted(text), &of("rate"));
            self.value("burst", burst, &of("burst"));
        }
    }

    fn root(&mut self, options: &Options, watch: Watch, section: &Section) {
        let of = |name: &str| origin(section, name);
        if let Some(prefix) = &options.prefix {
            self.value("prefix", &quoted(prefix), &of("prefix"));
        }
        self.value("follow_links", &options.follow_links, &of("follow_links"));
        self.value("serve_config_files", &options.config_files, &of("serve_config_files"));
        self.value("watch", &(watch != Watch::Off), &of("watch"));
        if let Watch::Poll(every) = watch {
            self.value("poll", &quoted(&duration(every)), &of("poll"));
        }
        self.value("listing", &options.listing, &of("listing"));
    }
}

/// Returns the place of a key, or that its default is in force.
fn origin(section: &Section, name: &str) -> String {
    section.entry(name).map_or_else(|| DEFAULT.to_owned(), |entry| entry.place.to_string())
}

/// Returns the certificate files of a table.
fn files(section: &Section) -> Option<Vec<CertificateFiles>> {
    let pairs = section.tables("certificate");
    (!pairs.is_empty()).then(|| pairs.iter().filter_map(super::sites::files).collect())
}

/// Returns the value of a key of `[server]` as the file writes it; `None` where it has none.
fn value(key: &str, settings: &Settings) -> Option<String> {
    Some(match key {
        "tls" => word(settings.tls)?,
        "min_tls" => word(settings.min_tls?)?,
        "http2" => (!settings.no_http2).to_string(),
        "engine" => word(settings.engine)?,
        "spin" => quoted(&duration(settings.spin?)),
        "sandbox" => word(settings.sandbox)?,
        "shards" => settings.shards?.to_string(),
        "connections" => settings.connections?.to_string(),
        "memory" => quoted(&size(settings.memory)),
        "handshake_seconds" => settings.handshake_seconds.to_string(),
        "head_seconds" => settings.head_seconds.to_string(),
        "idle_seconds" => settings.idle_seconds.to_string(),
        "send_seconds" => settings.send_seconds.to_string(),
        "stop_seconds" => settings.stop_seconds.to_string(),
        _ => return None,
    })
}

fn word<T: Word + PartialEq>(value: T) -> Option<String> {
    T::WORDS.iter().find(|(_, other, _)| *other == value).map(|(word, ..)| quoted(word))
}

fn duration(time: Duration) -> String {
    match time.as_micros() {
        micros if micros % 1_000_000 == 0 => format!("{}s", micros / 1_000_000),
        micros if micros % 1000 == 0 => format!("{}ms", micros / 1000),
        micros => format!("{micros}us"),
    }
}

fn size(mib: u32) -> String {
    if mib > 0 && mib.is_multiple_of(1024) { format!("{} GiB", mib / 1024) } else { format!("{mib} MiB") }
}

/// Returns an address as the file writes it.
pub(crate) fn address(listen: Listen) -> String {
    match listen {
        Listen::Port(port) => format!(":{port}"),
        Listen::Localhost(port) => format!("localhost:{port}"),
        Listen::Address(socket) => socket.to_string(),
    }
}

/// A value that has paths.
struct PathValue {
    text: String,
    /// All paths are UTF-8, so the text says what they are.
    is_exact: bool,
}

fn certificate(files: &[CertificateFiles]) -> PathValue {
    let mut is_exact = true;
    let mut pair = |files: &CertificateFiles| {
        let (chain, key) = (path(&files.chain), path(&files.key));
        is_exact &= chain.is_exact && key.is_exact;
        format!("{{ chain = {}, key = {} }}", chain.text, key.text)
    };
    let pairs: Vec<String> = files.iter().map(&mut pair).collect();
    PathValue { text: list(&pairs), is_exact }
}

/// Returns one value alone, and others as an array.
fn list(values: &[String]) -> String {
    match values {
        [value] => value.clone(),
        _ => format!("[{}]", values.join(", ")),
    }
}

fn array(texts: &[impl AsRef<str>]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text.as_ref())).collect();
    list(&texts)
}

fn networks(all: &[Network]) -> String {
    let texts: Vec<String> = all.iter().map(|network| quoted(&network.to_string())).collect();
    list(&texts)
}

fn target(log: &LogTarget) -> PathValue {
    let word = match &log.target {
        Target::Off => "off",
        Target::Stdout => "stdout",
        Target::Journal => "journal",
        Target::File(file) => return path(file),
    };
    PathValue { text: quoted(word), is_exact: true }
}

fn path(path: &Path) -> PathValue {
    PathValue { text: quoted(&path.to_string_lossy()), is_exact: path.to_str().is_some() }
}

/// Returns the address of the numbers as it would be written.
fn endpoint(endpoint: &Endpoint) -> PathValue {
    match endpoint {
        Endpoint::Unix(path) | Endpoint::Passed(path) => {
            let text = format!("{UNIX}{}", path.to_string_lossy());
            PathValue { text: quoted(&text), is_exact: path.to_str().is_some() }
        }
        Endpoint::Tcp(address) => PathValue { text: quoted(&address.to_string()), is_exact: true },
    }
}

/// Returns a basic string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
