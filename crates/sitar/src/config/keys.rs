//! The keys of the file, each defined once: name, form, default, example, and what it means.
//!
//! The parser, `sitar config show`, `init` and `schema`, and the tests of docs/configuration.md
//! read these tables. To add a key of `[server]` that is a flag, add the flag first
//! (CONTRIBUTING.md) and name it in `setting`; to add another one, read it in the module of its
//! table as well.

mod acme;
mod compression;
mod listen;
mod log;
mod proxies;
mod site;

pub(crate) use self::acme::{ACME, TERMS};
#[cfg(test)]
pub(crate) use self::acme::{AUTHORITY, EAB, OPTIONS};
pub(crate) use self::listen::LISTEN;
pub(crate) use self::log::LOG;
#[cfg(test)]
pub(crate) use self::log::SAMPLE;
use crate::sandbox::Policy;
use crate::settings::values::{self, EngineChoice, MinTls, Tls};

/// A table of the file.
#[derive(Debug)]
pub(crate) struct Table {
    /// The name as it is written in messages.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// The default as it would be written in the file; `None`: no value, or what `doc` says.
    pub(crate) default: Option<&'static str>,
    /// A value as it would be written in the file.
    pub(crate) example: &'static str,
    /// What it means: one or more whole sentences.
    pub(crate) doc: &'static str,
    /// The flag of `sitar serve` with the same meaning, for a key of `[server]`.
    pub(crate) setting: Option<&'static str>,
}

/// The form of a value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// `true` or `false`.
    Switch,
    /// A whole number within bounds.
    Number(u64, u64),
    /// One of a few numbers.
    Numbers(&'static [u16]),
    /// One of a few words: each with its meaning.
    Word(fn() -> Vec<(&'static str, &'static str)>),
    /// A text; the key's setting or the module of its table says which ones are refused.
    Text,
    /// A path, relative to the folder of the file.
    Path,
    /// A text, or an array of at least one text and at most this many.
    Texts(usize),
    /// A number of MiB, or a text with a unit.
    Size,
    /// "acme", "local", a table with `chain` and `key`, or an array of such tables.
    Certificate,
    /// A table.
    Table(&'static Table),
    /// A table that may be there several times.
    Tables(&'static Table, usize),
}

/// The most sites.
pub(crate) const SITES_MAX: usize = 4096;
/// The most addresses, and the most `[[listen]]` tables.
pub(crate) const ADDRESSES_MAX: usize = crate::settings::REPEATS_MAX;
/// The most hosts of a site.
pub(crate) const HOSTS_MAX: usize = 1024;
/// The most certificates of a site.
pub(crate) const CERTIFICATES_MAX: usize = 8;
/// The most patterns of `include`.
const INCLUDES_MAX: usize = 64;
/// The most networks of a list.
pub(crate) const NETWORKS_MAX: usize = 1024;
/// The most requests at once.
const BURST_MAX: u64 = 100_000;
/// The statuses of redirects.
pub(crate) const STATUSES: &[u16] = &[301, 302, 307, 308];
/// The longest time of a setting in seconds, and the most connections.
const DAY: u64 = 86_400;
const CONNECTIONS_MAX: u64 = u32::MAX as u64;

const KEY: Key = Key { name: "", form: Form::Text, default: None, example: "", doc: "", setting: None };

const LISTENERS: Key = Key {
    name: "listen",
    form: Form::Tables(&LISTEN, ADDRESSES_MAX),
    doc: "Addresses, and what is served there. Without any, sitar listens as `sitar serve` does.",
    ..KEY
};
const SITES: Key =
    Key { name: "site", form: Form::Tables(&SITE, SITES_MAX), doc: "A site, and its hosts.", ..KEY };

/// The file itself.
pub(crate) static FILE: Table = Table {
    name: "",
    doc: "",
    keys: &[
        Key {
            name: "include",
            form: Form::Texts(INCLUDES_MAX),
            example: "\"sites.d/*.toml\"",
            doc: "Other files to read, which may hold `[[site]]` and `[[listen]]` only: a path or a list of \
                  paths. A `*` stands for any part of a name, a `?` for one character; `*` at the front \
                  takes no hidden files. Files are read in the order of their names, each once. A path \
                  without `*` and `?` has to exist. A pattern may name no file, and passes over folders \
                  that lack it. Stands before the first table.",
            ..KEY
        },
        Key { name: "server", form: Form::Table(&SERVER), doc: "The whole process.", ..KEY },
        LISTENERS,
        SITES,
        Key {
            name: "acme",
            form: Form::Table(&ACME),
            doc: "Certificates from an authority, as Let's Encrypt.",
            ..KEY
        },
        Key { name: "log", form: Form::Table(&LOG), doc: "The access log.", ..KEY },
        Key { name: "admin", form: Form::Table(&ADMIN), doc: "The admin socket.", ..KEY },
    ],
};

/// A file that another one includes.
pub(crate) static INCLUDED: Table = Table { name: "an included file", doc: "", keys: &[LISTENERS, SITES] };

const CERTIFICATE_KEY: Key = Key {
    name: "certificate",
    form: Form::Certificate,
    example: "{ chain = \"/etc/sitar/fullchain.pem\", key = \"/etc/sitar/privkey.pem\" }",
    ..KEY
};
const PAGES_KEY: Key =
    Key { name: "pages", form: Form::Table(&PAGES), example: "{ 503 = \"503.html\" }", ..KEY };

/// `[server]`.
pub(crate) static SERVER: Table = Table {
    name: "[server]",
    doc: "What concerns the whole process. A flag of `sitar serve` with the same name wins, then its \
          variable, then the file.",
    keys: &[
        Key {
            name: "tls",
            form: Form::Word(values::words::<Tls>),
            default: Some("\"auto\""),
            example: "\"user\"",
            doc: "Who encrypts what is sent. With `off`, no listener speaks TLS.",
            setting: Some("tls"),
        },
        Key {
            name: "min_tls",
            form: Form::Word(values::words::<MinTls>),
            default: Some("\"1.2\""),
            example: "\"1.3\"",
            doc: "The oldest version of TLS that is spoken.",
            setting: Some("min-tls"),
        },
        Key {
            name: "http2",
            form: Form::Switch,
            default: Some("true"),
            example: "false",
            doc: "Whether HTTP/2 is spoken beside HTTP/1.",
            setting: Some("no-http2"),
        },
        Key {
            name: "engine",
            form: Form::Word(values::words::<EngineChoice>),
            default: Some("\"auto\""),
            example: "\"uring\"",
            doc: "How the kernel is asked for input and output.",
            setting: Some("engine"),
        },
        Key {
            name: "spin",
            form: Form::Text,
            default: None,
            example: "\"500us\"",
            doc: "How long a shard watches for completions before it sleeps; with `engine = \"sqpoll\"` only. \
                  Without it: 1ms.",
            setting: Some("spin"),
        },
        Key {
            name: "sandbox",
            form: Form::Word(values::words::<Policy>),
            default: Some("\"auto\""),
            example: "\"strict\"",
            doc: "How much of the sandbox has to stand, in which the server gives up what it does not need.",
            setting: Some("sandbox"),
        },
        Key {
            name: "shards",
            form: Form::Number(1, crate::settings::SHARDS_MAX as u64),
            default: None,
            example: "4",
            doc: "The number of shards, each a thread. Without it: one per core, and with \
                  `engine = \"sqpoll\"` one for two cores.",
            setting: Some("shards"),
        },
        Key {
            name: "connections",
            form: Form::Number(1, CONNECTIONS_MAX),
            default: None,
            example: "20000",
            doc: "Connections at most, all shards together. Without it: 8192 per shard.",
            setting: Some("connections"),
        },
        Key {
            name: "memory",
            form: Form::Size,
            default: Some("\"512 MiB\""),
            example: "\"1 GiB\"",
            doc: "Memory for file contents: a size, or a number of MiB. What does not fit is read from the \
                  file each time.",
            setting: Some("memory"),
        },
        Key {
            name: "handshake_seconds",
            form: Form::Number(1, DAY),
            default: Some("10"),
            example: "5",
            doc: "Seconds for a TLS handshake.",
            setting: Some("handshake-seconds"),
        },
        Key {
            name: "head_seconds",
            form: Form::Number(1, DAY),
            default: Some("10"),
            example: "5",
            doc: "Seconds for a request to arrive, from its first byte to its last.",
            setting: Some("head-seconds"),
        },
        Key {
            name: "idle_seconds",
            form: Form::Number(1, DAY),
            default: Some("60"),
            example: "75",
            doc: "Seconds that a connection may be idle between requests.",
            setting: Some("idle-seconds"),
        },
        Key {
            name: "send_seconds",
            form: Form::Number(1, DAY),
            default: Some("30"),
            example: "60",
            doc: "Seconds for a client to take the next 64 KiB of an answer.",
            setting: Some("send-seconds"),
        },
        Key {
            name: "stop_seconds",
            form: Form::Number(0, DAY),
            default: Some("30"),
            example: "10",
            doc: "Seconds that a stop waits for answers that are under way; 0: none.",
            setting: Some("stop-seconds"),
        },
        Key {
            name: "user",
            form: Form::Text,
            default: None,
            example: "\"sitar\"",
            doc: "The user that serves, by name or by number, where sitar is started as root. Without it: who \
                  starts sitar. Keys and archives are opened before that; what lies in a directory is read \
                  as this user.",
            ..KEY
        },
        Key {
            name: "strict",
            form: Form::Switch,
            default: Some("false"),
            example: "true",
            doc: "Whether a site that cannot be opened keeps sitar from starting. Otherwise it is answered \
                  with 503 until it can be opened, and the others serve.",
            ..KEY
        },
        proxies::TRUSTED_PROXIES,
        compression::COMPRESS,
        compression::CACHE,
        compression::CACHE_SIZE,
        Key { doc: "The certificate of each site that names none of its own.", ..CERTIFICATE_KEY },
        Key { doc: "The pages of each site that names none of its own.", ..PAGES_KEY },
    ],
};

/// `[[site]]`.
pub(crate) static SITE: Table = Table {
    name: "[[site]]",
    doc: "A site has either `root` or `redirect_to`. One that is alone needs no `hosts` and then answers to \
          every name. Of several, each has `hosts` or is the default one.",
    keys: site::KEYS,
};

/// `[admin]`.
pub(crate) static ADMIN: Table = Table {
    name: "[admin]",
    doc: "For `sitar status` and `sitar reload`, and for programs that watch the server.",
    keys: &[
        Key {
            name: "socket",
            form: Form::Path,
            example: "\"/run/sitar/admin.sock\"",
            doc: "The path of the admin socket. Without it there is none.",
            ..KEY
        },
        Key {
            name: "listen",
            form: Form::Text,
            example: "\"127.0.0.1:9464\"",
            doc: "Where `/metrics`, `/healthz` and `/readyz` are answered, over plain HTTP and to everyone who \
                  can connect: an address and a port, or `unix:` and the path of a socket. Without it \
                  nowhere.",
            ..KEY
        },
    ],
};

/// The table of one certificate.
pub(crate) static CERTIFICATE: Table = Table {
    name: "certificate",
    doc: "A certificate. A change of the files is noticed and served.",
    keys: &[
        Key {
            name: "chain",
            form: Form::Path,
            example: "\"/etc/sitar/fullchain.pem\"",
            doc: "The chain in PEM, the server's own certificate first. Required.",
            ..KEY
        },
        Key {
            name: "key",
            form: Form::Path,
            example: "\"/etc/sitar/privkey.pem\"",
            doc: "Its private key in PEM. Required.",
            ..KEY
        },
    ],
};

/// `pages`.
pub(crate) static PAGES: Table = Table {
    name: "pages",
    doc: "Files in HTML that are sent with errors of the server, in the place of a line of text.",
    keys: &[
        Key { name: "500", form: Form::Path, example: "\"500.html\"", doc: "For 500.", ..KEY },
        Key {
            name: "503",
            form: Form::Path,
            example: "\"503.html\"",
            doc: "For 503, when a site cannot be opened.",
            ..KEY
        },
    ],
};

impl Table {
    /// Returns the key of that name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}
