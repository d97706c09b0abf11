//! The settings of `sitar serve` as plain values.
//!
//! Flags win over `SITAR_*` variables, and those over defaults; [`merge`](merge::merge) is the one
//! place that knows. No type of clap leaves this folder, and code that uses settings does not know
//! where they came from.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) mod definitions;
mod domain;
pub(crate) mod duration;
pub(crate) mod flags;
mod listen;
pub mod merge;
mod plan;
pub(crate) mod values;

use crate::config::Target;
use crate::events;
use crate::log::format::Format;
use crate::sandbox::Policy;

pub use self::listen::{Listen, ListenError, SocketName};
pub use self::plan::{Address, CertificateFiles, Plan, Security};
pub use self::values::{EngineChoice, MinTls, Tls};

/// The port that HTTPS is served on when nothing else is said.
pub const PORT_HTTPS: u16 = 8443;
/// The port that plain HTTP (`--tls off`) is served on when nothing else is said.
pub const PORT_HTTP: u16 = 8080;
/// The most shards that `--shards` accepts.
pub const SHARDS_MAX: u16 = 512;
/// The most `--listen` addresses, and the most certificates, that are accepted.
pub const REPEATS_MAX: usize = 64;

/// The configuration of `sitar serve`. The fields are named like the flags, which explain them; the
/// default of this type is a blank form, and [`merge`](merge::merge) fills it in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The site; `None`: the handbook.
    pub path: Option<PathBuf>,
    /// The configuration file, in the place of all fields that concern one site or its addresses;
    /// they are blank then, and the others are what flags and variables say.
    pub config: Option<ConfigFile>,
    /// Addresses to listen on; empty means the default.
    pub listen: Vec<Listen>,
    /// Certificate chains.
    pub tls_cert: Vec<PathBuf>,
    /// The n-th belongs to the n-th chain.
    pub tls_key: Vec<PathBuf>,
    /// The names that the site has in public, which certificates are ordered for.
    pub domain: Vec<String>,
    /// Addresses of plain HTTP that leads to them; empty means the default.
    pub listen_http: Vec<Listen>,
    /// Order from the authority that Let's Encrypt has for trials.
    pub acme_staging: bool,
    /// The URL of the authority's directory.
    pub acme_directory: Option<String>,
    /// Certificates that certify the authority's own server.
    pub acme_ca: Option<PathBuf>,
    /// The operator agrees to the terms of that authority.
    pub acme_agree_tos: bool,
    /// Where the authority may write to: URLs.
    pub acme_contact: Vec<String>,
    /// The identifier of the key of the external account binding.
    pub acme_eab_kid: Option<String>,
    /// The file with that key.
    pub acme_eab_key_file: Option<PathBuf>,
    /// The profile that certificates are ordered under.
    pub acme_profile: Option<String>,
    /// The program that changes records in the DNS.
    pub acme_dns_command: Option<PathBuf>,
    /// The folder for accounts, keys and certificates that were ordered.
    pub state: Option<PathBuf>,
    /// Whether TLS is spoken, and who seals.
    pub tls: Tls,
    /// The oldest version of TLS that is spoken.
    pub min_tls: Option<MinTls>,
    /// Speak HTTP/1 only.
    pub no_http2: bool,
    /// The I/O engine.
    pub engine: EngineChoice,
    /// The time for which a shard watches for completions before it sleeps.
    pub spin: Option<Duration>,
    /// The sandbox.
    pub sandbox: Policy,
    /// Number of shards.
    pub shards: Option<NonZeroU16>,
    /// The folder of the site that is served as its root.
    pub prefix: Option<String>,
    /// Serve what links lead to outside of the directory.
    pub follow_links: bool,
    /// Serve files that configure other hosts of sites.
    pub serve_config_files: bool,
    /// Answer with a listing where a folder has no page.
    pub listing: bool,
    /// Do not watch the site.
    pub no_watch: bool,
    /// Look for changes this far apart.
    pub poll: Option<Duration>,
    /// Connections of all shards together.
    pub connections: Option<NonZeroU32>,
    /// MiB for file contents.
    pub memory: u32,
    /// Time for a TLS handshake.
    pub handshake_seconds: u32,
    /// Time for a request to arrive.
    pub head_seconds: u32,
    /// Time between requests.
    pub idle_seconds: u32,
    /// Time for a client to take the next 64 KiB of an answer.
    pub send_seconds: u32,
    /// Time for answers under way when the server stops.
    pub stop_seconds: u32,
    /// Where the records of the access log go.
    pub access_log: Option<Target>,
    /// The format of the access log.
    pub log_format: Format,
    /// The form of the event log.
    pub log_events: events::Form,
    /// The port of the default address, from `$PORT`.
    pub default_port: Option<u16>,
}

/// A configuration file, and what was given beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigFile {
    /// The file.
    pub path: PathBuf,
    /// Values of flags and variables, which win over the file.
    pub given: Vec<merge::Given>,
    /// The port of the default address, from `$PORT`.
    pub port: Option<u16>,
    /// The text in the place of a file's, where flags say what a file would.
    pub text: Option<String>,
}

#[cfg(test)]
mod tests;
