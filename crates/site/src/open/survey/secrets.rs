//! Files that were hardly meant for everyone, by their names and, where a name is not enough, by
//! their first bytes.
//!
//! The names are OpenSSH's and PuTTY's for keys, and those of the signatures of gitrob
//! (michenriksen/gitrob, `signatures.json`) that mean one thing. A dotfile is never served, so its
//! name is looked for without the dot, as it stands in a careless copy. Names that mean something
//! else as often (`.pem`, `.key`, `.json`, `env`) count only with content that proves it.

use crate::open::error::{Warning, Warnings};
use crate::open::printable::printable;

/// A kind of file.
struct SecretKind {
    /// The name of the kind, for the message.
    what: &'static str,
    names: &'static [Name],
    proof: Proof,
}

/// A comparison with the last part of a path, in lower case.
enum Name {
    Is(&'static str),
    Ends(&'static str),
    Starts(&'static str),
    /// Begins and ends so.
    Both(&'static str, &'static str),
}

/// The bytes that must stand among the first ones.
enum Proof {
    /// Anything: the name says it.
    Name,
    /// One of these.
    Any(&'static [&'static str]),
    /// A line that sets a variable.
    Assignment,
    /// The first line of a private key (RFC 7468 §10, RFC 9580 §6.2, RFC 4716), and not a text that
    /// speaks of one.
    PrivateKey,
    /// Anything but an HTML page, which a mirror of a site stores without extension.
    NoPage,
}

use Name::{Both, Ends, Is, Starts};

#[rustfmt::skip]
const KINDS: &[SecretKind] = &[
    SecretKind {
        what: "a private key of SSH",
        names: &[Is("id_rsa"), Is("id_dsa"), Is("id_ecdsa"), Is("id_ecdsa_sk"), Is("id_ed25519"), Is("id_ed25519_sk"), Ends(".ppk")],
        proof: Proof::Name,
    },
    SecretKind {
        what: "a private key",
        names: &[Ends(".pem"), Ends(".key"), Ends(".p8"), Ends(".pk8"), Ends(".asc"), Ends(".crt"), Ends(".ovpn"), Ends("_rsa"), Ends("_ed25519"), Is("privkey")],
        proof: Proof::PrivateKey,
    },
    SecretKind {
        what: "a store of keys",
        names: &[Ends(".p12"), Ends(".pfx"), Ends(".jks"), Ends(".keystore"), Ends(".keytab"), Is("secring.gpg"), Is("master.key")],
        proof: Proof::Name,
    },
    SecretKind { what: "a password database", names: &[Ends(".kdbx"), Ends(".kdb")], proof: Proof::Name },
    SecretKind {
        what: "a file of passwords",
        names: &[Is("htpasswd"), Ends(".htpasswd"), Is("git-credentials"), Is("pgpass"), Is("pgpass.conf")],
        proof: Proof::Name,
    },
    SecretKind { what: "a file of passwords", names: &[Is("credentials")], proof: Proof::NoPage },
    SecretKind {
        what: "a file of credentials",
        names: &[
            Is("credentials.json"), Is("credentials.csv"), Is("credentials.yml"), Is("credentials.yaml"), Both("client_secret", ".json"),
            Both("service-account", ".json"), Both("service_account", ".json"), Both("serviceaccount", ".json"),
        ],
        // Not what a translation of a page about credentials has.
        proof: Proof::Any(&[
            "private_key", "client_secret", "secret_key", "secret_access_key", "Secret access key", "access_token", "refresh_token",
            "api_key", "apiKey",
        ]),
    },
    SecretKind {
        what: "a file of credentials",
        names: &[
            Is("netrc"), Is("_netrc"), Is("npmrc"), Is("pypirc"), Is("s3cfg"), Is("dockercfg"), Is("database.yml"),
            Is("sftp-config.json"),
        ],
        proof: Proof::Any(&["secret", "password", "_auth", "\"auth\"", "token"]),
    },
    SecretKind {
        what: "a file of environment variables",
        names: &[
            Is("env"), Is("_env"), Is("env.local"), Both("env.", ".local"), Is("env.dev"), Is("env.development"), Is("env.test"),
            Is("env.stage"), Is("env.staging"), Is("env.prod"), Is("env.production"), Is("env.txt"), Ends(".env"),
        ],
        proof: Proof::Assignment,
    },
    SecretKind { what: "the configuration of WordPress", names: &[Starts("wp-config.php")], proof: Proof::Name },
    SecretKind {
        what: "a dump of a database",
        names: &[
            Both("dump", ".sql"), Both("backup", ".sql"), Is("db.sql"), Is("database.sql"), Ends("dump.sql"), Ends("backup.sql"),
            Both("dump", ".sql.gz"), Both("backup", ".sql.gz"), Is("db.sql.gz"), Is("database.sql.gz"), Ends("dump.sql.gz"),
            Ends("backup.sql.gz"),
        ],
        proof: Proof::Name,
    },
    SecretKind {
        what: "a dump of a database",
        names: &[Ends(".sql")],
        // As mysqldump, mariadb-dump, pg_dump, phpMyAdmin, Adminer and sqlite3 begin one. INSERT
        // INTO stands in lessons as well.
        proof: Proof::Any(&[
            "-- MySQL dump", "-- MariaDB dump", "PostgreSQL database dump", "-- phpMyAdmin SQL Dump", "-- Adminer",
            "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;",
        ]),
    },
    SecretKind { what: "the state of Terraform", names: &[Ends(".tfstate"), Ends(".tfstate.backup")], proof: Proof::Name },
    SecretKind {
        what: "a history of commands",
        names: &[Is("bash_history"), Is("zsh_history"), Is("mysql_history"), Is("psql_history")],
        proof: Proof::Name,
    },
];

/// Warns of files that look like secrets. `beginning` fills the buffer as far as a file reaches; it
/// is called for few.
pub(crate) fn secrets<'n, T>(
    names: impl Iterator<Item = (T, &'n [u8])>,
    beginning: impl for<'b> Fn(T, &[u8], &'b mut [u8]) -> Option<&'b [u8]>,
    warnings: &mut Warnings,
) {
    let mut buffer = Vec::new();
    let mut looked = 0;
    for (source, name) in names {
        if is_repository(name) {
            warnings.push_first(Warning::Secret { name: printable(name), what: "a repository of git" });
            continue;
        }
        let mut kinds = kinds(name).peekable();
        let Some(first) = kinds.peek() else { continue };
        let what = if matches!(first.proof, Proof::Name) {
            Some(first.what)
        } else if looked < LOOKS_MAX {
            looked += 1;
            buffer.resize(BEGINNING, 0);
            let bytes = beginning(source, name, &mut buffer).unwrap_or_default();
            kinds.find(|kind| kind.proof.is_in(bytes)).map(|kind| kind.what)
        } else {
            None
        };
        if let Some(what) = what {
            warnings.push_first(Warning::Secret { name: printable(name), what });
        }
    }
}

/// The kinds that a name may mean.
fn kinds(name: &[u8]) -> impl Iterator<Item = &'static SecretKind> {
    let last = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let last = BACKUPS.iter().find_map(|end| last.strip_suffix(*end)).unwrap_or(last);
    let kinds = if is_usual(last) { &[] } else { KINDS };
    kinds.iter().filter(move |kind| kind.names.iter().any(|name| name.fits(last)))
}

/// The names of nearly all files of a site: passed over at once, since an opening looks at all
/// names.
fn is_usual(last: &[u8]) -> bool {
    const USUAL: [&[u8]; 10] =
        [b".html", b".js", b".css", b".svg", b".png", b".jpg", b".webp", b".woff2", b".br", b".zst"];
    let ends = |end: &&[u8]| last.ends_with(end);
    USUAL.iter().any(ends) || (last.ends_with(b".gz") && !last.to_ascii_lowercase().ends_with(b".sql.gz"))
}

/// `.git` copied under a public name. A bare repository has another one, and may be there to be
/// cloned.
fn is_repository(name: &[u8]) -> bool {
    let folder = name.strip_suffix(b"/HEAD").map(|folder| folder.rsplit(|&byte| byte == b'/').next());
    matches!(folder, Some(Some(b"git" | b"_git" | b"dotgit" | b"dot_git")))
}

impl Name {
    fn fits(&self, last: &[u8]) -> bool {
        let starts = |text: &str| {
            last.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()))
        };
        let ends = |text: &str| {
            let at = last.len().checked_sub(text.len());
            at.is_some_and(|at| last[at..].eq_ignore_ascii_case(text.as_bytes()))
        };
        match self {
            Is(text) => last.len() == text.len() && starts(text),
            // Something stands before it, or it would be a dotfile.
            Ends(text) => last.len() > text.len() && ends(text),
            Starts(text) => starts(text),
            Both(start, end) => last.len() >= start.len() + end.len() && starts(start) && ends(end),
        }
    }
}

impl Proof {
    fn is_in(&self, bytes: &[u8]) -> bool {
        match self {
            Proof::Name => true,
            Proof::Any(words) => words.iter().any(|word| contains(bytes, word.as_bytes())),
            Proof::Assignment => bytes.split(|&byte| byte == b'\n').any(is_assignment),
            Proof::PrivateKey => bytes.split(|&byte| byte == b'\n').any(begins_key),
            Proof::NoPage => !is_html(bytes),
        }
    }
}

/// `-----BEGIN EC PRIVATE KEY-----` and its like.
fn begins_key(line: &[u8]) -> bool {
    let begin = line.trim_ascii().strip_prefix(b"----").map(|rest| rest.strip_prefix(b"-").unwrap_or(rest));
    let label = begin.and_then(|rest| rest.trim_ascii_start().strip_prefix(b"BEGIN "));
    label.is_some_and(|label| contains(label, b"PRIVATE KEY"))
}

/// `NAME=value`, as a shell would read it.
fn is_assignment(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let line = line.strip_prefix(b"export ").unwrap_or(line);
    let Some(equals) = line.iter().position(|&byte| byte == b'=') else { return false };
    let (name, value) = (&line[..equals], &line[equals + 1..]);
    name.first().is_some_and(|&byte| byte == b'_' || byte.is_ascii_alphabetic())
        && name.iter().all(|&byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && !value.is_empty()
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Suffixes that editors and careful people give to a copy.
const BACKUPS: [&[u8]; 6] = [b"~", b".bak", b".backup", b".old", b".orig", b".save"];
/// Bytes that are looked at: enough for a chain of certificates before its key.
const BEGINNING: usize = 16 << 10;
/// Files that are looked into at an opening.
const LOOKS_MAX: usize = 1000;

/// Returns whether bytes begin like an HTML page: with a document type or the outermost element,
/// behind white space, comments and a byte order mark.
#[must_use]
pub fn is_html(bytes: &[u8]) -> bool {
    let mut rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    loop {
        rest = rest.trim_ascii_start();
        if let Some(comment) = rest.strip_prefix(b"<!--") {
            match comment.windows(3).position(|three| three == b"-->") {
                Some(end) => rest = &comment[end + 3..],
                None => return false,
            }
            continue;
        }
        let starts = |what: &[u8]| {
            rest.get(..what.len()).is_some_and(|start| start.eq_ignore_ascii_case(what))
                && rest.get(what.len()).is_none_or(|next| matches!(next, b'>' | b' ' | b'\t' | b'\n' | b'\r'))
        };
        return starts(b"<!doctype html") || starts(b"<html");
    }
}
