//! The keys of `[acme]`, of its authorities, and `acme` of sites.

use super::{Form, KEY, Key, Table};

/// The most authorities.
pub(crate) const AUTHORITIES_MAX: usize = 8;
/// The most addresses that an authority may write to.
const CONTACTS_MAX: usize = 8;
/// The most arguments of the command for the DNS.
const ARGUMENTS_MAX: usize = 64;

/// The address of the terms that Let's Encrypt's users agree to.
pub(crate) const TERMS: &str = "https://letsencrypt.org/repository/";

const PROFILE: Key = Key {
    name: "profile",
    form: Form::Text,
    example: "\"tlsserver\"",
    doc: "The profile that certificates are ordered under, one of those that the authority offers; \
          of several, each has to. Without it: the authority's default. Let's Encrypt certifies IP \
          addresses under `shortlived` only, which is taken for them unless the site says another.",
    ..KEY
};
const PREFERRED_CHAIN: Key = Key {
    name: "preferred_chain",
    form: Form::Text,
    example: "\"ISRG Root X1\"",
    doc: "Where the authority offers several chains, the one with a certificate whose issuer bears this \
          common name. Without it, and where none has it: the authority's first.",
    ..KEY
};
const KEYS: Key = Key {
    name: "keys",
    form: Form::Texts(2),
    default: Some("[\"p256\"]"),
    example: "[\"p256\", \"rsa\"]",
    doc: "The types of keys, with a certificate for each: `p256` (ECDSA on P-256) and `rsa` (2048 bits, for \
          clients of before 2014).",
    ..KEY
};
const CHALLENGES: Key = Key {
    name: "challenges",
    form: Form::Texts(3),
    example: "[\"http-01\", \"tls-alpn-01\"]",
    doc: "The challenges that prove to the authority whose the names are, in order of preference, out of \
          `tls-alpn-01` (over a listener with TLS), `http-01` (over one with plain HTTP) and `dns-01` (by \
          `dns_command`). Without it: those that the listeners and `dns_command` allow.",
    ..KEY
};
const CA: Key = Key {
    name: "ca",
    form: Form::Path,
    example: "\"/etc/sitar/authority.pem\"",
    doc: "Certificates in PEM that certify the authority's own server, in the place of the system's. For \
          an authority of your own.",
    ..KEY
};
const AGREE_TOS: Key = Key {
    name: "agree_tos",
    form: Form::Switch,
    default: Some("false"),
    example: "true",
    doc: "Whether you agree to the terms of the authority. Let's Encrypt, whose terms are at \
          https://letsencrypt.org/repository/, needs it, as most do.",
    ..KEY
};
const CONTACT: Key = Key {
    name: "contact",
    form: Form::Texts(CONTACTS_MAX),
    example: "\"webmaster@example.com\"",
    doc: "Where the authority may write to: an address of e-mail or a list of them. Let's Encrypt keeps \
          none.",
    ..KEY
};
const BINDING: Key = Key {
    name: "eab",
    form: Form::Table(&EAB),
    example: "{ kid = \"kid-1\", key_file = \"/etc/sitar/eab.key\" }",
    doc: "The external account binding: what ties the account to one that you have with the authority, as \
          ZeroSSL and others need it.",
    ..KEY
};

/// `[acme]`.
pub(crate) static ACME: Table = Table {
    name: "[acme]",
    doc: "How certificates are ordered for the sites with `certificate = \"acme\"`.",
    keys: &[
        AGREE_TOS,
        CONTACT,
        Key {
            name: "directory",
            form: Form::Texts(AUTHORITIES_MAX),
            default: Some("\"letsencrypt\""),
            example: "\"https://acme.example.com/directory\"",
            doc: "The URL of the authority's directory, or one of the words `letsencrypt` and \
                  `letsencrypt-staging`, whose certificates no browser trusts. Of a list, the next one is \
                  asked when one has failed several times.",
            ..KEY
        },
        CA,
        BINDING,
        Key {
            name: "authority",
            form: Form::Tables(&AUTHORITY, AUTHORITIES_MAX),
            doc: "An authority, where several are asked in turn that differ in more than their directories.",
            ..KEY
        },
        PROFILE,
        PREFERRED_CHAIN,
        KEYS,
        CHALLENGES,
        Key {
            name: "dns_command",
            form: Form::Texts(ARGUMENTS_MAX),
            example: "[\"/usr/local/lib/sitar/nsupdate.sh\", \"ns1.example.com\"]",
            doc: "The program that changes records in the DNS for `dns-01`, and its first arguments. Behind \
                  them come `add` or `remove`, the name of the record, and its text.",
            ..KEY
        },
        Key {
            name: "dns_wait",
            form: Form::Text,
            default: Some("\"0s\""),
            example: "\"30s\"",
            doc: "The time from the end of that program until the authority looks, for servers of the DNS that \
                  take a while to tell each other. At most an hour.",
            ..KEY
        },
        Key {
            name: "state",
            form: Form::Path,
            example: "\"/var/lib/sitar\"",
            doc: "The folder for accounts, keys and certificates, which is made where it is missing. It has \
                  to belong to the user that starts sitar. Without it: as root \
                  `/var/lib/sitar`; else `sitar` in `$XDG_DATA_HOME` or `~/.local/share`.",
            setting: Some("state"),
            default: None,
        },
    ],
};

/// `[[acme.authority]]`.
pub(crate) static AUTHORITY: Table = Table {
    name: "[[acme.authority]]",
    doc: "One authority of several. What it does not say of `agree_tos` and `contact` is that of `[acme]`.",
    keys: &[
        Key {
            name: "directory",
            form: Form::Text,
            example: "\"https://acme.example.com/directory\"",
            doc: "The URL of its directory, or one of the words of `[acme]`. Required.",
            ..KEY
        },
        CA,
        AGREE_TOS,
        CONTACT,
        BINDING,
    ],
};

/// `eab`.
pub(crate) static EAB: Table = Table {
    name: "eab",
    doc: "An external account binding (RFC 8555 §7.3.4), as the authority gives it.",
    keys: &[
        Key {
            name: "kid",
            form: Form::Text,
            example: "\"kid-1\"",
            doc: "The identifier of the key. Required.",
            ..KEY
        },
        Key {
            name: "key_file",
            form: Form::Path,
            example: "\"/etc/sitar/eab.key\"",
            doc: "A file with the key, in base64url. Required.",
            ..KEY
        },
    ],
};

/// `acme` of a site.
pub(crate) static OPTIONS: Table = Table {
    name: "acme",
    doc: "What is different from `[acme]` for the certificates of one site.",
    keys: &[PROFILE, PREFERRED_CHAIN, Key { default: None, ..KEYS }, CHALLENGES],
};

/// The key of a site.
pub(super) const OF_SITE: Key = Key {
    name: "acme",
    form: Form::Table(&OPTIONS),
    example: "{ profile = \"shortlived\" }",
    doc: "What is different from `[acme]` for this site: a table with `profile`, `preferred_chain`, `keys` or \
          `challenges`.",
    ..KEY
};
