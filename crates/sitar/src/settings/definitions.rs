//! The settings of `sitar serve`, each defined once: name, help, variable, default, and how its
//! value is read.
//!
//! To add one, follow the recipe "Add a flag" in CONTRIBUTING.md. Without a field of [`Settings`],
//! an entry here at the same place, its rows in the tests of settings and of the command line, and
//! a row on the handbook's page of options, the tests do not compile or fail.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::listen::ListenError;
use super::values::{self, EngineChoice, MinTls, Tls};
use super::{Settings, domain, duration};
use crate::config::acme;
use crate::events;
use crate::log::format::Format;
use crate::sandbox::Policy;

/// One setting.
pub(crate) struct Setting {
    /// The flag's name without its dashes; also the name of the field, with `_` for `-`.
    pub(crate) name: &'static str,
    /// The variable of the environment.
    pub(crate) variable: &'static str,
    /// The name of the value in the help.
    pub(crate) value: &'static str,
    /// The default as it would be written; `None`: no value, which the help explains.
    pub(crate) default: Option<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    /// Reads one value into the settings. A list is read by several calls.
    ///
    /// # Errors
    /// The reason that it is refused, as the end of a sentence.
    pub(crate) set: fn(&mut Settings, &OsStr) -> Result<(), String>,
}

/// The form of a setting's value.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// On or off; its flag takes no value.
    Switch,
    /// One of a few words: each with its meaning.
    Word(fn() -> Vec<(&'static str, &'static str)>),
    /// Text of some form, such as a number; other text is refused.
    Text,
    /// Any text; none is refused, except what is not UTF-8.
    Any,
    /// Texts of some form: the flag several times, or commas between them.
    List,
    /// Names of files, several times. Only a variable has commas between them: a flag is repeated
    /// instead, and its file may have a comma in its name.
    Files,
}

fn text(value: &OsStr) -> Result<&str, String> {
    value.to_str().ok_or_else(|| "it is not UTF-8".to_owned())
}

fn path(value: &OsStr) -> Result<PathBuf, String> {
    text(value).and_then(domain::absolute)
}

fn switch(value: &OsStr) -> Result<bool, String> {
    text(value).map(values::switch)
}

/// All settings, in the order of the help.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        variable: "SITAR_LISTEN",
        value: "ADDR",
        default: None,
        kind: Kind::List,
        help: "Address to listen on: 8443, :8443, 127.0.0.1:8443, [::1]:8443, localhost:8443 or 0.0.0.0:443; \
               may be repeated, and the variable takes a list with commas. [::]:443 takes IPv6 only. A port \
               alone means every address of this machine with a certificate, and only loopback without one \
               [default: 8443; with --tls off 8080]",
        set: |settings, value| {
            let listen = text(value)?.parse().map_err(|error: ListenError| error.to_string())?;
            settings.listen.push(listen);
            Ok(())
        },
    },
    Setting {
        name: "tls-cert",
        variable: "SITAR_TLS_CERT",
        value: "FILE",
        default: None,
        kind: Kind::Files,
        help: "Certificate chain in PEM; may be repeated, the n-th belongs to the n-th key. The variable takes \
               a list with commas",
        set: |settings, value| {
            settings.tls_cert.push(PathBuf::from(value));
            Ok(())
        },
    },
    Setting {
        name: "tls-key",
        variable: "SITAR_TLS_KEY",
        value: "FILE",
        default: None,
        kind: Kind::Files,
        help: "Private key in PEM; may be repeated. The variable takes a list with commas",
        set: |settings, value| {
            settings.tls_key.push(PathBuf::from(value));
            Ok(())
        },
    },
    Setting {
        name: "domain",
        variable: "SITAR_DOMAIN",
        value: "NAME",
        default: None,
        kind: Kind::List,
        help: "A name of the site, or an IP address: sitar serves it on ports 443 and 80, and orders and \
               renews its certificate from Let's Encrypt, to whose terms you agree with it \
               (https://letsencrypt.org/repository/); may be repeated, and the variable takes a list with \
               commas",
        set: |settings, value| text(value).and_then(domain::domain).map(|name| settings.domain.push(name)),
    },
    Setting {
        name: "listen-http",
        variable: "SITAR_LISTEN_HTTP",
        value: "ADDR",
        default: None,
        kind: Kind::List,
        help: "Address for plain HTTP that leads to HTTPS, with --domain only; may be repeated, and the \
               variable takes a list with commas. Without it: 80, and none with --listen",
        set: |settings, value| {
            let listen = text(value)?.parse().map_err(|error: ListenError| error.to_string())?;
            settings.listen_http.push(listen);
            Ok(())
        },
    },
    Setting {
        name: "acme-staging",
        variable: "SITAR_ACME_STAGING",
        value: "",
        default: None,
        kind: Kind::Switch,
        help: "Order from the authority that Let's Encrypt has for trials, whose certificates no browser trusts",
        set: |settings, value| switch(value).map(|on| settings.acme_staging = on),
    },
    Setting {
        name: "acme-directory",
        variable: "SITAR_ACME_DIRECTORY",
        value: "URL",
        default: None,
        kind: Kind::Text,
        help: "Order from another authority, whose directory is at this URL; needs --acme-agree-tos",
        set: |settings, value| {
            let url = text(value).and_then(|text| acme::url(text).map_err(str::to_owned))?;
            settings.acme_directory = Some(url);
            Ok(())
        },
    },
    Setting {
        name: "acme-ca",
        variable: "SITAR_ACME_CA",
        value: "FILE",
        default: None,
        kind: Kind::Any,
        help: "Certificates in PEM that certify the authority's own server, in the place of the system's",
        set: |settings, value| path(value).map(|path| settings.acme_ca = Some(path)),
    },
    Setting {
        name: "acme-agree-tos",
        variable: "SITAR_ACME_AGREE_TOS",
        value: "",
        default: None,
        kind: Kind::Switch,
        help: "Agree to the terms of the authority that --acme-directory names",
        set: |settings, value| switch(value).map(|on| settings.acme_agree_tos = on),
    },
    Setting {
        name: "acme-contact",
        variable: "SITAR_ACME_CONTACT",
        value: "ADDRESS",
        default: None,
        kind: Kind::List,
        help: "An address of e-mail that the authority may write to; may be repeated",
        set: |settings, value| {
            let url = acme::contact(text(value)?).ok_or("expected an address of e-mail")?;
            settings.acme_contact.push(url);
            Ok(())
        },
    },
    Setting {
        name: "acme-eab-kid",
        variable: "SITAR_ACME_EAB_KID",
        value: "KID",
        default: None,
        kind: Kind::Any,
        help: "The identifier of the key for an external account binding, as some authorities need it",
        set: |settings, value| text(value).map(|kid| settings.acme_eab_kid = Some(kid.to_owned())),
    },
    Setting {
        name: "acme-eab-key-file",
        variable: "SITAR_ACME_EAB_KEY_FILE",
        value: "FILE",
        default: None,
        kind: Kind::Any,
        help: "The file with that key, in base64url",
        set: |settings, value| path(value).map(|path| settings.acme_eab_key_file = Some(path)),
    },
    Setting {
        name: "acme-profile",
        variable: "SITAR_ACME_PROFILE",
        value: "PROFILE",
        default: None,
        kind: Kind::Any,
        help: "The profile that certificates are ordered under, one of those that the authority offers",
        set: |settings, value| text(value).map(|name| settings.acme_profile = Some(name.to_owned())),
    },
    Setting {
        name: "acme-dns-command",
        variable: "SITAR_ACME_DNS_COMMAND",
        value: "PROGRAM",
        default: None,
        kind: Kind::Any,
        help: "The program that changes records in the DNS, which wildcards need. Its arguments are add or \
               remove, the name of the record, and its text",
        set: |settings, value| path(value).map(|path| settings.acme_dns_command = Some(path)),
    },
    Setting {
        name: "state",
        variable: "SITAR_STATE",
        value: "DIR",
        default: None,
        kind: Kind::Any,
        help: "The folder for accounts, keys and certificates that were ordered. Without it: as \
               root /var/lib/sitar; else sitar in $XDG_DATA_HOME or ~/.local/share",
        set: |settings, value| path(value).map(|path| settings.state = Some(path)),
    },
    Setting {
        name: "tls",
        variable: "SITAR_TLS",
        value: "TLS",
        default: Some("auto"),
        kind: Kind::Word(values::words::<Tls>),
        help: "Who encrypts what is sent",
        set: |settings, value| text(value).and_then(values::word).map(|tls| settings.tls = tls),
    },
    Setting {
        name: "min-tls",
        variable: "SITAR_MIN_TLS",
        value: "VERSION",
        default: None,
        kind: Kind::Word(values::words::<MinTls>),
        help: "The oldest version of TLS that is spoken [default: 1.2]",
        set: |settings, value| text(value).and_then(values::word).map(|min| settings.min_tls = Some(min)),
    },
    Setting {
        name: "no-http2",
        variable: "SITAR_NO_HTTP2",
        value: "",
        default: None,
        kind: Kind::Switch,
        help: "Speak HTTP/1 only",
        set: |settings, value| switch(value).map(|on| settings.no_http2 = on),
    },
    Setting {
        name: "engine",
        variable: "SITAR_ENGINE",
        value: "ENGINE",
        default: Some("auto"),
        kind: Kind::Word(values::words::<EngineChoice>),
        help: "How the kernel is asked for input and output",
        set: |settings, value| text(value).and_then(values::word).map(|engine| settings.engine = engine),
    },
    Setting {
        name: "spin",
        variable: "SITAR_SPIN",
        value: "DURATION",
        default: None,
        kind: Kind::Text,
        help: "How long a shard watches for completions before it sleeps, as in 500us, 1ms or 10s; with \
               --engine sqpoll only [default: 1ms]",
        set: |settings, value| text(value).and_then(duration::parse).map(|spin| settings.spin = Some(spin)),
    },
    Setting {
        name: "sandbox",
        variable: "SITAR_SANDBOX",
        value: "SANDBOX",
        default: Some("auto"),
        kind: Kind::Word(values::words::<Policy>),
        help: "How much of the sandbox has to stand, in which the server gives up what it does not need",
        set: |settings, value| text(value).and_then(values::word).map(|policy| settings.sandbox = policy),
    },
    Setting {
        name: "shards",
        variable: "SITAR_SHARDS",
        value: "N",
        default: None,
        kind: Kind::Text,
        help: "Number of shards, each a thread with its own ring and listener [default: one per core; with \
               --engine sqpoll one for two cores]",
        set: |settings, value| {
            text(value).and_then(values::shards).map(|shards| settings.shards = Some(shards))
        },
    },
    Setting {
        name: "prefix",
        variable: "SITAR_PREFIX",
        value: "PREFIX",
        default: None,
        kind: Kind::Any,
        help: "Serve only what lies below this folder of the archive or directory, as the root",
        set: |settings, value| text(value).map(|prefix| settings.prefix = Some(prefix.to_owned())),
    },
    Setting {
        name: "follow-links",
        variable: "SITAR_FOLLOW_LINKS",
        value: "",
        default: None,
        kind: Kind::Switch,
        help: "Serve what links in the directory lead to outside of it, too, as in a Nix store or a link farm; \
               never what lies in /proc and its like, and no devices. Anyone who can put a link into the \
               directory then publishes any file that sitar may read. Links out of an archive are never \
               followed",
        set: |settings, value| switch(value).map(|on| settings.follow_links = on),
    },
    Setting {
        name: "serve-config-files",
        variable: "SITAR_SERVE_CONFIG_FILES",
        value: "",
        default: None,
        kind: Kind::Switch,
        help: "Serve files at the root that configure other hosts of sites, such as netlify.toml, \
               wrangler.toml and CNAME",
        set: |settings, value| switch(value).map(|on| settings.serve_config_files = on),
    },
    Setting {
        name: "listing",
        variable: "SITAR_LISTING",
        value: "",
        default: None,
        kind: Kind::Switch,
        help: "Answer with a list of what is served in a folder that has no index.html, in HTML or, for \
               clients that prefer it, in JSON",
        set: |settings, value| switch(value).map(|on| settings.listing = on),
    },
    Setting {
        name: "no-watch",
        variable: "SITAR_NO_WATCH",
        value: "",
        default: None,
        kind: Kind::Switch,
        help: "Do not watch PATH and the certificates: serve what is there at the start until SIGHUP says to \
               read it again. Otherwise a change is served a tenth of a second after the last write, at the latest 2 seconds \
               after the first",
        set: |settings, value| switch(value).map(|on| settings.no_watch = on),
    },
    Setting {
        name: "poll",
        variable: "SITAR_POLL",
        value: "DURATION",
        default: None,
        kind: Kind::Text,
        help: "Look for changes this far apart (2s, 500ms) instead of waiting for the kernel's events. Without \
               it, sitar looks every 2 s on shares, whose changes from elsewhere have no events, every 10 s \
               where in doubt (overlayfs), and nowhere else",
        set: |settings, value| {
            text(value).and_then(duration::parse_pause).map(|poll| settings.poll = Some(poll))
        },
    },
    Setting {
        name: "connections",
        variable: "SITAR_CONNECTIONS",
        value: "N",
        default: None,
        kind: Kind::Text,
        help: "Connections at most, all shards together; newcomers then wait in the kernel's queue, or are \
               closed when many come at once [default: 8192 per shard]",
        set: |settings, value| {
            text(value).and_then(values::connections).map(|count| settings.connections = Some(count))
        },
    },
    Setting {
        name: "memory",
        variable: "SITAR_MEMORY",
        value: "SIZE",
        default: Some("512"),
        kind: Kind::Text,
        help: "Memory for file contents: 512 MiB, 1 GiB, or a number of MiB; what does not fit is read from the file each time",
        set: |settings, value| text(value).and_then(values::mib).map(|mib| settings.memory = mib),
    },
    Setting {
        name: "handshake-seconds",
        variable: "SITAR_HANDSHAKE_SECONDS",
        value: "N",
        default: Some("10"),
        kind: Kind::Text,
        help: "Seconds for a TLS handshake",
        set: |settings, value| {
            text(value).and_then(values::seconds).map(|seconds| settings.handshake_seconds = seconds)
        },
    },
    Setting {
        name: "head-seconds",
        variable: "SITAR_HEAD_SECONDS",
        value: "N",
        default: Some("10"),
        kind: Kind::Text,
        help: "Seconds for a request to arrive, from its first byte to its last",
        set: |settings, value| {
            text(value).and_then(values::seconds).map(|seconds| settings.head_seconds = seconds)
        },
    },
    Setting {
        name: "idle-seconds",
        variable: "SITAR_IDLE_SECONDS",
        value: "N",
        default: Some("60"),
        kind: Kind::Text,
        help: "Seconds that a connection may be idle between requests",
        set: |settings, value| {
            text(value).and_then(values::seconds).map(|seconds| settings.idle_seconds = seconds)
        },
    },
    Setting {
        name: "send-seconds",
        variable: "SITAR_SEND_SECONDS",
        value: "N",
        default: Some("30"),
        kind: Kind::Text,
        help: "Seconds for a client to take the next 64 KiB of an answer",
        set: |settings, value| {
            text(value).and_then(values::seconds).map(|seconds| settings.send_seconds = seconds)
        },
    },
    Setting {
        name: "stop-seconds",
        variable: "SITAR_STOP_SECONDS",
        value: "N",
        default: Some("30"),
        kind: Kind::Text,
        help: "Seconds that a stop (SIGTERM, Ctrl-C) waits for answers that are under way; 0: none. A second \
               signal does not wait",
        set: |settings, value| {
            text(value).and_then(values::seconds_or_none).map(|seconds| settings.stop_seconds = seconds)
        },
    },
    Setting {
        name: "access-log",
        variable: "SITAR_ACCESS_LOG",
        value: "WHERE",
        default: None,
        kind: Kind::Text,
        help: "Where a record of each answer goes: the path of a file, with a slash in it, stdout, journal or \
               off. With stdout, the report of the start goes to standard error [default: off]",
        set: |settings, value| {
            text(value).and_then(values::log_target).map(|target| settings.access_log = Some(target))
        },
    },
    Setting {
        name: "log-format",
        variable: "SITAR_LOG_FORMAT",
        value: "FORMAT",
        default: Some("json"),
        kind: Kind::Word(values::words::<Format>),
        help: "The format of these records",
        set: |settings, value| text(value).and_then(values::word).map(|format| settings.log_format = format),
    },
    Setting {
        name: "log-events",
        variable: "SITAR_LOG_EVENTS",
        value: "FORM",
        default: Some("text"),
        kind: Kind::Word(values::words::<events::Form>),
        help: "The form of the event log, which is what the server says on standard error",
        set: |settings, value| text(value).and_then(values::word).map(|form| settings.log_events = form),
    },
];

/// Returns the setting of that name.
pub(crate) fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}
