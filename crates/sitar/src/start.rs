//! The report of `sitar serve` at its start: pure functions from values to text.
//!
//! The report names what runs and, where something better exists or is planned, why it is not used.
//! Nothing here looks at the machine, so every line is tested as it is printed.

use std::fmt::{self, Display, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::printable;
use crate::identity::Origin;
use crate::sandbox::Layers;
use crate::serve::serving::{Serving, serving};
use crate::trust::shell_word;
use crate::watch::Watching;
use sitar_engines::Engine;
use sitar_engines::polling::Polling;
use sitar_publish::Unencoded;
use sitar_server::TlsOffload;
use sitar_site::Printable;

/// Warnings that are printed; more are counted.
pub(crate) const WARNINGS_MAX: usize = 10;
/// Names of a certificate, and addresses made of them, that are printed.
const NAMES_SHOWN: usize = 4;

/// Everything that is known at start.
#[derive(Debug, Clone)]
pub struct Report {
    /// The program's version.
    pub version: &'static str,
    /// The addresses that are listened on; real ports.
    pub addresses: Vec<SocketAddr>,
    /// Addresses that were wanted but that this machine does not have.
    pub skipped: Vec<SocketAddr>,
    /// The encryption that clients see on these addresses.
    pub encryption: Encryption,
    /// Whether the kernel seals records.
    pub offload: TlsOffload,
    /// The engine that moves the bytes.
    pub engine: Engine,
    /// Number of shards.
    pub shards: usize,
    /// The sandbox.
    pub sandbox: Layers,
    /// The kind of the site.
    pub content: Content,
    /// The way in which changes of it are noticed; `None`: it cannot change.
    pub watching: Option<Watching>,
    /// Number of files in it.
    pub files: usize,
    /// Files that are sent as they are and need not be; `None`: a pack, or the handbook.
    pub unencoded: Option<Unencoded>,
    /// Warnings about the site.
    pub warnings: Vec<String>,
}

/// The encryption that clients see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// HTTPS with the certificate made on this machine.
    Local {
        /// SHA-256 fingerprint of the server's certificate.
        fingerprint: String,
        /// The authority's certificate.
        ca: PathBuf,
        /// The origin of the identity.
        origin: Origin,
    },
    /// HTTPS with the operator's certificates.
    Certificates(Vec<Certificate>),
    /// Plain HTTP.
    Plain,
}

/// One of the operator's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The file it came from.
    pub path: PathBuf,
    /// The names and IP addresses it is good for.
    pub names: Vec<String>,
    /// SHA-256 fingerprint.
    pub fingerprint: String,
}

/// The kind of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The handbook.
    Handbook,
    /// An archive.
    Archive(PathBuf),
    /// An archive with an index that is used.
    Pack(PathBuf),
    /// A directory.
    Directory(PathBuf),
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sitar {}", self.version)?;
        let mut label = "address";
        for url in urls(&self.addresses, &self.encryption) {
            line(f, label, &url)?;
            label = "";
        }
        line(f, "listens", &addresses(&self.addresses))?;
        line(f, "engine", &Described(&self.engine))?;
        line(f, "sealer", &sealer(self.encryption != Encryption::Plain, self.offload))?;
        line(f, "shards", &self.shards)?;
        line(f, "sandbox", &self.sandbox)?;
        line(f, "site", &self.content)?;
        line(f, "files", &self.files)?;
        if let Some(unencoded) = &self.unencoded {
            line(f, "encoding", &encoding(unencoded))?;
        }
        if let Some(watching) = &self.watching {
            line(f, "watch", watching)?;
        }
        self.encryption_lines(f)?;
        self.warning_lines(f)
    }
}

impl Report {
    /// Returns the report as events.
    pub(crate) fn serving(&self) -> Serving {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let event = serving(addresses, 1)
            .with("site", self.content.to_string())
            .with("files", self.files)
            .with("engine", Described(&self.engine).to_string())
            .with("sealer", sealer(self.encryption != Encryption::Plain, self.offload))
            .with("shards", self.shards)
            .with("sandbox", self.sandbox.to_string());
        Serving { event, warnings: self.warnings.clone() }
    }

    fn encryption_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.encryption {
            Encryption::Local { fingerprint, ca, .. } => {
                line(f, "cert", &"made on this machine, for localhost only")?;
                line(f, "", &format_args!("SHA-256 {fingerprint}"))?;
                line(f, "try", &curl(ca, &self.addresses))?;
                line(
                    f,
                    "trust",
                    &"sitar trust lets this user's browsers accept it; sitar untrust takes that back",
                )
            }
            Encryption::Certificates(certificates) => {
                for Certificate { path, names, fingerprint } in certificates {
                    line(f, "cert", &format_args!("{} ({})", printable(path), names_text(names)))?;
                    line(f, "", &format_args!("SHA-256 {fingerprint}"))?;
                }
                Ok(())
            }
            Encryption::Plain => Ok(()),
        }
    }

    fn warning_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Encryption::Local { origin: Origin::Renewed(why), .. } = &self.encryption {
            line(
                f,
                "warning",
                &format_args!(
                    "new certificate and authority, because {why}; where it was trusted, run sitar trust again"
                ),
            )?;
        }
        if self.encryption == Encryption::Plain
            && self.addresses.iter().any(|address| !address.ip().is_loopback())
        {
            line(f, "warning", &"others can reach this address, and nothing is encrypted (--tls off)")?;
        }
        if let Engine::SqPoll(Polling { cores, .. }) = &self.engine
            && self.shards.saturating_mul(2) > cores.count
        {
            line(
                f,
                "warning",
                &format_args!(
                    "{} with a polling thread each on {} cores get in each other's way: they would need {}",
                    count(self.shards, "shard"),
                    cores.count,
                    self.shards.saturating_mul(2)
                ),
            )?;
        }
        for address in &self.skipped {
            line(
                f,
                "warning",
                &format_args!("not listening on {address}: this machine does not have that address"),
            )?;
        }
        for port in ipv6_only(&self.addresses, &self.skipped) {
            line(
                f,
                "warning",
                &format_args!(
                    "[::]:{port} takes IPv6 only: IPv4 clients cannot connect; for both: --listen '[::]:{port}' --listen \
                     0.0.0.0:{port}"
                ),
            )?;
        }
        for warning in unnamed(&self.addresses, &self.encryption) {
            line(f, "warning", &Printable(&warning))?;
        }
        for warning in self.warnings.iter().take(WARNINGS_MAX) {
            line(f, "warning", &Printable(warning))?;
        }
        match self.warnings.len().saturating_sub(WARNINGS_MAX) {
            0 => Ok(()),
            more => line(f, "warning", &format_args!("and {more} more")),
        }
    }
}

/// The addresses as a person types them into a browser: `https://localhost:8443/` for loopback, no
/// default port. Where others can connect, a certificate of the operator's own says by which names
/// they come.
#[must_use]
pub fn urls(addresses: &[SocketAddr], encryption: &Encryption) -> Vec<String> {
    let mut urls = Vec::new();
    for address in addresses {
        for host in hosts(address.ip(), encryption) {
            let url = url(&host, address.port(), encryption);
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}

fn url(host: &str, port: u16, encryption: &Encryption) -> String {
    let (scheme, default_port) = if *encryption == Encryption::Plain { ("http", 80) } else { ("https", 443) };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == default_port { format!("{scheme}://{host}/") } else { format!("{scheme}://{host}:{port}/") }
}

/// The names by which an address is reached.
fn hosts(ip: IpAddr, encryption: &Encryption) -> Vec<String> {
    // An unspecified address is every address of this machine; localhost is the one that is known
    // by name.
    let is_localhost = ip.is_unspecified() || ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST;
    let plain = if is_localhost { "localhost".to_owned() } else { ip.to_string() };
    let Encryption::Certificates(certificates) = encryption else { return vec![plain] };
    if is_named(&plain, certificates) {
        return vec![plain];
    }
    if ip.is_loopback() {
        // Only programs of this machine come this way.
        let by_number = ip.to_string();
        return vec![if is_named(&by_number, certificates) { by_number } else { plain }];
    }
    let is_usable = |name: &&String| {
        name.parse::<IpAddr>().map_or(true, |named| ip.is_unspecified() && !named.is_loopback())
    };
    let all = certificates.iter().flat_map(|certificate| &certificate.names).filter(is_usable);
    let (wildcards, exact): (Vec<&String>, Vec<&String>) = all.partition(|name| name.starts_with("*."));
    let mut names: Vec<String> = Vec::new();
    for name in if exact.is_empty() { wildcards } else { exact } {
        if !names.contains(name) && names.len() < NAMES_SHOWN {
            names.push(name.clone());
        }
    }
    if names.is_empty() { vec![plain] } else { names }
}

/// Returns whether a client that asks for this host is shown a certificate that names it. Of
/// several certificates, a client that gives no name because it has a number only is shown the
/// first.
fn is_named(host: &str, certificates: &[Certificate]) -> bool {
    let among = if host.parse::<IpAddr>().is_ok() { 1 } else { certificates.len() };
    let parent = host.split_once('.').map(|(_, parent)| parent);
    certificates
        .iter()
        .take(among)
        .flat_map(|certificate| &certificate.names)
        .any(|name| name == host || name.strip_prefix("*.").is_some_and(|wildcard| parent == Some(wildcard)))
}

/// Returns the ports on which every address of IPv6 is listened on and none of IPv4: elsewhere
/// `[::]` often means both.
fn ipv6_only(addresses: &[SocketAddr], skipped: &[SocketAddr]) -> Vec<u16> {
    let every = |address: &&SocketAddr| address.is_ipv6() && address.ip().is_unspecified();
    let has_ipv4 =
        |port: u16| addresses.iter().chain(skipped).any(|other| other.is_ipv4() && other.port() == port);
    addresses.iter().filter(every).map(SocketAddr::port).filter(|port| !has_ipv4(*port)).collect()
}

/// A sentence for each address that is printed and that no certificate names, with how to try the
/// server by a name that one does.
fn unnamed(addresses: &[SocketAddr], encryption: &Encryption) -> Vec<String> {
    let Encryption::Certificates(certificates) = encryption else { return Vec::new() };
    let Some(first) = certificates.first() else { return Vec::new() };
    // One without any name is warned of by itself.
    let Some(name) = first.names.first() else { return Vec::new() };
    let mut sentences = Vec::new();
    for address in addresses {
        for host in hosts(address.ip(), encryption) {
            if is_named(&host, certificates) {
                continue;
            }
            let to = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
                IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
                IpAddr::V6(ip) => format!("[{ip}]"),
                IpAddr::V4(ip) => ip.to_string(),
            };
            let tried = url(&name.replace('*', "www"), address.port(), encryption);
            let sentence = format!(
                "the certificate is good for {}, not for {host}: clients refuse {}; try it by name: curl --connect-to '::{to}:' {tried}",
                names_text(&first.names),
                url(&host, address.port(), encryption)
            );
            if !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
        }
    }
    sentences
}

/// The line that fetches the start page with the local certificate, ready for a POSIX shell. The
/// local certificate is only ever used for localhost, so the URL needs no quotes.
#[must_use]
pub fn curl(ca: &Path, addresses: &[SocketAddr]) -> String {
    let local = Encryption::Local { fingerprint: String::new(), ca: PathBuf::new(), origin: Origin::Reused };
    let all = urls(addresses, &local);
    let url = all.first().map_or("https://localhost:8443/", String::as_str);
    format!("curl --cacert {} {url}", shell_word(ca))
}

/// An engine, described for an operator.
pub(crate) struct Described<'e>(pub(crate) &'e Engine);

impl Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Engine::Uring => {
                f.write_str("io_uring (batched; --engine sqpoll needs no system calls, but a core per shard)")
            }
            Engine::SqPoll(Polling { spin, pollers, .. }) => {
                f.write_str(match pollers.len() {
                    0 => "io_uring with polling threads on any CPU",
                    1 => "io_uring with a polling thread on CPU ",
                    _ => "io_uring with polling threads on CPUs ",
                })?;
                let list = pollers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "{list} (no system calls while busy; watches for {spin:?} before it sleeps)")
            }
            Engine::Epoll(Some(because)) => write!(f, "epoll, because {}", Printable(&because.to_string())),
            Engine::Epoll(None) => {
                f.write_str("epoll (--engine epoll; where io_uring is allowed, it needs fewer system calls)")
            }
        }
    }
}

impl Display for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Watching::Events => f.write_str(
                "on: what changes is served 0.1 s after the last write (--no-watch: only after SIGHUP)",
            ),
            Watching::Both { every, why } => write!(
                f,
                "on: by the kernel's events, and by looking every {} or less often, because {}",
                human(*every),
                Printable(why)
            ),
            Watching::Polls { every, why } => {
                write!(f, "by looking every {} or less often, because {}", human(*every), Printable(why))
            }
            Watching::Off => f.write_str("off (--no-watch): SIGHUP reads the site again"),
        }
    }
}

impl Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Handbook => {
                f.write_str("the built-in handbook; name a directory or a tar to serve it: sitar serve PATH")
            }
            Content::Archive(path) => write!(f, "{} (tar)", printable(path)),
            Content::Pack(path) => write!(f, "{} (pack)", printable(path)),
            Content::Directory(path) => write!(f, "{} (directory)", printable(path)),
        }
    }
}

/// Returns what is said of who seals.
pub(crate) fn sealer(speaks_tls: bool, offload: TlsOffload) -> &'static str {
    match (speaks_tls, offload) {
        (false, _) => "none: plain HTTP (--tls off)",
        (_, TlsOffload::None) => "user space (--tls kernel leaves it to the kernel, where that has TLS)",
        (_, TlsOffload::Kernel { rekey: true }) => "the kernel for TLS 1.3, user space for TLS 1.2",
        (_, TlsOffload::Kernel { rekey: false }) => {
            "the kernel for TLS 1.3 (before 6.14 it takes one key only: connections that need another end), user space for TLS 1.2"
        }
    }
}

/// Returns the line for a site in which only some files lie encoded beside others.
fn encoding(unencoded: &Unencoded) -> String {
    let Unencoded { files, sampled, saved } = *unencoded;
    let nothing = "serving encodes nothing";
    let go_out = match files {
        0 => return format!("{nothing}; what lies encoded beside a file is sent for it"),
        1 => "1 file goes out as it is".to_owned(),
        _ => format!("{files} files go out as they are"),
    };
    if saved < 5 {
        return format!("{nothing}; {go_out}, and sitar pack would save little");
    }
    format!("{nothing}; {go_out}; sitar pack would save about {saved} % of that (estimated from {sampled})")
}

fn addresses(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns the names of a certificate for a message, the first of them.
pub(crate) fn names_text(names: &[String]) -> String {
    let mut text =
        names.iter().take(NAMES_SHOWN).map(|name| Printable(name).to_string()).collect::<Vec<_>>().join(", ");
    if let more @ 1.. = names.len().saturating_sub(NAMES_SHOWN) {
        let _ = write!(text, " and {more} more");
    }
    if text.is_empty() { "no names".to_owned() } else { text }
}

/// Writes a time in whole seconds where it is some, else in milliseconds.
fn human(time: Duration) -> String {
    match time.as_millis() {
        millis if millis.is_multiple_of(1000) => format!("{} s", millis / 1000),
        millis => format!("{millis} ms"),
    }
}

pub(crate) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn line(f: &mut fmt::Formatter<'_>, label: &str, value: &dyn Display) -> fmt::Result {
    writeln!(f, "  {label:<8} {value}")
}

#[cfg(test)]
mod tests;
