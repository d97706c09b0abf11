//! The configuration file: what it says, as plain values, and every mistake in it.
//!
//! [`read`] reads a file and what it includes, merges `[server]` with flags and variables, and
//! returns either a [`Config`] whose values are in order, or all problems of the run with their
//! places. What only opening can tell (sites, certificates, pages, addresses) is not looked at
//! here.

use std::collections::HashSet;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sitar_server::{Network, Rate};
use sitar_site::Options;

use crate::error::Error;
use crate::events;
use crate::listen::Endpoint;
use crate::log::Style;
use crate::log::format::Addresses;
use crate::settings::merge::Given;
use crate::settings::{CertificateFiles, ConfigFile, Listen, Settings, SocketName};
use crate::watch::Watch;

mod access;
pub(crate) mod acme;
mod command;
mod document;
mod foreign;
mod host;
mod include;
mod init;
pub(crate) mod keys;
mod listeners;
mod load;
mod log;
mod loops;
mod nearest;
mod networks;
mod problems;
#[doc(hidden)]
pub mod properties;
mod schema;
mod section;
mod server;
mod show;
mod sites;
mod source;
mod texts;

pub use self::acme::{AcmeConfig, AcmeOptions, AuthorityConfig, EabConfig};
pub use self::command::{refused, run};
pub(crate) use self::show::{address, quoted};

/// The file that is read where none is named.
pub const DEFAULT_FILE: &str = "/etc/sitar/sitar.toml";

/// The name of the file that stands for the command line. Its lines name the flags that they come
/// from, behind a `#`.
pub(crate) const FLAGS: &str = "command line";

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Flags, variables, `[server]` and defaults, merged. The fields that concern one site or one
    /// address are blank.
    pub settings: Settings,
    /// The user that a worker becomes; `None`: it stays who started sitar.
    pub user: Option<String>,
    /// A site that cannot be opened at start is an error.
    pub strict: bool,
    /// The proxies whose fields Forwarded and X-Forwarded-For are believed, for limits.
    pub trusted_proxies: Vec<Network>,
    /// Whether, and where, encodings of sites are kept.
    pub compression: Compression,
    /// The server's pages, which each site has already where it has none of its own.
    pub pages: Pages,
    /// The listeners in the order of the files; never empty.
    pub listeners: Vec<ListenerConfig>,
    /// The sites in the order of the files; never empty.
    pub sites: Vec<SiteConfig>,
    /// How certificates are ordered; `None`: no site wants one, and there is no `[acme]`.
    pub acme: Option<AcmeConfig>,
    /// The access log.
    pub log: LogConfig,
    /// The path of the admin socket; `None`: there is none.
    pub admin_socket: Option<PathBuf>,
    /// Where the numbers are served: an address of TCP or a Unix socket. `None`: nowhere.
    pub admin_listen: Option<Endpoint>,
}

impl Config {
    /// Returns whether the addresses of clients have to be known: for networks, rates, the limit on
    /// wrong passwords, access logs, and to tell proxies from others.
    #[must_use]
    pub fn needs_peers(&self) -> bool {
        let is_logged =
            self.log.style.addresses != Addresses::None && !self.log.targets(&self.sites).is_empty();
        is_logged
            || self.sites.iter().any(|site| site.access.needs_peers())
            || self.listeners.iter().any(|listener| !listener.proxies.is_empty())
    }

    /// Returns the number of sites and access logs, which have descriptors of their own.
    pub(crate) fn opened(&self) -> usize {
        self.sites.len() + self.log.targets(&self.sites).len()
    }

    /// Returns whether an access log goes to standard output.
    pub(crate) fn logs_to_stdout(&self) -> bool {
        self.log.targets(&self.sites).iter().any(|one| one.target == Target::Stdout)
    }

    /// Returns the number of sockets over which other processes pass connections.
    pub(crate) fn passed(&self) -> usize {
        self.listeners.iter().map(|listener| listener.passed.len()).sum()
    }
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Where records go, of answers that no site gives, and of sites that say nothing else.
    pub target: LogTarget,
    /// How they are written.
    pub style: Style,
    /// The form of the event log.
    pub events: events::Form,
}

impl LogConfig {
    /// Returns where records of a configuration go, each target once.
    pub(crate) fn targets<'c>(&'c self, sites: &'c [SiteConfig]) -> Vec<&'c LogTarget> {
        let mut known = HashSet::new();
        let all = iter::once(&self.target).chain(sites.iter().filter_map(|site| site.log.as_ref()));
        all.filter(|one| one.target != Target::Off && known.insert(&one.target)).collect()
    }
}

/// Where the records of an access log go, and the place that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTarget {
    /// Where they go.
    pub target: Target,
    /// The place of the value; of the table where there is none.
    pub place: Place,
}

/// Where the records of an access log go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Target {
    /// There are none.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// journald.
    Journal,
    /// A file.
    File(PathBuf),
}

/// Encodings of sites that are folders or plain archives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// Whether they are made.
    pub is_on: bool,
    /// The folder that they are kept in; `None`: the usual one of the user that starts sitar.
    pub cache: Option<PathBuf>,
    /// MiB that they may take there.
    pub size: u32,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named or as an `include` found it.
    pub file: Arc<Path>,
    /// The line, from 1; 0 stands for the file as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0 stands for the file as a whole.
    pub column: usize,
}

/// A `[[listen]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerConfig {
    /// The place of its header; of the file where the default listener has none.
    pub place: Place,
    /// The addresses; with `sockets`, `paths` and `passed`, never empty. [`Listen::Port`] is every
    /// address of the machine here, IPv6 and IPv4, whatever the certificates are.
    pub addresses: Vec<Listen>,
    /// The sockets that systemd passes.
    pub sockets: Vec<SocketName>,
    /// The paths of Unix sockets.
    pub paths: Vec<PathBuf>,
    /// The paths of Unix sockets over which another process passes connections.
    pub passed: Vec<PathBuf>,
    /// The permissions of these; `None`: those of [`ListenerConfig::MODE`] and
    /// [`ListenerConfig::PASSED_MODE`].
    pub mode: Option<u32>,
    /// The proxies that send a header of the PROXY protocol.
    pub proxies: Vec<Network>,
    /// What is served there.
    pub role: ListenerRole,
}

impl ListenerConfig {
    /// The permissions of a Unix socket of which the file does not say any.
    pub const MODE: u32 = 0o660;
    /// The same where connections are passed.
    pub const PASSED_MODE: u32 = 0o600;
}

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerRole {
    /// HTTPS.
    Https,
    /// Plain HTTP, for instance behind a proxy that terminates TLS.
    Plain,
    /// Plain HTTP that answers with redirects to https only, ACME challenges excepted.
    RedirectToHttps,
}

/// A `[[site]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteConfig {
    /// The place of its header.
    pub place: Place,
    /// The names that it answers to: in lower case, as A-labels. `*.` at the front stands for one
    /// label. An IPv6 address has no brackets. Empty: the only site, or the default one.
    pub hosts: Vec<String>,
    /// It answers to names that no site has.
    pub is_default: bool,
    /// What it serves.
    pub content: SiteContent,
    /// The one of `hosts` to which the others redirect.
    pub canonical: Option<String>,
    /// Its certificates.
    pub certificates: Certificates,
    /// The value of its field Strict-Transport-Security, which the options of a root have, too.
    pub hsts: Option<String>,
    /// Its pages for errors.
    pub pages: Pages,
    /// The file with the certificates that certify its clients; `None`: they need none.
    pub client_ca: Option<PathBuf>,
    /// Who may ask for it.
    pub access: AccessConfig,
    /// Where records of its answers go; `None`: where `[log]` says.
    pub log: Option<LogTarget>,
}

/// The conditions under which requests for a site are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessConfig {
    /// A file of users; `None`: everyone.
    pub users: Option<PathBuf>,
    /// The name of what these protect.
    pub realm: String,
    /// The only networks that are answered; `None`: all.
    pub allow: Option<Vec<Network>>,
    /// Networks that are not answered.
    pub deny: Vec<Network>,
    /// How often an address may ask; `None`: as often as it likes.
    pub rate: Option<RateConfig>,
}

impl AccessConfig {
    fn needs_peers(&self) -> bool {
        self.users.is_some() || self.allow.is_some() || !self.deny.is_empty() || self.rate.is_some()
    }
}

/// How often an address may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateConfig {
    /// As the file writes it.
    pub text: String,
    /// Requests at once.
    pub burst: u32,
    /// What both say.
    pub rate: Rate,
}

/// What a site serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteContent {
    /// A tar archive or a directory.
    Root {
        /// Its path.
        path: PathBuf,
        /// How it is opened.
        options: Options,
        /// How its changes are noticed.
        watch: Watch,
    },
    /// Redirects only.
    Redirect {
        /// An origin without a slash at its end, behind which the request's path and query are put;
        /// or a URL with a path, which is the whole target.
        to: String,
        /// 301, 302, 307 or 308.
        status: u16,
    },
}

/// The certificates of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificates {
    /// The one that sitar makes for this machine.
    Local,
    /// Those of an authority, with what the site says about them by itself. See
    /// [`Config::acme_plan`].
    Acme(AcmeOptions),
    /// The operator's own, of different key types; never empty.
    Files(Vec<CertificateFiles>),
    /// None, because no listener speaks TLS.
    None,
}

/// The operator's pages for errors of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pages {
    /// For 500.
    pub error: Option<PathBuf>,
    /// For 503.
    pub unavailable: Option<PathBuf>,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place.
    pub place: Place,
    /// The mistake, without a full stop.
    pub what: String,
    /// What may have been meant, or what to write.
    pub hint: Option<String>,
}

/// Reads a configuration: the file, what it includes, and the values that were given by flags and
/// variables for the keys of `[server]`.
///
/// # Errors
/// All problems that were found, files in the order in which they are read; never empty.
pub fn read(file: &Path, given: &[Given]) -> Result<Config, Vec<Problem>> {
    read_with_port(file, given, None)
}

/// The same, with the port of the default listener (`$PORT`), which only a configuration without
/// `[[listen]]` has.
///
/// # Errors
/// As for [`read`].
pub fn read_with_port(file: &Path, given: &[Given], port: Option<u16>) -> Result<Config, Vec<Problem>> {
    load::load(file, given, port).map(|loaded| loaded.config)
}

/// The files of a configuration as they were read: what another process reads it from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Texts(pub(crate) Vec<(PathBuf, String)>);

/// Reads a configuration, and returns the texts of its files with it.
///
/// # Errors
/// As for [`read`].
pub(crate) fn read_with_texts(file: &ConfigFile) -> Result<(Config, Texts), Vec<Problem>> {
    load::load_first(file).1.map(with_texts)
}

/// The same at a start, of which the event log has to know its form whatever becomes of it.
pub(crate) fn read_first(file: &ConfigFile) -> (events::Form, Result<(Config, Texts), Vec<Problem>>) {
    let (form, loaded) = load::load_first(file);
    (form, loaded.map(with_texts))
}

fn with_texts(loaded: load::Loaded) -> (Config, Texts) {
    let load::Loaded { config, document, .. } = loaded;
    let texts = document.texts.into_iter().map(|(path, text)| (path.to_path_buf(), text));
    (config, Texts(texts.collect()))
}

/// Reads a configuration from the texts of its files, without a look at any file.
///
/// # Errors
/// As for [`read`]; none where the texts were read without a problem.
pub(crate) fn read_texts(texts: &Texts, given: &[Given], port: Option<u16>) -> Result<Config, Vec<Problem>> {
    load::load_texts(texts, given, port).map(|loaded| loaded.config)
}

/// Reads the name of a host.
///
/// # Errors
/// The reason that it is none, and what to type: the end of a sentence.
pub(crate) fn host(text: &str) -> Result<String, String> {
    host::parse(text).map_err(|host::BadHost { why, instead }| match instead {
        Some(instead) => format!("{why}; did you mean {instead}?"),
        None => why.to_owned(),
    })
}

/// Returns the problem of something that cannot be opened, at the place that names it.
pub(crate) fn problem(place: &Place, error: &Error) -> Problem {
    let (what, causes, hints) = error.parts();
    let what = causes.iter().fold(what.to_owned(), |text, cause| text + ": " + cause);
    // Flags for one site or its addresses are refused beside a file.
    let is_of_use = |hint: &&String| !UNUSED_FLAGS.iter().any(|flag| hint.contains(flag));
    let hints: Vec<&str> = hints.iter().filter(is_of_use).map(String::as_str).collect();
    Problem { place: place.clone(), what, hint: Some(hints.join("; ")).filter(|hints| !hints.is_empty()) }
}

const UNUSED_FLAGS: [&str; 3] = ["--listen", "--tls-cert", "--tls-key"];

/// Returns a problem as an error.
pub(crate) fn error(problem: &Problem) -> Error {
    let error = Error::new(format!("{}: {}", problem.place, problem.what));
    problem.hint.iter().cloned().fold(error, Error::hint)
}

#[cfg(test)]
mod tests;
