//! The command line: `sitar <verb> [PATH]`.
//!
//! Precedence is flag, then `SITAR_*` variable, then `$PORT` (for the port of the default address), then the
//! default. What clap can refuse by itself ends with exit code 2; so do the rules between flags, checked in
//! [`parse`]. What can only be refused by looking at the meaning ([`Serve::plan`]) ends with exit code 1.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::check::Check;
use crate::error::Error;
use crate::watch::Watch;

mod advice;
mod doctor;
mod duration;
mod listen;
mod pack;
mod values;
mod variables;

pub(crate) use advice::instead_of_site;
pub use doctor::Doctor;
pub use listen::{Listen, ListenError};
pub use pack::Pack;
pub use values::{Engine, MinTls, Tls};
use variables::Sources;

/// The port that HTTPS is served on when nothing else is said.
pub const PORT_HTTPS: u16 = 8443;
/// The port that plain HTTP (`--tls off`) is served on when nothing else is said.
pub const PORT_HTTP: u16 = 8080;
/// The most shards that `--shards` accepts.
pub const SHARDS_MAX: u16 = 512;
/// The most `--listen` addresses, and the most certificates, that are accepted.
pub const REPEATS_MAX: usize = 64;

const SECONDS_10: u32 = 10;
const SECONDS_30: u32 = 30;
const SECONDS_60: u32 = 60;

/// Not a doc comment of its field: rustdoc would take the IPv6 address for a link.
const LISTEN_HELP: &str = "Address to listen on: 8443, :8443, 127.0.0.1:8443, [::1]:8443, localhost:8443 or \
    0.0.0.0:443; may be repeated, and the variable takes a list with commas. [::]:443 takes IPv6 only. A port alone means every address of this machine with a certificate, and only \
    loopback without one [default: 8443; with --tls off 8080]";

/// Reads the command line; `port` is the value of `$PORT`.
///
/// # Errors
/// A usage error (exit code 2), or the texts of `--help` and `--version` (exit code 0): call `exit()` on it.
pub fn parse<I, T>(arguments: I, port: Option<&OsStr>) -> Result<Verb, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut command = variables::without_empty(CommandLine::command());
    let matches = command.clone().try_get_matches_from(&arguments);
    let mut matches = matches.map_err(|error| advice::improve(error, &arguments, &command))?;
    let sources = Sources::of(&matches);
    let mut verb =
        CommandLine::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?.verb;
    if let Verb::Serve(serve) = &mut verb {
        serve.split_lists(&sources)?;
        serve.check(&sources)?;
        // An unusable $PORT matters only where it would be used.
        if serve.listen.is_empty() {
            serve.default_port = parse_port_variable(port)?;
        }
    }
    Ok(verb)
}

/// Returns a sentence for each variable of the environment that looks like one of sitar's and means
/// nothing.
#[must_use]
pub fn unread_variables() -> Vec<String> {
    variables::unread(std::env::vars_os(), &CommandLine::command())
}

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "sitar",
    version,
    about = "An HTTPS server whose site is one file",
    after_help = "Exit codes: 0 done, 1 could not start or failed, 2 usage, 3 a check or the doctor found problems.",
    disable_help_subcommand = true
)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What the command is asked to do.
#[derive(Debug, Subcommand, PartialEq, Eq)]
pub enum Verb {
    /// Serve a tar archive or a directory; without PATH, a small handbook
    Serve(Serve),
    /// Make a pack of a directory: a tar archive with encodings and an index, which serves best
    Pack(Pack),
    /// Look for what is wrong with a site: links, rules, media types
    Check(Check),
    /// Let this user's programs trust the local certificate authority
    Trust,
    /// Take back what `sitar trust` did
    Untrust,
    /// Look at this machine: what sitar could use, what is missing, what that costs, and what to type
    #[command(
        after_help = "Run it as the user that runs sitar. Exit codes: 0 everything is fine, 3 something was found, \
        1 failed, 2 usage."
    )]
    Doctor(Doctor),
}

/// The arguments of `sitar serve`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Serve {
    /// A tar archive or a directory [default: the built-in handbook]
    pub path: Option<PathBuf>,

    /// Addresses to listen on; empty means the default.
    #[arg(help = LISTEN_HELP)]
    #[arg(long, value_name = "ADDR", env = "SITAR_LISTEN", value_delimiter = ',')]
    pub listen: Vec<Listen>,

    /// Certificate chain in PEM; may be repeated, the n-th belongs to the n-th key. The variable
    /// takes a list with commas
    #[arg(long, value_name = "FILE", env = "SITAR_TLS_CERT")]
    pub tls_cert: Vec<PathBuf>,

    /// Private key in PEM; may be repeated. The variable takes a list with commas
    #[arg(long, value_name = "FILE", env = "SITAR_TLS_KEY")]
    pub tls_key: Vec<PathBuf>,

    /// Who encrypts what is sent
    #[arg(long, value_enum, default_value_t = Tls::Auto, env = "SITAR_TLS")]
    pub tls: Tls,

    /// The oldest version of TLS that is spoken [default: 1.2]
    #[arg(long, value_enum, value_name = "VERSION", env = "SITAR_MIN_TLS")]
    pub min_tls: Option<MinTls>,

    /// Speak HTTP/1 only
    #[arg(long, env = "SITAR_NO_HTTP2", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_http2: bool,

    /// How the kernel is asked for input and output
    #[arg(long, value_enum, default_value_t = Engine::Auto, env = "SITAR_ENGINE")]
    pub engine: Engine,

    /// How long a shard watches for completions before it sleeps, as in 500us, 1ms or 10s; with --engine sqpoll only
    /// [default: 1ms]
    #[arg(long, value_name = "DURATION", env = "SITAR_SPIN", value_parser = duration::parse)]
    pub spin: Option<Duration>,

    /// Number of shards, each a thread with its own ring and listener [default: one per core; with --engine sqpoll one for
    /// two cores]
    #[arg(long, value_name = "N", env = "SITAR_SHARDS", value_parser = parse_shards)]
    pub shards: Option<NonZeroU16>,

    /// Serve only what lies below this folder of the archive or directory, as the root
    #[arg(long, env = "SITAR_PREFIX")]
    pub prefix: Option<String>,

    /// Serve what links in the directory lead to outside of it, too, as in a Nix store or a link
    /// farm; never what lies in /proc and its like, and no devices. Anyone who can put a link into
    /// the directory then publishes any file that sitar may read. Links out of an archive are never
    /// followed
    #[arg(long, env = "SITAR_FOLLOW_LINKS", value_parser = clap::builder::FalseyValueParser::new())]
    pub follow_links: bool,

    /// Serve files at the root that configure other hosts of sites, such as netlify.toml,
    /// wrangler.toml and CNAME
    #[arg(long, env = "SITAR_SERVE_CONFIG_FILES", value_parser = clap::builder::FalseyValueParser::new())]
    pub serve_config_files: bool,

    /// Do not watch PATH: serve what is there at the start until SIGHUP says to read it again. Otherwise a change is served a
    /// tenth of a second after the last write, at the latest 2 seconds after the first
    #[arg(long, env = "SITAR_NO_WATCH", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_watch: bool,

    /// Look for changes this far apart (2s, 500ms) instead of waiting for the kernel's events.
    /// Without it, sitar looks every 2 s on shares, whose changes from elsewhere have no events,
    /// every 10 s where in doubt (overlayfs), and nowhere else
    #[arg(long, value_name = "DURATION", env = "SITAR_POLL", value_parser = duration::parse_pause)]
    pub poll: Option<Duration>,

    /// Connections at most, all shards together; newcomers then wait in the kernel's queue, or are closed when many come at
    /// once [default: 8192 per shard]
    #[arg(long, value_name = "N", env = "SITAR_CONNECTIONS", value_parser = parse_connections)]
    pub connections: Option<NonZeroU32>,

    /// Memory for file contents, in MiB; what does not fit is read from the file each time
    #[arg(long, value_name = "MIB", default_value_t = 512, env = "SITAR_MEMORY", value_parser = parse_mib)]
    pub memory: u32,

    /// Seconds for a TLS handshake
    #[arg(long, value_name = "N", default_value_t = SECONDS_10, value_parser = parse_seconds, env = "SITAR_HANDSHAKE_SECONDS")]
    pub handshake_seconds: u32,

    /// Seconds for a request to arrive, from its first byte to its last
    #[arg(long, value_name = "N", default_value_t = SECONDS_10, value_parser = parse_seconds, env = "SITAR_HEAD_SECONDS")]
    pub head_seconds: u32,

    /// Seconds that a connection may be idle between requests
    #[arg(long, value_name = "N", default_value_t = SECONDS_60, value_parser = parse_seconds, env = "SITAR_IDLE_SECONDS")]
    pub idle_seconds: u32,

    /// Seconds for a client to take the next 64 KiB of an answer
    #[arg(long, value_name = "N", default_value_t = SECONDS_30, value_parser = parse_seconds, env = "SITAR_SEND_SECONDS")]
    pub send_seconds: u32,

    /// Seconds that a stop (SIGTERM, Ctrl-C) waits for answers that are under way; 0: none. A
    /// second signal does not wait
    #[arg(long, value_name = "N", default_value_t = SECONDS_30, value_parser = parse_stop_seconds, env = "SITAR_STOP_SECONDS")]
    pub stop_seconds: u32,

    /// The port of the default address, from `$PORT`.
    #[arg(skip)]
    pub default_port: Option<u16>,
}

/// What `sitar serve` will listen on and with which certificate: the arguments, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where to listen, without repetitions; never empty.
    pub addresses: Vec<Address>,
    /// Which certificates to use.
    pub security: Security,
}

/// One address to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address; port 0 lets the kernel choose one.
    pub socket: SocketAddr,
    /// It came out of a default or of `localhost`: a machine without this address family does without it.
    pub optional: bool,
}

/// Where the server's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Security {
    /// Made on this machine, for this machine: loopback only.
    Local,
    /// The operator's own; never empty.
    Certificates(Vec<CertificateFiles>),
    /// None: plain HTTP.
    Plain,
}

/// A certificate chain and the key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM, the server's own certificate first.
    pub chain: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

impl Serve {
    /// Turns the arguments into what to bind and with which certificate.
    ///
    /// With a certificate the default is every address of the machine, IPv6 and IPv4: who has a certificate has
    /// a name to be reached under. Without one, and for plain HTTP, the default is loopback.
    ///
    /// # Errors
    /// An address other than `localhost`'s, without a certificate: the local one is good for no other.
    pub fn plan(&self) -> Result<Plan, Error> {
        let security = self.security();
        let port = self.default_port.unwrap_or(match security {
            Security::Plain => PORT_HTTP,
            Security::Local | Security::Certificates(_) => PORT_HTTPS,
        });
        let default = [Listen::Port(port)];
        let listen = if self.listen.is_empty() { &default[..] } else { &self.listen };

        let mut addresses = Vec::new();
        for listen in listen {
            addresses.extend(listen.expand(&security));
        }
        if security == Security::Local
            && let Some(open) = addresses.iter().find(|address| !has_local_name(address.socket.ip()))
        {
            return Err(refuse_open_address(open.socket));
        }
        Ok(Plan { addresses: without_covered(&addresses), security })
    }

    /// How the site is watched.
    #[must_use]
    pub fn watch(&self) -> Watch {
        match self.poll {
            _ if self.no_watch => Watch::Off,
            Some(every) => Watch::Poll(every),
            None => Watch::Auto,
        }
    }

    fn security(&self) -> Security {
        if self.tls == Tls::Off {
            return Security::Plain;
        }
        let files: Vec<_> = self
            .tls_cert
            .iter()
            .zip(&self.tls_key)
            .map(|(chain, key)| CertificateFiles { chain: chain.clone(), key: key.clone() })
            .collect();
        if files.is_empty() { Security::Local } else { Security::Certificates(files) }
    }

    /// Takes lists apart that variables hold. A flag is repeated instead, and its file may have a
    /// comma in its name.
    fn split_lists(&mut self, sources: &Sources) -> Result<(), clap::Error> {
        for (id, variable, files) in [
            ("tls_cert", "SITAR_TLS_CERT", &mut self.tls_cert),
            ("tls_key", "SITAR_TLS_KEY", &mut self.tls_key),
        ] {
            if !sources.is_variable(id) {
                continue;
            }
            let lists =
                files.iter().map(|list| variables::split(list.as_os_str())).collect::<Option<Vec<_>>>();
            *files = lists.map(|lists| lists.concat()).ok_or_else(|| {
                usage(ErrorKind::ValueValidation, format!("{variable} has a comma without a file beside it"))
            })?;
        }
        Ok(())
    }

    /// The rules between flags, which clap's derive cannot say.
    fn check(&self, sources: &Sources) -> Result<(), clap::Error> {
        let named = |id| sources.name(id);
        let (certificates, keys) = (self.tls_cert.len(), self.tls_key.len());
        if certificates != keys {
            return Err(usage(
                ErrorKind::WrongNumberOfValues,
                format!(
                    "each {} needs its {}, in the same order: \
                     {certificates} certificate(s) but {keys} key(s) given",
                    named("tls_cert"),
                    named("tls_key")
                ),
            ));
        }
        if self.tls == Tls::Off && certificates > 0 {
            let message = format!("{} off cannot be used with {}", named("tls"), named("tls_cert"));
            return Err(usage(ErrorKind::ArgumentConflict, message));
        }
        if self.tls == Tls::Off && self.min_tls.is_some() {
            let message = format!("{} off cannot be used with {}", named("tls"), named("min_tls"));
            return Err(usage(ErrorKind::ArgumentConflict, message));
        }
        if self.spin.is_some() && self.engine != Engine::Sqpoll {
            let message = format!("{} needs --engine sqpoll", named("spin"));
            return Err(usage(ErrorKind::ArgumentConflict, message));
        }
        if self.poll.is_some() && self.no_watch {
            let message = format!("{} cannot be used with {}", named("poll"), named("no_watch"));
            return Err(usage(ErrorKind::ArgumentConflict, message));
        }
        if certificates > REPEATS_MAX || self.listen.len() > REPEATS_MAX {
            return Err(usage(
                ErrorKind::TooManyValues,
                format!(
                    "{} and {} can each be repeated {REPEATS_MAX} times",
                    named("listen"),
                    named("tls_cert")
                ),
            ));
        }
        Ok(())
    }
}

/// Decimal digits only: `u16::from_str` would also take a plus sign.
fn parse_port(text: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn parse_port_variable(value: Option<&OsStr>) -> Result<Option<u16>, clap::Error> {
    match value {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => match value.to_str().and_then(parse_port) {
            Some(port) => Ok(Some(port)),
            None => Err(usage(
                ErrorKind::ValueValidation,
                format!("the environment variable PORT is {value:?}, not a number from 0 to 65535"),
            )),
        },
    }
}

fn parse_mib(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "expected a whole number of MiB, such as 512".to_owned())
}

fn parse_connections(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("expected a whole number from 1 to {}", u32::MAX))
}

fn parse_shards(text: &str) -> Result<NonZeroU16, String> {
    match text.parse::<NonZeroU16>() {
        Ok(shards) if shards.get() <= SHARDS_MAX => Ok(shards),
        _ => Err(format!("expected a number from 1 to {SHARDS_MAX}")),
    }
}

/// As [`parse_seconds`], and zero.
fn parse_stop_seconds(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(seconds @ 0..=86_400) => Ok(seconds),
        _ => Err("expected a number of seconds from 0 to 86400".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(seconds),
        _ => Err("expected a number of seconds from 1 to 86400".to_owned()),
    }
}

/// Drops repetitions and addresses that an unspecified address of the same port and family takes anyway: bound
/// twice, the second would look like a port taken by another program.
fn without_covered(addresses: &[Address]) -> Vec<Address> {
    let mut kept: Vec<Address> = Vec::new();
    for address in addresses {
        let socket = address.socket;
        let covered = addresses.iter().any(|other| {
            other.socket != socket
                && other.socket.port() == socket.port()
                && other.socket.is_ipv4() == socket.is_ipv4()
                && other.socket.ip().is_unspecified()
        });
        match kept.iter_mut().find(|earlier| earlier.socket == socket) {
            // Asked for by name once is asked for by name.
            Some(earlier) => earlier.optional &= address.optional,
            None if covered && socket.port() != 0 => {}
            None => kept.push(*address),
        }
    }
    kept
}

/// Whether the local certificate is good for this address: of 127.0.0.0/8 it names the first only.
fn has_local_name(ip: IpAddr) -> bool {
    ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST
}

fn refuse_open_address(address: SocketAddr) -> Error {
    Error::new(format!("will not listen on {address} without a certificate"))
        .cause("the certificate that sitar makes by itself is good for localhost, 127.0.0.1 and ::1 only")
        .hint("give one: --tls-cert chain.pem --tls-key key.pem")
        .hint(format!("or stay on this machine: --listen localhost:{}", address.port()))
        .hint("or serve without encryption, for instance behind a proxy: --tls off")
}

fn usage(kind: ErrorKind, message: impl fmt::Display) -> clap::Error {
    CommandLine::command().error(kind, message)
}

#[cfg(test)]
mod tests;
